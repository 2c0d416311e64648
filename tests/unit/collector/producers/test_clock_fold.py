"""Folding of clocks: a stopped guest is seen, a late message, a longer way and our own pause are not."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.clock_fold import HOLD_MS, ClockFold, Fold
from collector.clock_rows import write_folds
from collector.observed import recent
from collector.store.engine import Store
from tests.tools.examples import examples
from tests.tools.tables import make_tables
from ticketing.tables import metadata

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000
MONO0 = 5_000_000


@dataclasses.dataclass(frozen=True)
class Seen:
    """The clocks of one report, and when it came."""

    boot_id: str
    mono_ms: int
    wall_ms: int
    boottime_ms: int
    received_ms: int
    rtt_ms: float | None = None


def take(fold: ClockFold, host_id: str, seen: Seen) -> None:
    fold.take(host_id, seen, seen.received_ms)


class Guest:
    """A host with three clocks of its own; ``paused_ms`` is time that its clocks did not count."""

    def __init__(self, boot_id: str = "b1") -> None:
        self.boot_id = boot_id
        self.paused_ms = 0
        self.wall_shift_ms = 0
        self.suspended_ms = 0

    def at(self, true_ms: int, way_ms: float = 20.0, rtt_ms: float | None = None) -> Seen:
        mono = MONO0 + (true_ms - T0) - self.paused_ms
        wall = true_ms - self.paused_ms + self.wall_shift_ms
        received = true_ms + round(way_ms)
        return Seen(self.boot_id, mono, wall, mono + self.suspended_ms, received, rtt_ms)


def run(
    fold: ClockFold,
    guests: dict[str, Guest],
    seconds: int,
    at: Callable[[int], None] = lambda second: None,
    every: int = 10,
    way: Callable[[int], float] = lambda second: 20.0,
) -> list[Fold]:
    found: list[Fold] = []
    for second in range(0, seconds, every):
        at(second)
        for name, guest in guests.items():
            take(fold, name, guest.at(T0 + second * 1000, way(second)))
        found += fold.due(T0 + second * 1000)
    return found + fold.due(T0 + seconds * 1000 + HOLD_MS)


def steps(found: list[Fold], signal: str = "clk.offset_step_s") -> list[tuple[str, float]]:
    return [(f.host_id, f.value) for f in found if f.signal == signal]


def test_a_guest_that_stood_still_for_eight_seconds_steps_once_by_eight() -> None:
    guest, other = Guest(), Guest("b2")

    def at(second: int) -> None:
        guest.paused_ms = 8000 if second >= 300 else 0

    found = run(ClockFold(), {"a": guest, "b": other}, 900, at)
    assert steps(found) == [("a", 8.0)]
    step = next(f for f in found if f.signal == "clk.offset_step_s")
    assert (
        step.at_ms == T0 + 300_000 + 20
    )  # dated by the first report after it, not by the one that proved it


def test_with_a_heartbeat_of_one_second_the_step_is_known_within_forty_seconds() -> None:
    guest = Guest()
    fold = ClockFold()
    known_at = None
    for second in range(200):
        guest.paused_ms = 1500 if second >= 100 else 0
        take(fold, "a", guest.at(T0 + second * 1000))
        if steps(fold.due(T0 + second * 1000)) and known_at is None:
            known_at = second
    assert known_at is not None and known_at <= 140


def test_a_step_below_half_a_second_is_the_way_of_a_message() -> None:
    guest = Guest()
    found = run(ClockFold(), {"a": guest}, 900, lambda s: setattr(guest, "paused_ms", 300 if s >= 300 else 0))
    assert steps(found) == []


@pytest.mark.parametrize(("every", "seed"), [(every, seed) for every in (10, 60) for seed in range(4)])
def test_messages_that_are_all_late_but_not_alike_are_no_step(every: int, seed: int) -> None:
    """A broken way delays each by as much as it likes; a pause moves all of them by the same."""
    chance = random.Random(seed)

    def way(second: int) -> float:
        return chance.uniform(2_000, 45_000) if 600 <= second < 1500 else 20.0

    assert steps(run(ClockFold(), {"a": Guest()}, 3600, every=every, way=way)) == []


def test_a_pause_is_seen_through_a_way_that_delays_every_third_message() -> None:
    guest, chance = Guest(), random.Random(3)

    def at(second: int) -> None:
        guest.paused_ms = 8000 if second >= 600 else 0

    def way(second: int) -> float:
        return chance.uniform(2_000, 45_000) if second >= 600 and second % 30 == 0 else 20.0

    ((_, step),) = steps(run(ClockFold(), {"a": guest}, 3600, at, way=way))
    assert step == 8.0


def test_one_message_that_was_five_seconds_late_is_no_step() -> None:
    found = run(ClockFold(), {"a": Guest()}, 900, way=lambda s: 5000.0 if s in (300, 310, 500) else 20.0)
    assert steps(found) == []


def test_a_way_that_became_longer_is_no_step_where_the_round_trip_says_so() -> None:
    fold, guest, found = ClockFold(), Guest(), []
    for second in range(0, 900, 10):
        way, rtt = (720.0, 1440.0) if second >= 300 else (20.0, 40.0)
        take(fold, "a", guest.at(T0 + second * 1000, way, rtt))
        found += fold.due(T0 + second * 1000)
    assert steps(found) == []


def test_a_new_boot_begins_anew_and_is_no_step() -> None:
    guest = Guest()

    def at(second: int) -> None:
        if second >= 300:
            guest.boot_id, guest.paused_ms = "b9", 200_000

    assert steps(run(ClockFold(), {"a": guest}, 900, at)) == []


def test_all_hosts_stepping_together_is_our_own_pause_and_nobodys_step() -> None:
    guests = {f"h{n}": Guest(f"b{n}") for n in range(10)}

    def at(second: int) -> None:
        for guest in guests.values():
            guest.paused_ms = 4000 if second >= 300 else 0

    fold = ClockFold()
    assert steps(run(fold, guests, 900, at)) == []
    assert fold.own_steps == 1


def test_three_guests_of_one_node_step_while_the_rest_of_the_fleet_does_not() -> None:
    guests = {f"h{n}": Guest(f"b{n}") for n in range(10)}

    def at(second: int) -> None:
        for name in ("h1", "h2", "h3"):
            guests[name].paused_ms = 4000 if second >= 300 else 0

    assert steps(run(ClockFold(), guests, 900, at)) == [("h1", 4.0), ("h2", 4.0), ("h3", 4.0)]


def test_our_own_wall_clock_that_is_set_forward_steps_nobody_even_with_one_host() -> None:
    fold, guest, found = ClockFold(), Guest(), []
    for second in range(0, 900, 10):
        ours = 30_000 if second >= 300 else 0
        true_ms = T0 + second * 1000
        fold.own_clocks(true_ms + ours, second * 1000)
        seen = guest.at(true_ms)
        take(
            fold,
            "a",
            Seen(seen.boot_id, seen.mono_ms, seen.wall_ms, seen.boottime_ms, seen.received_ms + ours),
        )
        found += fold.due(true_ms + ours)
    assert steps(found) == []


def test_crystals_that_differ_by_a_hundred_ppm_never_add_up_to_a_step() -> None:
    fold, found = ClockFold(), []
    for second in range(0, 24 * 3600, 60):
        mono = MONO0 + round(second * 1000 * (1 - 1e-4))
        take(fold, "a", Seen("b1", mono, T0 + second * 1000, mono, T0 + second * 1000 + 20))
        found += fold.due(T0 + second * 1000)
    assert steps(found) == []


def test_a_wall_clock_set_by_hand_is_a_wall_step_and_a_true_offset_and_no_pause() -> None:
    guest = Guest()
    found = run(
        ClockFold(),
        {"a": guest},
        900,
        lambda s: setattr(guest, "wall_shift_ms", -3_600_000 if s >= 300 else 0),
    )
    assert steps(found) == []
    assert steps(found, "clk.wall_step_s") == [("a", -3600.0)]
    offsets = steps(found, "clk.true_offset_ms")
    assert offsets[0] == ("a", 0.0)
    assert len(offsets) == 2 and abs(offsets[1][1] + 3_600_000) < 100


def test_after_our_own_restart_a_clock_that_was_mended_meanwhile_is_told_as_mended() -> None:
    guest = Guest()
    guest.wall_shift_ms = 5_000
    assert [round(v, -3) for _, v in steps(run(ClockFold(), {"a": guest}, 200), "clk.true_offset_ms")] == [
        5_000.0
    ]
    guest.wall_shift_ms = 0
    assert steps(run(ClockFold(), {"a": guest}, 200), "clk.true_offset_ms") == [("a", 0.0)]


def test_a_suspend_that_the_guest_saw_is_a_boottime_step() -> None:
    guest = Guest()

    def at(second: int) -> None:
        guest.suspended_ms = guest.paused_ms = 42_000 if second >= 300 else 0

    assert steps(run(ClockFold(), {"a": guest}, 900, at), "clk.bt_mono_step_s") == [("a", 42.0)]


def test_the_true_offset_is_corrected_by_half_the_round_trip_and_told_only_when_it_moves() -> None:
    fold, guest, found = ClockFold(), Guest(), []
    guest.wall_shift_ms = 2_000
    for second in range(0, 3600, 10):
        take(fold, "a", guest.at(T0 + second * 1000, 150.0, 300.0))
        found += fold.due(T0 + second * 1000)
    assert steps(found, "clk.true_offset_ms") == [("a", 2000.0)]


@settings(max_examples=examples(25), deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_random_delay_and_lost_reports_never_make_a_step(seed: int) -> None:
    chance = random.Random(seed)
    fold, guest, found = ClockFold(), Guest(), []
    for second in range(0, 3600, 10):
        if chance.random() < 0.2:
            continue
        late = chance.expovariate(1 / 3000) if chance.random() < 0.05 else chance.uniform(5, 200)
        take(fold, "a", guest.at(T0 + second * 1000, late))
        found += fold.due(T0 + second * 1000)
    assert steps(found) == []


def test_what_could_not_be_written_comes_again_in_its_order() -> None:
    fold = ClockFold()
    first, second = Fold("a", "clk.wall_step_s", 1.0, 1), Fold("b", "clk.wall_step_s", 2.0, 2)
    fold.again([first, second])
    assert fold.has_due and fold.due(0) == [first, second] and fold.due(0) == []


def test_two_collectors_that_hear_one_host_write_its_step_once() -> None:
    store = Store.open("sqlite://")
    store.write(lambda tx: make_tables(tx, metadata))
    fold = Fold("a", "clk.offset_step_s", 8.0, T0)
    assert store.write(lambda tx: write_folds(tx, [fold], T0)) == 1
    assert store.write(lambda tx: write_folds(tx, [Fold("a", fold.signal, 8.1, T0 + 9_000)], T0)) == 0
    assert store.write(lambda tx: write_folds(tx, [Fold("a", fold.signal, 8.0, T0 + 600_000)], T0)) == 1
    with store.read() as conn:
        assert [o.value for o in recent(conn, ["a"], 0)] == [8.0, 8.0]
    store.close()
