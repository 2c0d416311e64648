"""A real PostgreSQL streaming pair switched by the product: A1, I2, I3, and a promotion without a fence that is caught."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agent.checks.answer import CheckAnswer
from agent.checks.replication import from_numbers
from agent.checks.spec import CheckSettings
from agent.signals.parsers.plugin import parse_plugin
from tests.lab.checker import lost_writes, two_writers
from tests.lab.house import ADDRESS, House
from tests.lab.parts.balancer import Balancer
from tests.lab.parts.bmc import Bmc
from tests.lab.parts.hosts import epoch_of, furnish, gate
from tests.lab.parts.orders import ask, order, power_on
from tests.lab.parts.postgres import PORT, USER, Pair
from tests.lab.parts.sql_clients import SqlClients
from tests.lab.parts.switch import Switch
from tests.lab.sshd import SHIPPED
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(900)]
RPO_S = 5.0
INSERT = """INSERT INTO register VALUES (%s, current_setting('cluster_name'),
    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int) RETURNING node, timeline"""


class Client:
    """One connection; each statement has a second, the link as long to take what was sent."""

    def __init__(self, address: str) -> None:
        self._conn = psycopg.connect(
            host=address, port=PORT, user=USER, dbname="postgres", autocommit=True, connect_timeout=2,
            options="-c statement_timeout=1000", tcp_user_timeout=1500,
        )  # fmt: skip

    def write(self, value: str) -> tuple[str, int]:
        row = self._conn.execute(INSERT, (value,)).fetchone()
        assert row is not None
        return row[0], row[1]

    def close(self) -> None:
        self._conn.close()


@pytest.fixture
def pair(house: House) -> Iterator[Pair]:
    for package in ("postgresql", "ipmi_sim", "ipmitool", "haproxy"):
        require_package(package)
    made = Pair(house)
    try:
        made.make()
        furnish(
            house,
            service="postgresql.service",
            standby={place: f"test -e {made.data(place)}/standby.signal" for place in ("prim", "back")},
        )
        yield made
    finally:
        made.close()


def lag(house: House, pair: Pair, place: str = "back") -> CheckAnswer:
    """What the agent on that standby would make of the shipped check, run there."""
    command = [SHIPPED / "checks" / "lag-postgresql", pair.conninfo(place)]
    said = parse_plugin(house.exec(place, command, check=False).stdout)
    facts = {"numbers": said.numbers, "units": said.units}
    spec = CheckSettings(name="lag", type="replication", command="lag-postgresql")
    return from_numbers(spec, CheckAnswer("ok" if said.numbers else "critical", said.line, 0.0, facts))


def steps(pair: Pair, bmc: Bmc, door: Balancer) -> dict[str, Any]:
    """The contract's pair: PostgreSQL behind a balancer, fenced by power."""
    there, here = str(pair.data("back")), str(pair.data("prim"))
    role = {"role": "role-postgresql"}
    return {
        "demote": [
            {
                "type": "demote.ssh",
                "deadline": "90 s",
                "options": {
                    "step": "demote-postgresql", "args": [here], **role, "role_args": [here],
                    "back": {"args": [there], "role_args": [there]},
                },
            }
        ],
        "fence": [[{"type": "fence.ipmi", "options": bmc.options()}]],
        "promote": [
            {
                "type": "promote.script",
                "deadline": "120 s",
                "options": {
                    "script": "promote-postgresql", "args": [there], **role, "role_args": [there],
                    "back": {"args": [here], "role_args": [here]},
                },
            }
        ],
        "traffic": [{"type": "traffic.haproxy", "options": door.options()}],
        "verify": [{"type": "verify.tcp", "options": {"host": ADDRESS["oob"], "port": PORT}}],
    }  # fmt: skip


def test_a1_i3_i2_the_standby_takes_over_the_old_primary_stays_off_and_comes_back_in_order(
    house: House, pair: Pair
) -> None:
    bmc, door = Bmc(house), Balancer(house, PORT)
    doors = {"door": ADDRESS["oob"], "prim": ADDRESS["prim"], "back": ADDRESS["back"]}
    clients = SqlClients(house, doors, Client, (psycopg.Error,))
    switch = Switch(house, **steps(pair, bmc, door))
    clients.start()
    try:
        clients.wait_for("door", "prim")
        told = lag(house, pair)
        assert (told.state, told.facts["lag_s"] < 30) == ("ok", True), told
        switch.note_lag(told.facts["lag_s"])

        pair.kill("prim")
        assert "no stream" in lag(house, pair).detail  # from here on it only grows older
        run = switch.fails_over()
        assert (run.state.value, bmc.is_off()) == ("hold_down", True), switch.told(run.id)
        clients.wait_for("door", "back")
        assert epoch_of(house, "back") == "1 b9"

        # I3: it boots again, asks the other host, and starts nothing that takes writes.
        power_on(house, "prim")
        assert not pair.boot("prim", "a1")
        assert "epoch 1 makes b9 the primary" in gate(house, "prim", "check")[1]
        pair.rewind("prim")
        assert pair.boot("prim", "a1")
        pair.wait_until_it_follows("prim")
        assert not pair.takes_writes("prim")

        switch.note_alive("a1")
        switch.note_lag(lag(house, pair, "prim").facts["lag_s"], "a1")

        # I2: back in order, nothing lost on the way.
        before = len(clients.acks)
        back = switch.by_person("failback")
        assert back.state.value == "hold_down", switch.told(back.id)
        clients.wait_for("door", "prim")
        assert (pair.takes_writes("prim"), pair.takes_writes("back")) == (True, False)
    finally:
        acks = clients.stop()
    kept = pair.values("prim")
    assert two_writers(acks) == []
    assert lost_writes(acks, kept, RPO_S) == []
    assert lost_writes(acks[before:], kept, 0.0) == []
    assert {ack.epoch for ack in acks} == {1, 2, 3}
    assert switch.faults() == []
    switch.close()


def test_a_promotion_without_a_fence_is_caught(house: House, pair: Pair) -> None:
    """The planted bug: the old primary lives and nobody fenced it."""
    doors = {"prim": ADDRESS["prim"], "back": ADDRESS["back"]}
    clients = SqlClients(house, doors, Client, (psycopg.Error,))
    clients.start()
    try:
        clients.wait_for("prim", "prim")
        there = str(pair.data("back"))
        options = {
            "script": "promote-postgresql",
            "args": [there],
            "role": "role-postgresql",
            "role_args": [there],
        }
        mine = order(house, "promote.script", options)
        assert ask(house, "precheck", mine).outcome == "done"
        assert ask(house, "probe", mine).outcome == "not_done"
        armed = order(house, "gate.epoch", {"host": "b9"})
        assert ask(house, "act", armed).outcome == "done"
        promoted = ask(house, "act", mine)
        assert promoted.outcome == "done", promoted
        assert ask(house, "probe", mine).outcome == "done"
        again = ask(house, "act", order(house, "promote.script", options, attempt=2))
        assert (again.outcome, "primary already" in again.evidence["said"]) == ("done", True), again
        clients.wait_for("back", "back")
        clients.wait_for("prim", "prim")
    finally:
        acks = clients.stop()
    assert any("both acknowledged" in fault for fault in two_writers(acks)), two_writers(acks)


@pytest.mark.lab
def test_i2_a_failback_with_lag_is_refused_and_the_backup_goes_on(house: House, pair: Pair) -> None:
    """The standby replays nothing: the demotion finds no lag 0, takes its freeze back, and the run ends with nothing done."""
    with pair.connected("back") as conn:
        conn.execute("SELECT pg_wal_replay_pause()")
    with pair.connected("prim") as conn:
        conn.execute("INSERT INTO register VALUES ('late', 'prim', 1)")
    here = str(pair.data("prim"))
    options = {"step": "demote-postgresql", "args": [here], "role": "role-postgresql", "role_args": [here]}
    mine = order(house, "demote.ssh", options, plan_kind="switchover", deadline_s=90.0)
    refused = ask(house, "act", mine)
    assert (refused.outcome, "has not caught up" in refused.error) == ("not_done", True), refused
    assert ask(house, "probe", mine).outcome == "not_done"
    with pair.connected("prim") as conn:
        conn.execute("INSERT INTO register VALUES ('goes on', 'prim', 1)")
    assert not (pair.data("prim") / "standby.signal").exists()
