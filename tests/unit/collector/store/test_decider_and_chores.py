"""The decider's turn and the chores beside it, with a clock that moves when told and an in-memory store."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from collector.chores import Chore, Chores
from collector.decider import BITE_MIN, FLOOD, SLICE_S, SPREAD_BITE, Decider, next_bite
from collector.fleet_cache import FleetCache
from collector.intake import Intake
from collector.store.engine import Store
from collector.store.lease import Lease
from collector.store.migrate import migrate_store
from collector.tick.context import TickContext, TickReport
from config.clock import FixedClock


class Stage:
    """A decider whose tick the test writes."""

    def __init__(self, intake: Intake | None = None) -> None:
        self.store = Store.open("sqlite://")
        migrate_store(self.store)
        self.clock = FixedClock()
        self.context = TickContext()
        self.ticks: list[int] = []
        self.slices: list[int] = []
        self.told: list[TickReport] = []
        self.turned = 0
        self.waiting = 0
        self.wake_in_ms = 1000
        self.breaks: Exception | None = None
        self.lease = Lease(self.store, "us", 10.0, is_alone=True)
        self.decider = Decider(
            self.store,
            self.lease,
            intake or Intake(FleetCache()),
            self._tick,
            self._slice,
            self.context,
            self.clock,
            every_s=1.0,
            coalesce_s=0.1,
            pressure=lambda: self.waiting,
            told=lambda report, seconds: self.told.append(report),
            turned=self._turned,
        )

    def _tick(self, tx: Any, now_ms: int, context: Any) -> TickReport:
        if self.breaks is not None:
            raise self.breaks
        self.ticks.append(now_ms)
        return TickReport({"findings": 1}, now_ms + self.wake_in_ms)

    def _slice(self, tx: Any, now_ms: int, context: Any) -> TickReport:
        self.slices.append(now_ms)
        return TickReport({"findings": context.limits.findings}, now_ms + self.wake_in_ms)

    def _turned(self) -> None:
        self.turned += 1


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_turn_ticks_with_one_now_and_tells_what_it_did(stage: Stage) -> None:
    assert stage.decider._turn() == pytest.approx(1.0)
    assert stage.ticks == [stage.clock.now_ms()]
    assert stage.told[0].counts == {"findings": 1}
    assert (stage.turned, stage.decider.holds_lease) == (1, True)


def test_the_next_turn_comes_when_the_tick_asks_for_it_and_never_later_than_the_period(stage: Stage) -> None:
    stage.wake_in_ms = 250
    assert stage.decider._turn() == pytest.approx(0.25)
    stage.wake_in_ms = 60_000
    assert stage.decider._turn() == pytest.approx(1.0)
    stage.wake_in_ms = -500
    assert stage.decider._turn() == pytest.approx(0.01)


def test_a_tick_that_breaks_feeds_no_watchdog_and_the_next_one_is_tried(stage: Stage) -> None:
    stage.breaks = RuntimeError("bug")
    assert stage.decider._turn() == 1.0
    assert (stage.decider.failures, stage.turned, stage.decider.last_turn_ms) == (1, 0, None)
    stage.breaks = None
    stage.decider._turn()
    assert (stage.turned, len(stage.ticks)) == (1, 1)


class SickDisk(Intake):
    """A busy fleet's heartbeats, none of which can be written."""

    def pending(self) -> int:
        return 10 * SPREAD_BITE

    def flush(self, tx: Any, now_ms: int, most: int | None = None, *, is_part: bool = False) -> int:
        tx.exec_driver_sql("INSERT INTO a_table_that_is_not_there VALUES (1)")
        raise AssertionError("it was written")


def test_heartbeats_that_cannot_be_written_between_two_turns_do_not_end_the_deciding() -> None:
    stage = Stage(SickDisk(FleetCache()))
    assert stage.decider._rest(threading.Event(), 0.5) is False


def test_a_store_that_cannot_be_written_keeps_nobody_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    Stage(SickDisk(FleetCache())).decider.stop()
    assert "could not be written" in caplog.text


def test_who_lost_the_lease_decides_nothing(stage: Stage) -> None:
    """Another holder's term stands in the row: the check inside the transaction finds it."""
    stage.decider._turn()
    Lease(stage.store, "other", 10.0, is_alone=True).try_hold(0)
    assert stage.decider._turn() == 0.0
    assert len(stage.ticks) == 1


def test_under_pressure_slices_come_between_whole_ticks_and_the_whole_ones_still_every_second(
    stage: Stage,
) -> None:
    stage.waiting = 5
    for _ in range(30):
        stage.decider._turn()
        stage.clock.advance(100)
    assert stage.ticks == [stage.ticks[0] + 1000 * n for n in range(3)]
    assert len(stage.slices) == 27
    stage.waiting = 0
    stage.decider._turn()
    stage.decider._turn()
    assert (len(stage.ticks), len(stage.slices)) == (5, 27)


def test_a_slice_checks_the_term_in_its_own_transaction(stage: Stage) -> None:
    stage.waiting = 5
    stage.decider._turn()
    Lease(stage.store, "other", 10.0, is_alone=True).try_hold(0)
    assert stage.decider._turn() == 0.0
    assert stage.slices == []


@pytest.mark.parametrize(
    ("bite", "judged", "took_s", "is_pressed", "wanted"),
    [
        (1000, 1000, 10 * SLICE_S, True, 100),
        (100, 100, SLICE_S / 10, True, 200),
        (100, 100, SLICE_S / 1.5, True, 150),
        (100, 100, 100 * SLICE_S, True, BITE_MIN),
        (100, 40, SLICE_S / 2, True, 100),
        (100, 40, 2 * SLICE_S, True, 20),
        (100, 0, 2 * SLICE_S, True, BITE_MIN),
        (100, 3, 5.0, False, 200),
        (4000, 3, 5.0, False, 5000),
        (5000, 1000, 10 * SLICE_S, False, 200),
        (1000, 1000, 100 * SLICE_S, False, FLOOD),
        (300, 300, 2 * SLICE_S, False, 600),
        (5000, FLOOD - 1, 100 * SLICE_S, False, 5000),
    ],
    ids=[
        "too long", "at most doubled", "as it fits", "never below", "nothing left", "dear", "nothing judged", "rest", "whole",
        "a flood that nobody waits behind yet", "never below a flood's size", "a flood that is quick", "no flood",
    ],
)  # fmt: skip
def test_a_slice_is_as_large_as_the_last_one_lets_hope(
    bite: int, judged: int, took_s: float, is_pressed: bool, wanted: int
) -> None:
    assert next_bite(bite, 5000, judged, took_s, is_pressed=is_pressed) == wanted


def test_stopping_gives_the_lease_back(stage: Stage) -> None:
    stage.decider._turn()
    stage.decider.stop()
    assert not stage.store.write(lambda tx: stage.lease.still_held(tx, 1))


def test_chores_run_on_their_own_time_and_one_that_breaks_stops_no_other() -> None:
    clock, done = FixedClock(), []

    def bad() -> None:
        done.append("bad")
        raise RuntimeError("bug")

    chores = Chores([Chore("bad", 1.0, bad), Chore("good", 2.0, lambda: done.append("good"))], clock)
    for _ in range(5):
        chores.run_due()
        clock.advance(1000)
    assert done == ["bad", "good", "bad", "bad", "good", "bad", "bad", "good"]
    assert chores.chores[0].failures == 5
