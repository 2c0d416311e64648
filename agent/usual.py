"""Usual at this hour: the weekly profile of the key signals fed from the sweeps, asked for facts, and kept on disk.

``take`` folds a sweep's samples of the host into the profile and, once every key signal has closed its five minutes
(or ALL_CLOSED_MS later, where a sampler is late), answers with one sweep of ``usual.outside``, a part for each
signal: they come together, because the engine reads a part that its producer leaves out as gone.

``of`` answers the facts of findings: the level of this hour of the week, and whether the value is as usual. It says
nothing while the profile is younger than WARM_DAYS, and nothing about parts of the host.

On disk the profile lies in one file, written whole beside it and renamed, with a checksum: at most once an hour, so
that a crash forgets an hour and no more. A file that is torn, of another release or somebody's joke is an empty
profile and a note: a week is learned again, and the agent starts.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from agent.findings import Now
from agent.signals.profile import SLOT_MS, WARM_DAYS, Profile
from agent.signals.sample import Sample
from agent.wire import Value

FILE_NAME = "usual.profile"
MAX_FILE_BYTES = 64 * 1024
SAVE_EVERY_MS = 3_600_000
ALL_CLOSED_MS = 90_000
AS_USUAL_SHARE = 0.9
"""As high as nine tenths of what this hour reaches as a rule is as usual."""
LOW_IS_BAD = frozenset({"mem.avail_pct"})
"""Signals of which little is the fault: usual is what is not much below the level of the hour."""


class UsualHours:
    """The profile of one host, with the slot that is under way. ``path`` None keeps it in memory only."""

    def __init__(self, profile: Optional[Profile] = None, path: Optional[Path] = None) -> None:
        self.profile = profile or Profile()
        self.path = path
        self.notes: List[str] = []
        """What was wrong with the file, for the log."""
        self._slots: Dict[str, int] = {}
        """Key signal -> number of the five minutes that its newest value fell into."""
        self._closed: Dict[str, Optional[float]] = {}
        self._closed_ms: Optional[int] = None
        self._saved_ms: Optional[int] = None
        self._is_changed = False

    @staticmethod
    def open(folder: Path) -> UsualHours:
        """The profile that lies in the state folder, or an empty one."""
        path = folder / FILE_NAME
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return UsualHours(path=path)
        except OSError as error:
            return UsualHours(path=path)._noting(f"the weekly profile could not be read: {error.strerror}")
        if (
            len(raw) < 4
            or len(raw) > MAX_FILE_BYTES
            or zlib.crc32(raw[4:]) != int.from_bytes(raw[:4], "little")
        ):
            return UsualHours(path=path)._noting(
                "the weekly profile was torn; what is usual is learned again"
            )
        return UsualHours(Profile.from_bytes(raw[4:]), path)

    def _noting(self, note: str) -> UsualHours:
        self.notes.append(note)
        return self

    def take(self, samples: Iterable[Sample], now: Now) -> List[Sample]:
        """Fold a sweep in; the samples of ``usual.outside`` where it closed the five minutes of the key signals."""
        newest_ms = None
        for sample in samples:
            if sample.subject or sample.signal not in self.profile.signals:
                continue
            if isinstance(sample.value, bool) or not isinstance(sample.value, (int, float)):
                continue
            wall_ms = now.wall_of(sample.at_ms)
            outside = self.profile.observe(sample.signal, float(sample.value), wall_ms)
            newest_ms = sample.at_ms if newest_ms is None else max(newest_ms, sample.at_ms)
            slot = wall_ms // SLOT_MS
            known = self._slots.get(sample.signal)
            self._slots[sample.signal] = slot
            if known is not None and known != slot:
                self._closed[sample.signal] = outside
                self._is_changed = True
                if self._closed_ms is None:
                    self._closed_ms = sample.at_ms
        if newest_ms is None or self._closed_ms is None:
            return []
        is_late = newest_ms - self._closed_ms >= ALL_CLOSED_MS
        if not is_late and any(signal not in self._closed for signal in self._slots):
            return []
        found = [Sample("usual.outside", s, self._closed.get(s), newest_ms) for s in sorted(self._slots)]
        self._closed.clear()
        self._closed_ms = None
        return found

    def of(
        self, signal: str, subject: str, value: Value, wall_ms: int
    ) -> Tuple[Optional[float], Optional[bool]]:
        """The level of this hour, and whether the value is as usual; (None, None) where nobody knows."""
        if subject or self.profile.days(signal) < WARM_DAYS:
            return None, None
        level = self.profile.usual(signal, subject, wall_ms)
        high = self.profile.usual_high(signal, wall_ms)
        if level is None or high is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            return level, None
        if signal in LOW_IS_BAD:
            return level, value >= AS_USUAL_SHARE * level
        return level, AS_USUAL_SHARE * value <= max(high, level)

    def save_if_due(self, mono_ms: int) -> bool:
        """Write the file where an hour has passed and something was learned; True when it was written."""
        if self._saved_ms is None:
            self._saved_ms = mono_ms
        if mono_ms - self._saved_ms < SAVE_EVERY_MS:
            return False
        self._saved_ms = mono_ms
        return self.save()

    def save(self) -> bool:
        """Write the file; False where nothing was learned or the disk took none (the next hour tries again)."""
        if self.path is None or not self._is_changed:
            return False
        raw = self.profile.to_bytes()
        scratch = self.path.with_name(self.path.name + ".new")
        try:
            with scratch.open("wb") as stream:
                stream.write(zlib.crc32(raw).to_bytes(4, "little") + raw)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(self.path)
        except OSError as error:
            self.notes.append(f"the weekly profile could not be written: {error.strerror}")
            return False
        self._is_changed = False
        return True
