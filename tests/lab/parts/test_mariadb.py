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
from tests.lab.parts.mariadb import PASSWORD, PEER, PORT, Client, Pair
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


def peer_file(house: House, pair: Pair, place: str) -> str:
    """How the server of that place reaches the other one, as its engineer wrote it down."""
    file = house.sshd(place).etc / "peer-mariadb.cnf"
    file.write_text(f"host={ADDRESS[PEER[place]]}\nport={PORT}\nuser=repl\npassword={PASSWORD}\n")
    file.chmod(0o600)
    return str(file)


def giving_way(house: House, pair: Pair) -> dict[str, Any]:
    """Options of the step demote.ssh, there and back."""

    def of(place: str) -> dict[str, Any]:
        there = str(pair.socket(place))
        return {"args": [peer_file(house, pair, place), there], "role_args": [there]}

    return {"step": "demote-mariadb", "role": "role-mariadb", **of("prim"), "back": of("back")}


def test_i2_both_give_way_in_order_and_nothing_is_lost_on_the_way_there_and_back(
    house: House, pair: Pair
) -> None:
    door = Balancer(house, PORT)
    here = [str(pair.socket("prim"))]
    terms = {
        "demote": [{"type": "demote.ssh", "deadline": "90 s", "options": giving_way(house, pair)}],
        "promote": [
            {
                "type": "promote.script",
                "deadline": "120 s",
                "options": {**promotion(pair), "back": {"args": here, "role_args": here}},
            }
        ],
        "traffic": [{"type": "traffic.haproxy", "options": door.options()}],
        "verify": [{"type": "verify.tcp", "options": {"host": ADDRESS["oob"], "port": PORT}}],
    }
    doors = {"door": ADDRESS["oob"], "prim": ADDRESS["prim"], "back": ADDRESS["back"]}
    clients = SqlClients(house, doors, lambda address: Client(house, address), (OSError,))
    switch = Switch(house, **terms)
    clients.start()
    try:
        clients.wait_for("door", "prim")
        switch.note_lag(lag(house, pair)[0]["lag"])
        there = switch.by_person("switchover")
        assert there.state.value == "hold_down", switch.told(there.id)
        clients.wait_for("door", "back")
        assert (pair.takes_writes("prim"), pair.takes_writes("back")) == (False, True)
        assert pair.has_all("prim"), "the old primary follows the new one"

        switch.note_lag(0.0, "a1")
        back = switch.by_person("failback")
        assert back.state.value == "hold_down", switch.told(back.id)
        clients.wait_for("door", "prim")
        assert (pair.takes_writes("prim"), pair.takes_writes("back")) == (True, False)
    finally:
        acks = clients.stop()
    assert pair.has_all("back")
    kept = pair.values("prim")
    assert kept == pair.values("back")
    assert two_writers(acks) == []
    assert lost_writes(acks, kept, 0.0) == []
    assert [node for node, _ in sorted({(ack.node, ack.epoch) for ack in acks}, key=lambda of: of[1])] == [
        "prim", "back", "prim",
    ]  # fmt: skip
    assert PASSWORD not in switch.told(there.id) + switch.told(back.id)
    assert switch.faults() == []
    switch.close()


@pytest.mark.lab
@pytest.mark.parametrize("broken", ["applier", "link", "password"])
def test_i2_a_primary_whose_replica_has_not_everything_or_whom_it_cannot_follow_writes_on(
    house: House, pair: Pair, broken: str
) -> None:
    options = giving_way(house, pair)
    mine = order(house, "demote.ssh", options, plan_kind="switchover", deadline_s=90.0)
    if broken == "applier":
        pair.sql("back", "STOP SLAVE SQL_THREAD")
        words = "has not caught up"
    elif broken == "link":
        pair.sql("back", "STOP SLAVE")
        words = "no replica follows"
    else:
        peer = house.sshd("prim").etc / "peer-mariadb.cnf"
        peer.write_text(peer.read_text().replace(PASSWORD, "another"))
        words = "does not answer"
    if broken == "link":
        pair.wait_until_nobody_follows("prim")
    pair.sql("prim", "INSERT INTO lab.register VALUES ('late')")
    refused = ask(house, "act", mine)
    assert (refused.outcome, words in refused.error) == ("not_done", True), refused
    assert ask(house, "probe", mine).outcome == "not_done"
    assert pair.takes_writes("prim")
    pair.sql("prim", "INSERT INTO lab.register VALUES ('goes on')")
    assert pair.sql("prim", "SHOW SLAVE STATUS") == ""
