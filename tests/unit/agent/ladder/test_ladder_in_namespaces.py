"""The ladder against a real network of namespaces: real packets, really dropped, a real DNS server that really hangs."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator

import pytest

from tests.unit.agent.ladder.lab import ANCHORS, Driven, Lab, run, say

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

WELL = {
    "net.anchors": 3, "net.hop2": "ok", "net.bigpkt": "ok", "net.dns_sys": "ok", "net.dns_pub": "ok",
    "net.loss_pct": 0.0,
}  # fmt: skip


@pytest.fixture
def lab(tmp_path, require_package, require_kernel) -> Iterator[Lab]:
    require_package("iproute2")
    require_package("nftables")
    require_kernel("network_namespaces")
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def well(lab):
    """A ladder that has seen everything answer, with its resolvers."""
    system, public = lab.dns(lab.hop2, "10.77.1.2"), lab.dns(lab.far, ANCHORS[0])
    driven = Driven(lab.ladder())
    found = driven.sweep()
    assert host_values(found) == WELL, found
    return driven, system, public


def host_values(found: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in found["values"].items() if "{" not in name}


def test_a_provider_that_is_cut_off_behind_hop_2_leaves_hop_2_and_takes_the_anchors(lab, well):
    driven, _, _ = well
    lab.drop(lab.hop2, "ip saddr 10.77.0.2")
    found = host_values(driven.sweep())
    assert found["net.anchors"] == 0 and found["net.hop2"] == "ok"
    assert found["net.dns_sys"] == "ok" and found["net.dns_pub"] == "fail"
    assert host_values(driven.sweep())["net.loss_pct"] > found["net.loss_pct"] > 0


def test_a_dead_hop_2_is_said_after_two_silences_and_comes_back(lab, well):
    driven, _, _ = well
    lab.drop(lab.gateway, "ip saddr 10.77.0.2")
    driven.sweep()
    assert host_values(driven.sweep())["net.hop2"] == "dead"
    lab.drop(lab.gateway)
    driven.sweep()
    assert {**host_values(driven.sweep()), "net.loss_pct": 0.0} == WELL


def test_one_anchor_less_is_told_by_number(lab, well):
    driven, _, _ = well
    lab.drop(lab.hop2, f"ip daddr {ANCHORS[1]}")
    assert host_values(driven.sweep())["net.anchors"] == 2


def test_a_hole_for_large_packets_fails_only_those(lab, well):
    driven, _, _ = well
    lab.drop(lab.hop2, "ip length > 1400")
    found = host_values(driven.sweep())
    assert found["net.bigpkt"] == "fail"
    assert (found["net.anchors"], found["net.loss_pct"]) == (3, 0.0)


def test_a_router_that_says_too_large_is_no_hole(lab, well):
    driven, _, _ = well
    device = f"{lab.hop2[-6:]}-r"
    run("ip", "-n", lab.hop2, "link", "set", device, "mtu", "1300")
    assert host_values(driven.sweep())["net.bigpkt"] == "ok"


def test_lost_packets_are_counted(lab, well):
    driven, _, _ = well
    lab.drop(lab.hop2, "icmp type echo-request numgen random mod 100 < 50")
    for _ in range(4):
        found = host_values(driven.sweep())
    assert 20 < found["net.loss_pct"] < 80
    assert found["net.anchors"] == 3


@pytest.mark.parametrize("mode", ["silent", "servfail", "refused", "liar"])
def test_a_resolver_that_does_not_resolve_fails_and_the_public_one_does_not(well, mode):
    driven, system, _ = well
    say(system, mode)
    found = driven.sweep()["values"]
    assert (found["net.dns_sys"], found["net.dns_sys{10.77.1.2}"], found["net.dns_pub"]) == (
        "fail", "fail", "ok",
    )  # fmt: skip
    say(system, "answer")
    assert driven.sweep()["values"]["net.dns_sys"] == "ok"


def test_a_name_that_is_not_there_is_an_answer(well):
    driven, system, _ = well
    say(system, "nxdomain")
    assert driven.sweep()["values"]["net.dns_sys"] == "ok"


def test_what_never_answered_is_lacking_and_not_dead(lab):
    lab.drop(lab.gateway, "ip saddr 10.77.0.2")
    found = Driven(lab.ladder()).sweep()
    assert set(host_values(found)) == {"net.dns_sys"}
    assert found["values"]["net.dns_sys"] == "fail"
    assert {"net.anchors", "net.hop2", "net.loss_pct", "net.dns_pub", "net.bigpkt"} <= set(found["lacks"])
    assert found["anchors"] is None and found["hop2"] is None
