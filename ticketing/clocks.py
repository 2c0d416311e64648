"""SLA stopwatches over a calendar: pure values. What happened to a clock is in the ticket's events; this replays it.

Theory of operation. A stopwatch has a target (agreed working time) and runs, is paused with a reason, or is stopped
with an outcome. Each act on a ticket carries ``Change`` values in its event; ``replay`` folds them into a ``Stopwatch``,
and the row in ``clocks`` is only the cached result with the next instant at which something must be told. A change of
class or contract replays the same changes with the new target and calendar: the original start and the paused spans
stay (invariant 10).

Warnings come at 50, 75 and 90 % of the target and the breach at 100 %, each dated by its own instant, not by the sweep.
A clock that is paused or stopped passes no thresholds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ticketing.calendar import Calendar, NeverDue
from ticketing.model import ClockKind, ClockState

THRESHOLDS = (50, 75, 90, 100)

LATE_MS = 60_000
"""A warning told more than this after its instant is marked late."""

ACTS = ("start", "pause", "resume", "stop", "retarget")


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that happened to one clock."""

    kind: ClockKind
    act: str
    at_ms: int
    target_ms: int = 0
    """For start and retarget."""
    why: str = ""
    """For pause: the reason, a text key. For stop: moot, when nobody had reacted before the end."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"kind": self.kind.value}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Change:
        return Change(
            ClockKind(raw["kind"]), raw["act"], raw["at_ms"], raw.get("target_ms", 0), raw.get("why", "")
        )


@dataclasses.dataclass(frozen=True)
class Stopwatch:
    """The state of one clock, as cached in its row."""

    kind: ClockKind
    state: ClockState
    started_at_ms: int
    target_ms: int
    spent_ms: int = 0
    """Working time up to ``running_since_ms`` (running) or in all (paused, stopped)."""
    running_since_ms: int | None = None
    pause_reason: str = ""
    warned_pct: int = 0
    escalated_pct: int = 0
    outcome: str = ""
    stopped_at_ms: int | None = None

    def spent_at(self, calendar: Calendar, now_ms: int) -> int:
        """Working time on the clock at ``now``."""
        if self.running_since_ms is None:
            return self.spent_ms
        return self.spent_ms + calendar.spent(self.running_since_ms, now_ms)

    def reaches(self, calendar: Calendar, pct: int) -> int | None:
        """The instant at which a running clock reaches ``pct`` of its target; None while it does not run, or never."""
        if self.running_since_ms is None:
            return None
        need = -(-self.target_ms * pct // 100)
        if need <= self.spent_ms:
            return self.running_since_ms
        try:
            return calendar.due(self.running_since_ms, need - self.spent_ms)
        except NeverDue:
            return None

    def next_threshold(self, calendar: Calendar) -> tuple[int, int] | None:
        """(percent, instant) of the next warning or breach that was not told yet."""
        for pct in THRESHOLDS:
            if pct > self.warned_pct:
                at_ms = self.reaches(calendar, pct)
                return None if at_ms is None else (pct, at_ms)
        return None


def apply(watch: Stopwatch | None, change: Change, calendar: Calendar) -> Stopwatch:
    """The clock after one change. A change that says what already holds leaves it as it is (repeats are harmless)."""
    if watch is None:
        assert change.act == "start", f"a clock begins with start, not {change.act}"
        return Stopwatch(
            change.kind, ClockState.RUNNING, change.at_ms, change.target_ms, running_since_ms=change.at_ms
        )
    at_ms = change.at_ms
    if change.act in ("start", "resume") and watch.state is not ClockState.RUNNING:
        outcome = watch.outcome if watch.outcome == "breached" else ""
        return dataclasses.replace(
            watch,
            state=ClockState.RUNNING,
            running_since_ms=at_ms,
            pause_reason="",
            outcome=outcome,
            stopped_at_ms=None,
        )
    if change.act == "pause" and watch.state is ClockState.RUNNING:
        return dataclasses.replace(
            watch,
            state=ClockState.PAUSED,
            spent_ms=watch.spent_at(calendar, at_ms),
            running_since_ms=None,
            pause_reason=change.why,
        )
    if change.act == "stop" and watch.state is not ClockState.STOPPED:
        spent_ms = watch.spent_at(calendar, at_ms)
        is_kept = spent_ms <= watch.target_ms and watch.outcome != "breached"
        outcome = ("moot" if change.why == "moot" else "kept") if is_kept else "breached"
        return dataclasses.replace(
            watch,
            state=ClockState.STOPPED,
            spent_ms=spent_ms,
            running_since_ms=None,
            pause_reason="",
            outcome=outcome,
            stopped_at_ms=at_ms,
        )
    if change.act == "retarget" and watch.state is not ClockState.STOPPED:  # what was judged stays as judged
        longer = dataclasses.replace(watch, target_ms=change.target_ms)
        return rejudged(longer, watch, calendar, at_ms)
    return watch


def replay(changes: Iterable[Change], calendar: Calendar) -> dict[ClockKind, Stopwatch]:
    """Every clock of a ticket from its changes in order: the truth that the rows cache."""
    watches: dict[ClockKind, Stopwatch] = {}
    for change in changes:
        watches[change.kind] = apply(watches.get(change.kind), change, calendar)
    return watches


def rejudged(watch: Stopwatch, old: Stopwatch, calendar: Calendar, now_ms: int) -> Stopwatch:
    """A replayed clock that keeps what was already told and done: escalations, and a breach that happened.

    A threshold that the new target has not reached yet will be told when it is; the breach alone is never taken back,
    because past outcomes never change silently.
    """
    reached = reached_threshold(watch.spent_at(calendar, now_ms) * 100 // max(1, watch.target_ms))
    return dataclasses.replace(
        watch,
        warned_pct=100 if old.outcome == "breached" else min(old.warned_pct, reached),
        escalated_pct=old.escalated_pct,
        outcome="breached" if old.outcome == "breached" else watch.outcome,
    )


def reached_threshold(pct: int) -> int:
    """The highest threshold at or below ``pct``; 0 when none."""
    return max((t for t in THRESHOLDS if t <= pct), default=0)


def is_late(due_at_ms: int, now_ms: int) -> bool:
    """Whether something due then is told so late that it must be said (after our own downtime, for example)."""
    return now_ms - due_at_ms > LATE_MS
