"""One cause over several contracts: what is learned later goes to the contracts' tickets, and the parent is judged anew."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.collector


@pytest.fixture
def fallen(world: Any) -> Any:
    """Two guests of one node, of two contracts, dark together; a third elsewhere is well."""
    world.add_host("a1", "acme", provider="alfa", node="n7", virt="kvm", site="s1")
    world.add_host("b1", "beta", provider="alfa", node="n7", virt="kvm", site="s1")
    world.add_host("c1", "acme", provider="alfa", node="n9", virt="kvm", site="s1")
    world.tick()
    world.run(17, beating=("c1",))
    assert causes(world) == [
        ("internal", "virt.node_failure"),
        ("acme", "virt.node_failure"),
        ("beta", "virt.node_failure"),
    ]
    return world


def causes(world: Any) -> list[tuple[str, str]]:
    return [(t["contract_id"], t["root_cause"]) for t in world.tickets(is_open=True)]


def test_what_a_boot_tells_belongs_to_the_contract_s_ticket_and_not_to_the_one_above(fallen):
    fallen.heartbeat("a1", "b1")
    for host_id in ("a1", "b1"):
        fallen.find(host_id, "unclean_boot", "kernel", facts={"boot.wtmp_shutdown": {"now": False}})
    fallen.tick()
    parent = fallen.tickets()[0]
    held = {f["host_id"]: f["ticket_id"] for f in fallen.open_findings() if f["rule"] == "unclean_boot"}
    of = {t["id"]: t["contract_id"] for t in fallen.tickets()}
    assert {host: of[ticket] for host, ticket in held.items()} == {"a1": "acme", "b1": "beta"}
    assert parent["id"] not in held.values()
    assert len(fallen.tickets()) == 3


def test_the_inside_view_that_explains_the_silence_judges_the_one_above_anew(fallen):
    fallen.heartbeat("a1", "b1")
    before = fallen.now_ms - 15_000
    for host_id in ("a1", "b1"):
        facts = {"net.gw": {"now": "dead"}, "net.link": {"now": "up"}}
        fallen.find(host_id, "gateway_dead", "network", at_ms=before, facts=facts)
    fallen.tick()
    assert len(fallen.tickets()) == 3
    assert causes(fallen) == [
        ("internal", "net.provider_edge"),
        ("acme", "net.provider_edge"),
        ("beta", "net.provider_edge"),
    ]
