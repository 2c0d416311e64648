"""Working time of a contract: which instants count for its clocks. Pure; the only room that knows zones beside texts.

Hours are wall-clock intervals of a zone. An instant counts when the wall clock shows a time inside the hours of that
local day: an hour that is repeated at the end of summer time counts twice, a skipped one not at all. So a shift of
22:00-06:00 lasts nine hours on one night of the year and seven on another, and the contract says so.

Instants are epoch milliseconds. UTC days are expanded once into spans and kept, split where the zone's offset changes,
so that no local time is ever converted back (which is ambiguous twice a year).
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
MINUTE_MS = 60_000

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

HORIZON_DAYS = 3660
"""A due time further than ten years away is called never."""

_CACHE_DAYS = 4096

Span = tuple[int, int]
"""Minutes after local midnight: [start, end); end above 1440 reaches into the next day."""


class NeverDue(ValueError):
    """The calendar holds too little working time for the target within ten years."""


class Calendar:
    """Working hours of one contract; ``week=None`` is around the clock."""

    def __init__(
        self,
        zone: str,
        week: Sequence[Sequence[Span]] | None = None,
        holidays: Sequence[dt.date] = (),
        working_days: Mapping[dt.date, Sequence[Span]] | None = None,
    ) -> None:
        self.zone = zone
        self._tz = ZoneInfo(zone)
        self._week = None if week is None else tuple(tuple(spans) for spans in week)
        self._holidays = frozenset(holidays)
        self._working = {day: tuple(spans) for day, spans in (working_days or {}).items()}
        self._cache: dict[int, tuple[Span, ...]] = {}

    @property
    def is_always(self) -> bool:
        """Around the clock, every day."""
        return self._week is None and not self._holidays and not self._working

    def hours_of(self, day: dt.date) -> tuple[Span, ...]:
        """The intervals that begin on this local day; a transferred working day beats a holiday."""
        if day in self._working:
            return self._working[day]
        if day in self._holidays:
            return ()
        return ((0, 1440),) if self._week is None else self._week[day.weekday()]

    def spent(self, from_ms: int, to_ms: int) -> int:
        """Milliseconds of working time in [from, to); 0 when to is not after from."""
        if to_ms <= from_ms:
            return 0
        if self.is_always:
            return to_ms - from_ms
        return sum(
            min(end, to_ms) - max(start, from_ms)
            for start, end in self._spans(from_ms // DAY_MS, (to_ms - 1) // DAY_MS)
            if end > from_ms and start < to_ms
        )

    def due(self, start_ms: int, target_ms: int) -> int:
        """The first instant at which ``target_ms`` of working time have passed since ``start_ms``; NeverDue if none."""
        if self.is_always or target_ms <= 0:
            return start_ms + max(0, target_ms)
        left = target_ms
        first = start_ms // DAY_MS
        for start, end in self._spans(first, first + HORIZON_DAYS):
            usable = end - max(start, start_ms)
            if usable <= 0:
                continue
            if usable >= left:
                return max(start, start_ms) + left
            left -= usable
        raise NeverDue(f"{self.zone}: {target_ms} ms of working time do not come within {HORIZON_DAYS} days")

    def is_working(self, at_ms: int) -> bool:
        """Whether clocks run at this instant."""
        return self.is_always or self.spent(at_ms, at_ms + 1) == 1

    def opens_at(self, at_ms: int) -> int:
        """The first instant from this one on at which clocks run; NeverDue where none comes."""
        return at_ms if self.is_working(at_ms) else self.due(at_ms, 1) - 1

    def shuts_at(self, at_ms: int, within_days: int = 8) -> int:
        """The first instant from this one on at which clocks do not run; at the end of those days where they always do."""
        end_ms = at_ms
        first = at_ms // DAY_MS
        for start, end in self._spans(first, first + within_days):
            if start > end_ms:
                break
            end_ms = max(end_ms, end)
        return end_ms

    def _spans(self, first_day: int, last_day: int) -> Iterator[Span]:
        for day in range(first_day, last_day + 1):
            yield from self._day(day)

    def _day(self, day: int) -> tuple[Span, ...]:
        """Working spans of one UTC day, in epoch ms, in order, not overlapping."""
        known = self._cache.get(day)
        if known is not None:
            return known
        if len(self._cache) >= _CACHE_DAYS:
            self._cache.clear()
        spans: list[Span] = []
        for start, end, offset in _segments(self._tz, day * DAY_MS, (day + 1) * DAY_MS):
            spans.extend(self._in_segment(start, end, offset))
        merged = tuple(_merged(spans))
        self._cache[day] = merged
        return merged

    def _in_segment(self, start_ms: int, end_ms: int, offset_ms: int) -> Iterator[Span]:
        """Working spans within a stretch of constant offset: there, local time is just a sum."""
        first = (start_ms + offset_ms) // DAY_MS - 1  # the day before may reach over midnight
        last = (end_ms - 1 + offset_ms) // DAY_MS
        for local_day in range(first, last + 1):
            for begin, finish in self.hours_of(_date(local_day)):
                low = max(start_ms, local_day * DAY_MS + begin * MINUTE_MS - offset_ms)
                high = min(end_ms, local_day * DAY_MS + finish * MINUTE_MS - offset_ms)
                if low < high:
                    yield low, high


def parse_hours(text: str) -> Span:
    """``09:00-18:00`` as minutes; ``22:00-06:00`` reaches into the next day. ValueError says what is wrong."""
    try:
        begin_text, end_text = text.split("-")
        begin, end = _minutes(begin_text), _minutes(end_text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not hours such as 09:00-18:00") from error
    if begin == end or begin == 1440:
        raise ValueError(f"{text!r} holds no time (around the clock is 00:00-24:00)")
    return (begin, end) if end > begin else (begin, end + 1440)


def _minutes(text: str) -> int:
    hours, minutes = text.strip().split(":")
    value = int(hours) * 60 + int(minutes)
    if not (0 <= int(minutes) < 60 and 0 <= value <= 1440):
        raise ValueError(text)
    return value


def _date(days_since_epoch: int) -> dt.date:
    return dt.date.fromordinal(719_163 + days_since_epoch)


def _offset_ms(tz: ZoneInfo, at_ms: int) -> int:
    moment = dt.datetime.fromtimestamp(at_ms / 1000, dt.timezone.utc).astimezone(tz)
    offset = moment.utcoffset()
    assert offset is not None, "an aware datetime has an offset"
    return int(offset.total_seconds() * 1000)


def _segments(tz: ZoneInfo, start_ms: int, end_ms: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, offset) stretches of constant offset; looks every hour, then bisects to the second."""
    step = 3_600_000
    begin, offset, at = start_ms, _offset_ms(tz, start_ms), start_ms
    while at < end_ms:
        following = min(at + step, end_ms)
        new_offset = _offset_ms(tz, following)
        if new_offset != offset:
            change = _change_between(tz, at, following, offset)
            if change < end_ms:
                yield begin, change, offset
                begin, offset = change, new_offset
        at = following
    yield begin, end_ms, offset


def _change_between(tz: ZoneInfo, low_ms: int, high_ms: int, offset_ms: int) -> int:
    seconds = range(low_ms // 1000, high_ms // 1000 + 1)
    index = bisect_right(seconds, 0, key=lambda s: 0 if _offset_ms(tz, s * 1000) == offset_ms else 1)
    return seconds[index] * 1000


def _merged(spans: list[Span]) -> Iterator[Span]:
    current: Span | None = None
    for span in sorted(spans):
        if current is None:
            current = span
        elif span[0] <= current[1]:
            current = (current[0], max(current[1], span[1]))
        else:
            yield current
            current = span
    if current is not None:
        yield current
