"""Whose minutes: a ticket's clocks, as its events tell them, divided among us, the client and the provider. Pure.

Theory of operation. The changes that each event carries say when the resolution clock ran, stood and ended, and when the
provider's clock (line 4) ran beside it. Every stretch of open time within the period is divided once: a pause is the
client's or has another agreed reason; while the provider owes an answer the minutes are the provider's, although the
client's clock runs on; all else that runs is ours. What lies outside the contract's hours is nobody's. The parts add up to
the open time to the millisecond.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ticketing import clocks
from ticketing.calendar import Calendar
from ticketing.clocks import Change, Stopwatch
from ticketing.model import ClockKind, ClockState
from ticketing.statement import spans
from ticketing.statement.model import History, Minutes, Pause, Promise, Told
from ticketing.statement.spans import Span

WAITING_CLIENT = "waiting_client"
MAX_TEXT = 300


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A stretch in which a clock did one thing."""

    span: Span
    is_running: bool
    why: str = ""
    began_with: Told | None = None
    is_over: bool = True
    """False: it still lasted at the end."""


def changes_of(history: History, before_ms: int) -> list[tuple[Change, Told]]:
    """Every change of the ticket's clocks before an instant, with its event."""
    return [
        (change, told)
        for told in history.events
        for change in map(Change.from_dict, told.body.get("clocks", ()))
        if change.at_ms < before_ms
    ]


def stretches(changes: Iterable[tuple[Change, Told]], kind: ClockKind, end_ms: int) -> list[Stretch]:
    """What one clock did until ``end_ms``, in order; time in which it was stopped is left out."""
    found: list[Stretch] = []
    state, since, why = "", 0, ""
    with_event: Told | None = None
    for change, told in changes:
        if change.kind is not kind or change.act not in ("start", "pause", "resume", "stop"):
            continue
        wanted = {"start": "running", "resume": "running", "pause": "paused", "stop": ""}[change.act]
        if wanted == state or (wanted == "paused" and state != "running"):
            continue  # a repeat changes nothing, and only what runs can be paused
        if state:
            found.append(Stretch((since, change.at_ms), state == "running", why, with_event))
        state, since, why, with_event = wanted, change.at_ms, change.why, told
    if state and since < end_ms:
        found.append(Stretch((since, end_ms), state == "running", why, with_event, is_over=False))
    return found


def divided(
    resolution: Sequence[Stretch], provider: Sequence[Stretch], calendar: Calendar, within: Span
) -> Minutes:
    """The open time within a period, each millisecond with its owner."""
    owed = [one.span for one in provider if one.is_running]
    total = Minutes()
    for one in resolution:
        for span in spans.clip([one.span], *within):
            total = total.plus(_share(one, span, owed, calendar))
    return total


def _share(one: Stretch, span: Span, owed: Sequence[Span], calendar: Calendar) -> Minutes:
    working = calendar.spent(*span)
    outside = span[1] - span[0] - working
    if not one.is_running:
        name = "client_ms" if one.why == WAITING_CLIENT else "other_ms"
        return Minutes(**{name: working}, outside_ms=outside)
    theirs = sum(calendar.spent(*part) for part in spans.overlap([span], owed))
    return Minutes(ours_ms=working - theirs, provider_ms=theirs, outside_ms=outside)


def pauses(
    ticket_id: int, resolution: Sequence[Stretch], calendar: Calendar, within: Span
) -> tuple[Pause, ...]:
    """Every pause that touches the period, explained."""
    found: list[Pause] = []
    for one in resolution:
        parts = spans.clip([one.span], *within)
        if one.is_running or not parts:
            continue
        told = one.began_with
        text = str(told.body.get("text") or "") if told is not None else ""
        found.append(
            Pause(
                ticket_id=ticket_id,
                from_ms=one.span[0],
                to_ms=one.span[1] if one.is_over else None,
                why=one.why,
                working_ms=sum(calendar.spent(*part) for part in parts),
                actor=told.actor if told is not None else "",
                text=text[:MAX_TEXT],
            )
        )
    return tuple(found)


def promise(
    history: History, kind: ClockKind, watch: Stopwatch | None, calendar: Calendar, within: Span
) -> Promise | None:
    """How one clock stood at the end of the period; None where the ticket has none of the kind."""
    if watch is None:
        return None
    end_ms = within[1]
    spent_ms = watch.spent_at(calendar, end_ms)
    broken_at = _broken_at(history, kind, watch, calendar, end_ms)
    stopped = watch.state is ClockState.STOPPED
    if broken_at is not None or (stopped and watch.outcome == "breached"):
        at_ms = broken_at if broken_at is not None else watch.stopped_at_ms
        return Promise(watch.target_ms, spent_ms, "breached", at_ms is not None and at_ms >= within[0])
    if not stopped:
        outcome = "running" if watch.state is ClockState.RUNNING else "paused"
        return Promise(watch.target_ms, spent_ms, outcome, False)
    is_within = watch.stopped_at_ms is not None and watch.stopped_at_ms >= within[0]
    return Promise(watch.target_ms, spent_ms, watch.outcome, is_within and watch.outcome == "kept")


def _broken_at(
    history: History, kind: ClockKind, watch: Stopwatch, calendar: Calendar, end_ms: int
) -> int | None:
    """When the promise was broken: as it was told, or as a clock that still runs says."""
    told = [
        event.at_ms
        for event in history.events
        if event.kind == "breach" and event.body.get("clock") == kind.value and event.at_ms < end_ms
    ]
    if told:
        return told[0]
    due_ms = watch.reaches(calendar, 100)
    return due_ms if due_ms is not None and due_ms < end_ms else None


def watches(history: History, calendar: Calendar, end_ms: int) -> dict[ClockKind, Stopwatch]:
    """The ticket's clocks as they stood at ``end_ms``."""
    return clocks.replay((change for change, _ in changes_of(history, end_ms)), calendar)
