"""How late a sleeper wakes: what is told of it, and that telling it holds nobody up."""

from __future__ import annotations

import itertools
import threading
from typing import List

import pytest

from agent.samplers.wakeups import KEPT, Wakeups, percentile, sleep_overrun_ms


def told(sampler: Wakeups, at_ms: int) -> List[float]:
    found = [sample.value for sample in sampler.sweep(at_ms) if sample.signal == "sched.wake_ms"]
    assert sampler._brought.wait(30)
    return found  # type: ignore[return-value]


def test_the_first_sweep_begins_and_the_next_one_tells() -> None:
    sampler = Wakeups(lambda event: 0.2, sleeps=50)
    assert told(sampler, 0) == []
    assert told(sampler, 60_000) == [0.2]


def test_one_late_wake_up_in_a_hundred_is_not_told_and_two_are() -> None:
    late = itertools.chain([0.1] * 99, [80.0], [0.1] * 98, [80.0, 80.0], itertools.repeat(0.1))
    sampler = Wakeups(lambda event: next(late), sleeps=100)
    told(sampler, 0)
    assert told(sampler, 60_000) == [0.1]
    assert told(sampler, 120_000) == [80.0]


def test_sleeps_that_are_still_under_way_hold_up_no_sweep_and_are_not_begun_twice() -> None:
    release, begun = threading.Event(), []

    def sleep(event: threading.Event) -> float:
        begun.append(1)
        release.wait(5)
        return 0.0

    before = [thread.name for thread in threading.enumerate()].count("wakeups")
    sampler = Wakeups(sleep, sleeps=1)
    try:
        assert [sampler.sweep(at_ms) for at_ms in (0, 60_000, 120_000)] == [[], [], []]
        assert len(begun) <= 1
        assert [thread.name for thread in threading.enumerate()].count("wakeups") <= 1 + before
    finally:
        release.set()


def test_only_the_last_minutes_count() -> None:
    late = itertools.chain([100.0] * KEPT, itertools.repeat(0.1))
    sampler = Wakeups(lambda event: next(late), sleeps=KEPT)
    told(sampler, 0)
    assert told(sampler, 60_000) == [100.0]
    assert told(sampler, 120_000) == [0.1]


def test_a_real_sleep_is_never_early_and_what_is_asked_is_taken_off() -> None:
    assert 0.0 <= sleep_overrun_ms(threading.Event()) < 5_000


@pytest.mark.parametrize(
    ("count", "share", "place"), [(1, 99, 0), (100, 99, 98), (250, 99, 247), (10, 50, 4)]
)
def test_a_percentile_is_a_value_that_was_seen(count: int, share: int, place: int) -> None:
    assert percentile([float(n) for n in range(count)], share) == place
    assert percentile([], share) is None
