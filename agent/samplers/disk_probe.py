"""How long does the disk under our own state take for one small read, asked for by us alone? (signals.md, D6)

4 KiB from a random place of a file of our own, past the page cache (O_DIRECT). One read is under way at most: on a
disk that answers nobody it stays so for ever, costs one thread, and its age is the value - no completion is the finding.
Every minute while all is well; every sweep (10 s) while a read is under way or the last one was slow for this disk.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, Optional, Tuple

from agent.samplers.base import Batch, Errand, why
from agent.signals.median import median
from agent.signals.sample import Sample
from config.clock import perf_seconds

BLOCK = 4096
BLOCKS = 256
"""1 MiB: wider than what one look of a disk's own read-ahead holds for us, and nothing on anybody's disk."""
FILE_NAME = "disk-probe"
QUIET_EVERY_MS = 60_000
MINUTE_MS = 60_000
SUSPICIOUS_TIMES = 5.0
SUSPICIOUS_MS = 10.0
"""A read this slow, and so many times slower than usual here, is looked at closely."""
QUICK_WAIT_S = 0.05
KEPT = 60


class DiskProbe:
    """Signal disk.probe_ms."""

    name = "disk_probe"
    period_s = 10.0

    def __init__(self, folder: Path, measure: Optional[Callable[[], float]] = None) -> None:
        self._measure = measure or OwnFile(folder / FILE_NAME).read_ms
        self._errand: Optional[Errand[float]] = None
        self._begun_ms = 0
        self._due_ms: Optional[int] = None
        self._minute: Deque[Tuple[int, float]] = deque(maxlen=12)
        self._usual: Deque[float] = deque(maxlen=KEPT)
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        """The median of the minute when a read came back; the age of the one that has not."""
        samples = self._collect(mono_ms)
        if self._errand is None and (self._due_ms is None or mono_ms >= self._due_ms):
            self._errand, self._begun_ms = Errand("disk-probe", self._measure), mono_ms
            self._due_ms = mono_ms + QUIET_EVERY_MS
            self._errand.wait(QUICK_WAIT_S)
            samples = self._collect(mono_ms) or samples
        return samples

    def _collect(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        if self._errand is None:
            return []
        if not self._errand.is_done:
            if mono_ms > self._begun_ms:
                batch.add("disk.probe_ms", float(mono_ms - self._begun_ms))
            return batch.samples
        errand, self._errand = self._errand, None
        try:
            took_ms = errand.answer()
        except OSError as error:
            self._take_error(error)
            return []
        self._lacks.clear()
        if self._is_slow(took_ms):
            self._due_ms = mono_ms
        self._usual.append(took_ms)
        self._minute.append((mono_ms, took_ms))
        recent = [ms for at_ms, ms in self._minute if mono_ms - at_ms < MINUTE_MS]
        batch.add("disk.probe_ms", median(recent))
        return batch.samples

    def _is_slow(self, took_ms: float) -> bool:
        usual_ms = median(self._usual) if self._usual else 0.0
        return took_ms >= SUSPICIOUS_MS and took_ms >= SUSPICIOUS_TIMES * usual_ms

    def _take_error(self, error: OSError) -> None:
        """A file system that knows no direct reads is no fault; an I/O error is one, and the kernel log tells of it."""
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            self._lacks["disk.probe_ms"] = "the file system of the state folder knows no direct reads"
        else:
            self._lacks["disk.probe_ms"] = f"the own file: {why(error)}"


class OwnFile:
    """The file, and one timed read of it. Everything here may hang, and is only called in an errand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: Optional[int] = None
        self._buffer: Optional[mmap.mmap] = None

    def read_ms(self) -> float:
        """Milliseconds that 4 KiB took; raises OSError."""
        if self._fd is None:
            self._fd = self._opened()
            # Direct reads want memory that begins at a page.
            self._buffer = mmap.mmap(-1, BLOCK)
        assert self._buffer is not None
        place = random.randrange(BLOCKS) * BLOCK
        begun = perf_seconds()
        try:
            count = os.preadv(self._fd, [self._buffer], place)
        except OSError:
            self._close()
            raise
        took_ms = (perf_seconds() - begun) * 1000.0
        if count != BLOCK:
            self._close()
            raise OSError(errno.EIO, "the file was cut short")
        return took_ms

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            self._make()
            return os.open(self._path, flags)
        if os.fstat(fd).st_size >= BLOCK * BLOCKS:
            return fd
        os.close(fd)
        self._make()
        return os.open(self._path, flags)

    def _make(self) -> None:
        """Written once, with octets that no layer can fold together, and put in place whole."""
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as stream:
            stream.write(os.urandom(BLOCK * BLOCKS))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._path)
