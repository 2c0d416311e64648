"""Runs the samplers, each at its own period, in one worker thread; a sampler that hangs is left alone.

The main loop never waits for a sampler. It starts what is due, and takes what has come back at its next turn. When a
sampler is past its deadline, its thread is written off: the samplers behind it go on in a fresh thread, and the stuck
one is not started again until its old call has come back. So a dead mount costs one thread, however long it is dead.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Container, Dict, List, NamedTuple, Optional, Sequence

from agent.samplers.base import Sampler
from agent.signals.sample import Sample
from config.clock import Clock

LOG = logging.getLogger("agent.sweeps")
DEFAULT_PERIOD_S = 10.0
"""The samplers' own periods are meant for this one; another `period` in the settings scales them."""
FIRST_AGAIN_S = 1.0
"""Rates need two sweeps: the second follows the first after this, so that `start to first numbers` is short."""


class Sweep(NamedTuple):
    """What one sampler brought."""

    name: str
    samples: List[Sample]
    began_ms: int
    took_ms: int
    is_failed: bool = False


class _Turn:
    """Where one sampler stands."""

    def __init__(self, sampler: Sampler, period_s: float, now_ms: int) -> None:
        self.sampler = sampler
        self.period_ms = max(200, int(period_s * 1000))
        self.due_ms = now_ms
        self.done_ms: Optional[int] = None
        self.sweeps = 0
        self.took_ms = 0
        self.failures = 0
        self.is_queued = False
        self.started_ms: Optional[int] = None
        self.is_stuck = False


class Sweeps:
    """The schedule and its worker. Everything but ``_work`` runs in the main loop."""

    def __init__(
        self,
        samplers: Sequence[Sampler],
        period_s: float,
        deadline_s: float,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._deadline_ms = int(deadline_s * 1000)
        self._lock = threading.Condition()
        self._queue: List[_Turn] = []
        self._brought: List[Sweep] = []
        self._is_stopping = False
        self._worker: Optional[threading.Thread] = None
        scale = period_s / DEFAULT_PERIOD_S
        now_ms = clock.mono_ms()
        self._born_ms = now_ms
        self._turns: Dict[str, _Turn] = {s.name: _Turn(s, s.period_s * scale, now_ms) for s in samplers}

    def start_due(self, now_ms: int) -> None:
        """Queue what is due. A sampler that is still queued or running keeps its one place."""
        with self._lock:
            for turn in self._turns.values():
                if turn.due_ms > now_ms or turn.is_queued or turn.started_ms is not None:
                    continue
                # The grid stays put (no drift), but what was missed is not made up for.
                again_ms = (
                    min(turn.period_ms, int(FIRST_AGAIN_S * 1000)) if turn.sweeps == 0 else turn.period_ms
                )
                turn.due_ms = max(turn.due_ms + again_ms, now_ms + again_ms // 2)
                turn.is_queued = True
                self._queue.append(turn)
            self._write_off_stuck(now_ms)
            if self._queue and self._worker is None:
                self._worker = threading.Thread(target=self._work, name="sweep", daemon=True)
                self._worker.start()
            self._lock.notify()

    def brought(self) -> List[Sweep]:
        """Sweeps that came back since the last call, in order."""
        with self._lock:
            taken, self._brought = self._brought, []
        return taken

    def next_due_ms(self) -> int:
        """When something is due next, or may be past its deadline."""
        with self._lock:
            dues = [
                turn.due_ms if turn.started_ms is None else turn.started_ms + self._deadline_ms
                for turn in self._turns.values()
                if not turn.is_stuck and not turn.is_queued
            ]
        return min(dues) if dues else self._clock.mono_ms() + 1000

    def stuck(self) -> Dict[str, bool]:
        """Sampler -> whether its call is past its deadline now."""
        return {name: turn.is_stuck for name, turn in self._turns.items()}

    def ages_s(self, now_ms: int) -> Dict[str, float]:
        """Seconds since each sampler's last full sweep (since the start, for one that has brought none)."""
        return {
            name: (now_ms - (self._born_ms if turn.done_ms is None else turn.done_ms)) / 1000
            for name, turn in self._turns.items()
        }

    def took_s(self) -> Dict[str, float]:
        """How long each sampler's last sweep took."""
        return {name: turn.took_ms / 1000 for name, turn in self._turns.items()}

    def failures(self) -> Dict[str, int]:
        """Sweeps that ended in an exception, by sampler."""
        return {name: turn.failures for name, turn in self._turns.items()}

    def lacks(self) -> Dict[str, str]:
        """What this platform cannot show, over all samplers."""
        lacks: Dict[str, str] = {}
        for turn in self._turns.values():
            if turn.sweeps:
                lacks.update(turn.sampler.lacks())
        return lacks

    def all_swept(self) -> bool:
        """Whether every sampler that is not stuck has brought its first sweep."""
        return all(turn.sweeps or turn.is_stuck for turn in self._turns.values())

    def has_swept(self, names: Container[str]) -> bool:
        """Whether those of ``names`` that run here and are not stuck have brought their first sweep."""
        return all(
            turn.sweeps or turn.is_stuck or turn.failures
            for name, turn in self._turns.items()
            if name in names
        )

    def hurry(self, now_ms: int) -> None:
        """After a hole: sweep everything now, so that the windows start again at once."""
        with self._lock:
            for turn in self._turns.values():
                turn.due_ms = min(turn.due_ms, now_ms)

    def stop(self) -> None:
        """Let the worker end; a hung one dies with the process."""
        with self._lock:
            self._is_stopping = True
            self._lock.notify_all()

    def _write_off_stuck(self, now_ms: int) -> None:
        for turn in self._turns.values():
            if (
                turn.started_ms is not None
                and not turn.is_stuck
                and now_ms - turn.started_ms > self._deadline_ms
            ):
                turn.is_stuck = True
                self._worker = None
                LOG.warning("a sampler is past its deadline and is left alone sampler=%s", turn.sampler.name)

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._lock:
                while not self._queue and not self._is_stopping and self._worker is me:
                    self._lock.wait()
                if self._is_stopping or self._worker is not me:
                    return
                turn = self._queue.pop(0)
                turn.is_queued = False
                turn.started_ms = self._clock.mono_ms()
            sweep = _sweep(turn.sampler, turn.started_ms, self._clock)
            with self._lock:
                turn.started_ms = None
                turn.took_ms = sweep.took_ms
                if turn.is_stuck:
                    turn.is_stuck = False
                    LOG.info("a sampler came back sampler=%s took_ms=%d", sweep.name, sweep.took_ms)
                if sweep.is_failed:
                    turn.failures += 1
                else:
                    turn.sweeps += 1
                    turn.done_ms = sweep.began_ms
                self._brought.append(sweep)
                is_last = not self._queue
            if is_last:
                self._wake()


def _sweep(sampler: Sampler, began_ms: int, clock: Clock) -> Sweep:
    try:
        samples = sampler.sweep(began_ms)
    except (
        Exception
    ):  # loop boundary: one sampler's bug must not end the others; it shows in the failures counter
        LOG.exception("a sampler failed sampler=%s", sampler.name)
        return Sweep(sampler.name, [], began_ms, clock.mono_ms() - began_ms, is_failed=True)
    return Sweep(sampler.name, samples, began_ms, clock.mono_ms() - began_ms)
