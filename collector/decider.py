"""The decider's thread: one tick a second, sooner when findings arrive or a deadline is near; holds the lease.

Every turn writes the noted heartbeats first, so that no host is suspected whose report lies in our own memory. On
SQLite flush and tick share one commit at the head of the writer's line. Only here does the tick meet a clock.

Under pressure (reports wait for the writer when a tick ends) findings are judged in slices: each is a transaction of
its own, with the lease's term checked in it, as large as ``SLICE_S`` allows by what the last one took, and intake's
groups go between. A whole tick still comes every second. What is not judged yet is durable and counted. A tick
that a flood made long is followed by shorter ones before reports wait. An outage that the tick finds by itself is judged in
one piece, whatever waits (collector.tick.problems).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from collector.intake import Intake
from collector.store.engine import Store, StoreError
from collector.store.lease import Held, Lease
from config.clock import Clock, perf_seconds
from config.log import fields

if TYPE_CHECKING:
    from collector.tick.context import TickContext, TickReport

log = logging.getLogger(__name__)

RunTick = Callable[[Connection, int, "TickContext"], "TickReport"]
"""A whole tick, or one slice of its judging."""

STANDBY_FLUSH_S = 0.25
"""A collector that does not decide hands its heartbeats to the one that does this often: below the shortest grace."""

SPREAD_S = 0.1
SPREAD_BITE = 128
"""Between turns noted heartbeats are written in bites this large: a second's worth of a busy fleet in one transaction
kept every finding waiting for 200 ms."""

BITE_MIN = 16
"""Fewest findings a tick judges under pressure."""

SLICE_S = 0.010
"""A slice holds the writer, and much of the interpreter, about so long: five of them fit into the time that a report may
wait for its answer."""

FLOOD = 128
"""Fewer findings than these in one tick are no flood, however long it took: then it was the rest of the tick."""

REST_UNDER_PRESSURE = 2.0
"""Rest after a slice, in lengths of that slice: the writer and the interpreter belong to the intake."""


def next_bite(bite: int, most: int, judged: int, took_s: float, *, is_pressed: bool) -> int:
    """How many findings the next tick may judge, when one with ``bite`` judged so many in ``took_s`` seconds."""
    if not is_pressed:
        # Nobody waits for the writer yet; but a tick that took this long for its findings made the next reports wait.
        is_flood = judged >= FLOOD and took_s > 2 * SLICE_S
        return (
            max(FLOOD, min(bite, round(judged * 2 * SLICE_S / took_s))) if is_flood else min(most, bite * 2)
        )
    if judged < bite and took_s <= SLICE_S:
        return bite
    fits = round(judged * SLICE_S / took_s) if took_s > 0 else bite * 2
    return max(BITE_MIN, min(fits, bite * 2, most))


class Decider:
    """Turns the tick until it is stopped."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        intake: Intake,
        run_tick: RunTick,
        run_slice: RunTick,
        context: TickContext,
        clock: Clock,
        *,
        every_s: float,
        coalesce_s: float,
        pressure: Callable[[], int],
        told: Callable[[TickReport, float], None],
        turned: Callable[[], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._intake = intake
        self._run_tick = run_tick
        self._run_slice = run_slice
        self._context = context
        self._clock = clock
        self._every_s = every_s
        self._coalesce_s = coalesce_s
        self._pressure = pressure
        self._bite_max = context.limits.findings
        self._told = told
        self._turned = turned
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decider", daemon=True)
        self.last_turn_ms: int | None = None
        """When a turn last ended well; on standby too, where a turn is a flush."""
        self.failures = 0
        self.holds_lease = False
        self._is_pressed = False
        self._whole_due_ms = 0
        """When the next whole tick is due; before that, and under pressure, slices come between."""

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def poke(self) -> None:
        """There is something to decide; from any thread."""
        self._poked.set()

    def stop(self) -> None:
        """Finish the turn in hand, write what was noted, give the lease back; a store that is sick keeps nobody from ending."""
        self._stopping.set()
        self._poked.set()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self._store.write(lambda tx: self._intake.flush(tx, self._clock.now_ms()), first=True)
            self._lease.release()
        except (StoreError, SQLAlchemyError) as error:
            log.error(
                "The last heartbeats and the lease could not be written. %s", fields(error=str(error)[:300])
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._poked.clear()
            wait_s = self._turn()
            if self._is_pressed:
                self._rest(self._stopping, wait_s)
            elif self._rest(self._poked, wait_s):
                # Let what arrives together share a turn.
                self._clock.wait(self._stopping, self._coalesce_s)

    def _rest(self, event: threading.Event, wait_s: float) -> bool:
        """Wait for the event, writing heartbeats meanwhile; whether it came."""
        until_ms = self._clock.mono_ms() + round(wait_s * 1000)
        while True:
            left_s = (until_ms - self._clock.mono_ms()) / 1000
            if self._clock.wait(event, min(left_s, SPREAD_S)):
                return True
            if left_s <= SPREAD_S:
                return False
            # What fails here is noted again, and fails (and is told) in the turn's own flush.
            with contextlib.suppress(StoreError, SQLAlchemyError):
                self._spread(event)

    def _spread(self, event: threading.Event) -> None:
        """Write full bites of the noted heartbeats, each behind what waits already."""
        for _ in range(self._intake.pending() // SPREAD_BITE):
            if event.is_set():
                return
            self._store.write(
                lambda tx: self._intake.flush(tx, self._clock.now_ms(), SPREAD_BITE, is_part=True)
            )

    def _turn(self) -> float:
        """One turn; how long to wait for the next one."""
        now_ms = self._clock.now_ms()
        is_slice = self._is_pressed and self._clock.mono_ms() < self._whole_due_ms
        try:
            held = self._lease.try_hold(self._clock.mono_ms())
            self.holds_lease = isinstance(held, Held)
            if is_slice and isinstance(held, Held):
                self._spread(self._stopping)
                return self._decide(held.term, now_ms, self._run_slice)
            self._whole_due_ms = self._clock.mono_ms() + round(self._every_s * 1000)
            flushed = self._flush(now_ms)
            wait_s = (
                self._decide(held.term, now_ms, self._run_tick) if isinstance(held, Held) else STANDBY_FLUSH_S
            )
            flushed.result()
        except Exception:  # the loop's boundary: one bad turn must not end the deciding
            self.failures += 1
            log.exception("A tick failed; the next one tries again. %s", fields(failures=self.failures))
            return self._every_s
        self.last_turn_ms = self._clock.now_ms()
        self._turned()
        return wait_s

    def _flush(self, now_ms: int) -> Future[int]:
        """Write what is noted by now, in bites, so that the intake's groups go between; the tick comes after the last one.

        The last one is a bite too: what is noted while they wait has come after ``now_ms``.
        """
        bites, rest = divmod(self._intake.pending(), SPREAD_BITE)
        for _ in range(bites):
            self._store.submit(
                lambda tx: self._intake.flush(tx, now_ms, SPREAD_BITE, is_part=True), first=True
            )
        return self._store.submit(lambda tx: self._intake.flush(tx, now_ms, rest), first=True)

    def _decide(self, term: int, now_ms: int, run: RunTick) -> float:
        took_s = 0.0

        def decide(tx: Connection) -> TickReport | None:
            nonlocal took_s
            began_s = perf_seconds()
            report = run(tx, now_ms, self._context) if self._lease.still_held(tx, term) else None
            took_s = perf_seconds() - began_s
            return report

        report = self._store.write(decide, first=True)
        if report is None:
            return 0.0
        self._told(report, took_s)
        self._is_pressed = self._pressure() > 0
        limits = self._context.limits
        judged = report.counts.get("findings", 0)
        wanted = next_bite(limits.findings, self._bite_max, judged, took_s, is_pressed=self._is_pressed)
        if wanted != limits.findings:
            self._context.limits = dataclasses.replace(limits, findings=wanted)
        if self._is_pressed:
            return min(self._every_s, REST_UNDER_PRESSURE * took_s)
        until_wake_s = (
            (report.next_wake_ms - self._clock.now_ms()) / 1000 if report.next_wake_ms else self._every_s
        )
        return min(self._every_s, max(0.01, until_wake_s))
