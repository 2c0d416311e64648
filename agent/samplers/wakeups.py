"""How late a sleeper wakes: the overrun of 100 ms sleeps, five seconds of them a minute (signals.md, C5).

A free CPU wakes a sleeper within a fraction of a millisecond. Tens of milliseconds mean that nobody ran it in time: our own
queue of tasks where there is one, the hypervisor where the CPU stands idle. So the number goes with the findings about the
CPU as a fact beside the run queue and the steal, and has no rule of its own: alone it cannot say which of the two it was,
and how much work the CPU does while it runs is what ``agent.samplers.spin`` says.

The sleeper is a thread of its own: it waits for the same interpreter as the samplers, whose longest hold is a few
milliseconds, far below what means anything here.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Callable, Deque, Dict, List, Optional

from agent.samplers.base import Batch
from agent.signals.sample import Sample
from config.clock import SystemClock, perf_seconds

SLEEP_S = 0.1
SLEEPS = 50
"""Five seconds a minute."""
FORGOTTEN_S = 300.0
KEPT = 5 * SLEEPS
"""Of the last five minutes: a 99th part of fewer would be the single worst."""


def sleep_overrun_ms(event: threading.Event) -> float:
    """Sleep once; by how much longer than asked for, in milliseconds."""
    begun = perf_seconds()
    SystemClock().wait(event, SLEEP_S)
    return max(0.0, (perf_seconds() - begun - SLEEP_S) * 1000.0)


class Wakeups:
    """Signal sched.wake_ms: the 99th percentile.

    One sleeper for good, so that the agent's threads stay as many as they are; it ends by itself when nobody has asked for
    ``FORGOTTEN_S`` (new settings make new samplers), and begins again when somebody does.
    """

    name = "wakeups"
    period_s = 60.0

    def __init__(
        self, sleep: Callable[[threading.Event], float] = sleep_overrun_ms, sleeps: int = SLEEPS
    ) -> None:
        self._sleep = sleep
        self._sleeps = sleeps
        self._late_ms: Deque[float] = deque(maxlen=KEPT)
        self._asked = threading.Event()
        self._brought = threading.Event()
        self._sleeper: Optional[threading.Thread] = None

    def lacks(self) -> Dict[str, str]:
        return {}

    def sweep(self, mono_ms: int) -> List[Sample]:
        """What the last minute's sleeps brought; and the next ones begin."""
        batch = Batch(mono_ms, {})
        if self._brought.is_set():
            self._brought.clear()
            batch.add("sched.wake_ms", percentile(sorted(self._late_ms.copy()), 99))
        self._asked.set()
        if self._sleeper is None or not self._sleeper.is_alive():
            self._sleeper = threading.Thread(target=self._run, name="wakeups", daemon=True)
            self._sleeper.start()
        return batch.samples

    def _run(self) -> None:
        never = threading.Event()  # nobody sets it: it is what a thread can sleep on
        while self._asked.wait(FORGOTTEN_S):
            self._asked.clear()
            for _ in range(self._sleeps):
                self._late_ms.append(self._sleep(never))
            self._brought.set()


def percentile(ordered: List[float], share_pct: int) -> Optional[float]:
    """The least value that so many per cent do not exceed; None of none."""
    return ordered[max(0, math.ceil(len(ordered) * share_pct / 100) - 1)] if ordered else None
