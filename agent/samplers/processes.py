"""The process table: how many, who uses most, zombies, and how near the limits of processes and open files are.

One small read a process, every 30 s; what each wrote and read costs a second one and is looked at every other time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from agent.samplers.base import MIB, Batch, ratio_pct, read, read_or_none, why
from agent.samplers.cpu import TICKS_PER_S
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_file_nr, parse_loadavg, parse_whole
from agent.signals.parsers.pid import parse_io, parse_stat
from agent.signals.sample import Sample

PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Process(NamedTuple):
    """One process as one sweep saw it."""

    pid: int
    comm: str
    state: str
    ticks: int
    start_ticks: int
    """With the pid, the identity of a process: pids come again."""
    rss_bytes: int


def list_processes(proc: str) -> List[Process]:
    """Every process under /proc, threads not; those that end meanwhile are left out."""
    found: List[Process] = []
    # Path objects would double the cost of the costliest sweep.
    for name in os.listdir(proc):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            stat = parse_stat(read(f"{proc}/{name}/stat"))
        except (OSError, ParseError):
            continue
        ticks = stat.user_ticks + stat.system_ticks
        rss = max(0, stat.rss_pages) * PAGE_BYTES
        found.append(Process(stat.pid, stat.comm, stat.state, ticks, stat.start_ticks, rss))
    return found


def list_io(proc: str, processes: List[Process]) -> Dict[Tuple[int, int], int]:
    """(pid, start) -> octets moved to and from block devices, where we may know."""
    found: Dict[Tuple[int, int], int] = {}
    for process in processes:
        text = read_or_none(f"{proc}/{process.pid}/io")
        if text:
            try:
                found[process.pid, process.start_ticks] = parse_io(text)
            except ParseError:
                continue  # a kernel built without it prints nothing there
    return found


class Processes:
    """Signals proc.count, .zombies, .blocked, .top_cpu, .top_io, mem.top_rss, pid.used_pct, fd.used_pct."""

    name = "processes"
    period_s = 30.0

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = f"{root / 'proc'}"
        self._before: Dict[Tuple[int, int], int] = {}
        self._before_ms = 0
        self._io_before: Dict[Tuple[int, int], int] = {}
        self._io_before_ms = 0
        self._sweeps = 0
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        processes = list_processes(self._proc)
        batch.add("proc.count", len(processes))
        batch.add("proc.zombies", sum(1 for p in processes if p.state == "Z"))
        batch.add("proc.blocked", sum(1 for p in processes if p.state == "D"))
        self._add_top_cpu(batch, processes, mono_ms)
        largest = max(processes, key=lambda p: p.rss_bytes, default=None)
        if largest and largest.rss_bytes:
            batch.add("mem.top_rss", f"{clean(largest.comm)}={largest.rss_bytes / MIB:.0f}")
        # The first two sweeps follow each other closely, so that the first rates are there soon.
        if self._sweeps % 2 == 0 or self._sweeps == 1:
            self._add_top_io(batch, processes, mono_ms)
        self._sweeps += 1
        self._add_limits(batch)
        return batch.samples

    def _add_top_cpu(self, batch: Batch, processes: List[Process], mono_ms: int) -> None:
        now = {(p.pid, p.start_ticks): p.ticks for p in processes}
        before, self._before = self._before, now
        seconds, self._before_ms = (mono_ms - self._before_ms) / 1000.0, mono_ms
        if not before or seconds <= 0:
            return
        # A process that began since the last look is counted from its beginning.
        used = [(p.ticks - before.get((p.pid, p.start_ticks), 0), p) for p in processes]
        ticks, top = max(used, key=lambda pair: pair[0])
        pct = 100.0 * ticks / TICKS_PER_S / seconds
        batch.add("proc.top_cpu", f"{clean(top.comm)}={pct:.0f}" if pct >= 1 else "none")

    def _add_top_io(self, batch: Batch, processes: List[Process], mono_ms: int) -> None:
        now = list_io(self._proc, processes)
        before, self._io_before = self._io_before, now
        seconds, self._io_before_ms = (mono_ms - self._io_before_ms) / 1000.0, mono_ms
        if len(now) * 2 < len(processes):
            self._lacks["proc.top_io"] = "needs CAP_SYS_PTRACE: who reads and writes is not shown to us"
            return
        self._lacks.pop("proc.top_io", None)
        if not before or seconds <= 0:
            return
        moved = {key: octets - before.get(key, 0) for key, octets in now.items()}
        key = max(moved, key=lambda k: moved[k])
        mbps = moved[key] / MIB / seconds
        name = next(p.comm for p in processes if (p.pid, p.start_ticks) == key)
        batch.add("proc.top_io", f"{clean(name)}={mbps:.1f}" if mbps >= 0.1 else "none")

    def _add_limits(self, batch: Batch) -> None:
        try:
            threads = parse_loadavg(read(f"{self._proc}/loadavg"))[4]
            limits = [
                parse_whole(read(f"{self._proc}/sys/kernel/{name}")) for name in ("pid_max", "threads-max")
            ]
            batch.add("pid.used_pct", ratio_pct(threads, min(limits)))
        except (OSError, ParseError) as error:
            self._lacks["pid.used_pct"] = why(error)
        try:
            used, limit = parse_file_nr(read(f"{self._proc}/sys/fs/file-nr"))
            batch.add("fd.used_pct", ratio_pct(used, limit))
        except (OSError, ParseError) as error:
            self._lacks["fd.used_pct"] = why(error)


def clean(comm: str) -> str:
    """A process's name as plain text: its owner may have put anything in it."""
    return "".join(c if c.isprintable() and c not in '{}"=' else "?" for c in comm)[:40]


def uid_of(proc: str, pid: int) -> Optional[int]:
    """The owner of a process, by the owner of its folder: one stat(2) instead of a parsed file."""
    try:
        return Path(proc, str(pid)).stat().st_uid
    except OSError:
        return None
