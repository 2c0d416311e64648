"""CPU: where the time went, steal among it, load and run queue per CPU, pressure, and how often we ran late."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from agent.samplers import platform
from agent.samplers.base import Batch, LoopNotes, per_second, ratio_pct, read, read_or_none, why
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_cpu_list, parse_loadavg
from agent.signals.parsers.pressure import parse_pressure
from agent.signals.parsers.stat import CpuTimes, Stat, parse_stat
from agent.signals.sample import Sample

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SIGNALS = ("cpu.steal_pct", "load.per_cpu", "sched.runq_per_cpu", "psi.cpu_some60")
GAP_MIN_S = 0.5
STEAL_SILENT_S = 86_400
SLACK_TICKS = 20
"""Two readings of a second apart are off by some ticks; a broken counter is off by thousands."""


class Cpu:
    """Signals cpu.*_pct, cpu.online, load.per_cpu, sched.runq_per_cpu, psi.cpu_some60, proc.forks_ps."""

    name = "cpu"
    period_s = 10.0

    def __init__(
        self,
        root: Path = Path("/"),
        host: Optional[platform.Platform] = None,
        usual_s: float = 10.0,
        notes: Optional[LoopNotes] = None,
    ) -> None:
        self._stat = f"{root / 'proc/stat'}"
        self._loadavg = f"{root / 'proc/loadavg'}"
        self._pressure = f"{root / 'proc/pressure/cpu'}"
        self._online = f"{root / 'sys/devices/system/cpu/online'}"
        self._host = host or platform.detect(root)
        self._gap = GapWatch(usual_s)
        self._notes = notes or LoopNotes()
        self._before: Optional[Stat] = None
        self._before_ms = 0
        self._by_nature = platform.lacks(self._host, SIGNALS)
        self._lacks: Dict[str, str] = dict(self._by_nature)

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        stat = parse_stat(read(self._stat))
        online = self._cpus(stat)
        batch.add("cpu.online", online)
        noted_s, self._notes.late_s = self._notes.late_s, 0.0
        progress = stat.context_switches + (stat.interrupts or 0)
        for signal, value in self._gap.saw(mono_ms, progress, noted_s).items():
            batch.add(signal, value)
        before, self._before = self._before, stat
        seconds, self._before_ms = (mono_ms - self._before_ms) / 1000.0, mono_ms
        # Counters of a CPU that came or went step by hours: what spans the change says nothing (signals.md, C1).
        if before is not None and before.cpus == stat.cpus:
            self._doubt_steal(stat)
            capacity = seconds * stat.cpus * TICKS_PER_S
            for signal, share in shares(before.cpu, stat.cpu, capacity).items():
                batch.add(signal, share)
            batch.add("proc.forks_ps", per_second(stat.forks, before.forks, seconds))
        if online:
            # We are ourselves on the CPU while we read: a lone reader is no queue.
            batch.add("sched.runq_per_cpu", max(0, stat.running - 1) / online)
            self._sweep_load(batch, online)
        self._sweep_pressure(batch)
        return batch.samples

    def _doubt_steal(self, stat: Stat) -> None:
        """A guest that has never been told of a stolen tick may be one that nobody tells: then 0 is no health.

        VMware tells only where its stealclock is switched on; elsewhere a day without a tick is taken for silence.
        """
        if self._host.machine == "bare-metal" or "cpu.steal_pct" in self._by_nature:
            return
        up_ticks = sum(stat.cpu) / max(1, stat.cpus)
        is_silent = stat.cpu.steal == 0 and (
            self._host.machine == "vmware" or up_ticks > STEAL_SILENT_S * TICKS_PER_S
        )
        if is_silent:
            self._lacks["cpu.steal_pct"] = (
                "no stolen tick was ever counted: this hypervisor does not seem to tell"
            )
        else:
            self._lacks.pop("cpu.steal_pct", None)

    def _cpus(self, stat: Stat) -> int:
        """Online CPUs: by the stat file, as lxcfs and cgroups show fewer there than /sys; else by /sys."""
        if stat.cpus:
            return stat.cpus
        text = read_or_none(self._online)
        return len(parse_cpu_list(text)) if text else 1

    def _sweep_load(self, batch: Batch, online: int) -> None:
        try:
            batch.add("load.per_cpu", parse_loadavg(read(self._loadavg))[0] / online)
        except (OSError, ParseError) as error:
            self._lacks["load.per_cpu"] = why(error)

    def _sweep_pressure(self, batch: Batch) -> None:
        if "psi.cpu_some60" in self._lacks:
            return
        try:
            batch.add("psi.cpu_some60", parse_pressure(read(self._pressure))["some"].avg60)
        except (OSError, ParseError) as error:
            self._lacks["psi.cpu_some60"] = platform.no_pressure(error)


class GapWatch:
    """Did we run late, and did the guest itself run meanwhile? (signals.md, P1)

    A paused guest shows no gap in its tick sums when it was idle, but its context switches and interrupts stand
    still; when they went on, only the agent was starved or frozen. The usual rate is learned from sweeps in time.
    """

    def __init__(self, period_s: float) -> None:
        self._usual_s = period_s
        self._usual_rate: Optional[float] = None
        self._before: Optional[Tuple[int, int]] = None

    def saw(self, mono_ms: int, progress: int, noted_s: float) -> Dict[str, float]:
        """agent.gap_s and agent.gap_progress for the interval since the last sweep; {} for the first.

        ``noted_s`` is the lateness that the daemon's own loop saw meanwhile; without it a sweep that is later than
        its period tells of it.
        """
        before, self._before = self._before, (mono_ms, progress)
        if before is None:
            return {}
        elapsed_s = (mono_ms - before[0]) / 1000.0
        rate = per_second(progress, before[1], elapsed_s)
        late_s = min(elapsed_s, max(noted_s, elapsed_s - self._usual_s))
        if late_s < GAP_MIN_S or rate is None:
            if rate is not None:
                self._usual_rate = rate if self._usual_rate is None else 0.8 * self._usual_rate + 0.2 * rate
            return {"agent.gap_s": 0.0, "agent.gap_progress": 1.0}
        if not self._usual_rate:
            return {"agent.gap_s": round(late_s, 1)}
        # The part of the interval that was in time ran as usual: it says nothing of the gap.
        expected = self._usual_rate * late_s
        during = (progress - before[1]) - self._usual_rate * (elapsed_s - late_s)
        return {"agent.gap_s": round(late_s, 1), "agent.gap_progress": round(max(0.0, during / expected), 2)}


def shares(before: CpuTimes, now: CpuTimes, capacity: float) -> Dict[str, float]:
    """Signal -> per cent of all CPU time between two readings; ``capacity`` is how many ticks can have passed.

    A kernel bug lets the steal counter run backwards, and later forwards by as much (node_exporter#742): a counter
    that fell is left out, and so is steal where it brings the sum far above what can have passed. iowait and idle
    fall now and then on healthy kernels, by a few ticks: they count as standing still.
    """
    deltas = {kind: after - prior for kind, prior, after in zip(CpuTimes._fields, before, now)}
    for kind in ("idle", "iowait"):
        deltas[kind] = max(0, deltas[kind])
    broken = {kind for kind, delta in deltas.items() if delta < 0}
    if sum(deltas.values()) > capacity * 1.1 + SLACK_TICKS and deltas["steal"] > 0:
        broken.add("steal")
    total = sum(delta for kind, delta in deltas.items() if kind not in broken)
    if total <= 0:
        return {}
    groups = {
        "cpu.user_pct": ("user", "nice"),
        "cpu.sys_pct": ("system", "irq"),
        "cpu.iowait_pct": ("iowait",),
        "cpu.softirq_pct": ("softirq",),
        "cpu.steal_pct": ("steal",),
    }
    found: Dict[str, float] = {}
    for signal, kinds in groups.items():
        if broken.isdisjoint(kinds):
            share = ratio_pct(sum(deltas[kind] for kind in kinds), total)
            if share is not None:
                found[signal] = min(100.0, share)
    return found
