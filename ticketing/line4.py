"""The machine's part of line 4: dossiers that the contract lets go by themselves, reminders, and what providers answer.

Everything goes through the table of acts; a contract without line 4 is served alike, since its last line does line 4's
work. Nothing is sent twice: the case row stands in the same commit as the dossier's outbox row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ticketing import acts, ledger, provider_cases, tables
from ticketing.acts import Refusal
from ticketing.contracts import Book
from ticketing.dossier import desk_of
from ticketing.model import ClockKind, ClockState, Reason, TicketState
from ticketing.queries import Viewer
from ticketing.tables import RowLike

MACHINE = Viewer(ledger.MACHINE, "machine")


def run(tx: Connection, book: Book, now_ms: int, limit: int) -> Mapping[str, int]:
    """One pass: how many dossiers and reminders were written."""
    return {
        "dossiers": send_due(tx, book, now_ms, limit),
        "provider_reminders": remind_due(tx, book, now_ms, limit),
    }


def send_due(tx: Connection, book: Book, now_ms: int, limit: int) -> int:
    """Dossiers of class 1 that the contract lets go by themselves, once their tickets stood long enough."""
    waits = {
        contract.id: min(
            int(desk.after * 1000) for desk in contract.provider_desks if desk.send == "by_itself"
        )
        for contract in book.contracts.values()
        if any(desk.send == "by_itself" for desk in contract.provider_desks)
    }
    if not waits:
        return 0
    sent = 0
    for row in _candidates(tx, sorted(waits), now_ms - min(waits.values()), limit):
        contract = book.contract(row["contract_id"])
        desk = desk_of(contract, row["affected"])
        is_due = (
            desk is not None
            and desk.send == "by_itself"
            and now_ms - row["created_at_ms"] >= desk.after * 1000
        )
        if not is_due or (row["verdict"] or {}).get("provisional"):
            continue
        done = acts.perform(
            tx, book, "ask_provider", row["id"], MACHINE, row["version"], now_ms,
            text=provider_cases.BY_CONTRACT, send=True,
        )  # fmt: skip
        sent += not isinstance(done, Refusal)
    return sent


def remind_due(tx: Connection, book: Book, now_ms: int, limit: int) -> int:
    """Reminders whose time has come; a provider is not reminded of what nobody waits for any more."""
    sent = 0
    for known in provider_cases.due(tx, now_ms, limit):
        row = ledger.ticket_row(tx, known["ticket_id"])
        if row is None or not _is_owed(tx, row):
            provider_cases.stop(tx, known["ticket_id"])
            continue
        number = known["reminders"] + 1
        reason = Reason("reason.provider.reminded", {"desk": known["desk"], "n": number})
        event_id = ledger.write_event(
            tx,
            row["id"],
            now_ms,
            ledger.MACHINE,
            "provider_reminder",
            {"reason": reason.to_dict(), "number": number},
        )
        sent += provider_cases.remind(tx, book, row, known, event_id, now_ms)
    return sent


def answered(
    tx: Connection,
    book: Book,
    ticket: RowLike,
    now_ms: int,
    *,
    text: str,
    subject: str,
    is_receipt: bool,
    source: Mapping[str, Any],
) -> int | Refusal:
    """A provider's letter: its number is kept; unless it is a mere receipt it ends the waiting."""
    number = provider_cases.number_of(book, ticket, subject, text)
    is_new = provider_cases.note_number(tx, ticket["id"], number)
    is_awaited = _is_owed(tx, ticket)
    if not is_receipt and is_awaited:
        done = acts.perform(
            tx, book, "provider_answered", ticket["id"], MACHINE, ticket["version"], now_ms, text=text or "–",
            provider_ref=number,
        )  # fmt: skip
        if isinstance(done, Refusal):
            return done
    key = "reason.provider.receipt" if is_receipt else "reason.provider.wrote"
    reason = Reason(key, {"from": source.get("from", ""), "number": number or "–"})
    if is_receipt or not is_awaited or is_new or source.get("attachments"):
        said = "" if (is_awaited and not is_receipt) else text
        body = {"reason": reason.to_dict(), "text": said, **source}
        ledger.write_event(tx, ticket["id"], now_ms, ledger.MACHINE, "letter", body)
    return ticket["id"]


def _is_owed(tx: Connection, ticket: RowLike) -> bool:
    """Whether the provider owes an answer: its clock runs, whatever the ticket does meanwhile."""
    clock = ledger.watches(tx, ticket["id"]).get(ClockKind.PROVIDER)
    return ledger.is_open(ticket) and clock is not None and clock.state is ClockState.RUNNING


def _candidates(tx: Connection, contract_ids: Sequence[str], before_ms: int, limit: int) -> Sequence[RowLike]:
    tickets, cases = tables.tickets, tables.provider_cases
    wanted = (
        select(tickets)
        .outerjoin(cases, cases.c.ticket_id == tickets.c.id)
        .where(
            tickets.c.open_mark == 1,
            tickets.c["class"] == 1,
            tickets.c.state.in_((TicketState.NEW.value, TicketState.IN_WORK.value)),
            tickets.c.contract_id.in_(contract_ids),
            tickets.c.origin == "machine",
            tickets.c.created_at_ms <= before_ms,
            cases.c.ticket_id.is_(None),
        )
        .order_by(tickets.c.id)
        .limit(limit)
        .with_for_update(of=tickets)
    )
    return list(tx.execute(wanted).mappings())
