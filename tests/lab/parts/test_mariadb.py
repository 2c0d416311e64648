"""A real MariaDB pair (GTID) switched by the product: A1 and I3, the old primary takes no writes and is rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.signals.parsers.plugin import parse_plugin
from tests.lab.checker import lost_writes, two_writers
from tests.lab.house import ADDRESS, House
from tests.lab.parts.balancer import Balancer
from tests.lab.parts.bmc import Bmc
from tests.lab.parts.hosts import furnish
from tests.lab.parts.mariadb import PORT, Client, Pair
from tests.lab.parts.orders import ask, order, power_on
from tests.lab.parts.sql_clients import SqlClients
from tests.lab.parts.switch import Switch
from tests.lab.sshd import SHIPPED
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(900)]
RPO_S = 5.0


@pytest.fixture
def pair(house: House) -> Iterator[Pair]:
    for package in ("mariadb", "mariadb-client", "ipmi_sim", "ipmitool", "haproxy"):
        require_package(package)
    made = Pair(house)
    try:
        furnish(house, service="mariadb.service")
        made.make()
        yield made
    finally:
        made.close()


def lag(house: House, pair: Pair) -> tuple[dict[str, float], str]:
    command = [
        str(SHIPPED / "checks" / "lag-mariadb"),
        "--no-defaults",
        f"--socket={pair.socket('back')}",
        "-uroot",
    ]
    said = parse_plugin(house.exec("back", command, check=False).stdout)
    return said.numbers, said.line


def promotion(pair: Pair) -> dict[str, Any]:
    """Options of the step promote.script."""
    there = [str(pair.socket("back"))]
    return {"script": "promote-mariadb", "args": there, "role": "role-mariadb", "role_args": there}


def test_a1_i3_the_replica_takes_over_and_the_old_primary_takes_no_writes_until_it_is_rebuilt(
    house: House, pair: Pair
) -> None:
    bmc, door = Bmc(house), Balancer(house, PORT)
    terms = {
        "fence": [[{"type": "fence.ipmi", "options": bmc.options()}]],
        "promote": [{"type": "promote.script", "deadline": "120 s", "options": promotion(pair)}],
        "traffic": [{"type": "traffic.haproxy", "options": door.options()}],
        "verify": [{"type": "verify.tcp", "options": {"host": ADDRESS["oob"], "port": PORT}}],
    }
    doors = {"door": ADDRESS["oob"], "prim": ADDRESS["prim"], "back": ADDRESS["back"]}
    clients = SqlClients(house, doors, lambda address: Client(house, address), (OSError,))
    switch = Switch(house, **terms)
    clients.start()
    try:
        clients.wait_for("door", "prim")
        numbers, words = lag(house, pair)
        assert "lag" in numbers, words
        switch.note_lag(numbers["lag"])
        pair.kill("prim")
        run = switch.fails_over()
        assert (run.state.value, bmc.is_off()) == ("hold_down", True), switch.told(run.id)
        clients.wait_for("door", "back")
        assert lag(house, pair) == ({}, "CRITICAL: no replica")

        power_on(house, "prim")
        pair.launch("prim")  # no gate stands before it: its own settings keep it from taking writes
        assert not pair.takes_writes("prim")
        pair.rebuild("prim")
        assert not pair.takes_writes("prim")
        clients.wait_for("door", "back")
    finally:
        acks = clients.stop()
    assert pair.has_all("prim")
    assert pair.values("prim") == pair.values("back")
    assert two_writers(acks) == []
    assert lost_writes(acks, pair.values("back"), RPO_S) == []
    assert {(ack.node, ack.epoch) for ack in acks} == {("prim", 0), ("back", 1)}
    assert switch.faults() == []
    switch.close()


@pytest.mark.lab
def test_a_promotion_waits_for_what_has_arrived_and_refuses_where_it_cannot_be_applied(
    house: House, pair: Pair
) -> None:
    """C3 of a database: the applier stands on an error; then it is mended, and the same step goes through."""
    pair.sql("back", "SET sql_log_bin = 0; INSERT INTO lab.register VALUES ('same')")
    pair.sql("prim", "INSERT INTO lab.register VALUES ('same')")
    assert ask(house, "act", order(house, "gate.epoch", {"host": "b9"})).outcome == "done"
    mine = order(house, "promote.script", promotion(pair), deadline_s=90.0)
    refused = ask(house, "act", mine)
    assert (refused.outcome, "cannot be applied" in refused.error) == ("not_done", True), refused
    assert ask(house, "probe", mine).outcome == "not_done"
    pair.sql(
        "back", "STOP SLAVE; SET sql_log_bin = 0; DELETE FROM lab.register WHERE value = 'same'; START SLAVE"
    )
    again = order(house, "promote.script", promotion(pair), deadline_s=90.0, attempt=2)
    assert ask(house, "act", again).outcome == "done"
    assert ask(house, "probe", again).outcome == "done"
    assert pair.values("back") == {"same"}
