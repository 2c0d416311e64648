"""The smallest group that holds all the fallen and nobody who is well."""

from __future__ import annotations

import random

import pytest

from collector.qualify.correlate import Place, fallen_groups, groups_of

pytestmark = pytest.mark.collector


def place(host: str, fallen: bool, **topology: str) -> Place:
    return Place(host, "c", groups_of({"provider": "alfa", "virt": "kvm"} | topology), is_healthy=not fallen)


def scopes(places: list[Place], late: dict[str, int] | None = None) -> dict[str, str]:
    fell = {p.host_id: (late or {}).get(p.host_id, 0) for p in places if not p.is_healthy}
    return {host: group.scope for host, group in fallen_groups(places, fell).items()}


def test_a_node_falls_and_its_neighbours_stand():
    hosts = [place("a1", True, node="n7"), place("a2", True, node="n7"), place("a3", False, node="n9")]
    assert scopes(hosts) == {"a1": "node:alfa/n7", "a2": "node:alfa/n7"}


def test_a_whole_provider_is_one_scope_and_not_many_nodes():
    hosts = [place(f"a{n}", True, node=f"n{n // 2}", site=f"s{n // 4}") for n in range(8)]
    assert set(scopes(hosts).values()) == {"provider:alfa"}


def test_of_scopes_with_the_same_hosts_the_smallest_is_named():
    hosts = [place("a1", True, node="n7", site="s1"), place("a2", True, node="n7", site="s1")]
    assert set(scopes(hosts).values()) == {"node:alfa/n7"}


def test_one_healthy_member_keeps_a_group_whole():
    hosts = [place("a1", True, site="s1"), place("a2", True, site="s1"), place("a3", False, site="s1")]
    assert scopes(hosts) == {}


def test_what_is_called_a_node_of_bare_metal_is_a_rack():
    hosts = [place("d1", True, node="rack7", virt="none"), place("d2", True, node="rack7", virt="none")]
    assert set(scopes([*hosts, place("d3", False, node="rack9", virt="none")]).values()) == {
        "rack:alfa/rack7"
    }


def test_local_disks_are_no_shared_storage():
    assert groups_of({"provider": "alfa", "storage": "local"}) == ("provider:alfa",)


def test_hosts_without_a_known_provider_are_never_grouped():
    assert groups_of({"node": "n7"}) == ()


def test_falls_that_are_hours_apart_are_not_one():
    hosts = [place("a1", True, node="n7"), place("a2", True, node="n7")]
    assert scopes(hosts, {"a1": 0, "a2": 3_600_000}) == {}


def test_a_straggler_joins_a_group_that_fell_as_a_whole():
    hosts = [place(f"a{n}", True, node="n7") for n in range(4)]
    assert len(scopes(hosts, {"a3": 600_000})) == 4


def test_two_groups_may_fall_apart_from_each_other():
    hosts = [place("a1", True, node="n1"), place("a2", True, node="n1")]
    hosts += [place("b1", True, node="n2"), place("b2", True, node="n2"), place("c1", False, node="n3")]
    assert set(scopes(hosts).values()) == {"node:alfa/n1", "node:alfa/n2"}


def test_the_order_of_hosts_changes_nothing():
    hosts = [place(f"a{n}", n % 5 != 0, node=f"n{n // 3}", site=f"s{n // 6}") for n in range(30)]
    wanted = scopes(hosts)
    for seed in range(5):
        shuffled = list(hosts)
        random.Random(seed).shuffle(shuffled)
        assert scopes(shuffled) == wanted
