"""/proc/stat: CPU time by kind, context switches, interrupts, forks, run queue."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole


class CpuTimes(NamedTuple):
    """Ticks since boot. ``guest`` time is already inside ``user``, so it is not kept."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int

    def total(self) -> int:
        return sum(self)


class Stat(NamedTuple):
    """What we keep of /proc/stat."""

    cpu: CpuTimes
    cpus: int
    """Lines ``cpuN``: the CPUs that are online."""
    context_switches: int
    interrupts: Optional[int]
    forks: int
    running: int
    blocked: int
    boot_time_s: int


def parse_stat(text: str) -> Stat:
    """All of /proc/stat. Kernels before 2.6.33 print fewer columns: what is not there is 0."""
    cpu: Optional[CpuTimes] = None
    cpus = 0
    single: Dict[str, int] = {}
    for line in text.split("\n"):
        if line.startswith("cpu"):
            if line.startswith("cpu "):
                cpu = _cpu(line)
            else:
                cpus += 1
            continue
        # The line ``intr`` holds thousands of numbers; only its sum, the first, is wanted.
        fields = line.split(None, 2)
        if len(fields) >= 2 and fields[0] in _SINGLE:
            single[fields[0]] = whole(fields[1])
    if cpu is None:
        raise ParseError("expected a line that begins with cpu")
    return Stat(
        cpu,
        cpus,
        single.get("ctxt", 0),
        single.get("intr"),
        single.get("processes", 0),
        single.get("procs_running", 0),
        single.get("procs_blocked", 0),
        single.get("btime", 0),
    )


_SINGLE = frozenset(("ctxt", "intr", "processes", "procs_running", "procs_blocked", "btime"))


def _cpu(line: str) -> CpuTimes:
    fields: List[int] = [whole(field) for field in line.split()[1:9]]
    if len(fields) < 4:
        raise ParseError("expected at least four kinds of CPU time")
    return CpuTimes(*fields, *([0] * (8 - len(fields))))
