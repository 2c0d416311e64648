"""What goes on of one host after its group is well: its own, where a cause of its own is found and a while has passed."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.unit.collector.tick.conftest import World
from ticketing.tables import ticket_events

pytestmark = pytest.mark.collector

GROUP = ("a1", "a2", "a3")
FAILS = {"net.dns_sys": {"now": "fail"}, "net.dns_pub": {"now": "ok"}}


def names_fail(world: World, contracts: tuple[str, ...] = ("acme", "acme", "acme")) -> None:
    """The provider's resolvers fail on three hosts; a host of another provider is well."""
    for host_id, contract in zip(GROUP, contracts, strict=True):
        world.add_host(host_id, contract, provider="alfa")
    world.add_host("b1", provider="beta")
    world.tick()
    for host_id in GROUP:
        world.find(host_id, "resolver_fails", "dns", severity="medium", facts=FAILS)
    live(world, 10)


def live(world: World, seconds: float) -> None:
    world.run(seconds, beating=(*GROUP, "b1"))


def well(world: World, *host_ids: str) -> None:
    for host_id in host_ids:
        world.find(host_id, "resolver_fails", "dns", kind="closed", severity="medium")
    live(world, 2)


def shape(world: World) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Open tickets as (contract, cause, scope, hosts)."""
    rows = world.tickets(is_open=True)
    return [(t["contract_id"], t["root_cause"], t["scope"], tuple(t["affected"])) for t in rows]


def test_the_last_one_that_is_not_well_gets_its_own_ticket_and_the_group_s_ends(world: World) -> None:
    names_fail(world)
    assert shape(world) == [("acme", "svc3.dns", "dns:alfa", GROUP)]
    well(world, "a1", "a2")
    live(world, 280)
    assert [s[2] for s in shape(world)] == ["dns:alfa"], "it may be well a little later"
    live(world, 120)
    assert shape(world) == [("acme", "os.resolver", "host:a3", ("a3",))]
    group, own = world.tickets()
    assert (group["class"], tuple(group["affected"])) == (1, GROUP), "it was theirs, too"
    assert own["class"] == 2
    kinds = select(ticket_events.c.ticket_id).where(ticket_events.c.kind == "split")
    with world.store.read() as conn:
        assert set(conn.execute(kinds).scalars()) == {group["id"], own["id"]}
    well(world, "a3")
    live(world, 400)
    assert shape(world) == []


def test_one_that_is_well_a_little_later_gets_none(world: World) -> None:
    names_fail(world)
    well(world, "a1", "a2")
    live(world, 200)
    well(world, "a3")
    live(world, 700)
    (ticket,) = world.tickets()
    assert tuple(ticket["affected"]) == GROUP


def test_while_two_are_not_well_the_group_s_trouble_goes_on(world: World) -> None:
    names_fail(world)
    well(world, "a1")
    live(world, 700)
    assert [s[:3] for s in shape(world)] == [("acme", "svc3.dns", "dns:alfa")]


def test_over_contracts_only_the_one_left_behind_stays_open(world: World) -> None:
    names_fail(world, ("acme", "acme", "gamma"))
    assert [s[0] for s in shape(world)] == ["internal", "acme", "gamma"]
    well(world, "a1", "a2")
    live(world, 700)
    assert shape(world) == [("gamma", "os.resolver", "host:a3", ("a3",))]


MUTE = {"net.dns_sys": {"now": "fail"}, "net.dns_pub": {"now": "fail"}}


def test_who_cannot_prove_the_cause_alone_goes_with_those_that_can(world: World) -> None:
    names_fail(world)
    world.add_host("a4", provider="alfa")
    world.find("a4", "resolver_fails", "dns", severity="medium", facts=MUTE)
    world.run(10, beating=(*GROUP, "a4", "b1"))
    assert shape(world) == [("acme", "svc3.dns", "dns:alfa", (*GROUP, "a4"))]


def test_two_that_cannot_prove_it_are_no_group(world: World) -> None:
    world.add_host("a1", provider="alfa")
    world.add_host("a2", provider="alfa")
    world.add_host("b1", provider="beta")
    world.tick()
    for host_id in ("a1", "a2"):
        world.find(host_id, "resolver_fails", "dns", severity="medium", facts=MUTE)
    world.run(10, beating=("a1", "a2", "b1"))
    assert {t["class"] for t in world.tickets()} == {2}
