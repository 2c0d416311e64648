"""What is usual on this host: a weekly profile of a few key signals, and how far outside everything known they are.

Theory of operation. Values are folded into means of SLOT_MS (five minutes), slots into the hour of the week that they
belong to, and each hour of the week keeps two numbers: the level (mean of its slots) and the high (highest slot),
averaged over the last few weeks with a weight that lets a changed server become usual in about a month. So

    usual(signal, now)       level at this hour of the week, or of this hour on other days while the week is young
    usual_high(signal, now)  the height that this hour reaches as a rule: "same as every night" is a comparison with it

Beside that stand *bounds*: the highest and lowest slot, and the highest and lowest hour, of all closed days.
``outside`` is by how many of its own ranges the newest slot or hour lies beyond them: a share of the range, so that it
means the same for a per cent, a rate and a count. Only closed days move the bounds, so that a fault that grows
slowly does not make itself usual; they shrink a little each day, so that one freak value does not blind us for ever.
Nothing is outside before WARM_DAYS closed days, and nothing that ``FLOORS`` calls too small to matter.

A hole in the samples, a restart or a step of the clock ends the slot and the hour that were open; nothing is guessed
for the time between. Weeks are counted in UTC: shifted by an hour in summer, the profile smears and heals.

Pure: no clock, no disk. ``to_bytes``/``from_bytes`` are the on-disk form: about 1.4 KiB a signal, MAX_SIGNALS of them.
"""

from __future__ import annotations

import struct
from array import array
from typing import Dict, List, NamedTuple, Optional, Tuple

SLOT_MS = 300_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HOURS = 168
SLOTS_IN_HOUR = HOUR_MS // SLOT_MS
FULL_HOUR = 9
"""Slots that an hour must have before its mean is one."""
WARM_DAYS = 2
WEIGHT_MIN = 0.25
"""Weight of the newest week once there are four: half of what is usual is younger than three weeks."""
SHRINK = 0.002
"""Share of the range by which the bounds close in, a day: a freak value is half forgotten after a year."""
SLOT_MARGIN = 0.2
HOUR_MARGIN = 0.3
MAX_SIGNALS = 16
MAGIC = b"VP1\n"

KEY_SIGNALS: Tuple[str, ...] = (
    "cpu.user_pct",
    "cpu.sys_pct",
    "cpu.steal_pct",
    "load.per_cpu",
    "mem.avail_pct",
    "disk.await_ms",
    "disk.iops",
    "disk.mbps",
    "net.in_mbps",
    "net.out_mbps",
    "net.tcp_established",
    "proc.count",
)


class Floor(NamedTuple):
    """What of a signal is too small to matter, however new it is."""

    above: float
    """A new high below this is nobody's concern."""
    fell_from: float
    """A new low matters only where the signal used to reach this: load that nobody misses did not vanish."""


FLOORS: Dict[str, Floor] = {
    "cpu.user_pct": Floor(60.0, 20.0),
    "cpu.sys_pct": Floor(30.0, 101.0),
    "cpu.steal_pct": Floor(10.0, 101.0),
    "load.per_cpu": Floor(1.0, 1e9),
    "mem.avail_pct": Floor(101.0, 0.0),
    "disk.await_ms": Floor(50.0, 1e9),
    "disk.mbps": Floor(1.0, 5.0),
    "disk.iops": Floor(100.0, 200.0),
    "net.in_mbps": Floor(1.0, 5.0),
    "net.out_mbps": Floor(1.0, 5.0),
    "net.tcp_established": Floor(100.0, 50.0),
    "proc.count": Floor(300.0, 1e9),
}
NO_FLOOR = Floor(float("-inf"), float("-inf"))


class Bounds:
    """Highest and lowest of closed days, and of the day that is open."""

    __slots__ = ("day_high", "day_low", "high", "low")

    def __init__(self) -> None:
        self.high: Optional[float] = None
        self.low: Optional[float] = None
        self.day_high: Optional[float] = None
        self.day_low: Optional[float] = None

    def saw(self, value: float) -> None:
        self.day_high = value if self.day_high is None else max(self.day_high, value)
        self.day_low = value if self.day_low is None else min(self.day_low, value)

    def close_day(self) -> None:
        """What the day reached is known from now on."""
        if self.day_high is None or self.day_low is None:
            return
        if self.high is None or self.low is None:
            self.high, self.low = self.day_high, self.day_low
        else:
            inward = SHRINK * (self.high - self.low)
            self.high = max(self.high - inward, self.day_high)
            self.low = min(self.low + inward, self.day_low)
        self.day_high = self.day_low = None

    def beyond(self, value: float, floor: Floor) -> float:
        """Ranges above (positive) or below (negative) the bounds; 0 within them, or where it is too small to matter."""
        if self.high is None or self.low is None:
            return 0.0
        spread = max(self.high - self.low, 0.01 * max(abs(self.high), abs(self.low)), 1e-9)
        if value > self.high and value >= floor.above:
            return (value - self.high) / spread
        if value < self.low and self.high >= floor.fell_from:
            return (value - self.low) / spread
        return 0.0


class _Signal:
    """One signal's profile."""

    __slots__ = (
        "days", "high", "hour", "hours", "level", "outside", "slot", "slot_at", "slot_n", "slot_sum", "weeks",
    )  # fmt: skip

    def __init__(self) -> None:
        self.level = array("f", [0.0] * HOURS)
        self.high = array("f", [0.0] * HOURS)
        self.weeks = array("B", [0] * HOURS)
        self.slot = Bounds()
        self.hour = Bounds()
        self.days = 0
        self.slot_at = -1
        self.slot_sum = 0.0
        self.slot_n = 0
        self.hours: List[Tuple[int, float]] = []
        """Closed slots of the last sixty minutes: (number, mean)."""
        self.outside: Optional[float] = None

    def saw(self, value: float, wall_ms: int, floor: Floor) -> bool:
        """Take one value; True when it closed a slot."""
        number = wall_ms // SLOT_MS
        if number == self.slot_at:
            self.slot_sum += value
            self.slot_n += 1
            return False
        has_closed = self.slot_n > 0
        if has_closed:
            self._close(self.slot_sum / self.slot_n, number, floor)
        self.slot_at, self.slot_sum, self.slot_n = number, value, 1
        return has_closed

    def _close(self, mean: float, next_slot: int, floor: Floor) -> None:
        at = self.slot_at
        self.hours = [(n, m) for n, m in self.hours if at - n < SLOTS_IN_HOUR and n < at]
        self.hours.append((at, mean))
        self.slot.saw(mean)
        hour_mean = None
        if len(self.hours) >= FULL_HOUR:
            hour_mean = sum(m for _, m in self.hours) / len(self.hours)
            self.hour.saw(hour_mean)
        self.outside = self._judge(mean, hour_mean, floor)
        per_day = DAY_MS // SLOT_MS
        if next_slot // SLOTS_IN_HOUR != at // SLOTS_IN_HOUR:
            self._close_hour(at)
        if next_slot // per_day != at // per_day:
            self.slot.close_day()
            self.hour.close_day()
            self.days = min(self.days + 1, 65_535)

    def _judge(self, mean: float, hour_mean: Optional[float], floor: Floor) -> Optional[float]:
        if self.days < WARM_DAYS:
            return None
        by_slot = self.slot.beyond(mean, floor)
        by_hour = self.hour.beyond(hour_mean, floor) if hour_mean is not None else 0.0
        # An hour's range is narrower than a slot's: to weigh the same it must lie further out.
        by_hour *= SLOT_MARGIN / HOUR_MARGIN
        return by_slot if abs(by_slot) >= abs(by_hour) else by_hour

    def _close_hour(self, at: int) -> None:
        hour = at // SLOTS_IN_HOUR
        means = [m for n, m in self.hours if n // SLOTS_IN_HOUR == hour]
        if not means:
            return
        bin_ = hour % HOURS
        weeks = self.weeks[bin_]
        weight = max(WEIGHT_MIN, 1.0 / (weeks + 1))
        self.level[bin_] += weight * (sum(means) / len(means) - self.level[bin_])
        self.high[bin_] += weight * (max(means) - self.high[bin_])
        self.weeks[bin_] = min(weeks + 1, 255)

    def at(self, values: array[float], wall_ms: int) -> Optional[float]:
        """``values`` of this hour of the week, else the median of this hour on the days that have one."""
        bin_ = (wall_ms // HOUR_MS) % HOURS
        if self.weeks[bin_]:
            return values[bin_]
        others = sorted(values[b] for b in range(bin_ % 24, HOURS, 24) if self.weeks[b])
        return others[len(others) // 2] if others else None


class Profile:
    """All key signals of one host."""

    def __init__(self, signals: Tuple[str, ...] = KEY_SIGNALS) -> None:
        self.signals = signals[:MAX_SIGNALS]
        self._of: Dict[str, _Signal] = {}

    def observe(self, signal: str, value: float, wall_ms: int) -> Optional[float]:
        """Take one value of the host. The signal's ``outside`` when this closed a slot, else None."""
        if signal not in self.signals or value != value:
            return None
        known = self._of.get(signal)
        if known is None:
            known = self._of[signal] = _Signal()
        if known.saw(value, wall_ms, FLOORS.get(signal, NO_FLOOR)):
            return known.outside
        return None

    def usual(self, signal: str, subject: str, wall_ms: int) -> Optional[float]:
        """The usual level at this hour; the shape that ``agent.findings.Usual`` asks for. Only of the host itself."""
        known = self._of.get(signal)
        return None if known is None or subject else known.at(known.level, wall_ms)

    def usual_high(self, signal: str, wall_ms: int) -> Optional[float]:
        """The height that this hour of the week reaches as a rule."""
        known = self._of.get(signal)
        return None if known is None else known.at(known.high, wall_ms)

    def days(self, signal: str) -> int:
        """Closed days of which the signal is known."""
        known = self._of.get(signal)
        return 0 if known is None else known.days

    def to_bytes(self) -> bytes:
        """The on-disk form. Open slots and hours are left out: after a restart they begin again."""
        parts = [MAGIC, struct.pack("<H", len(self._of))]
        for name, known in sorted(self._of.items()):
            raw = name.encode("ascii")
            parts.append(struct.pack("<BH", len(raw), known.days) + raw)
            parts.append(_bounds_bytes(known.slot) + _bounds_bytes(known.hour))
            for values in (known.level, known.high):
                parts.append(struct.pack(f"<{HOURS}f", *values))
            parts.append(known.weeks.tobytes())
        return b"".join(parts)

    @staticmethod
    def from_bytes(raw: bytes, signals: Tuple[str, ...] = KEY_SIGNALS) -> Profile:
        """The profile back. What is torn or of another form is an empty profile: a week is learned again, no more."""
        profile = Profile(signals)
        try:
            profile._of = _read(raw, profile.signals)
        except (struct.error, UnicodeDecodeError, ValueError):
            profile._of = {}
        return profile


_BOUNDS = struct.Struct("<4d")


def _bounds_bytes(bounds: Bounds) -> bytes:
    numbers = (bounds.high, bounds.low, bounds.day_high, bounds.day_low)
    return _BOUNDS.pack(*(float("nan") if number is None else number for number in numbers))


def _bounds(raw: bytes) -> Bounds:
    bounds = Bounds()
    found = [None if number != number else number for number in _BOUNDS.unpack(raw)]
    bounds.high, bounds.low, bounds.day_high, bounds.day_low = found
    return bounds


def _read(raw: bytes, wanted: Tuple[str, ...]) -> Dict[str, _Signal]:
    if raw[: len(MAGIC)] != MAGIC:
        raise ValueError("expected the profile's first line")
    found: Dict[str, _Signal] = {}
    (count,) = struct.unpack_from("<H", raw, len(MAGIC))
    at = len(MAGIC) + 2
    for _ in range(count):
        length, days = struct.unpack_from("<BH", raw, at)
        at += 3
        name = raw[at : at + length].decode("ascii")
        at += length
        known = _Signal()
        known.days = days
        known.slot = _bounds(raw[at : at + _BOUNDS.size])
        known.hour = _bounds(raw[at + _BOUNDS.size : at + 2 * _BOUNDS.size])
        at += 2 * _BOUNDS.size
        known.level = array("f", struct.unpack_from(f"<{HOURS}f", raw, at))
        known.high = array("f", struct.unpack_from(f"<{HOURS}f", raw, at + 4 * HOURS))
        at += 8 * HOURS
        weeks = raw[at : at + HOURS]
        if len(weeks) != HOURS:
            raise ValueError("expected a week of hours")
        known.weeks = array("B", weeks)
        at += HOURS
        if name in wanted:
            found[name] = known
    return found
