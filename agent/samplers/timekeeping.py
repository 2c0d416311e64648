"""The host's clocks: does the kernel hold them in step, which source ticks, did one of them jump."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

from agent.samplers.base import Batch, read_or_none
from agent.signals.sample import Sample
from config.clock import Clock, SystemClock

STA_UNSYNC = 0x0040
STA_NANO = 0x2000
TIME_ERROR = 5
STEP_MS = 100
"""Smaller differences between clocks are the reading's own and slewing."""


class KernelClock(NamedTuple):
    """What adjtimex(2) says."""

    is_synced: bool
    offset_ms: float
    max_error_ms: float


class _Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 400),  # larger than any kernel's struct: it fills in what it knows
    ]


def ask_kernel() -> Optional[KernelClock]:
    """adjtimex(2) with modes 0: reads, needs no right. None where even that is refused (some containers)."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = _Timex()
    state = libc.adjtimex(ctypes.byref(timex))
    if state < 0:
        return None
    unit = 1e6 if timex.status & STA_NANO else 1e3
    is_synced = state != TIME_ERROR and not timex.status & STA_UNSYNC
    return KernelClock(is_synced, timex.offset / unit, timex.maxerror / 1e3)


class Timekeeping:
    """Signals clk.synced, clk.ntp_offset_ms, clk.source, clk.wall_step_s, clk.bt_mono_step_s."""

    name = "clock"
    period_s = 10.0

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Optional[Clock] = None,
        kernel: Callable[[], Optional[KernelClock]] = ask_kernel,
    ) -> None:
        self._source = root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
        self._clock = clock or SystemClock()
        self._kernel = kernel
        self._wall_minus_mono: Optional[int] = None
        self._boot_minus_mono: Optional[int] = None
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        self._add_steps(batch)
        kernel = self._kernel()
        if kernel is None:
            self._lacks.update(dict.fromkeys(("clk.synced", "clk.ntp_offset_ms"), "adjtimex is refused here"))
        else:
            batch.add("clk.synced", kernel.is_synced)
            # Unsynced, the offset is a remnant of whoever disciplined the clock before.
            batch.add("clk.ntp_offset_ms", kernel.offset_ms if kernel.is_synced else None)
        source = (read_or_none(self._source) or "").strip()
        if source:
            batch.add("clk.source", source)
        else:
            self._lacks["clk.source"] = "not shown here"
        return batch.samples

    def _add_steps(self, batch: Batch) -> None:
        mono, wall, boot = self._clock.mono_ms(), self._clock.now_ms(), self._clock.boottime_ms()
        wall_before, self._wall_minus_mono = self._wall_minus_mono, wall - mono
        boot_before, self._boot_minus_mono = self._boot_minus_mono, boot - mono
        if wall_before is not None and boot_before is not None:
            batch.add("clk.wall_step_s", step_s(wall_before, wall - mono))
            batch.add("clk.bt_mono_step_s", step_s(boot_before, boot - mono))


def step_s(before_ms: int, now_ms: int) -> float:
    """The jump between two differences of clocks, in seconds; 0 below STEP_MS."""
    return (now_ms - before_ms) / 1000.0 if abs(now_ms - before_ms) >= STEP_MS else 0.0
