"""A day of a quiet month opens no ticket."""

from __future__ import annotations

import pytest

from tests.sim.month import ORDINARY, live

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_quiet_day_opens_no_ticket() -> None:
    verdict = live(seed=1, days=1, faults=0)
    assert verdict.is_right, "\n".join(verdict.lines())
    seldom = {"kernel_update", "planned_reboot"}  # one of the two, by the day's number
    missing = ORDINARY - seldom - set(verdict.happened)
    assert not missing, f"too little happened for the silence to mean anything: {missing}"
