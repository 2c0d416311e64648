"""Working time against a brute-force counter of minutes, over every change of summer time of ten years in three zones."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.examples import examples
from ticketing.calendar import Calendar, NeverDue, parse_hours

MINUTE_MS = 60_000
DAY_MS = 86_400_000
ZONES = ("Europe/Kyiv", "America/New_York", "Australia/Lord_Howe")
OFFICE = [[(540, 1080)]] * 5 + [[], []]
NIGHT = [[(1320, 1800)]] * 7  # 22:00-06:00
ODD = [[(0, 90), (125, 170), (1439, 1441)]] * 7  # edges inside the repeated and the skipped hour


def _ms(*when):
    return int(dt.datetime(*when, tzinfo=dt.timezone.utc).timestamp() * 1000)


def _brute_force(zone, week, holidays, working, from_ms, to_ms):
    """Minutes in [from, to) whose local wall clock lies in the hours of that local day, or of the day before it."""
    tz, total = ZoneInfo(zone), 0
    for at in range(from_ms, to_ms, MINUTE_MS):
        local = dt.datetime.fromtimestamp(at / 1000, tz)
        minute = local.hour * 60 + local.minute
        for day, shown in ((local.date(), minute), (local.date() - dt.timedelta(days=1), minute + 1440)):
            spans = working.get(day, () if day in holidays else week[day.weekday()])
            if any(begin <= shown < end for begin, end in spans):
                total += MINUTE_MS
                break
    return total


def _changes(zone, year):
    """Local dates of the year on which the offset changes."""
    tz, found = ZoneInfo(zone), []
    for number in range(366):
        day = dt.date(year, 1, 1) + dt.timedelta(days=number)
        midnight = dt.datetime(day.year, day.month, day.day, tzinfo=tz)
        if midnight.utcoffset() != (midnight + dt.timedelta(days=1)).utcoffset():
            found.append(day)
    return found


@pytest.mark.parametrize("year", range(2026, 2036))
@pytest.mark.parametrize("zone", ZONES)
def test_working_time_equals_a_count_of_minutes_over_every_change_of_summer_time(zone, year):
    changes = _changes(zone, year)
    assert len(changes) == 2
    for day in changes:
        start = _ms(day.year, day.month, day.day) - DAY_MS // 2
        for week in (OFFICE, NIGHT, ODD):
            calendar = Calendar(zone, week)
            counted = _brute_force(zone, week, (), {}, start, start + 2 * DAY_MS)
            assert calendar.spent(start, start + 2 * DAY_MS) == counted


_SPANS = st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 900)), max_size=3).map(
    lambda raw: [(begin, begin + length) for begin, length in raw]
)


@settings(max_examples=examples(40), deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    week=st.lists(_SPANS, min_size=7, max_size=7),
    holiday=st.integers(0, 3),
    extra=_SPANS,
    near=st.sampled_from(
        [(2026, 3, 8), (2026, 3, 29), (2026, 4, 5), (2026, 10, 4), (2026, 10, 25), (2026, 11, 1)]
    ),
    offset=st.integers(0, 2000),
    length=st.integers(0, 2200),
)
def test_any_calendar_counts_the_same_minutes_as_brute_force(
    zone, week, holiday, extra, near, offset, length
):
    day = dt.date(*near)
    holidays = {day + dt.timedelta(days=holiday - 1)}
    working = {day: extra} if extra else {}
    start = _ms(*near) - DAY_MS + offset * MINUTE_MS
    end = start + length * MINUTE_MS
    calendar = Calendar(zone, week, list(holidays), working)
    assert calendar.spent(start, end) == _brute_force(zone, week, holidays, working, start, end)


@settings(max_examples=examples(60), deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    start=st.integers(_ms(2026, 1, 1), _ms(2027, 1, 1)),
    target=st.integers(1, 40 * 3_600_000),
)
def test_the_due_instant_is_the_first_at_which_the_target_is_spent(zone, start, target):
    calendar = Calendar(zone, OFFICE, [dt.date(2026, 12, 25)])
    due = calendar.due(start, target)
    assert calendar.spent(start, due) == target
    assert calendar.spent(start, due - 1) == target - 1


def test_a_night_shift_lasts_seven_or_nine_hours_when_the_clock_changes():
    calendar = Calendar("Europe/Kyiv", NIGHT)
    spring = calendar.spent(_ms(2026, 3, 28, 12), _ms(2026, 3, 29, 12))
    autumn = calendar.spent(_ms(2026, 10, 24, 12), _ms(2026, 10, 25, 12))
    assert (spring, autumn) == (7 * 3_600_000, 9 * 3_600_000)


def test_a_transferred_working_day_beats_weekend_and_holiday():
    saturday = dt.date(2026, 1, 10)
    calendar = Calendar("Europe/Kyiv", OFFICE, [saturday], {saturday: [(540, 780)]})
    assert calendar.spent(_ms(2026, 1, 10), _ms(2026, 1, 11)) == 4 * 3_600_000


def test_around_the_clock_counts_everything():
    calendar = Calendar("Europe/Kyiv")
    assert calendar.spent(1, DAY_MS * 400) == DAY_MS * 400 - 1
    assert calendar.due(5, 7) == 12


def test_a_calendar_without_hours_is_never_due():
    with pytest.raises(NeverDue):
        Calendar("Europe/Kyiv", [[]] * 7).due(_ms(2026, 1, 1), 1)


def test_is_working_follows_the_hours():
    calendar = Calendar("Europe/Kyiv", OFFICE)
    assert calendar.is_working(_ms(2026, 1, 5, 7)) and not calendar.is_working(_ms(2026, 1, 5, 6, 59))


@pytest.mark.parametrize(
    ("text", "span"),
    [("09:00-18:00", (540, 1080)), ("22:00-06:00", (1320, 1800)), ("00:00-24:00", (0, 1440))],
)
def test_hours_are_read_as_people_write_them(text, span):
    assert parse_hours(text) == span


@pytest.mark.parametrize(
    "text", ["9-18", "09:00", "25:00-26:00", "09:70-10:00", "09:00-09:00", "", "a:b-c:d"]
)
def test_what_is_no_hours_is_refused(text):
    with pytest.raises(ValueError):
        parse_hours(text)
