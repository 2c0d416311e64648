"""A ticket's clocks as a month's statement tells them: whose minutes within it, its pauses, its promises. Pure.

Whose a stretch of time was says ``ticketing.minutes``, from the changes that the ticket's events carry; here it is cut to the
period and divided once: a pause is the client's or has another agreed reason; while the provider owes an answer the minutes
are the provider's, although the client's clock runs on; all else that runs is ours. What lies outside the contract's hours
is nobody's, and so is the time in which a ticket was resolved and came back later (that is no open time at all). The parts
add up to the open time to the millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ticketing import clocks
from ticketing import minutes as ticket_minutes
from ticketing.calendar import Calendar
from ticketing.clocks import Change, Stopwatch
from ticketing.minutes import CLIENT, NOBODY, OURS, PROVIDER, Stretch
from ticketing.model import ClockKind, ClockState
from ticketing.statement import spans
from ticketing.statement.model import History, Minutes, Pause, Promise, Told
from ticketing.statement.spans import Span

OWNERS = {OURS: "ours_ms", CLIENT: "client_ms", PROVIDER: "provider_ms", NOBODY: "other_ms"}
MAX_TEXT = 300


def changes_of(history: History, before_ms: int) -> list[tuple[Change, Told]]:
    """Every change of the ticket's clocks before an instant, with its event."""
    return [
        (change, told)
        for told in history.events
        for change in map(Change.from_dict, told.body.get("clocks", ()))
        if change.at_ms < before_ms
    ]


def open_time(changes: Iterable[tuple[Change, Told]], calendar: Calendar, end_ms: int) -> list[Stretch]:
    """The stretches in which the ticket was open, until ``end_ms``; a gap between a resolution and a return is none."""
    told = ticket_minutes.stretches((change for change, _ in changes), calendar, end_ms)
    return [part for part in told if part.whose != NOBODY or part.why]


def divided(parts: Iterable[Stretch], calendar: Calendar, within: Span) -> Minutes:
    """The open time within a period, each millisecond with its owner."""
    total = Minutes()
    for part in parts:
        for span in spans.clip([(part.from_ms, part.to_ms)], *within):
            working = calendar.spent(*span)
            outside = span[1] - span[0] - working
            total = total.plus(Minutes(**{OWNERS[part.whose]: working}, outside_ms=outside))
    return total


def pauses(
    ticket_id: int,
    changes: Sequence[tuple[Change, Told]],
    parts: Sequence[Stretch],
    calendar: Calendar,
    within: Span,
) -> tuple[Pause, ...]:
    """Every pause that touches the period, explained by the event that began it."""
    began = {
        change.at_ms: told
        for change, told in changes
        if change.kind is ClockKind.RESOLUTION and change.act == "pause"
    }
    found: list[Pause] = []
    for begin, end, why in _pauses(parts):
        inside = spans.clip([(begin, end)], *within)
        if not inside:
            continue
        told = began.get(begin)
        found.append(
            Pause(
                ticket_id=ticket_id,
                from_ms=begin,
                to_ms=end if end < within[1] else None,
                why=why,
                working_ms=sum(calendar.spent(*span) for span in inside),
                actor=told.actor if told is not None else "",
                text=str(told.body.get("text") or "")[:MAX_TEXT] if told is not None else "",
            )
        )
    return tuple(found)


def _pauses(parts: Iterable[Stretch]) -> list[tuple[int, int, str]]:
    """(from, to, why); what the provider did meanwhile splits no pause."""
    found: list[tuple[int, int, str]] = []
    for part in parts:
        if part.whose not in (CLIENT, NOBODY):
            continue
        if found and found[-1][1:] == (part.from_ms, part.why):
            found[-1] = (found[-1][0], part.to_ms, part.why)
        else:
            found.append((part.from_ms, part.to_ms, part.why))
    return found


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
