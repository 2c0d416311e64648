"""The weekly profile: what this hour reaches, what lies outside everything known, and how it survives the disk."""

from __future__ import annotations

from typing import List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.profile import DAY_MS, FLOORS, HOUR_MS, KEY_SIGNALS, SLOT_MS, WARM_DAYS, Profile
from tests.tools.examples import examples

CPU = "cpu.user_pct"
MONDAY = 4 * DAY_MS * 1000


def feed(profile: Profile, days: float, level: float = 20.0, night: float = 20.0, start: int = MONDAY) -> int:
    """Samples of five minutes: ``night`` from 02:00 to 03:00, ``level`` else; the instant after the last."""
    at = start
    while at < start + days * DAY_MS:
        hour = at % DAY_MS // HOUR_MS
        profile.observe(CPU, night if hour == 2 else level, at)
        at += SLOT_MS
    return at


def test_nothing_is_usual_before_the_first_hour_closed() -> None:
    assert Profile().usual(CPU, "", MONDAY) is None
    assert Profile().usual_high(CPU, MONDAY) is None


def test_the_height_of_an_hour_is_known_a_day_later_and_a_week_later() -> None:
    profile = Profile()
    feed(profile, 2.5, night=97.0)
    at_two = MONDAY + 3 * DAY_MS + 2 * HOUR_MS
    assert profile.usual_high(CPU, at_two) == pytest.approx(97.0)
    assert profile.usual(CPU, "", at_two + 3 * HOUR_MS) == pytest.approx(20.0)


def test_a_part_of_the_host_has_no_profile() -> None:
    profile = Profile()
    feed(profile, 2)
    assert profile.usual(CPU, "eth0", MONDAY) is None


def jump(profile: Profile, at: int, values: List[float]) -> List[Optional[float]]:
    return [profile.observe(CPU, value, at + n * SLOT_MS) for n, value in enumerate(values)]


def test_a_level_never_reached_is_outside_once_two_days_are_known() -> None:
    young, old = Profile(), Profile()
    assert not any(jump(young, feed(young, 1), [95.0, 20.0]))
    at = feed(old, WARM_DAYS, level=20.0, night=40.0)
    outside = jump(old, at, [95.0, 20.0])[1]
    assert outside is not None and outside == pytest.approx((95 - 40) / 20)


def test_what_is_new_and_small_is_nobodys_concern() -> None:
    profile = Profile()
    at = feed(profile, 3, level=1.0, night=2.0)
    assert jump(profile, at, [30.0, 1.0])[1] == 0.0
    assert FLOORS[CPU].above > 30.0


def test_load_that_vanished_is_outside_below() -> None:
    profile = Profile()
    at = feed(profile, 3, level=85.0, night=95.0)
    outside = jump(profile, at, [15.0, 15.0])[1]
    assert outside is not None and outside < -1


def test_a_slow_growth_does_not_make_itself_usual_within_the_day() -> None:
    profile = Profile()
    at = feed(profile, 3, level=20.0, night=40.0)
    found = jump(profile, at, [40 + n for n in range(60)])
    assert max(value for value in found if value is not None) > 0.2


def test_it_comes_back_from_the_disk_as_it_was() -> None:
    profile = Profile()
    at = feed(profile, 9, night=90.0)
    back = Profile.from_bytes(profile.to_bytes())
    assert back.to_bytes() == profile.to_bytes()
    assert back.usual_high(CPU, at + 2 * HOUR_MS) == profile.usual_high(CPU, at + 2 * HOUR_MS)
    assert back.days(CPU) == 8, "the ninth day is still open"


def test_all_key_signals_fit_into_twenty_kibibytes() -> None:
    profile = Profile()
    for signal in KEY_SIGNALS:
        profile.observe(signal, 1.0, MONDAY)
    assert len(profile.to_bytes()) <= 20 * 1024


@settings(max_examples=examples(60), deadline=None, database=None)
@given(st.integers(0, 3000), st.binary(max_size=30))
def test_a_torn_file_is_a_profile_all_the_same(at: int, piece: bytes) -> None:
    profile = Profile()
    profile.observe(CPU, 5.0, MONDAY)
    profile.observe(CPU, 6.0, MONDAY + HOUR_MS)
    raw = profile.to_bytes()
    back = Profile.from_bytes(raw[:at] + piece)
    feed(back, 0.1)
    assert back.days(CPU) <= 65_535


def test_a_clock_that_jumps_back_breaks_nothing() -> None:
    profile = Profile()
    at = feed(profile, 1)
    profile.observe(CPU, 50.0, at - 5 * DAY_MS)
    profile.observe(CPU, float("nan"), at)
    profile.observe(CPU, 50.0, at + 90 * DAY_MS)
    assert profile.days(CPU) >= 1
