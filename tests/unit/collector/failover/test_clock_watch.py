"""Our own wall clock against our monotonic one: steps, standing still, creeping (F1)."""

from __future__ import annotations

import pytest

from collector.failover.clock_watch import DISTRUST_MS, STEP_MS, ClockWatch

pytestmark = pytest.mark.collector
WALL, TURN_MS = 1_767_225_600_000, 1_000


def looked(watch: ClockWatch, turns: int, rate: float, jump_ms: int = 0) -> tuple[int, list[int]]:
    """So many turns a second apart, with a wall clock of this rate that jumps before the last one; what was found."""
    found = [
        watch.look(WALL + round(n * TURN_MS * rate) + (jump_ms if n == turns - 1 else 0), n * TURN_MS)
        for n in range(turns)
    ]
    return (turns - 1) * TURN_MS, found


@pytest.mark.parametrize("rate", [1.0, 1.0005, 0.9995])
def test_a_clock_that_goes_or_is_slewed_is_believed_for_a_day(rate: float) -> None:
    watch = ClockWatch()
    mono_ms, found = looked(watch, 86_400, rate)
    assert not any(found)
    assert watch.is_sane(mono_ms)


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000, STEP_MS + 1, -STEP_MS - 1])
def test_a_step_is_seen_at_once_and_nothing_is_believed_for_a_while(jump_ms: int) -> None:
    watch = ClockWatch()
    mono_ms, found = looked(watch, 20, 1.0, jump_ms)
    assert found[-1] == jump_ms
    assert not any(found[:-1])
    assert not watch.is_sane(mono_ms)
    assert not watch.is_sane(mono_ms + DISTRUST_MS - 1)
    assert watch.is_sane(mono_ms + DISTRUST_MS)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9, 1.1, 2.0])
def test_a_clock_that_stands_still_or_creeps_is_not_believed_though_no_single_look_finds_a_step(
    rate: float,
) -> None:
    watch = ClockWatch()
    mono_ms, found = looked(watch, 2 * 60, rate)
    assert any(found)
    assert not watch.is_sane(mono_ms)
