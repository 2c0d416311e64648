"""Memory and swap: what is left, what the balloon took, what is pushed out, who was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional

from agent.samplers import platform
from agent.samplers.base import MIB, Batch, per_second, ratio_pct, read, why
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.keyed import parse_chosen, parse_meminfo
from agent.signals.parsers.pressure import parse_pressure
from agent.signals.sample import Sample

PAGE_BYTES = 4096
"""The unit of pswpout is the kernel's page; CentOS on x86-64 has no other."""

COUNTERS = ("pswpout", "pgmajfault", "oom_kill", "balloon_inflate", "balloon_deflate")

SIGNALS = ("psi.mem_full60", "swap.out_mbps", "vm.majfault_ps", "vm.oom_kills", "mem.balloon_mb")


class Memory:
    """Signals mem.*, swap.*, vm.majfault_ps, vm.oom_kills, psi.mem_full60."""

    name = "memory"
    period_s = 10.0

    def __init__(self, root: Path = Path("/"), host: Optional[platform.Platform] = None) -> None:
        self._meminfo = f"{root / 'proc/meminfo'}"
        self._vmstat = f"{root / 'proc/vmstat'}"
        self._pressure = f"{root / 'proc/pressure/memory'}"
        self._before: Optional[Dict[str, int]] = None
        self._before_ms = 0
        self._kills_at_start: Optional[int] = None
        host = host or platform.detect(root)
        self._lacks = platform.lacks(host, SIGNALS)
        self._has_own_balloon = host.machine != "vmware"
        """VMware's balloon is told by its tools (samplers.virtual)."""

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        memory = parse_meminfo(read(self._meminfo))
        total = memory["MemTotal"]
        batch.add("mem.total_mb", total / MIB)
        batch.add("mem.avail_pct", ratio_pct(available(memory), total))
        if "HardwareCorrupted" in memory:
            batch.add("mem.corrupted_kb", memory["HardwareCorrupted"] // 1024)
        swap = memory.get("SwapTotal", 0)
        if swap:
            batch.add("swap.used_pct", ratio_pct(swap - memory.get("SwapFree", 0), swap))
        self._sweep_vmstat(batch, mono_ms)
        if "psi.mem_full60" not in self._lacks:
            try:
                batch.add("psi.mem_full60", parse_pressure(read(self._pressure))["full"].avg60)
            except (OSError, ParseError) as error:
                self._lacks["psi.mem_full60"] = platform.no_pressure(error)
        return batch.samples

    def _sweep_vmstat(self, batch: Batch, mono_ms: int) -> None:
        signals = ["swap.out_mbps", "vm.majfault_ps", "vm.oom_kills"]
        signals += ["mem.balloon_mb"] if self._has_own_balloon else []
        try:
            now = parse_chosen(read(self._vmstat), COUNTERS)
        except (OSError, ParseError) as error:
            self._lacks.update(dict.fromkeys(signals, why(error)))
            return
        before, self._before = self._before, now
        seconds, self._before_ms = (mono_ms - self._before_ms) / 1000.0, mono_ms
        if before is not None:
            swapped = per_second(now.get("pswpout", 0), before.get("pswpout", 0), seconds)
            if swapped is not None:
                batch.add("swap.out_mbps", swapped * PAGE_BYTES / MIB)
            batch.add(
                "vm.majfault_ps", per_second(now.get("pgmajfault", 0), before.get("pgmajfault", 0), seconds)
            )
        if "oom_kill" in now:
            if self._kills_at_start is None:
                self._kills_at_start = now["oom_kill"]
            batch.add("vm.oom_kills", now["oom_kill"] - self._kills_at_start)
        else:
            self._lacks["vm.oom_kills"] = "this kernel (before 4.13) does not count them: see its log"
        if not self._has_own_balloon or "mem.balloon_mb" in self._lacks:
            return
        if "balloon_inflate" in now:
            held = now["balloon_inflate"] - now.get("balloon_deflate", 0)
            batch.add("mem.balloon_mb", max(0, held) * PAGE_BYTES / MIB)
        else:
            self._lacks["mem.balloon_mb"] = "this kernel does not count what its balloon holds"


def available(memory: Dict[str, int]) -> int:
    """MemAvailable; for kernels before 3.14 (and containers that hide it) the old estimate."""
    if "MemAvailable" in memory:
        return memory["MemAvailable"]
    return memory.get("MemFree", 0) + memory.get("Buffers", 0) + memory.get("Cached", 0)
