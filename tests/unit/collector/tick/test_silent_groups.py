"""Silence of many: one parent at the smallest scope, children per contract, and causes that only coincide apart."""

from __future__ import annotations

import pytest

from ticketing.model import Verdict

pytestmark = pytest.mark.collector


def shape(world) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Open tickets as (contract, cause, scope, hosts)."""
    return [
        (t["contract_id"], t["root_cause"], t["scope"], tuple(t["affected"]))
        for t in world.tickets(is_open=True)
    ]


def test_two_guests_of_a_node_with_no_healthy_one_left_are_one_ticket_about_the_node(world):
    world.add_host("a1", provider="alfa", node="n7", virt="kvm")
    world.add_host("a2", provider="alfa", node="n7", virt="kvm")
    world.add_host("a3", provider="alfa", node="n9", virt="kvm")
    world.tick()
    world.run(17, beating=("a3",))
    assert shape(world) == [("acme", "virt.node_failure", "node:alfa/n7", ("a1", "a2"))]
    (ticket,) = world.tickets()
    assert ticket["class"] == 1


def test_a_provider_over_two_contracts_gives_a_parent_and_a_child_each(world):
    world.add_host("a1", "acme", provider="alfa", site="s1")
    world.add_host("a2", "acme", provider="alfa", site="s2")
    world.add_host("b1", "beta", provider="alfa", site="s2")
    world.add_host("c1", "beta", provider="gamma")
    world.tick()
    world.run(17, beating=("c1",))
    assert shape(world) == [
        ("internal", "net.provider_outage", "provider:alfa", ("a1", "a2", "b1")),
        ("acme", "net.provider_outage", "provider:alfa", ("a1", "a2")),
        ("beta", "net.provider_outage", "provider:alfa", ("b1",)),
    ]
    parent, *children = world.tickets()
    assert {c["parent_id"] for c in children} == {parent["id"]}


def test_a_ticket_for_one_host_is_widened_when_its_neighbour_falls_too(world):
    world.add_host("a1", provider="alfa", node="n7", virt="kvm")
    world.add_host("a2", provider="alfa", node="n7", virt="kvm")
    world.add_host("c1", provider="gamma")
    world.tick()
    world.run(8, beating=("a2", "c1"))
    world.run(9, beating=("c1",))
    assert shape(world) == [("acme", "unknown", "host:a1", ("a1",))]
    world.run(15, beating=("c1",))
    assert shape(world) == [("acme", "virt.node_failure", "node:alfa/n7", ("a1", "a2"))]
    assert Verdict.from_dict(world.tickets()[0]["verdict"]).class_ == 1
    assert {f["ticket_id"] for f in world.open_findings()} == {world.tickets()[0]["id"]}


def test_single_tickets_of_a_contract_are_merged_into_the_group_and_all_resolve_together(world):
    for host_id in ("a1", "a2", "a3"):
        world.add_host(host_id, provider="alfa", node="n7", virt="kvm")
    world.add_host("c1", provider="gamma")
    world.tick()
    world.run(8, beating=("a2", "a3", "c1"))
    world.run(14, beating=("a3", "c1"))
    world.run(4, beating=("c1",))
    assert [s[2] for s in shape(world)] == ["host:a1", "host:a2"]
    world.run(30, beating=("c1",))
    assert shape(world) == [("acme", "virt.node_failure", "node:alfa/n7", ("a1", "a2", "a3"))]
    world.run(70, beating=("a1", "a2", "a3", "c1"))
    assert world.tickets(is_open=True) == []


def test_hosts_of_unrelated_providers_stay_apart(world):
    world.add_host("a1", provider="alfa")
    world.add_host("b1", provider="beta")
    world.add_host("c1", provider="gamma")
    world.tick()
    world.run(20, beating=("c1",))
    assert [s[2] for s in shape(world)] == ["host:a1", "host:b1"]


def test_everybody_of_several_providers_at_once_and_no_answer_at_all_is_our_own_trouble(world):
    for host_id, provider in (("a1", "alfa"), ("b1", "beta"), ("c1", "gamma")):
        world.add_host(host_id, provider=provider)
    world.tick()
    world.run(30)
    assert world.tickets() == []


def test_with_its_own_anchors_out_of_reach_the_collector_judges_nobody(make_world):
    world = make_world(anchors=("198.51.100.1:443",))
    world.add_host("a1", provider="alfa")
    world.add_host("b1", provider="beta")
    world.tick()
    world.run(60, beating=("b1",))
    assert world.tickets() == []
    world.network.states[("tcp", "198.51.100.1")] = "ok"
    world.run(90, beating=("b1",))  # our own way has just come back: agents get time to find it
    assert shape(world) == [("acme", "unknown", "host:a1", ("a1",))]


def test_an_orderly_reboot_is_nobody_s_fault_until_it_does_not_end(world):
    world.add_host("a1")
    world.add_host("b1")
    world.goodbye("a1", "host_shutdown", 300)
    world.run(290, beating=("b1",))
    assert world.tickets() == []
    world.run(25, beating=("b1",))
    assert shape(world) == [("acme", "os.boot_failure", "host:a1", ("a1",))]


def test_a_host_whose_userland_hangs_is_hung_and_not_down(world):
    world.add_host("a1")
    world.network.states = {("ssh", "addr-a1"): "banner_timeout", ("icmp", "addr-a1"): "ok"}
    world.tick()
    world.run(17)
    assert shape(world) == [("acme", "os.userland_hung", "host:a1", ("a1",))]


def test_a_returned_member_does_not_close_the_ticket_of_the_others(world):
    world.add_host("a1", provider="alfa", node="n7", virt="kvm")
    world.add_host("a2", provider="alfa", node="n7", virt="kvm")
    world.add_host("c1", provider="gamma")
    world.tick()
    world.run(17, beating=("c1",))
    world.run(90, beating=("a1", "c1"))
    assert len(world.tickets(is_open=True)) == 1
    world.run(70, beating=("a1", "a2", "c1"))
    assert world.tickets(is_open=True) == []
