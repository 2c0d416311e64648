"""A day of a quiet month opens no ticket; a day of a loud one opens exactly those that its faults ask for."""

from __future__ import annotations

import pytest

from tests.sim.month import FAULTS, ORDINARY, live

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_quiet_day_opens_no_ticket() -> None:
    verdict = live(seed=1, days=1, faults=0)
    assert verdict.is_right, "\n".join(verdict.lines())
    seldom = {"kernel_update", "planned_reboot"}  # one of the two, by the day's number
    missing = ORDINARY - seldom - set(verdict.happened)
    assert not missing, f"too little happened for the silence to mean anything: {missing}"


def test_a_loud_day_opens_exactly_the_tickets_that_its_faults_ask_for() -> None:
    verdict = live(seed=2, days=1, faults=2 * len(FAULTS))
    assert verdict.is_right, "\n".join(verdict.lines())
    assert {row[0] for row in verdict.rows} == {fault.name for fault in FAULTS}
