"""What the machine's own hardware counts in /sys: memory errors, thermal throttling, frequency. Files only, no root.

Software RAID is the disk sampler's (hw.md), a RAID controller is ``raid``, drives are ``drives``, the management
controller is ``controller``.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Deque, Dict, List, Optional, Tuple

from agent.samplers import platform
from agent.samplers.base import Batch, per_second, read_or_none
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_whole
from agent.signals.sample import Sample

SIGNALS = ("hw.edac_ce_h", "hw.edac_ue", "hw.therm_ps", "cpu.mhz_pct")
HOUR_MS = 3_600_000
MAX_CPUS = 1024
FREQUENCIES_MAX = 8
"""CPUs whose frequency is asked, spread over all: on an idle CPU the kernel waits 10 ms for the answer."""

_NAMED_GHZ = re.compile(r"^model name\s*:.*@\s*(\d{1,2}\.\d{1,3})GHz", re.MULTILINE)


class Hardware:
    """Signals hw.edac_ce_h, hw.edac_ue, hw.therm_ps, cpu.mhz_pct."""

    name = "hardware"
    period_s = 60.0

    def __init__(self, root: Path = Path("/"), host: Optional[platform.Platform] = None) -> None:
        self._root = root
        self._host = host or platform.detect(root)
        self._lacks = platform.lacks(self._host, SIGNALS)
        self._corrected: Dict[str, int] = {}
        self._errors: Deque[Tuple[int, int]] = deque()
        self._throttles: Optional[Tuple[int, Dict[str, int]]] = None

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        if "hw.edac_ue" not in self._lacks:
            self._add_memory(batch, mono_ms)
        if "hw.therm_ps" not in self._lacks:
            self._add_throttling(batch, mono_ms)
        if "cpu.mhz_pct" not in self._lacks:
            share = frequency_pct(self._root)
            if share is None:
                self._lacks["cpu.mhz_pct"] = "the kernel tells no frequency here (no cpufreq)"
            batch.add("cpu.mhz_pct", share)
        return batch.samples

    def _add_memory(self, batch: Batch, mono_ms: int) -> None:
        controllers = memory_errors(self._root)
        if not controllers:
            why = "no memory controller in /sys/devices/system/edac: no ECC memory, or no driver for it"
            self._lacks.update({"hw.edac_ue": why, "hw.edac_ce_h": why})
            return
        for name, (corrected, _) in controllers.items():
            before = self._corrected.get(name)
            if before is not None and corrected > before:
                self._errors.append((mono_ms, corrected - before))
            self._corrected[name] = corrected
        while self._errors and self._errors[0][0] <= mono_ms - HOUR_MS:
            self._errors.popleft()
        # Counted within the last hour, not scaled up to one: a single error in the first minute is no 60 an hour.
        batch.add("hw.edac_ce_h", sum(count for _, count in self._errors))
        batch.add("hw.edac_ue", sum(uncorrected for _, uncorrected in controllers.values()))

    def _add_throttling(self, batch: Batch, mono_ms: int) -> None:
        now = throttles(self._root)
        if not now:
            self._lacks["hw.therm_ps"] = "this kernel or CPU counts no thermal throttling"
            return
        before, self._throttles = self._throttles, (mono_ms, now)
        if before is not None:
            rates = [
                per_second(count, before[1][name], (mono_ms - before[0]) / 1000.0)
                for name, count in now.items()
                if name in before[1]
            ]
            batch.add("hw.therm_ps", sum(rate for rate in rates if rate is not None))


def memory_errors(root: Path) -> Dict[str, Tuple[int, int]]:
    """Memory controller -> (corrected, uncorrected) since its driver was loaded."""
    found: Dict[str, Tuple[int, int]] = {}
    for folder in sorted((root / "sys/devices/system/edac/mc").glob("mc[0-9]*")):
        corrected, uncorrected = _count(folder / "ce_count"), _count(folder / "ue_count")
        if corrected is not None and uncorrected is not None:
            found[folder.name] = (corrected, uncorrected)
    return found


def throttles(root: Path) -> Dict[str, int]:
    """How often each core and each package was throttled since boot; a core with two threads is one core."""
    found: Dict[str, int] = {}
    for folder in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))[:MAX_CPUS]:
        package = _count(folder / "topology/physical_package_id") or 0
        core = _count(folder / "topology/core_id")
        told = (
            (f"package{package}", "package_throttle_count"),
            (f"package{package} core{folder.name if core is None else core}", "core_throttle_count"),
        )
        for name, file in told:
            count = _count(folder / "thermal_throttle" / file)
            if count is not None and name not in found:
                found[name] = count
    return found


def frequency_pct(root: Path) -> Optional[float]:
    """Mean frequency of the CPUs in per cent of what they are sold for; None where either is not told."""
    cpus = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    asked = cpus[:: -(-len(cpus) // FREQUENCIES_MAX) or 1]
    named = _NAMED_GHZ.search((read_or_none(root / "proc/cpuinfo") or "")[:8192])
    shares: List[float] = []
    for folder in asked:
        current = _count(folder / "scaling_cur_freq")
        base = _count(folder / "base_frequency")
        if base is None and named:
            base = round(float(named.group(1)) * 1_000_000)
        base = base or _count(folder / "cpuinfo_max_freq")
        if current is not None and base:
            shares.append(100.0 * current / base)
    return sum(shares) / len(shares) if shares else None


def _count(path: Path) -> Optional[int]:
    text = read_or_none(path)
    if text is None:
        return None
    try:
        return parse_whole(text)
    except ParseError:
        return None
