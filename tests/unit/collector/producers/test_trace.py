"""Traces: names of hops (pure), learning, and a real trace through routers in network namespaces."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import insert

from agent.checks.hops import FIRST_PORT, Hop, Hops, hop_of, trace
from collector.observed import recent
from collector.store.engine import Store
from collector.tables import hosts
from collector.trace import (
    HopOwners,
    answer_of,
    gateway_of,
    last_hop,
    learn,
    learned,
    to_learn,
    write_last_hop,
)
from tests.tools import needs

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000
OWNERS = HopOwners.of(
    [
        ("192.0.2.0/24", "transit-X"),
        ("198.51.100.0/24", "alfa"),
        ("198.51.100.0/28", "alfa-core"),
        ("10.0.0.0/8", "col-edge"),
    ],
    {"198.51.100.77": "gw-of-rack7"},
)


@pytest.mark.parametrize(
    ("hops", "name"),
    [
        ([Hop(1, "10.0.0.1", "transit"), Hop(2, "192.0.2.1", "transit")], "transit-X"),
        ([Hop(1, "10.0.0.1", "transit"), Hop(3, "198.51.100.5", "transit")], "alfa-core"),
        ([Hop(3, "198.51.100.200", "transit")], "alfa"),
        ([Hop(4, "198.51.100.77", "stop")], "gw-of-rack7"),
        ([Hop(4, "203.0.113.1", "transit")], "203.0.113.1"),
        ([Hop(1, "10.0.0.1", "transit"), Hop(9, "198.51.100.9", "host")], "host"),
        ([Hop(2, "2001:db8::1", "transit")], "2001:db8::1"),
        ([], ""),
    ],
)
def test_the_last_hop_has_its_owners_name(hops: list[Hop], name: str) -> None:
    assert last_hop(Hops("ok", tuple(hops)), OWNERS) == name


def test_a_trace_that_may_not_be_made_tells_nothing(store: Store) -> None:
    answer = answer_of(Hops("unknown", (), "could not ask: Permission denied"), OWNERS)
    assert answer["state"] == "unknown" and "Permission" in str(answer["detail"])
    assert store.write(lambda tx: write_last_hop(tx, "web-1", answer, T0)) is False


def test_the_last_hop_is_an_observation_held_until_it_changes(store: Store) -> None:
    dead = answer_of(Hops("ok", (Hop(4, "198.51.100.77", "transit"),)), OWNERS)
    assert store.write(lambda tx: write_last_hop(tx, "web-1", dead, T0)) is True
    assert store.write(lambda tx: write_last_hop(tx, "web-1", dead, T0 + 10)) is False
    with store.read() as conn:
        assert [(o.signal, o.value, o.source) for o in recent(conn, ["web-1"], 0)] == [
            ("ext.last_hop", "gw-of-rack7", "trace")
        ]


def test_the_router_before_a_host_that_answers_is_its_racks_gateway() -> None:
    way = (Hop(1, "10.0.0.1", "transit"), Hop(2, "10.0.0.2", "transit"), Hop(3, "10.9.9.9", "host"))
    assert gateway_of(Hops("ok", way)) == "10.0.0.2"
    assert gateway_of(Hops("ok", way[:2])) == ""
    assert gateway_of(Hops("ok", (way[0], way[2]))) == ""  # the hop between said nothing


def test_a_gateway_of_two_racks_is_named_for_neither_and_racks_are_learned_once(store: Store) -> None:
    for n, rack in enumerate(("r1", "r1", "r2", "")):
        row = {
            "id": f"h{n}",
            "contract_id": "acme",
            "addresses": [f"addr{n}"],
            "topology": {"rack": rack},
            "token_hash": str(n),
            "enrolled_at_ms": T0,
            "life": "alive",
            "life_since_ms": T0,
        }
        store.write(lambda tx, row=row: tx.execute(insert(hosts).values(**row)))
    with store.read() as conn:
        assert to_learn(conn, []) == [("addr0", "r1"), ("addr2", "r2")]
    assert store.write(lambda tx: learn(tx, {"10.0.0.2": "gw-of-r1"})) == 1
    with store.read() as conn:
        assert to_learn(conn, learned(conn).values()) == [("addr2", "r2")]
    store.write(lambda tx: learn(tx, {"10.0.0.2": "gw-of-r2"}))
    with store.read() as conn:
        assert learned(conn) == {}


def queued(type_: int, offender: str, origin: int = 2) -> bytes:
    address = bytes(int(part) for part in offender.split("."))
    return (
        struct.pack("=IBBBBII", 113, origin, type_, 0, 0, 0, 0)
        + struct.pack("=HH", 2, 0)
        + address
        + b"\0" * 8
    )


@pytest.mark.parametrize(
    ("octets", "hop"),
    [
        (queued(11, "192.0.2.1"), Hop(3, "192.0.2.1", "transit")),
        (queued(3, "198.51.100.9"), Hop(3, "198.51.100.9", "host")),
        (queued(3, "192.0.2.1"), Hop(3, "192.0.2.1", "stop")),
        (queued(0, "192.0.2.1", origin=1), None),
        (b"\0" * 10, None),
    ],
)
def test_a_message_of_the_error_queue_is_read_without_a_machine(octets: bytes, hop: Hop | None) -> None:
    assert hop_of([(0, 11, octets)], ("198.51.100.9", FIRST_PORT + 3), "198.51.100.9") == hop


@pytest.fixture
def routers() -> Iterator[list[str]]:
    """Four namespaces in a row: us - r1 - r2 - host; each test process has its own."""
    needs.require_root()
    needs.require_package("iproute2")
    needs.require_kernel("network_namespaces")
    names = [f"vt{os.getpid() % 100000}{part}" for part in ("c", "r", "s", "h")]

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, timeout=20)

    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for n, (left, right) in enumerate(zip(names, names[1:], strict=False)):
            run(
                "ip",
                "-n",
                left,
                "link",
                "add",
                f"e{n}",
                "type",
                "veth",
                "peer",
                "name",
                f"w{n}",
                "netns",
                right,
            )
            for name, link, last in ((left, f"e{n}", 1), (right, f"w{n}", 2)):
                run("ip", "-n", name, "addr", "add", f"10.77.{n}.{last}/24", "dev", link)
                run("ip", "-n", name, "link", "set", link, "up")
        for name in names[1:3]:
            run(
                "ip",
                "netns",
                "exec",
                name,
                "sysctl",
                "-qw",
                "net.ipv4.ip_forward=1",
                "net.ipv4.icmp_ratelimit=0",
            )
        run("ip", "-n", names[0], "route", "add", "default", "via", "10.77.0.2")
        run("ip", "-n", names[1], "route", "add", "10.77.2.0/24", "via", "10.77.1.2")
        run("ip", "-n", names[2], "route", "add", "10.77.0.0/24", "via", "10.77.1.1")
        run("ip", "-n", names[3], "route", "add", "default", "via", "10.77.2.1")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)


def traced(names: list[str], address: str) -> Hops:
    """A trace by a process of its own inside the first namespace."""
    code = (
        "import sys; from agent.checks.hops import trace; t = trace(sys.argv[1], 1.0);"
        " print(t.state, *['/'.join(map(str, h)) for h in t.hops])"
    )
    done = subprocess.run(
        ["ip", "netns", "exec", names[0], sys.executable, "-c", code, address],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    state, *hops = done.stdout.split()
    return Hops(state, tuple(Hop(int(t), a, k) for t, a, k in (hop.split("/") for hop in hops)))


@pytest.mark.slow
def test_a_real_way_is_traced_to_the_host_and_to_where_it_ends(routers: list[str]) -> None:
    whole = traced(routers, "10.77.2.2")
    assert whole.hops == (
        Hop(1, "10.77.0.2", "transit"),
        Hop(2, "10.77.1.2", "transit"),
        Hop(3, "10.77.2.2", "host"),
    )
    assert gateway_of(whole) == "10.77.1.2"
    subprocess.run(["ip", "-n", routers[3], "link", "set", "w2", "down"], check=True, timeout=20)
    cut = traced(routers, "10.77.2.2")
    assert last_hop(cut, HopOwners.of([], {"10.77.1.2": "gw-of-rack7"})) == "gw-of-rack7"
    subprocess.run(
        ["ip", "-n", routers[1], "route", "add", "unreachable", "10.77.2.2"], check=True, timeout=20
    )
    holed = traced(routers, "10.77.2.2")
    assert last_hop(holed, HopOwners.of([("10.77.0.0/24", "transit-X")])) == "transit-X"


def test_the_loopback_is_its_own_host() -> None:
    found = trace("127.0.0.1", 0.5)
    assert found.state == "unknown" or found.is_reached
    assert trace("no-such-name.invalid", 0.5).state == "dns"
