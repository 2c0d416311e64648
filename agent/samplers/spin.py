"""Does the CPU do as much as it usually does? A fixed piece of work against the wall clock (signals.md, C4).

The only sign of a hypervisor that gives our CPU to others without saying so (VMware, Hyper-V). Six short runs a minute
instead of one long one: stolen slices are tens of milliseconds apart, so many short looks see their share, and the
price stays below a hundredth of the CPU budget of a core. The score is the usual time of a minute's runs over the time
that they took: below 1 is slower. Usual is the median of the hours of seven days, kept on disk.

A busy server slows our runs as well: rules and the collector read the run queue beside it. Another kernel, processor
or Python does another work: then learning begins anew.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from pathlib import Path
from typing import Callable, Dict, List, Optional

from agent.samplers.base import Batch, read_or_none
from agent.signals.median import median
from agent.signals.sample import Sample
from config.clock import perf_seconds

STEPS = 10_000
"""Half a millisecond to a millisecond of plain arithmetic: no memory, no disk, no other thread is in it."""
RUNS = 6
"""Runs that make a score: a minute at the default period."""
HOUR_MS = 3_600_000
HOURS = 168
HOURS_LEAST = 3
MINUTES_LEAST = 10
FILE_NAME = "spin"
_MAGIC = b"VSPIN1\n"


def work_ms() -> float:
    """Do the work once; the milliseconds by the wall that it took."""
    begun = perf_seconds()
    value = 1
    for step in range(STEPS):
        value = (value * 31 + step) & 0xFFFF
    return (perf_seconds() - begun) * 1000.0


class Spin:
    """Signal cpu.spin_score."""

    name = "spin"
    period_s = 10.0

    def __init__(
        self,
        folder: Optional[Path] = None,
        root: Path = Path("/"),
        work: Callable[[], float] = work_ms,
        runs: int = RUNS,
    ) -> None:
        self._file = folder / FILE_NAME if folder is not None else None
        self._work = work
        self._runs = runs
        self._key = identity(root)
        self._hours = self._kept()
        self._minutes: List[float] = []
        self._taken: List[float] = []
        self._hour_ms: Optional[int] = None

    def lacks(self) -> Dict[str, str]:
        if len(self._hours) >= HOURS_LEAST:
            return {}
        return {"cpu.spin_score": "still learning how fast this CPU usually is"}

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        if self._hour_ms is None:
            self._hour_ms = mono_ms
        self._taken.append(self._work())
        if len(self._taken) < self._runs:
            return []
        minute, self._taken = sum(self._taken) / len(self._taken), []
        if len(self._hours) >= HOURS_LEAST and minute > 0:
            batch.add("cpu.spin_score", median(self._hours) / minute)
        self._learn(minute, mono_ms)
        return batch.samples

    def _learn(self, minute: float, mono_ms: int) -> None:
        assert self._hour_ms is not None
        if len(self._minutes) < 120:
            self._minutes.append(minute)
        if mono_ms - self._hour_ms < HOUR_MS:
            return
        if len(self._minutes) >= MINUTES_LEAST:
            self._hours.append(median(self._minutes))
            del self._hours[:-HOURS]
            self._keep()
        self._hour_ms, self._minutes = mono_ms, []

    def _kept(self) -> array[float]:
        """What earlier runs learned of this very machine; nothing where the file is torn or of another one."""
        hours: array[float] = array("f")
        try:
            raw = self._file.read_bytes() if self._file is not None else b""
        except OSError:
            return hours
        head = _MAGIC + struct.pack("<I", self._key)
        body = raw[len(head) :]
        if raw.startswith(head) and len(body) % 4 == 0 and len(body) <= 4 * HOURS:
            hours.frombytes(body)
        if any(not value > 0 for value in hours):
            del hours[:]
        return hours

    def _keep(self) -> None:
        """700 octets an hour; where the disk takes none, the hours stay in memory and are written an hour later."""
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_bytes(_MAGIC + struct.pack("<I", self._key) + self._hours.tobytes())
            fresh.replace(self._file)
        except OSError:
            return


def identity(root: Path = Path("/")) -> int:
    """What the work's speed depends on but for the load: processor, kernel, Python."""
    cpu = ""
    for line in (read_or_none(root / "proc/cpuinfo") or "").split("\n", 40)[:40]:
        if line.startswith(("model name", "microcode", "stepping")):
            cpu += line
    told = f"{cpu}|{os.uname().release}|{sys.version}|{STEPS}"
    return zlib.crc32(told.encode())
