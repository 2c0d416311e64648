"""A small plot of one signal around a moment: inline SVG, no script, readable in dark and light, and by ear. Pure.

Colours come from CSS classes (``plot-line``, ``plot-mark``) with mid-tone fallbacks; text takes the page's own colour.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from zoneinfo import ZoneInfo

from ticketing.texts import texts

WIDTH, HEIGHT = 480, 150
LEFT, RIGHT, TOP, BOTTOM = 84, 10, 14, 22

LABEL_CHARS = 12
"""What fits left of the plot in its size of letters."""

MAX_POINTS = 400
"""More points are folded to two extremes a column: a spike of one sample must stay to be seen."""

Point = tuple[int, float]


def svg(
    series: Sequence[Sequence[float | None]],
    *,
    mark_ms: int | None,
    unit: str,
    title: str,
    language: str,
    zone: str = "UTC",
) -> str:
    """``[[at_ms, value], ...]`` as an SVG element; a value of None breaks the line. "" when there is nothing to draw."""
    runs = _runs(series)
    points = [point for run in runs for point in run]
    if not points:
        return ""
    frame = _Frame.around(points, mark_ms, unit, language, zone)
    values = [value for _, value in points]
    told = (
        texts(language)
        .at(zone)
        .get(
            "plot.told",
            title=title,
            low=_number(min(values), language),
            high=_number(max(values), language),
            last=_number(points[-1][1], language),
            unit=unit,
            from_at_ms=frame.first_ms,
            to_at_ms=frame.last_ms,
        )
    )
    name = hashlib.sha256(f"{title}/{frame.first_ms}/{frame.last_ms}/{len(points)}".encode()).hexdigest()[:10]
    out = [
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-labelledby="p{name}t p{name}d" xmlns="http://www.w3.org/2000/svg" font-size="11">',
        f'<title id="p{name}t">{escape(title)}</title><desc id="p{name}d">{escape(told)}</desc>',
        *frame.axes(),
        *([] if mark_ms is None else frame.mark(mark_ms)),
        *(frame.line(run) for run in runs),
        "</svg>",
    ]
    return "".join(out)


@dataclasses.dataclass(frozen=True)
class _Frame:
    """The drawing's axes: what lies where."""

    first_ms: int
    last_ms: int
    low: float
    high: float
    unit: str
    language: str
    zone: str

    @staticmethod
    def around(points: Sequence[Point], mark_ms: int | None, unit: str, language: str, zone: str) -> _Frame:
        times = [at for at, _ in points] + ([] if mark_ms is None else [mark_ms])
        low, high = _bounds([value for _, value in points])
        return _Frame(min(times), max(times), low, high, unit, language, zone)

    def x(self, at_ms: float) -> float:
        span = self.last_ms - self.first_ms
        share = (at_ms - self.first_ms) / span if span > 0 else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def time(self, at_ms: int) -> str:
        return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.zone)).strftime("%H:%M:%S")

    def axes(self) -> Iterator[str]:
        """Three levels with their values, and the times of both ends."""
        levels = list(dict.fromkeys((self.high, (self.high + self.low) / 2, self.low)))
        unit = self.unit
        if max(len(f"{_number(value, self.language)} {unit}") for value in levels) > LABEL_CHARS:
            yield f'<text x="{LEFT}" y="{TOP - 3}" text-anchor="start" fill="currentColor">{escape(unit)}</text>'
            unit = ""  # said once above the plot: beside each level it would not fit
        for value in levels:
            label = f"{_number(value, self.language)} {unit}".strip()
            yield (
                f'<line class="plot-grid" x1="{LEFT}" y1="{self.y(value):.1f}" x2="{WIDTH - RIGHT}" '
                f'y2="{self.y(value):.1f}" stroke="currentColor" stroke-opacity="0.18"/>'
                f'<text x="{LEFT - 5}" y="{self.y(value) + 4:.1f}" text-anchor="end" fill="currentColor">'
                f"{escape(label)}</text>"
            )
        for at_ms, x, anchor in ((self.first_ms, LEFT, "start"), (self.last_ms, WIDTH - RIGHT, "end")):
            yield (
                f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}" fill="currentColor">{self.time(at_ms)}</text>'
            )

    def mark(self, at_ms: int) -> Iterator[str]:
        """The moment that the ticket is about."""
        x = self.x(at_ms)
        yield (
            f'<line class="plot-mark" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" '
            f'stroke="#d9480f" stroke-width="1.5" stroke-dasharray="4 3"/>'
        )
        if LEFT + 90 < x < WIDTH - RIGHT - 90:  # else it would lie on the times of the ends
            yield (
                f'<text class="plot-mark-text" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle" '
                f'fill="#d9480f">{self.time(at_ms)}</text>'
            )

    def line(self, run: Sequence[Point]) -> str:
        """One unbroken stretch."""
        if len(run) == 1:
            at_ms, value = run[0]
            return f'<circle class="plot-line" cx="{self.x(at_ms):.1f}" cy="{self.y(value):.1f}" r="2" fill="#2f7ed8"/>'
        path = " ".join(f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in run)
        return (
            f'<polyline class="plot-line" points="{path}" fill="none" stroke="#2f7ed8" stroke-width="1.8" '
            f'stroke-linejoin="round"/>'
        )


def _runs(series: Sequence[Sequence[float | None]]) -> list[list[Point]]:
    """Unbroken stretches in order of time, folded to what a screen can show."""
    known = [
        (int(entry[0]), float(entry[1]))
        if len(entry) == 2 and entry[0] is not None and entry[1] is not None and entry[1] - entry[1] == 0
        else None  # a gap, or a number that is none (infinity, NaN)
        for entry in series
    ]
    runs: list[list[Point]] = [[]]
    for point in known:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    size = max(1, -(-2 * sum(len(run) for run in runs) // MAX_POINTS))
    return [_folded(sorted(run), size) for run in runs if run]


def _folded(run: list[Point], size: int) -> list[Point]:
    """The lowest and highest of every ``size`` points."""
    if size <= 1 or len(run) <= 2:
        return run
    out: list[Point] = []
    for start in range(0, len(run), size):
        part = run[start : start + size]
        extremes = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        out.extend(sorted(extremes))
    return out


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The axis' ends: zero belongs to it, since a tenth of a percent blown up to full height would lie."""
    low, high = min(0.0, *values), max(0.0, *values)
    if high == low:
        high = low + 1
    return low, high


def _number(value: float, language: str) -> str:
    size = abs(value)
    places = 0 if size >= 100 or value == int(value) else 1 if size >= 1 else 3
    return texts(language).number(round(value, places))
