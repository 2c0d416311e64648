"""What is out of reach, and for whom: real programs in network namespaces, each broken in one place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import wait_for
from tests.e2e.network import Internet, internet
from tests.tools import needs

pytestmark = [pytest.mark.e2e, pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(400)]

WITHIN_S = 120.0
"""On a quiet machine it takes half a minute."""


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Internet]:
    needs.require_root()
    needs.require_package("iproute2")
    needs.require_kernel("network_namespaces")
    with internet(tmp_path) as made:
        yield made


def the_ticket(net: Internet, cause: str) -> dict:
    """The one open ticket about the host, once it has this cause."""

    def found() -> list:
        rows = net.tickets()
        assert len(rows) <= 1, [row["problem"] for row in rows]
        return [row for row in rows if row["root_cause"] == cause]

    try:
        return dict(wait_for(f"a ticket with cause {cause}", WITHIN_S, found)[0])
    except AssertionError as error:
        tickets = [(row["problem"], row["root_cause"], row["verdict"]) for row in net.tickets()]
        raise AssertionError(
            f"{error}; tickets: {tickets}; seen: {net.held()}; lives: {net.lives()}"
        ) from error


def explained(net: Internet, ticket: dict) -> str:
    return net.command("explain", str(ticket["id"]))


def sees_the_site(net: Internet) -> None:
    wait_for(
        "both see the site", WITHIN_S,
        lambda: {net.held().get(("ext.svc", vantage)) for vantage in ("", "vant")} == {"ok"},
    )  # fmt: skip


def test_a_filter_on_the_host_is_found_while_the_host_reports(net: Internet) -> None:
    net.settle(with_vantage=True)
    sees_the_site(net)
    for what in (("tcp", "dport", "8080"), ("tcp", "dport", "22"), ("icmp",), ("udp",)):
        net.drop("host", "iif", "to-gw", "ipproto", *what)
    ticket = the_ticket(net, "os.firewall")
    assert ticket["class"] == 2
    assert net.lives()["host"] == "alive"
    held = net.held()
    assert {held[(s, v)] for s in ("ext.svc", "ext.icmp") for v in ("", "vant")} == {"dead"}
    assert "vant" in explained(net, ticket)


def test_a_filter_on_one_port_is_told_from_a_program_that_is_gone(net: Internet) -> None:
    net.settle(with_vantage=True)
    sees_the_site(net)
    net.drop("host", "iif", "to-gw", "ipproto", "tcp", "dport", "8080")
    ticket = the_ticket(net, "os.firewall")
    assert (ticket["class"], net.lives()["host"]) == (2, "alive")
    held = net.held()
    assert {held[("ext.icmp", v)] for v in ("", "vant")} == {"ok"}
    assert {held[("ext.tcp22", v)] for v in ("", "vant")} == {"ok"}
    assert held[("ext.last_hop", "vant")] == "host"


def drop_at_the_border(net: Internet) -> dict:
    """The provider's border drops the host's address; the ticket about it."""
    net.settle(with_vantage=True)
    net.ip("edge", "route", "add", "blackhole", "10.80.3.2/32")
    return dict(wait_for("a ticket about the host", WITHIN_S, net.tickets)[0])


def test_where_the_way_ends_is_known_from_two_places_when_silence_is_judged(net: Internet) -> None:
    drop_at_the_border(net)
    assert net.lives()["near"] == "alive", "its neighbour in the rack is well"
    assert net.silence_facts()["silence.dead_to"] == ["vant"]
    held = net.held()
    assert held[("ext.last_hop", "")] == held[("ext.last_hop", "vant")] == "transit-before-alfa"


def test_an_address_that_the_provider_drops_is_no_broken_host(net: Internet) -> None:
    ticket = drop_at_the_border(net)
    assert ticket["root_cause"] == "net.nullroute"
    assert "near" in explained(net, ticket)


def test_cut_off_ourselves_we_judge_nobody(net: Internet) -> None:
    net.settle(with_vantage=True, anchors=True)
    wait_for("we reach our anchors", WITHIN_S, lambda: net.held("collector").get(("col.anchors", "")) == 3)
    net.ip("transit", "link", "set", "to-col", "down")
    wait_for(
        "we see that none answers", WITHIN_S, lambda: net.held("collector").get(("col.anchors", "")) == 0
    )
    wait_for(
        "the tick knows that we are cut off", WITHIN_S,
        lambda: [r for r in net.rows("SELECT value FROM own_state WHERE key = 'cut_off_since_ms'") if r["value"]],
    )  # fmt: skip
    time.sleep(20)
    assert net.rows("SELECT * FROM tickets WHERE contract_id != 'internal'") == []
    assert set(net.lives().values()) <= {"alive", "suspect"}
    net.ip("transit", "link", "set", "to-col", "up")
    wait_for("every host is heard again", WITHIN_S, lambda: set(net.lives().values()) == {"alive"})
    time.sleep(5)
    assert net.rows("SELECT * FROM tickets WHERE contract_id != 'internal'") == []


def test_a_host_that_is_gone_is_confirmed_by_both_in_time(net: Internet) -> None:
    net.settle(with_vantage=True)
    net.freeze("agent-host")
    net.ip("host", "link", "set", "to-gw", "down")
    begun = time.monotonic()
    wait_for("a ticket about the host", WITHIN_S, lambda: net.tickets())
    # Deadline 4.5 s after the last heartbeat, 10 s for the confirmation, a tick; the machine of the tests is shared.
    assert time.monotonic() - begun <= 4.5 + 10 + 8
    facts = net.silence_facts()
    assert (facts["silence.outcome"], facts["silence.dead_to"]) == ("down", ["vant"])
    (ticket,) = net.tickets()
    assert "vant" in explained(net, ticket)


def test_where_only_our_own_way_is_cut_the_host_is_not_down(net: Internet) -> None:
    net.settle(with_vantage=True)
    net.drop("edge", "from", "10.80.1.0/24", "to", "10.80.3.0/24")
    ticket = the_ticket(net, "net.transit_path")
    assert net.silence_facts()["silence.outcome"] == "path"
    assert net.silence_facts()["silence.alive_to"] == ["vant"]
    assert net.held()[("ext.svc", "vant")] == "ok"
    assert json.loads(ticket["affected"]) == ["host"]


def test_large_packets_that_are_lost_are_told_from_a_program_that_hangs(net: Internet) -> None:
    net.settle(with_vantage=True)
    sees_the_site(net)
    net.lose_large_packets()
    ticket = the_ticket(net, "net.mtu_blackhole")
    assert net.lives()["host"] == "alive"
    assert net.held()[("ext.tcp22", "")] == "kex_timeout"
    assert net.held()[("ext.icmp", "")] == "ok"
    assert "vant" in explained(net, ticket)


def test_without_a_second_vantage_one_look_decides_and_says_so(net: Internet) -> None:
    net.settle(with_vantage=False)
    net.freeze("agent-host")
    net.ip("host", "link", "set", "to-gw", "down")
    wait_for("a ticket about the host", WITHIN_S, lambda: net.tickets())
    facts = net.silence_facts()
    assert facts["silence.outcome"] == "down" and "silence.dead_to" not in facts
    (ticket,) = net.tickets()
    assert json.loads(ticket["verdict"])["confidence"] == "low"
