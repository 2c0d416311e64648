"""What the machine does to tickets: open, join, requalify, widen, merge, split, attach, resolve, reopen, add evidence.

Theory of operation. The tick hands in a verdict; each verb takes the open transaction, writes the ticket, its event with
the reasons, its clocks and the outgoing rows, and answers with an ``Outcome`` that is always one of four words:
*opened*, *joined*, *reopened*, *recorded* (nothing was done, and the reason says why not). At most one open ticket exists
for a (contract, problem) because the database says so: a losing insert falls back to its savepoint and joins the winner.
The machine opens classes 1 and 2 only; 3 to 6 are proposed to people. It resolves only on a proof.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, select
from sqlalchemy.exc import IntegrityError

from ticketing import effects, ledger, lines, outbox, tables
from ticketing.causes import first_line
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import INTERNAL_CONTRACT, MACHINE_CLASSES, Reason, TicketState, Verdict
from ticketing.tables import RowLike
from ticketing.terms import Contract

MAX_EVIDENCE_EVENTS = 500
"""Past this many, a ticket's evidence is only counted: a flapping finding must not fill the store."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a verdict."""

    verb: str
    """opened, joined, reopened or recorded."""
    ticket_id: int | None
    reason: Reason


def open_or_join(
    tx: Connection,
    book: Book,
    verdict: Verdict,
    contract_id: str,
    now_ms: int,
    *,
    parent_id: int | None = None,
) -> Outcome:
    """The verdict's ticket under this contract: opened, or the one that is open or may still be resumed.

    Joining takes over new hosts; another class or cause is taken over by ``requalify`` only, since whether a later
    verdict knows better is the judge's decision.
    """
    contract = book.contract(contract_id)
    previous = _newest(tx, contract_id, verdict.problem)
    open_row = previous if previous is not None and previous["open_mark"] == 1 else None
    refusal = why_not(contract, verdict)
    if refusal is not None:
        if open_row is not None and verdict.class_ not in (0, *MACHINE_CLASSES):
            _propose(tx, open_row, verdict, refusal, now_ms)
        elif verdict.preventive:
            effects.announce_forecast(tx, contract, verdict, now_ms)
        return Outcome("recorded", None, refusal)
    if open_row is not None:
        return _join(tx, book, open_row, verdict, now_ms)
    if previous is not None and previous["merged_into"] is not None:
        target = _merge_target(tx, previous)
        if target is not None and ledger.is_open(target):
            return _join(tx, book, target, verdict, now_ms)
    if previous is not None and effects.is_another_part(previous, verdict):
        previous = None
    if previous is not None and effects.may_reopen(contract, previous, now_ms):
        reason = Reason("reason.intake.returned", {"resolved_at_ms": previous["resolved_at_ms"]})
        return reopen(tx, book, previous["id"], reason, now_ms, verdict=verdict)
    try:
        with tx.begin_nested():
            new = new_ticket(book, contract, verdict, now_ms, parent_id, previous)
            ticket_id = effects.insert_ticket(tx, book, new, now_ms, kind="open")
    except IntegrityError:
        winner = find_open(tx, contract_id, verdict.problem)
        if winner is None:
            raise  # not the constraint on open tickets: a bug, and it must be seen
        return _join(tx, book, winner, verdict, now_ms)
    return opened(ticket_id, verdict)


def open_by_contract(tx: Connection, book: Book, verdict: Verdict, now_ms: int) -> list[Outcome]:
    """One ticket where one contract is hit; over several a parent of ``internal`` first, then a child for each.

    A child speaks of its own contract's hosts only: clients must not read each other's names.
    """
    by_contract: dict[str, list[str]] = {}
    for host_id in verdict.affected:
        by_contract.setdefault(book.host_contract.get(host_id, str(INTERNAL_CONTRACT)), []).append(host_id)
    if len(by_contract) <= 1:
        return [open_or_join(tx, book, verdict, next(iter(by_contract), str(INTERNAL_CONTRACT)), now_ms)]
    parent = open_or_join(tx, book, verdict, str(INTERNAL_CONTRACT), now_ms)
    outcomes = [parent]
    for contract_id, host_ids in sorted(by_contract.items()):
        if contract_id != INTERNAL_CONTRACT:
            own = book.for_contract(verdict, contract_id, host_ids)
            outcomes.append(open_or_join(tx, book, own, contract_id, now_ms, parent_id=parent.ticket_id))
    return outcomes


def requalify(tx: Connection, book: Book, ticket_id: int, verdict: Verdict, now_ms: int) -> Outcome:
    """Another class or cause for an open ticket; its clocks are judged anew from the original start.

    Classes 3 to 6, and class 2 where the contract does not hold it, stay a proposal in the ticket's history.
    """
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or not ledger.is_open(row):
        return _not_open(ticket_id, row)
    refusal = why_not(book.contract(row["contract_id"]), verdict)
    if refusal is not None:
        _propose(tx, row, verdict, refusal, now_ms)
        return Outcome("recorded", ticket_id, refusal)
    if _same_judgement(row, verdict):
        return Outcome("joined", ticket_id, Reason("reason.intake.unchanged"))
    reason = effects.judged_anew(row, verdict)
    effects.requalified(tx, book, row, verdict, reason, now_ms)
    return Outcome("joined", ticket_id, reason)


def widen(tx: Connection, book: Book, ticket_id: int, verdict: Verdict, now_ms: int) -> Outcome:
    """The fault holds more hosts or a larger scope than thought; the problem key of the ticket stays as it was."""
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or not ledger.is_open(row):
        return _not_open(ticket_id, row)
    if set(verdict.affected) <= set(row["affected"]) and verdict.scope == row["scope"]:
        return Outcome("joined", ticket_id, Reason("reason.intake.unchanged"))
    reason = effects.widened(tx, book, row, verdict, now_ms)
    return Outcome("joined", ticket_id, reason)


def merge(tx: Connection, book: Book, ticket_id: int, into_id: int, reason: Reason, now_ms: int) -> Outcome:
    """Fold a ticket into another of the same contract: one cause, one ticket. The older beginning is kept."""
    into = ledger.ticket_row(tx, into_id)
    row = ledger.ticket_row(tx, ticket_id)
    if (
        row is None
        or into is None
        or ticket_id == into_id
        or not (ledger.is_open(row) and ledger.is_open(into))
    ):
        return Outcome("recorded", ticket_id, Reason("reason.intake.not_open", {"ticket": ticket_id}))
    if row["contract_id"] != into["contract_id"]:
        return Outcome("recorded", ticket_id, Reason("reason.intake.other_contract", {"ticket": into_id}))
    effects.merged(tx, book, row, into, reason, now_ms)
    return Outcome("joined", into_id, reason)


def split(
    tx: Connection,
    book: Book,
    ticket_id: int,
    verdict: Verdict,
    now_ms: int,
    *,
    parent_id: int | None = None,
    was_theirs: bool = False,
) -> Outcome:
    """Take the verdict's hosts out of a ticket into one of their own: their cause turned out to be another.

    Where the ticket's trouble was theirs too and only what goes on is another (``was_theirs``), it goes on naming them.
    """
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or not ledger.is_open(row):
        return _not_open(ticket_id, row)
    rest = sorted(set(row["affected"]) - set(verdict.affected))
    if not rest or verdict.problem == row["problem"]:
        return Outcome("recorded", ticket_id, Reason("reason.intake.nothing_to_split", {"ticket": ticket_id}))
    outcome = open_or_join(tx, book, verdict, row["contract_id"], now_ms, parent_id=parent_id)
    if outcome.ticket_id is None:
        return outcome
    stays = verdict.affected if was_theirs else ()
    body = _leave(tx, row, verdict.affected, outcome.ticket_id, now_ms, stays)
    ledger.write_event(tx, outcome.ticket_id, now_ms, MACHINE, "split", body, is_public=True)
    return dataclasses.replace(outcome, reason=Reason.from_dict(body["reason"]))


def narrow(tx: Connection, ticket_id: int, host_ids: Sequence[str], into_id: int, now_ms: int) -> Outcome:
    """Take hosts out of a parent that spoke of them: the ticket ``into_id`` holds them now."""
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or not ledger.is_open(row) or not set(row["affected"]) - set(host_ids):
        return Outcome("recorded", ticket_id, Reason("reason.intake.nothing_to_split", {"ticket": ticket_id}))
    body = _leave(tx, row, host_ids, into_id, now_ms)
    return Outcome("joined", ticket_id, Reason.from_dict(body["reason"]))


def _leave(
    tx: Connection,
    row: RowLike,
    host_ids: Sequence[str],
    into_id: int,
    now_ms: int,
    stays: Sequence[str] = (),
) -> dict[str, Any]:
    """Write that hosts left a ticket (though it goes on naming those of ``stays``), and where they are now; the event's body."""
    rest = sorted((set(row["affected"]) - set(host_ids)) | set(stays))
    values: dict[str, Any] = {"affected": rest}
    if row["verdict"]:
        values["verdict"] = {**row["verdict"], "affected": rest}
    ledger.set_hosts(tx, row, ledger.change_ticket(tx, row, now_ms, **values))
    told = {"hosts": ", ".join(host_ids), "ticket": row["id"], "into": into_id}
    body = {"reason": Reason("reason.intake.split", told).to_dict(), "ticket": row["id"], "into": into_id}
    ledger.write_event(tx, row["id"], now_ms, MACHINE, "split", body, is_public=True)
    return body


def attach(tx: Connection, ticket_id: int, parent_id: int | None, reason: Reason, now_ms: int) -> bool:
    """Make a ticket the child of a parent (or of none): it keeps its own clocks. False where nothing changed."""
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or row["parent_id"] == parent_id or ticket_id == parent_id:
        return False
    ledger.change_ticket(tx, row, now_ms, parent_id=parent_id)
    body = {"reason": reason.to_dict(), "parent": parent_id}
    ledger.write_event(tx, ticket_id, now_ms, MACHINE, "attach", body)
    if parent_id is not None:
        ledger.write_event(tx, parent_id, now_ms, MACHINE, "attach", body | {"child": ticket_id})
    return True


def resolve(
    tx: Connection, book: Book, ticket_id: int, proof: Reason, now_ms: int, *, ended_at_ms: int | None = None
) -> Outcome:
    """Resolve on positive proof of recovery; silence is none (invariant 8). A filed ticket is a person's to resolve."""
    if not proof.key:
        raise ValueError("the machine resolves only with a proof")
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or not ledger.is_open(row):
        return _not_open(ticket_id, row)
    body = {"reason": proof.to_dict(), "ended_at_ms": ended_at_ms}
    effects.resolved(tx, book, row, body, [proof], now_ms)
    return Outcome("joined", ticket_id, proof)


def reopen(
    tx: Connection, book: Book, ticket_id: int, reason: Reason, now_ms: int, *, verdict: Verdict | None = None
) -> Outcome:
    """Resume a resolved ticket and its resolution clock; the time it was resolved does not count."""
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or row["state"] not in (TicketState.RESOLVED.value, TicketState.CLOSED.value):
        return _not_open(ticket_id, row, "reason.intake.not_resolved")
    try:
        with tx.begin_nested():
            effects.reopened(tx, book, row, reason, now_ms, verdict=verdict)
    except IntegrityError:
        winner = find_open(tx, row["contract_id"], row["problem"])
        if winner is None:
            raise
        if verdict is None:
            return Outcome(
                "recorded", winner["id"], Reason("reason.intake.other_open", {"ticket": winner["id"]})
            )
        return _join(tx, book, winner, verdict, now_ms)
    return Outcome("reopened", ticket_id, reason)


def add_evidence(tx: Connection, ticket_id: int, body: Mapping[str, Any], now_ms: int) -> int | None:
    """Append evidence (facts, plots' series, log lines) to a ticket; None where the ticket holds enough of it."""
    row = ledger.ticket_row(tx, ticket_id)
    events = tables.ticket_events
    seen = select(events.c.id).where(events.c.ticket_id == ticket_id, events.c.kind == "evidence")
    if row is None or len(tx.execute(seen.limit(MAX_EVIDENCE_EVENTS)).all()) >= MAX_EVIDENCE_EVENTS:
        return None
    ledger.touch(tx, row, now_ms)
    return ledger.write_event(tx, ticket_id, now_ms, MACHINE, "evidence", body)


def find_open(tx: Connection, contract_id: str, problem: str) -> RowMapping | None:
    """The one open ticket of a problem, locked."""
    tickets = tables.tickets
    wanted = select(tickets).where(
        tickets.c.contract_id == contract_id, tickets.c.problem == problem, tickets.c.open_mark == 1
    )
    return tx.execute(wanted.with_for_update()).mappings().first()


def open_tickets_of(tx: Connection, host_ids: Sequence[str]) -> list[RowMapping]:
    """Open tickets that hold any of these hosts, oldest first."""
    tickets, links = tables.tickets, tables.ticket_hosts
    ids: set[int] = set()
    for start in range(0, len(host_ids), 500):
        wanted = select(links.c.ticket_id).where(links.c.host_id.in_(list(host_ids[start : start + 500])))
        ids.update(
            tx.execute(
                wanted.join(tickets, tickets.c.id == links.c.ticket_id).where(tickets.c.open_mark == 1)
            ).scalars()
        )
    found: list[RowMapping] = []
    ordered = sorted(ids)
    for start in range(0, len(ordered), 500):
        found.extend(
            tx.execute(
                select(tickets).where(tickets.c.id.in_(ordered[start : start + 500])).order_by(tickets.c.id)
            ).mappings()
        )
    return found


def _not_open(ticket_id: int, row: RowLike | None, key: str = "reason.intake.not_open") -> Outcome:
    """The answer where a verb needs a ticket in another state, or any."""
    return Outcome("recorded", ticket_id if row else None, Reason(key, {"ticket": ticket_id}))


def why_not(contract: Contract, verdict: Verdict) -> Reason | None:
    """Why the machine does not open this; None where it does."""
    if verdict.class_ == 0:
        return verdict.reasons[0] if verdict.reasons else Reason("reason.intake.nothing_to_open")
    if verdict.class_ not in MACHINE_CLASSES:
        return Reason("reason.intake.proposed", {"class_": verdict.class_, "cause": verdict.root_cause})
    if verdict.preventive and contract.preventive == "note":
        return Reason("reason.intake.preventive_note", {"cause": verdict.root_cause})
    return contract.class2_refusal(verdict.affected) if verdict.class_ == 2 else None


def _propose(tx: Connection, row: RowLike, verdict: Verdict, why: Reason, now_ms: int) -> None:
    """What the machine may not decide is shown to people, once."""
    proposal = {"class": verdict.class_, "root_cause": verdict.root_cause}
    events = tables.ticket_events
    told = select(events.c.body).where(events.c.ticket_id == row["id"], events.c.kind == "propose")
    if any(body.get("after") == proposal for body in tx.execute(told.limit(100)).scalars()):
        return
    ledger.touch(tx, row, now_ms)
    body = {"reason": why.to_dict(), "after": proposal, "reasons": [r.to_dict() for r in verdict.reasons]}
    ledger.write_event(tx, row["id"], now_ms, MACHINE, "propose", body)


def _join(tx: Connection, book: Book, row: RowLike, verdict: Verdict, now_ms: int) -> Outcome:
    reason = Reason("reason.intake.joined", {"ticket": row["id"]})
    if not set(verdict.affected) <= set(row["affected"]):
        return Outcome("joined", row["id"], effects.widened(tx, book, row, verdict, now_ms))
    if row["verdict"] == verdict.to_dict():
        return Outcome("joined", row["id"], reason)  # the same word again: nothing to tell
    values: dict[str, Any] = {"began_at_ms": min(row["began_at_ms"], verdict.began_at_ms)}
    if _same_judgement(row, verdict):
        values["verdict"] = dataclasses.replace(verdict, affected=tuple(row["affected"])).to_dict()
    after = ledger.change_ticket(tx, row, now_ms, version=row["version"], **values)
    body = {"reason": reason.to_dict(), "reasons": [r.to_dict() for r in verdict.reasons]}
    event_id = ledger.write_event(tx, row["id"], now_ms, MACHINE, "join", body)
    outbox.announce(
        tx, book.contract(row["contract_id"]), after, "join", event_id, now_ms, reasons=verdict.reasons
    )
    return Outcome("joined", row["id"], reason)


def opened(ticket_id: int, verdict: Verdict) -> Outcome:
    """The answer for a ticket that was written."""
    return Outcome("opened", ticket_id, Reason("reason.intake.opened", {"class_": verdict.class_}))


def new_ticket(
    book: Book,
    contract: Contract,
    verdict: Verdict,
    now_ms: int,
    parent_id: int | None,
    previous: RowLike | None,
) -> effects.NewTicket:
    """The verdict's ticket, as it will be written."""
    changes = ledger.sla_changes(contract, verdict.class_, now_ms, "start")
    values = effects.judgement_values(verdict, None) | {
        "contract_id": contract.id,
        "contract_version": book.version(contract.id),
        "problem": verdict.problem,
        "open_mark": 1,
        "origin": "machine",
        "family": verdict.family,
        "affected": sorted(verdict.affected),
        "title": "",
        "body": "",
        "state": TicketState.NEW.value,
        "line": max(
            first_line(verdict.root_cause, verdict.confidence.value, contract.lines),
            lines.least_line(contract, verdict.class_),
        ),
        "parent_id": parent_id,
        "previous_id": None if previous is None else previous["id"],
        "recurrences": 0 if previous is None else previous["recurrences"] + 1,
        "language": contract.language,
        "began_at_ms": min(verdict.began_at_ms, now_ms),
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
        "version": 1,
    }
    return effects.NewTicket(values, changes, verdict.reasons)


def _same_judgement(row: RowLike, verdict: Verdict) -> bool:
    return (row["class"], row["root_cause"], row["confidence"], row["scope"]) == (
        verdict.class_,
        verdict.root_cause,
        verdict.confidence.value,
        verdict.scope,
    )


def _newest(tx: Connection, contract_id: str, problem: str) -> RowMapping | None:
    """The open ticket of a problem, else the last one that was; locked."""
    return tx.execute(_NEWEST, {"b_contract": contract_id, "b_problem": problem}).mappings().first()


_NEWEST = (
    select(tables.tickets)
    .where(
        tables.tickets.c.contract_id == bindparam("b_contract"),
        tables.tickets.c.problem == bindparam("b_problem"),
    )
    .order_by(case((tables.tickets.c.open_mark == 1, 0), else_=1), tables.tickets.c.id.desc())
    .limit(1)
    .with_for_update()
)


def _merge_target(tx: Connection, row: RowLike) -> RowMapping | None:
    """The ticket at the end of a chain of merges; the bound keeps a broken chain from being followed for ever."""
    target: RowMapping | None = None
    next_id = row["merged_into"]
    for _ in range(16):
        if next_id is None:
            return target
        target = ledger.ticket_row(tx, next_id)
        next_id = None if target is None else target["merged_into"]
    return None
