"""The last quarter of an hour of every numeric signal, in memory: facts "before", and the series beside a finding.

Two C arrays a series (16 bytes a point): with 200 series that is 400 KiB, which every client server pays. Nothing
is written to disk; after a restart the quarter of an hour fills again. Time is monotonic milliseconds.
"""

from __future__ import annotations

from array import array
from typing import Dict, Iterable, List, Optional, Tuple

from agent.signals.median import median
from agent.signals.sample import Sample
from agent.wire import Value

WINDOW_MS = 16 * 60_000
"""A quarter of an hour, and a minute for what began before it was noticed."""
SPACING_MS = 5_000
"""Points closer than this replace one another: at a 1 s period a quarter of an hour must not cost ten times more."""
MAX_SERIES = 2_000
MAX_POINTS = 2 * WINDOW_MS // SPACING_MS

Key = Tuple[str, str]


class _Series:
    """Points of one (signal, subject), oldest first."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("d")

    def add(self, at_ms: int, value: float) -> None:
        times, values = self.times, self.values
        if times and at_ms <= times[-1]:
            return
        # The newest point always stands; it gives way only while the one before it is younger than the spacing.
        if len(times) >= 2 and times[-1] - times[-2] < SPACING_MS:
            times[-1], values[-1] = at_ms, value
            return
        times.append(at_ms)
        values.append(value)
        if len(times) > MAX_POINTS or (len(times) % 32 == 0 and times[0] < at_ms - WINDOW_MS):
            keep = next((i for i, t in enumerate(times) if t >= at_ms - WINDOW_MS), len(times) - 1)
            keep = max(keep, len(times) - MAX_POINTS)
            del times[:keep]
            del values[:keep]


class History:
    """Newest sample of every signal and subject, and the recent series of those that are numbers."""

    def __init__(self) -> None:
        self._newest: Dict[Key, Sample] = {}
        self._series: Dict[Key, _Series] = {}

    def record(self, samples: Iterable[Sample]) -> None:
        """Take a sweep. A None value ("exists, could not be read") leaves the last value standing with its age."""
        for sample in samples:
            if sample.value is None:
                continue
            key = (sample.signal, sample.subject)
            if key not in self._newest and len(self._newest) >= MAX_SERIES:
                self._forget_oldest()
            self._newest[key] = sample
            if isinstance(sample.value, (int, float)):
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _Series()
                series.add(sample.at_ms, float(sample.value))

    def newest(self, signal: str, subject: str = "") -> Optional[Sample]:
        """The last sample, however old."""
        return self._newest.get((signal, subject))

    def value(self, signal: str, subject: str = "") -> Value:
        """The last value; None when there never was one."""
        sample = self._newest.get((signal, subject))
        return None if sample is None else sample.value

    def subjects(self, signal: str) -> List[str]:
        """Every subject of which the signal has a sample."""
        return [subject for name, subject in self._newest if name == signal]

    def all_newest(self) -> List[Sample]:
        """The last sample of everything."""
        return list(self._newest.values())

    def series(self, signal: str, subject: str = "", since_ms: int = 0) -> List[Tuple[int, float]]:
        """Points (monotonic ms, value) from ``since_ms`` on, oldest first."""
        series = self._series.get((signal, subject))
        if series is None:
            return []
        return [(t, v) for t, v in zip(series.times, series.values) if t >= since_ms]

    def median(self, signal: str, subject: str, from_ms: int, to_ms: int) -> Optional[float]:
        """Median of the points in [from_ms, to_ms); None when there are none."""
        series = self._series.get((signal, subject))
        if series is None:
            return None
        values = [v for t, v in zip(series.times, series.values) if from_ms <= t < to_ms]
        return median(values) if values else None

    def prune(self, now_ms: int) -> None:
        """Forget what has had no sample for a whole window: mounts, units and disks that went away."""
        for key in [k for k, sample in self._newest.items() if now_ms - sample.at_ms > 4 * WINDOW_MS]:
            del self._newest[key]
            self._series.pop(key, None)

    def _forget_oldest(self) -> None:
        key = min(self._newest, key=lambda k: self._newest[k].at_ms)
        del self._newest[key]
        self._series.pop(key, None)
