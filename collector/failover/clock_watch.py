"""Whether our own wall clock goes as our monotonic one does: pure, asked at each turn of the worker.

A clock that steps makes lags, dwell and expiries lie, and so does one that stands still or creeps, where every single look
finds but a little: what counts is how far it has moved since a moment that lies up to ``SPAN_MS`` back. Refuses: to tell
which of the two is right; for a while after neither is believed.
"""

from __future__ import annotations

STEP_MS = 2_000
"""The wall clock may move so far against the monotonic one; slewing at 500 ppm takes more than an hour for it."""
SPAN_MS = 60_000
DISTRUST_MS = 600_000


class ClockWatch:
    """One process's two clocks."""

    def __init__(self) -> None:
        self._since: tuple[int, int] | None = None
        self._distrust_until_ms = 0

    def look(self, wall_ms: int, mono_ms: int) -> int:
        """Milliseconds that the wall clock has moved too far by just now; 0 = it goes well."""
        offset = wall_ms - mono_ms
        if self._since is None:
            self._since = (offset, mono_ms)
        moved = offset - self._since[0]
        is_far = abs(moved) > STEP_MS
        if is_far:
            self._distrust_until_ms = mono_ms + DISTRUST_MS
        if is_far or mono_ms - self._since[1] >= SPAN_MS:
            self._since = (offset, mono_ms)
        return moved if is_far else 0

    def is_sane(self, mono_ms: int) -> bool:
        """Whether it has gone well for a while."""
        return mono_ms >= self._distrust_until_ms
