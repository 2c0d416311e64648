"""The only place that reads time.

Pure modules take ``now`` as an argument; loops and shells hold a ``Clock``.
Tests and the simulation pass a ``FixedClock`` or their own.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What a shell may ask about time. Instants are integer milliseconds."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch, UTC."""
        ...

    def mono_ms(self) -> int:
        """CLOCK_MONOTONIC in milliseconds: never steps, stands still while a guest is paused."""
        ...

    def boottime_ms(self) -> int:
        """CLOCK_BOOTTIME in milliseconds: monotonic plus time spent suspended."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until the event is set or the time is over; True when the event was set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def mono_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def boottime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


class FixedClock:
    """A clock that moves only when told; for tests and the simulation."""

    def __init__(self, wall_ms: int = 1_767_225_600_000, mono_ms: int = 1_000_000) -> None:
        self.wall_ms = wall_ms
        self.mono = mono_ms
        self.suspended_ms = 0

    def now_ms(self) -> int:
        return self.wall_ms

    def mono_ms(self) -> int:
        return self.mono

    def boottime_ms(self) -> int:
        return self.mono + self.suspended_ms

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        self.advance(int(seconds * 1000))
        return False

    def advance(self, ms: int) -> None:
        """Move wall and monotonic clocks forward together."""
        self.wall_ms += ms
        self.mono += ms


def perf_seconds() -> float:
    """Seconds on the performance counter: for measuring how long our own work took, never for deciding."""
    return time.perf_counter()
