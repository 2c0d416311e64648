"""What clocks and next steps do in a tick: warn, breach, escalate, remind, close, re-judge. A timer is a row.

Each event is dated by the instant at which it fell due, and marked late when it is told much later, after our own
downtime for instance; none is skipped, none comes twice (``warned_pct`` and ``escalated_pct`` move in the transaction).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping, select, update

from ticketing import calls, clocks, ledger, lines, outbox, tables
from ticketing.calls import Moment
from ticketing.clocks import Stopwatch
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import ClockKind, Reason, TicketState
from ticketing.tables import RowLike
from ticketing.terms import Contract


@dataclasses.dataclass(frozen=True)
class ClockEvent:
    """One thing that the clock step did."""

    ticket_id: int
    kind: str
    """warn, breach, escalate, remind, close or rejudge."""
    due_at_ms: int
    is_late: bool


def run(tx: Connection, book: Book, now_ms: int, limit: int = 200) -> list[ClockEvent]:
    """Everything due at ``now``, at most ``limit`` tickets of each kind; the rest stays due for the next tick."""
    events: list[ClockEvent] = []
    for ticket_id in _due_tickets(tx, now_ms, limit):
        row = ledger.ticket_row(tx, ticket_id)
        if row is not None:
            events.extend(_outdated(tx, book, row, now_ms))
            events.extend(_warn(tx, book, row, now_ms))
    rejudged = {event.ticket_id for event in events if event.kind == "rejudge"}
    for ticket_id in _due_steps(tx, now_ms, limit):
        row = ledger.ticket_row(tx, ticket_id)
        # Another collector may have taken the step between the look and the lock.
        if row is not None and row["next_step_at_ms"] is not None and row["next_step_at_ms"] <= now_ms:
            events.extend(_step(tx, book, row, now_ms, ticket_id in rejudged))
    return events


def next_due_ms(conn: Connection) -> int | None:
    """When clocks, next steps or calls have something to do next."""
    warned = conn.execute(
        select(tables.clocks.c.next_event_at_ms)
        .where(tables.clocks.c.next_event_at_ms.is_not(None))
        .order_by(tables.clocks.c.next_event_at_ms)
        .limit(1)
    ).scalar()
    tickets = tables.tickets
    step = conn.execute(
        select(tickets.c.next_step_at_ms)
        .where(tickets.c.next_step_at_ms.is_not(None))
        .order_by(tickets.c.next_step_at_ms)
        .limit(1)
    ).scalar()
    called = tables.calls
    called_ms = conn.execute(
        select(called.c.due_at_ms)
        .where(called.c.due_at_ms.is_not(None))
        .order_by(called.c.due_at_ms)
        .limit(1)
    ).scalar()
    return min((at for at in (warned, step, called_ms) if at is not None), default=None)


def _due_tickets(tx: Connection, now_ms: int, limit: int) -> Sequence[int]:
    table = tables.clocks
    wanted = select(table.c.ticket_id).where(table.c.next_event_at_ms <= now_ms)
    return list(dict.fromkeys(tx.execute(wanted.order_by(table.c.next_event_at_ms).limit(limit)).scalars()))


def _due_steps(tx: Connection, now_ms: int, limit: int) -> Sequence[int]:
    tickets = tables.tickets
    wanted = select(tickets.c.id).where(tickets.c.next_step_at_ms <= now_ms)
    return tx.execute(wanted.order_by(tickets.c.next_step_at_ms).limit(limit)).scalars().all()


def _warn(tx: Connection, book: Book, row: RowMapping, now_ms: int) -> list[ClockEvent]:
    """Tell every threshold that was passed, each once and in order."""
    contract = book.contract(row["contract_id"])
    calendar = contract.calendar.calendar
    events: list[ClockEvent] = []
    for watch in ledger.watches(tx, row["id"]).values():
        if watch.running_since_ms is None:
            continue
        after = watch
        while (upcoming := after.next_threshold(calendar)) is not None and upcoming[1] <= now_ms:
            pct, due_at_ms = upcoming
            outcome = "breached" if pct >= 100 else after.outcome
            after = dataclasses.replace(after, warned_pct=pct, outcome=outcome)
            events.append(_tell_threshold(tx, contract, row, after, pct, due_at_ms, now_ms))
        # Written even when nothing was told: the cached instant was wrong then, and must not stay due for ever.
        ledger.save_watch(tx, row["id"], after, contract, book.version(contract.id))
    if events:
        ledger.touch(tx, row, now_ms)
    return events


def _tell_threshold(
    tx: Connection,
    contract: Contract,
    row: RowLike,
    watch: Stopwatch,
    pct: int,
    due_at_ms: int,
    now_ms: int,
) -> ClockEvent:
    kind = "breach" if pct >= 100 else "warn"
    is_late = clocks.is_late(due_at_ms, now_ms)
    params = {"clock": watch.kind.value, "pct": pct, "due_at_ms": due_at_ms, "told_at_ms": now_ms}
    reason = Reason(f"reason.clock.{kind}", params)
    body = {
        "reason": reason.to_dict(),
        "late": is_late,
        "told_at_ms": now_ms,
        "clock": watch.kind.value,
        "pct": pct,
    }
    event_id = ledger.write_event(tx, row["id"], due_at_ms, MACHINE, kind, body)
    outbox.announce(tx, contract, row, kind, event_id, now_ms, reasons=[reason])
    return ClockEvent(row["id"], kind, due_at_ms, is_late)


def _outdated(tx: Connection, book: Book, row: RowLike, now_ms: int) -> list[ClockEvent]:
    """The contract changed while the ticket is open: its clocks count anew from the original start, and that is said."""
    if not ledger.is_open(row) or not ledger.is_outdated(book, row):
        return []
    ledger.rejudge(tx, book, row, now_ms)
    return [ClockEvent(row["id"], "rejudge", now_ms, False)]


def _step(tx: Connection, book: Book, row: RowMapping, now_ms: int, is_rejudged: bool) -> list[ClockEvent]:
    """Close, judge anew, escalate or remind; a step that a new contract made due is no reminder."""
    if row["state"] == TicketState.RESOLVED.value:
        return [_close(tx, book, row, now_ms)]
    if not ledger.is_open(row):
        tickets = tables.tickets
        tx.execute(update(tickets).where(tickets.c.id == row["id"]).values(next_step_at_ms=None))
        return []
    events = _outdated(tx, book, row, now_ms)
    current: RowLike = row if not events else dict(ledger.ticket_row(tx, row["id"]) or row)
    contract = book.contract(row["contract_id"])
    step = _escalation_due(contract, current, ledger.watches(tx, row["id"]), now_ms)
    if step is not None:
        current, event = _escalate(tx, book, current, *step, now_ms)
        events.append(event)
    elif not events and not is_rejudged:
        events.append(_remind(tx, contract, current, row["next_step_at_ms"], now_ms))
    ledger.plan_next_step(tx, book, current, ledger.watches(tx, row["id"]), now_ms)
    return events


def _escalation_due(
    contract: Contract, row: RowLike, held: Mapping[ClockKind, Stopwatch], now_ms: int
) -> tuple[Stopwatch, int, int] | None:
    """(clock, percent, instant) of the first escalation step that is overdue."""
    if row["line"] >= contract.lines:
        return None
    calendar, terms = contract.calendar.calendar, contract.escalation.of(row["class"])
    wanted: list[tuple[ClockKind, list[int]]] = [
        (ClockKind.REACTION, [100] if terms.at_reaction_breach else []),
        (ClockKind.RESOLUTION, terms.at_resolution_pct),
    ]
    due: list[tuple[int, Stopwatch, int]] = []
    for kind, percents in wanted:
        watch = held.get(kind)
        ahead = [pct for pct in percents if watch is not None and pct > watch.escalated_pct]
        at_ms = watch.reaches(calendar, ahead[0]) if watch is not None and ahead else None
        if watch is not None and at_ms is not None and at_ms <= now_ms:
            due.append((at_ms, watch, ahead[0]))
    if not due:
        return None
    at_ms, watch, pct = min(due, key=lambda item: item[0])
    return watch, pct, at_ms


def _escalate(
    tx: Connection,
    book: Book,
    row: RowLike,
    watch: Stopwatch,
    pct: int,
    due_at_ms: int,
    now_ms: int,
) -> tuple[RowLike, ClockEvent]:
    """One line up, to whoever is on call there. Who had the ticket keeps nothing: the next line looks at it anew."""
    contract = book.contract(row["contract_id"])
    line = row["line"] + 1
    values, called = lines.moved(tx, contract, row, line, now_ms, row["profile"])
    after = ledger.change_ticket(tx, row, now_ms, **values)
    ledger.save_watch(
        tx, row["id"], dataclasses.replace(watch, escalated_pct=pct), contract, book.version(contract.id)
    )
    is_late = clocks.is_late(due_at_ms, now_ms)
    reason = Reason(
        "reason.clock.escalated",
        {
            "clock": watch.kind.value,
            "pct": pct,
            "line_before": row["line"],
            "line": line,
            "due_at_ms": due_at_ms,
        },
    )
    body = {
        "reason": reason.to_dict(),
        "late": is_late,
        "line": line,
        "line_before": row["line"],
        **lines.as_body(called),
    }
    event_id = ledger.write_event(tx, row["id"], due_at_ms, MACHINE, "escalate", body)
    outbox.announce(tx, contract, after, "escalate", event_id, now_ms, reasons=[reason])
    calls.call(tx, contract, after, called, Moment("escalate", event_id, now_ms, [reason]))
    return after, ClockEvent(row["id"], "escalate", due_at_ms, is_late)


def _remind(tx: Connection, contract: Contract, row: RowLike, due_at_ms: int, now_ms: int) -> ClockEvent:
    reason = Reason("reason.clock.remind", {"state": row["state"], "line": row["line"]})
    is_late = clocks.is_late(due_at_ms, now_ms)
    body = {"reason": reason.to_dict(), "late": is_late}
    event_id = ledger.write_event(tx, row["id"], due_at_ms, MACHINE, "remind", body)
    outbox.announce(tx, contract, row, "remind", event_id, now_ms, reasons=[reason])
    calls.remind(tx, contract, row, reason, event_id, now_ms)
    return ClockEvent(row["id"], "remind", due_at_ms, is_late)


def _close(tx: Connection, book: Book, row: RowLike, now_ms: int) -> ClockEvent:
    due_at_ms = row["next_step_at_ms"]
    after = ledger.change_ticket(
        tx, row, now_ms, state=TicketState.CLOSED.value, closed_at_ms=due_at_ms, next_step_at_ms=None
    )
    reason = Reason("reason.clock.closed")
    event_id = ledger.write_event(
        tx, row["id"], due_at_ms, MACHINE, "close", {"reason": reason.to_dict()}, is_public=True
    )
    outbox.announce(tx, book.contract(row["contract_id"]), after, "close", event_id, now_ms, reasons=[reason])
    return ClockEvent(row["id"], "close", due_at_ms, clocks.is_late(due_at_ms, now_ms))
