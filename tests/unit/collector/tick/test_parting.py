"""A host whose own account speaks of another cause leaves its group's ticket, with history on both."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from collector.observed import observe
from ticketing.tables import ticket_events, ticket_hosts

pytestmark = pytest.mark.collector

PANIC = {
    "boot.wtmp_shutdown": {"now": False},
    "boot.pstore": {"now": "vmcore: Kernel panic - not syncing: Fatal exception"},
}
NO_TRACE = {"boot.wtmp_shutdown": {"now": False}, "boot.pstore": {"now": "none"}}


def shape(world) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Open tickets as (contract, cause, scope, hosts)."""
    return [
        (t["contract_id"], t["root_cause"], t["scope"], tuple(t["affected"]))
        for t in world.tickets(is_open=True)
    ]


def rack(world, *host_ids: str, contracts: dict[str, str] | None = None) -> None:
    """These hosts of one rack fall together; another rack of the site lives."""
    for host_id in host_ids:
        contract = (contracts or {}).get(host_id, "acme")
        world.add_host(host_id, contract, provider="alfa", site="s1", rack="r1", virt="none")
    world.add_host("c1", provider="alfa", site="s1", rack="r2", virt="none")
    world.tick()
    world.run(17, beating=("c1",))


def comes_back(world, host_id: str, facts: dict, *beating: str) -> None:
    world.find(host_id, "unclean_boot", "kernel", facts=facts)
    world.run(2, beating=("c1", host_id, *beating))


def splits_of(world, ticket_id: int) -> list[dict]:
    wanted = select(ticket_events.c.body).where(
        ticket_events.c.ticket_id == ticket_id, ticket_events.c.kind == "split"
    )
    with world.store.read() as conn:
        return list(conn.execute(wanted).scalars())


def links(world, ticket_id: int) -> set[str]:
    with world.store.read() as conn:
        wanted = select(ticket_hosts.c.host_id).where(ticket_hosts.c.ticket_id == ticket_id)
        return set(conn.execute(wanted).scalars())


def test_a_member_that_panicked_by_itself_leaves_and_the_group_stays(world):
    rack(world, "d1", "d2", "d3")
    assert shape(world) == [("acme", "hw.power", "rack:alfa/r1", ("d1", "d2", "d3"))]
    comes_back(world, "d2", PANIC)
    assert shape(world) == [
        ("acme", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "os.kernel_panic", "host:d2", ("d2",)),
    ]
    group, own = world.tickets(is_open=True)
    for ticket in (group, own):
        (body,) = splits_of(world, ticket["id"])
        assert (body["ticket"], body["into"]) == (group["id"], own["id"])
    assert (links(world, group["id"]), links(world, own["id"])) == ({"d1", "d3"}, {"d2"})
    assert own["began_at_ms"] <= group["began_at_ms"] + 1000, "its outage counts from the time it fell"
    assert {f["ticket_id"] for f in world.open_findings() if f["host_id"] == "d2"} == {own["id"]}
    assert {f["ticket_id"] for f in world.open_findings() if f["host_id"] in ("d1", "d3")} == {group["id"]}


def test_each_ticket_resolves_by_its_own_hosts(world):
    rack(world, "d1", "d2", "d3")
    comes_back(world, "d2", PANIC)
    world.find("d2", "unclean_boot", "kernel", "closed")
    world.run(80, beating=("c1", "d2"))
    assert shape(world) == [("acme", "hw.power", "rack:alfa/r1", ("d1", "d3"))]
    world.run(80, beating=("c1", "d1", "d2", "d3"))
    assert shape(world) == []


def test_a_boot_without_a_trace_is_no_reason_to_part(world):
    rack(world, "d1", "d2", "d3")
    comes_back(world, "d2", NO_TRACE)
    assert shape(world) == [("acme", "hw.power", "rack:alfa/r1", ("d1", "d2", "d3"))]


def test_the_ticket_that_was_opened_for_the_parted_host_stays_the_group_s(world):
    for host_id in ("d1", "d2", "d3"):
        world.add_host(host_id, provider="alfa", site="s1", rack="r1", virt="none")
    world.add_host("c1", provider="alfa", site="s1", rack="r2", virt="none")
    world.tick()
    world.run(8, beating=("c1", "d1", "d3"))
    world.run(9, beating=("c1",))
    assert shape(world) == [("acme", "unknown", "host:d2", ("d2",))]
    world.run(20, beating=("c1",))
    first = world.tickets()[0]["id"]
    comes_back(world, "d2", PANIC)
    assert shape(world) == [
        ("acme", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "os.kernel_panic", "host:d2", ("d2",)),
    ]
    assert world.tickets(is_open=True)[0]["id"] == first


def test_who_is_left_alone_is_judged_without_its_neighbours(world):
    rack(world, "d1", "d2")
    comes_back(world, "d2", PANIC)
    assert shape(world) == [
        ("acme", "unknown", "host:d1", ("d1",)),
        ("acme", "os.kernel_panic", "host:d2", ("d2",)),
    ]
    assert world.tickets(is_open=True)[0]["class"] == 2


def test_over_two_contracts_the_parent_speaks_of_the_host_no_more(world):
    rack(world, "d1", "d2", "d3", contracts={"d2": "beta", "d3": "beta"})
    comes_back(world, "d2", PANIC)
    assert shape(world) == [
        ("internal", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "hw.power", "rack:alfa/r1", ("d1",)),
        ("beta", "hw.power", "rack:alfa/r1", ("d3",)),
        ("beta", "os.kernel_panic", "host:d2", ("d2",)),
    ]
    assert world.tickets(is_open=True)[-1]["parent_id"] is None


def test_the_only_host_of_a_contract_takes_its_ticket_with_it(world):
    rack(world, "d1", "d2", "d3", contracts={"d2": "beta"})
    comes_back(world, "d2", PANIC)
    assert shape(world) == [
        ("internal", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("beta", "os.kernel_panic", "host:d2", ("d2",)),
    ]
    assert world.tickets(is_open=True)[-1]["parent_id"] is None


def say(world, host_id: str, text: str) -> None:
    world.store.write(lambda tx: observe(tx, host_id, "prov.event", text, world.now_ms, "prov"))


def test_the_provider_s_late_word_on_one_silent_member_parts_it(world):
    rack(world, "d1", "d2", "d3")
    say(world, "d2", "server d2: power off requested by customer user ops")
    world.run(3, beating=("c1",))
    assert shape(world) == [
        ("acme", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "os.user_reset", "host:d2", ("d2",)),
    ]


def test_who_was_switched_off_by_its_owner_is_no_part_of_what_falls_beside_it(world):
    for host_id in ("d1", "d2", "d3"):
        world.add_host(host_id, provider="alfa", site="s1", rack="r1", virt="none")
    world.add_host("c1", provider="alfa", site="s1", rack="r2", virt="none")
    say(world, "d2", "server d2: power off requested by customer user ops")
    world.tick()
    world.run(17, beating=("c1",))
    assert sorted(shape(world)) == [
        ("acme", "hw.power", "rack:alfa/r1", ("d1", "d3")),
        ("acme", "os.user_reset", "host:d2", ("d2",)),
    ]
