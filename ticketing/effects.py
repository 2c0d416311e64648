"""What the verbs of the desk mean for its rows, shared by the machine (``intake``) and by people (``acts``).

Each function gets a row that was read for update in this transaction, and writes ticket, clocks, event with its reasons,
next step and outgoing messages together. Whether it may be done was decided before.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert

from ticketing import audit, calls, clocks, knowledge, ledger, lines, outbox, tables
from ticketing.calls import Moment
from ticketing.causes import cause, first_line
from ticketing.clocks import Change, Stopwatch
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import ClockKind, Reason, TicketState, Verdict
from ticketing.rota import Call
from ticketing.tables import RowLike
from ticketing.terms import Contract
from ticketing.transitions import clock_changes, step

_TICKETS = insert(tables.tickets).returning(tables.tickets.c.id, sort_by_parameter_order=True)
_HOSTS = insert(tables.ticket_hosts)
_CLOCKS = insert(tables.clocks)


@dataclasses.dataclass(frozen=True)
class NewTicket:
    """A ticket that is about to be written."""

    values: RowLike
    """Its columns; tickets that are written together give the same ones."""
    changes: Sequence[Change]
    """How its clocks start."""
    reasons: Sequence[Reason] = ()
    text: str = ""
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """More for the body of its first event."""


def insert_ticket(
    tx: Connection, book: Book, new: NewTicket, now_ms: int, *, kind: str, actor: str = MACHINE
) -> int:
    """A new ticket with its hosts, clocks, first event, next step and messages; IntegrityError when it has a twin."""
    return insert_tickets(tx, book, [new], now_ms, kind=kind, actor=actor)[0]


def insert_tickets(
    tx: Connection, book: Book, news: Sequence[NewTicket], now_ms: int, *, kind: str, actor: str = MACHINE
) -> list[int]:
    """Many new tickets, each as whole as one alone, in a few statements; their ids, in order.

    IntegrityError when any of them has a twin: the caller goes back to its savepoint and takes them one by one.
    """
    contracts = [book.contract(new.values["contract_id"]) for new in news]
    helds = [
        clocks.replay(new.changes, contract.calendar.calendar)
        for new, contract in zip(news, contracts, strict=True)
    ]
    rows: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    for new, contract, held in zip(news, contracts, helds, strict=True):
        row = dict.fromkeys(tables.tickets.c.keys()) | dict(new.values)
        row["next_step_at_ms"] = ledger.next_step_at(contract, row, held, now_ms)
        rows.append(row)
        given.append({key: row[key] for key in (*new.values, "next_step_at_ms")})
    ids = [int(ticket_id) for ticket_id in tx.execute(_TICKETS, given).scalars()]
    for row, ticket_id in zip(rows, ids, strict=True):
        row["id"] = ticket_id
    links = [link for row in rows for link in ledger.host_links(row, sorted(set(row["affected"])))]
    if links:
        tx.execute(_HOSTS, links)
    started = [
        clock
        for row, contract, held in zip(rows, contracts, helds, strict=True)
        for clock in ledger.first_clocks(contract, book.version(contract.id), row["id"], held)
    ]
    tx.execute(_CLOCKS, started)
    called = [calls.called_for_new(tx, contract, row) for row, contract in zip(rows, contracts, strict=True)]
    events = [
        ledger.event_values(row["id"], now_ms, actor, kind, _first_words(new, row, who), is_public=True)
        for new, row, who in zip(news, rows, called, strict=True)
    ]
    messages: list[dict[str, Any]] = []
    for new, row, contract, held, who, event_id in zip(
        news, rows, contracts, helds, called, ledger.write_events(tx, events), strict=True
    ):
        messages += outbox.messages(
            tx, contract, row, kind, event_id, now_ms, reasons=new.reasons, text=new.text, held=held
        )
        calls.call(tx, contract, row, who, Moment(kind, event_id, now_ms, (), new.text))
    outbox.write(tx, messages)
    return ids


def _first_words(new: NewTicket, row: RowLike, called: Call | None) -> dict[str, Any]:
    return {
        **lines.as_body(called),
        "reasons": [r.to_dict() for r in new.reasons],
        "clocks": ledger.as_dicts(new.changes),
        "previous": row["previous_id"],
        "text": new.text,
        **new.told,
    }


def requalified(
    tx: Connection,
    book: Book,
    row: RowLike,
    verdict: Verdict,
    reason: Reason,
    now_ms: int,
    *,
    actor: str = MACHINE,
    text: str = "",
) -> dict[str, Any]:
    """Write the new judgement of a ticket: shared by the machine's and a person's requalification."""
    contract = book.contract(row["contract_id"])
    changes, held, flag = reclassed(tx, book, row, verdict.class_, now_ms)
    line = row["line"]
    if row["state"] == TicketState.NEW.value and row["assignee"] is None and row["origin"] == "machine":
        # Nobody works on it yet, so it goes where the new cause belongs; never back down.
        line = max(line, first_line(verdict.root_cause, verdict.confidence.value, contract.lines))
    if verdict.class_ != row["class"]:
        line = max(line, lines.least_line(contract, verdict.class_))
    moved, called = lines.moved(tx, contract, row, line, now_ms, cause(verdict.root_cause).profile)
    after = ledger.change_ticket(
        tx,
        row,
        now_ms,
        **judgement_values(verdict, row),
        **moved,
        affected=sorted({*row["affected"], *verdict.affected}),
    )
    ledger.set_hosts(tx, row, after)
    body = {
        **lines.as_body(called),
        "reason": reason.to_dict(),
        "reasons": [r.to_dict() for r in verdict.reasons],
        "before": {"class": row["class"], "root_cause": row["root_cause"], "line": row["line"]},
        "after": {"class": verdict.class_, "root_cause": verdict.root_cause, "line": line},
        "clocks": ledger.as_dicts(changes),
        "text": text,
        **flag,
    }
    if actor == MACHINE:  # a person's act has its audit row anyway
        told = {"class": verdict.class_, "root_cause": verdict.root_cause}
        audit.write(tx, now_ms, actor, "requalify", f"ticket:{row['id']}", details=told)
    event_id = ledger.write_event(tx, row["id"], now_ms, actor, "requalify", body, is_public=True)
    ledger.plan_next_step(tx, book, after, held, now_ms)
    outbox.announce(tx, contract, after, "requalify", event_id, now_ms, reasons=[reason], text=text)
    calls.call(tx, contract, after, called, Moment("requalify", event_id, now_ms, [reason]))
    return after


def reclassed(
    tx: Connection, book: Book, row: RowLike, class_: int, now_ms: int
) -> tuple[list[Change], dict[ClockKind, Stopwatch], dict[str, Any]]:
    """The clocks under another class, from their original start: changes, clocks, and a flag for the event.

    A shorter target must not turn into a breach that nobody can explain later (invariant 10): the flag says so.
    """
    contract = book.contract(row["contract_id"])
    changes = ledger.sla_changes(contract, class_, now_ms, "retarget") if class_ != row["class"] else []
    held = ledger.turn_clocks(tx, book, row, changes)
    resolution = held.get(ClockKind.RESOLUTION)
    due = None if resolution is None else resolution.reaches(contract.calendar.calendar, 100)
    if changes and resolution is not None and due is not None and due <= now_ms and not resolution.outcome:
        return (
            changes,
            held,
            {"flag": Reason("reason.clock.breached_by_requalify", {"due_at_ms": due}).to_dict()},
        )
    return changes, held, {}


def widened(tx: Connection, book: Book, row: RowLike, verdict: Verdict, now_ms: int) -> Reason:
    """Write the larger scope and the new hosts; answers with the reason that the event has."""
    affected = sorted({*row["affected"], *verdict.affected})
    new = sorted(set(affected) - set(row["affected"]))
    reason = Reason(
        "reason.intake.widened",
        {"scope_before": row["scope"], "scope": verdict.scope, "hosts": ", ".join(new), "n": len(affected)},
    )
    began = min(row["began_at_ms"], verdict.began_at_ms)
    merged = dataclasses.replace(verdict, affected=tuple(affected), began_at_ms=began)
    after = ledger.change_ticket(
        tx,
        row,
        now_ms,
        affected=affected,
        scope=verdict.scope[:300],
        began_at_ms=began,
        verdict=merged.to_dict(),
    )
    ledger.set_hosts(tx, row, after)
    body = {"reason": reason.to_dict(), "reasons": [r.to_dict() for r in verdict.reasons], "hosts": new}
    event_id = ledger.write_event(tx, row["id"], now_ms, MACHINE, "widen", body, is_public=True)
    outbox.announce(
        tx,
        book.contract(row["contract_id"]),
        after,
        "widen",
        event_id,
        now_ms,
        reasons=[reason, *verdict.reasons],
    )
    return reason


def merged(
    tx: Connection,
    book: Book,
    row: RowLike,
    into: RowLike,
    reason: Reason,
    now_ms: int,
    *,
    actor: str = MACHINE,
    text: str = "",
) -> dict[str, Any]:
    """Write a merge; returns the folded ticket's row."""
    changes = _changes_of(tx, row, "merge", now_ms)
    ledger.turn_clocks(tx, book, row, changes)
    after = ledger.change_ticket(
        tx,
        row,
        now_ms,
        state=TicketState.MERGED.value,
        open_mark=None,
        merged_into=into["id"],
        closed_at_ms=now_ms,
        next_step_at_ms=None,
    )
    body = {
        "reason": reason.to_dict(),
        "into": into["id"],
        "ticket": row["id"],
        "text": text,
        "clocks": ledger.as_dicts(changes),
    }
    event_id = ledger.write_event(tx, row["id"], now_ms, actor, "merge", body, is_public=True)
    affected = sorted({*into["affected"], *row["affected"]})
    began = min(into["began_at_ms"], row["began_at_ms"])
    wider = ledger.change_ticket(tx, into, now_ms, affected=affected, began_at_ms=began)
    ledger.set_hosts(tx, into, wider)
    ledger.write_event(tx, into["id"], now_ms, actor, "merge", body | {"clocks": []}, is_public=True)
    outbox.announce(tx, book.contract(row["contract_id"]), after, "merge", event_id, now_ms, reasons=[reason])
    return after


def resolved(
    tx: Connection,
    book: Book,
    row: RowLike,
    body: Mapping[str, Any],
    reasons: Sequence[Reason],
    now_ms: int,
    *,
    actor: str = MACHINE,
    text: str = "",
    reacts: bool = False,
) -> dict[str, Any]:
    """Write a resolution: clocks stop, the ticket leaves the open ones and closes when its reopen window ends.

    ``reacts``: a person resolves whose act is the first reaction.
    """
    contract = book.contract(row["contract_id"])
    changes = _changes_of(tx, row, "resolve", now_ms, reacts=reacts)
    ledger.turn_clocks(tx, book, row, changes)
    after = ledger.change_ticket(
        tx,
        row,
        now_ms,
        state=TicketState.RESOLVED.value,
        open_mark=None,
        resolved_at_ms=now_ms,
        next_step_at_ms=now_ms + int(contract.reopen_window * 1000),
        **({"reacted_at_ms": now_ms} if reacts else {}),
    )
    body = {**body, "clocks": ledger.as_dicts(changes), "text": text}
    event_id = ledger.write_event(tx, row["id"], now_ms, actor, "resolve", body, is_public=True)
    outbox.announce(tx, contract, after, "resolve", event_id, now_ms, reasons=reasons, text=text)
    return after


def _changes_of(tx: Connection, row: RowLike, act: str, now_ms: int, *, reacts: bool = False) -> list[Change]:
    """What the table of states makes of the ticket's clocks in this act."""
    rule = step(TicketState(row["state"]), act)
    assert rule is not None, f"{act} is not done to a ticket that is {row['state']}"
    has_reacted = row["reacted_at_ms"] is not None
    held = ledger.watches(tx, row["id"])
    return clock_changes(rule, held, now_ms, has_reacted=has_reacted, reacts=reacts)


def may_reopen(contract: Contract, row: RowLike, now_ms: int) -> bool:
    """Whether a fault that returns now resumes this ticket: inside the contract's window after it was resolved."""
    return (
        row["state"] in (TicketState.RESOLVED.value, TicketState.CLOSED.value)
        and row["resolved_at_ms"] is not None
        and now_ms - row["resolved_at_ms"] <= contract.reopen_window * 1000
    )


def is_another_part(row: RowLike, verdict: Verdict) -> bool:
    """Whether another part of the hardware failed than this ticket is about: no return of its fault, whenever it comes."""
    parts = {row["root_cause"], verdict.root_cause}
    return len(parts) == 2 and all(part.startswith("hw.") for part in parts)


def judged_alike(row: RowLike, verdict: Verdict) -> bool:
    """Whether the ticket stands under this class and cause already."""
    return (row["class"], row["root_cause"]) == (verdict.class_, verdict.root_cause)


def judged_anew(row: RowLike, verdict: Verdict) -> Reason:
    """From which class and cause to which a ticket's judgement changes."""
    key = "reason.intake.other_cause" if row["class"] == verdict.class_ else "reason.intake.requalified"
    was = {"class_before": row["class"], "cause_before": row["root_cause"]}
    return Reason(key, {**was, "class_": verdict.class_, "cause": verdict.root_cause})


def reopened(
    tx: Connection,
    book: Book,
    row: RowLike,
    reason: Reason,
    now_ms: int,
    *,
    verdict: Verdict | None = None,
    actor: str = MACHINE,
    text: str = "",
) -> dict[str, Any]:
    """Write a reopening; IntegrityError when the problem has another open ticket meanwhile."""
    contract = book.contract(row["contract_id"])
    changes = _changes_of(tx, row, "reopen", now_ms)
    class_, values = row["class"], {}
    if verdict is not None:
        class_ = verdict.class_
        values = judgement_values(verdict, row) | {"affected": sorted({*row["affected"], *verdict.affected})}
    if class_ != row["class"] or ledger.is_outdated(book, row):
        # After the resuming: a clock that stands is judged already and takes no new target.
        changes += ledger.sla_changes(contract, class_, now_ms, "retarget")
    state = TicketState.NEW if row["assignee"] is None else TicketState.IN_WORK
    after = ledger.change_ticket(
        tx,
        row,
        now_ms,
        **values,
        state=state.value,
        open_mark=1,
        resolved_at_ms=None,
        closed_at_ms=None,
        recurrences=row["recurrences"] + 1,
    )
    ledger.set_hosts(tx, row, after)
    knowledge.refuted(tx, row["id"], now_ms)
    held = ledger.turn_clocks(tx, book, row, changes)
    called = calls.called_back(tx, contract, after, actor)
    why = [reason] if verdict is None or judged_alike(row, verdict) else [reason, judged_anew(row, verdict)]
    body = {
        **lines.as_body(called),
        "reason": reason.to_dict(),
        "reasons": [r.to_dict() for r in (*why[1:], *(verdict.reasons if verdict is not None else ()))],
        "clocks": ledger.as_dicts(changes),
        "text": text,
    }
    if len(why) > 1:  # what came back may be something else; a statement of the time before asks what it was
        body["before"] = {"class": row["class"], "root_cause": row["root_cause"], "line": row["line"]}
        body["after"] = {"class": after["class"], "root_cause": after["root_cause"], "line": after["line"]}
    event_id = ledger.write_event(tx, row["id"], now_ms, actor, "reopen", body, is_public=True)
    ledger.plan_next_step(tx, book, after, held, now_ms)
    outbox.announce(tx, contract, after, "reopen", event_id, now_ms, reasons=why, text=text)
    calls.call(tx, contract, after, called, Moment("reopen", event_id, now_ms, why, text))
    return after


def judgement_values(verdict: Verdict, row: RowLike | None) -> dict[str, Any]:
    """The columns that follow from a verdict; the beginning only moves back."""
    began = verdict.began_at_ms if row is None else min(row["began_at_ms"], verdict.began_at_ms)
    return {
        "class": verdict.class_,
        "root_cause": verdict.root_cause,
        "scope": verdict.scope[:300],
        "confidence": verdict.confidence.value,
        "severity": verdict.severity,
        "verdict": verdict.to_dict(),
        "profile": cause(verdict.root_cause).profile,
        "began_at_ms": began,
    }


def announce_forecast(tx: Connection, contract: Contract, verdict: Verdict, now_ms: int) -> None:
    """A forecast under a contract that wants notes goes to the channels that ask for it, and opens nothing."""
    ticket = {
        "id": 0,
        "created_at_ms": verdict.began_at_ms,
        "state": "",
        "line": 0,
        "assignee": None,
        "title": "",
    }
    shown = ticket | {
        **judgement_values(verdict, None),
        "affected": list(verdict.affected),
        "resolved_at_ms": None,
    }
    number = zlib.crc32(verdict.problem.encode())  # the same in every process, which hash() is not
    outbox.announce(tx, contract, shown, "preventive", number, now_ms, reasons=verdict.reasons)
