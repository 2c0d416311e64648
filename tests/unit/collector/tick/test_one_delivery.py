"""What an agent brings after an outage, all at once: a finding that ended and began again in between."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.collector

FULL = {"fs.used_pct": {"now": 97.0, "before": 60.0, "unit": "%"}}


def test_a_finding_that_closed_and_opened_again_in_one_delivery_is_open_once(world):
    """Found by killing the collector for a while: the old row and the new one have the same key."""
    world.add_host("a1")
    world.tick()
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    world.find("a1", "fs_full", "fs_space", subject="/var", kind="closed")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    (held,) = world.open_findings()
    assert held.opening_n == 3
    assert all(row["handled_at_ms"] for row in world.findings())
    assert len(world.tickets(is_open=True)) == 1
