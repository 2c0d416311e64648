"""Our own labelled scenarios as files: they can be read, they cover the vocabulary, and their list of failures is no heap."""

from __future__ import annotations

import pytest

from tests.scenarios import labelled
from ticketing.causes import CAUSES

pytestmark = pytest.mark.collector

NO_CAUSES = {"unknown", "request"}
"""Keys of the desk that name no cause of a fault."""


def test_every_root_cause_has_a_scenario_of_our_own():
    played = {one.truth.root_cause for one in labelled.own().values() if one.truth is not None}
    assert sorted(set(CAUSES) - NO_CAUSES - played) == []
    assert sorted(played - set(CAUSES)) == []


def test_every_platform_has_a_scenario_of_our_own():
    platforms = {host.virt for scenario in labelled.own().values() for host in scenario.topology.hosts}
    assert {"none", "kvm", "vmware", "hyperv", "xen", "openvz", "lxc"} <= platforms


def test_every_truth_can_be_held_against_a_play():
    for name, scenario in labelled.own().items():
        truth = scenario.truth
        assert truth is not None, name
        assert (truth.class_ == "none") == (not truth.parents), name
        assert truth.class_ == "none" or truth.class_ in {ticket.class_ for ticket in truth.parents}, name
        for ticket in truth.parents:
            assert ticket.affected and ticket.scope_type, name
            assert 0 <= ticket.not_before_s < ticket.open_by_s <= scenario.duration_s, name


def test_known_failures_name_scenarios_and_what_they_miss():
    for name, known in labelled.known_failures().items():
        assert name in labelled.own(), name
        assert known.misses and known.why, name
        assert set(known.misses) <= set(labelled.RESPECTS), name
