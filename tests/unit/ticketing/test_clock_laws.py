"""Stopwatches against a brute-force counter of minutes, over every change of summer time of ten years in three zones."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.examples import examples
from ticketing import clocks, minutes
from ticketing.calendar import Calendar
from ticketing.clocks import Change
from ticketing.model import ClockKind, ClockState

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
ZONES = ("Europe/Kyiv", "America/New_York", "Australia/Lord_Howe")
YEARS = range(2026, 2036)
WEEKS = (
    [[(540, 1080)]] * 5 + [[], []],  # office
    [[(1320, 1800)]] * 7,  # nights, 22:00-06:00
    [[(0, 90), (100, 170), (1439, 1441)]] * 7,  # edges inside the repeated and the skipped hour
    None,  # around the clock
)


def _changes_of_time(zone: str, year: int) -> list[int]:
    """Instants (ms, UTC) of the year at which the zone's offset changes, to the minute."""
    tz, found = ZoneInfo(zone), []
    at = int(dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc).timestamp())
    end = int(dt.datetime(year + 1, 1, 1, tzinfo=dt.timezone.utc).timestamp())
    offset = dt.datetime.fromtimestamp(at, tz).utcoffset()
    for hour in range(at, end, 1800):
        now = dt.datetime.fromtimestamp(hour, tz).utcoffset()
        if now != offset:
            found.append(hour * 1000)
            offset = now
    return found


CASES = [(zone, year, n) for zone in ZONES for year in YEARS for n in (0, 1)]


def test_each_zone_changes_twice_in_each_of_the_ten_years() -> None:
    for zone in ZONES:
        for year in YEARS:
            assert len(_changes_of_time(zone, year)) == 2, (zone, year)


class Wall:
    """Counts minutes by asking the wall clock about each one; knows nothing of spans."""

    def __init__(self, zone, week, holidays, working) -> None:
        self.tz, self.week, self.holidays, self.working = ZoneInfo(zone), week, holidays, working
        self._known: dict[int, bool] = {}

    def counts(self, at_ms: int) -> bool:
        if at_ms not in self._known:
            local = dt.datetime.fromtimestamp(at_ms / 1000, self.tz)
            minute = local.hour * 60 + local.minute
            days = ((local.date(), minute), (local.date() - dt.timedelta(days=1), minute + 1440))
            self._known[at_ms] = any(b <= m < e for day, m in days for b, e in self._hours(day))
        return self._known[at_ms]

    def _hours(self, day):
        if day in self.working:
            return self.working[day]
        if day in self.holidays:
            return ()
        return ((0, 1440),) if self.week is None else self.week[day.weekday()]


_ACTS = st.lists(
    st.tuples(
        st.sampled_from(("pause", "resume", "stop", "start", "ask", "answered", "retarget", "nothing")),
        st.integers(1, 900),
    ),
    min_size=1,
    max_size=9,
)


def _lived(acts, start_ms, target_ms):
    """The changes, and the state of the client's clock and the provider's in each minute: what a person would note."""
    changes = [Change(ClockKind.RESOLUTION, "start", start_ms, target_ms)]
    at, state, owes, asked = start_ms, "running", False, False
    told: list[tuple[int, str, bool]] = [(at, state, owes)]
    for act, wait in acts:
        at += wait * MINUTE_MS
        kind = ClockKind.PROVIDER if act in ("ask", "answered") else ClockKind.RESOLUTION
        if act == "nothing" or (act == "answered" and not asked):
            continue
        if act == "retarget":
            changes.append(Change(kind, "retarget", at, target_ms * 2))
        elif kind is ClockKind.PROVIDER:
            owes = act == "ask"
            asked = True
            changes.append(Change(kind, "start" if owes else "pause", at, HOUR_MS, "provider_answered"))
        else:
            if act == "pause" and state == "running":
                state = "paused"
            elif act in ("resume", "start"):
                state = "running"
            elif act == "stop":
                state = "stopped"
            changes.append(Change(kind, act, at, target_ms, "waiting_client"))
        told.append((at, state, owes))
    return changes, told, at


@pytest.mark.parametrize(("zone", "year", "n"), CASES, ids=lambda value: str(value))
@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    week=st.sampled_from(WEEKS),
    before=st.integers(0, 2 * 1440),
    acts=_ACTS,
    target=st.integers(30, 1500),
    holiday=st.integers(-1, 1),
    transferred=st.booleans(),
)
def test_a_clock_counts_the_minutes_that_a_person_with_a_wall_clock_would(
    zone, year, n, week, before, acts, target, holiday, transferred
):
    change_ms = _changes_of_time(zone, year)[n]
    day = dt.datetime.fromtimestamp(change_ms / 1000, ZoneInfo(zone)).date()
    holidays = [day + dt.timedelta(days=holiday)] if week is not None else []
    working = {day: [(300, 700)]} if transferred and week is not None else {}
    calendar = Calendar(zone, week, holidays, working)
    wall = Wall(zone, week, set(holidays), working)
    start = change_ms - before * MINUTE_MS
    changes, told, end = _lived(acts, start, target * MINUTE_MS)
    end += 600 * MINUTE_MS

    spent, breached_at, provider, states = 0, None, 0, iter([*told[1:], (end, "", False)])
    following = next(states)
    state, owes = told[0][1], told[0][2]
    for at in range(start, end, MINUTE_MS):
        while at >= following[0]:
            state, owes = following[1], following[2]
            following = next(states)
        if wall.counts(at):
            spent += MINUTE_MS if state == "running" else 0
            provider += MINUTE_MS if owes else 0
    watches = clocks.replay(changes, calendar)
    watch = watches[ClockKind.RESOLUTION]
    assert watch.spent_at(calendar, end) == spent
    if ClockKind.PROVIDER in watches:
        assert watches[ClockKind.PROVIDER].spent_at(calendar, end) == provider
    # What is cached as the due instant is the minute at which a counter would reach the target.
    due = watch.reaches(calendar, 100)
    if watch.state is ClockState.RUNNING and due is not None and due > watch.running_since_ms and due <= end:
        left, at = watch.target_ms - watch.spent_ms, watch.running_since_ms
        while left > 0:
            left -= MINUTE_MS if wall.counts(at) else 0
            at += MINUTE_MS
            breached_at = at
        assert due == breached_at
    parts = minutes.stretches(changes, calendar, end)
    assert sum(part.counted_ms for part in parts) == spent
    assert all(a.to_ms == b.from_ms for a, b in zip(parts, parts[1:], strict=False)), "no hole, no overlap"
    assert parts == () or parts[0].from_ms == start
    assert sum(minutes.by_owner(parts).values()) == sum(part.working_ms for part in parts)


def test_the_minutes_of_a_ticket_say_whose_they_were() -> None:
    calendar = Calendar("Europe/Kyiv")
    kind, provider = ClockKind.RESOLUTION, ClockKind.PROVIDER
    changes = [
        Change(kind, "start", 0, 100 * MINUTE_MS),
        Change(provider, "start", 10 * MINUTE_MS, HOUR_MS),
        Change(kind, "pause", 30 * MINUTE_MS, why="waiting_client"),
        Change(kind, "resume", 40 * MINUTE_MS),
        Change(provider, "pause", 45 * MINUTE_MS, why="provider_answered"),
        Change(kind, "stop", 50 * MINUTE_MS, why="resolved"),
        Change(kind, "resume", 70 * MINUTE_MS),
    ]
    parts = minutes.stretches(changes, calendar, 75 * MINUTE_MS)
    told = [(part.whose, (part.to_ms - part.from_ms) // MINUTE_MS, part.why) for part in parts]
    assert told == [
        ("ours", 10, ""), ("provider", 20, ""), ("client", 10, "waiting_client"), ("provider", 5, ""),
        ("ours", 5, ""), ("nobody", 20, ""), ("ours", 5, ""),
    ]  # fmt: skip
    watch = clocks.replay(changes, calendar)[kind]
    assert (
        sum(part.counted_ms for part in parts) == watch.spent_at(calendar, 75 * MINUTE_MS) == 45 * MINUTE_MS
    )
