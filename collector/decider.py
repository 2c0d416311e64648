"""The decider's thread: one tick a second, sooner when findings arrive or a deadline is near; holds the lease.

Every turn writes the noted heartbeats first, so that no host is suspected whose report lies in our own memory. On
SQLite flush and tick share one commit at the head of the writer's line. Only here does the tick meet a clock.

Under pressure (reports wait for the writer when a tick ends) the tick takes smaller bites of the findings and rests
longer between them: a flood of findings must not keep agents waiting for their answer. What is not judged yet is
durable and counted. An outage that the tick finds by itself, with no flood behind it, is judged in one piece.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from collector.intake import Intake
from collector.store.engine import Store, StoreError
from collector.store.lease import Held, Lease
from config.clock import Clock, perf_seconds
from config.log import fields

if TYPE_CHECKING:
    from collector.tick.context import TickContext, TickReport

log = logging.getLogger(__name__)

RunTick = Callable[[Connection, int, "TickContext"], "TickReport"]

STANDBY_FLUSH_S = 0.25
"""A collector that does not decide hands its heartbeats to the one that does this often: below the shortest grace."""

SPREAD_S = 0.1
SPREAD_BITE = 256
"""Between turns noted heartbeats are written in bites this large: a second's worth of a busy fleet in one transaction
kept every finding waiting for 200 ms."""

BITE_MIN = 64
"""Fewest findings a tick judges under pressure."""

REST_UNDER_PRESSURE = 3.0
"""Rest after a tick under pressure, in lengths of that tick: the writer and the interpreter belong to the intake."""


class Decider:
    """Turns the tick until it is stopped."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        intake: Intake,
        run_tick: RunTick,
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

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    def poke(self) -> None:
        """There is something to decide; from any thread."""
        self._poked.set()

    def stop(self) -> None:
        """Finish the turn in hand, write what was noted, give the lease back."""
        self._stopping.set()
        self._poked.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._store.write(lambda tx: self._intake.flush(tx, self._clock.now_ms()), first=True)
        self._lease.release()

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
            with contextlib.suppress(StoreError):
                for _ in range(self._intake.pending() // SPREAD_BITE):
                    self._store.submit(lambda tx: self._intake.flush(tx, self._clock.now_ms(), SPREAD_BITE))

    def _turn(self) -> float:
        """One turn; how long to wait for the next one."""
        now_ms = self._clock.now_ms()
        try:
            held = self._lease.try_hold(self._clock.mono_ms())
            self.holds_lease = isinstance(held, Held)
            flushed = self._store.submit(lambda tx: self._intake.flush(tx, now_ms), first=True)
            wait_s = self._decide(held.term, now_ms) if isinstance(held, Held) else STANDBY_FLUSH_S
            flushed.result()
        except Exception:  # the loop's boundary: one bad turn must not end the deciding
            self.failures += 1
            log.exception("A tick failed; the next one tries again. %s", fields(failures=self.failures))
            return self._every_s
        self.last_turn_ms = self._clock.now_ms()
        self._turned()
        return wait_s

    def _decide(self, term: int, now_ms: int) -> float:
        def decide(tx: Connection) -> TickReport | None:
            return self._run_tick(tx, now_ms, self._context) if self._lease.still_held(tx, term) else None

        began_s = perf_seconds()
        report = self._store.write(decide, first=True)
        if report is None:
            return 0.0
        took_s = perf_seconds() - began_s
        self._told(report, took_s)
        self._is_pressed = self._pressure() > 0
        if self._is_pressed:
            self._bite(self._context.limits.findings // 2)
            return min(self._every_s, REST_UNDER_PRESSURE * took_s)
        self._bite(self._context.limits.findings * 2)
        until_wake_s = (
            (report.next_wake_ms - self._clock.now_ms()) / 1000 if report.next_wake_ms else self._every_s
        )
        return min(self._every_s, max(0.01, until_wake_s))

    def _bite(self, findings: int) -> None:
        """Let the next tick judge that many findings, within bounds."""
        wanted = max(BITE_MIN, min(self._bite_max, findings))
        if wanted != self._context.limits.findings:
            self._context.limits = dataclasses.replace(self._context.limits, findings=wanted)
