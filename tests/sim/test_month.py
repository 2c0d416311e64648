"""A day of a quiet month opens no ticket, days with faults of known cause exactly theirs. Whole months: ``make sim-month``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.sim.drowsy import FLEET, Drowsy
from tests.sim.faults import FAULTS, Injected
from tests.sim.live import live
from tests.sim.month import ORDINARY, judged
from tests.sim.world import MINUTE_MS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SELDOM = {"kernel_update", "planned_reboot"}
"""One of the two, by the day's number."""


def test_a_quiet_day_opens_no_ticket() -> None:
    verdict = live(seed=1, days=1, faults=0)
    assert verdict.is_right, "\n".join(verdict.lines())
    missing = ORDINARY - SELDOM - set(verdict.happened)
    assert not missing, f"too little happened for the silence to mean anything: {missing}"


def test_a_quiet_day_of_a_fleet_driven_by_events_opens_no_ticket() -> None:
    verdict = live(seed=2, days=1, faults=0, size=dataclasses.replace(FLEET, hosts=60), kind=Drowsy)
    assert verdict.is_right, "\n".join(verdict.lines())
    assert not ORDINARY - SELDOM - set(verdict.happened)


def test_injected_faults_open_exactly_their_tickets() -> None:
    days, faults = 2, 2 * len(FAULTS)
    verdict = live(seed=3, days=days, faults=faults, size=dataclasses.replace(FLEET, hosts=24), kind=Drowsy)
    assert verdict.is_right, "\n".join(verdict.lines())
    assert sum(row.injected for row in verdict.rows) == faults
    owing = {row.fault for row in verdict.rows if row.owed}
    # Class 2 is owed to eligible hosts only, so that a kind may by chance fall on others alone.
    assert len(owing) >= len(FAULTS) - 2, f"too few kinds of faults asked for a ticket: {sorted(owing)}"


class Slipped(Drowsy):
    """A fault that nobody noted down, and a note of one that never was."""

    def _begin(self) -> None:
        super()._begin()
        broken = self.servers[0]
        self.on(broken, 30 * MINUTE_MS, lambda: broken.faults.add("disk"), "slip")
        self.on(broken, 40 * MINUTE_MS, lambda: broken.faults.clear(), "healed")
        from_ms = self.now_ms + 30 * MINUTE_MS
        noted = Injected(FAULTS[0], (self.servers[2].id,), from_ms, from_ms + 10 * MINUTE_MS, is_owed=True)
        self.injected.append(noted)


def test_the_comparison_tells_a_ticket_that_nobody_asked_for_and_a_fault_without_one(tmp_path: Path) -> None:
    life = Slipped(1, tmp_path, days=1, faults=0, size=dataclasses.replace(FLEET, hosts=4, clients=2))
    try:
        life.run(hours=1)
        verdict = judged(life)
    finally:
        life.close()
    assert not verdict.is_right
    assert any("nobody asked for: open fs_space|host:h00" in words for words in verdict.stray), verdict.stray
    assert any("disk of h02" in words and "gave: nothing" in words for words in verdict.stray), verdict.stray
