"""What the agent itself costs: CPU, memory, threads, descriptors. The promise in docs/benchmarks.md, kept in view."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Dict, List, Optional

from agent.samplers.base import MIB, Batch, read_or_none
from agent.samplers.processes import PAGE_BYTES
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_statm
from agent.signals.sample import Sample


class Own:
    """Signals agent.cpu_ms, agent.rss_mb, agent.threads, agent.fds."""

    name = "own"
    period_s = 30.0

    def __init__(self) -> None:
        self._cpu_before_s: Optional[float] = None
        self._before_ms = 0

    def lacks(self) -> Dict[str, str]:
        return {}

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        # Children that were waited for count: a systemctl that we start is our cost.
        spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        used = sum(usage.ru_utime + usage.ru_stime for usage in spent)
        before, self._cpu_before_s = self._cpu_before_s, used
        minutes, self._before_ms = (mono_ms - self._before_ms) / 60_000.0, mono_ms
        if before is not None and minutes > 0:
            batch.add("agent.cpu_ms", max(0.0, used - before) * 1000.0 / minutes)
        with contextlib.suppress(ParseError):
            batch.add("agent.rss_mb", parse_statm(read_or_none("/proc/self/statm") or "") * PAGE_BYTES / MIB)
        for signal, folder in (("agent.threads", "/proc/self/task"), ("agent.fds", "/proc/self/fd")):
            try:
                batch.add(signal, sum(1 for _ in os.scandir(folder)))
            except OSError:
                continue  # no /proc: then nothing else works either, and says so
        return batch.samples
