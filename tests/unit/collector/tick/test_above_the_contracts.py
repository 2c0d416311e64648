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


def test_those_who_tell_first_open_no_second_one_above_while_others_of_the_outage_are_still_away(world):
    for host_id, contract, node in (("a1", "acme", "n7"), ("b1", "beta", "n7"), ("c1", "gamma", "n9")):
        world.add_host(host_id, contract, provider="alfa", node=node, virt="kvm", site="s1")
    world.add_host("d1", "acme", provider="alfa", node="n1", virt="kvm", site="s2")
    world.tick()
    world.run(17, beating=("d1",))
    above = [t for t in world.tickets() if t["contract_id"] == "internal"]
    assert [(t["scope"], t["affected"]) for t in above] == [("site:alfa/s1", ["a1", "b1", "c1"])]
    before = world.now_ms - 15_000
    facts = {"net.gw": {"now": "dead"}, "net.link": {"now": "up"}}
    for told in (("a1", "b1"), ("c1",)):  # two of one node first: their node alone would explain these two
        world.heartbeat(*told)
        for host_id in told:
            world.find(host_id, "gateway_dead", "network", at_ms=before, facts=facts)
        world.tick()
        above = [t for t in world.tickets() if t["contract_id"] == "internal"]
        assert len(above) == 1
        assert above[0]["affected"] == ["a1", "b1", "c1"]
    assert above[0]["root_cause"] == "net.provider_edge"
    assert len(world.tickets()) == 4


def hang(world, ticket_id, parent_id):
    """Something else stands below the parent that will be folded."""
    said = f"update tickets set parent_id = {parent_id} where id = {ticket_id}"
    world.store.write(lambda tx: tx.exec_driver_sql(said))


def test_an_outage_that_grows_over_sites_keeps_one_ticket_above_and_folds_the_others(world):
    for host_id, contract, site in (
        ("a1", "acme", "s1"), ("b1", "beta", "s1"), ("c1", "acme", "s2"), ("d1", "delta", "s2"), ("e1", "beta", "s3"),
    ):  # fmt: skip
        world.add_host(host_id, contract, provider="alfa", virt="kvm", site=site)
    world.add_host("z1", "acme", provider="omega", virt="kvm", site="o1")
    world.tick()
    world.find("z1", "fs_full", "fs_space", subject="/srv", facts={"fs.used_pct": {"now": 99.0}})
    world.tick()
    (other,) = world.tickets()
    scopes, above = [], []
    for beating in (("c1", "d1", "e1", "z1"), ("e1", "z1"), ("z1",)):
        if len(above) == 2:
            hang(world, other["id"], above[1]["id"])
        world.run(17, beating=beating)
        above = [t for t in world.tickets(is_open=True) if t["contract_id"] == "internal"]
        scopes.append(sorted(t["scope"] for t in above))
    assert scopes == [
        ["site:alfa/s1"],
        ["site:alfa/s1", "site:alfa/s2"],  # while a site of the provider is well these are two
        ["provider:alfa"],
    ]
    assert above[0]["affected"] == ["a1", "b1", "c1", "d1", "e1"]
    below = [t for t in world.tickets(is_open=True) if t["contract_id"] != "internal"]
    assert sorted((t["contract_id"], t["parent_id"]) for t in below) == [
        ("acme", above[0]["id"]),
        ("acme", above[0]["id"]),
        ("beta", above[0]["id"]),
        ("delta", above[0]["id"]),
    ]
