"""What a provider was asked, as rows: the dossier on its way, their number, and when they are reminded. A timer is a row.

Used by the act ``ask_provider`` (a person's yes) and by ``line4`` (the machine's part); decides nothing by itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from ticketing import dossier, figures, ledger, messages, outbox, snapshots, tables
from ticketing.contracts import Book
from ticketing.dossier import Dossier
from ticketing.model import Reason
from ticketing.provider_terms import ProviderDesk, number_in
from ticketing.tables import RowLike
from ticketing.terms import Contract

BY_CONTRACT = "–"
"""The words before a dossier that the contract lets go by itself: none."""


@dataclasses.dataclass(frozen=True)
class Proposed:
    """What would be sent, to whom: what a person reads before saying yes."""

    desk: ProviderDesk
    dossier: Dossier

    @property
    def receivers(self) -> list[str]:
        return [self.desk.api.url] if self.desk.api is not None else list(self.desk.to)


@dataclasses.dataclass(frozen=True)
class Draft:
    """A dossier in words."""

    to: list[str]
    subject: str
    text: str


def propose(conn: Connection, book: Book, ticket: RowLike, now_ms: int) -> Proposed | None:
    """The dossier of a ticket as of now; None where the contract names no desk of its provider."""
    contract = book.contract(ticket["contract_id"])
    desk = dossier.desk_of(contract, ticket["affected"])
    if desk is None:
        return None
    bodies = figures.evidence(conn, ticket["id"], now_ms)
    return Proposed(desk, dossier.compose(ticket, contract, desk, bodies, now_ms))


def draft(conn: Connection, book: Book, ticket_id: int, words: str, now_ms: int) -> Draft | None:
    """What would be sent as a person reads it; None where there is no such ticket, or no desk of its provider."""
    row = conn.execute(select(tables.tickets).where(tables.tickets.c.id == ticket_id)).mappings().first()
    proposed = None if row is None else propose(conn, book, row, now_ms)
    if proposed is None:
        return None
    said = proposed.dossier.to_letter(words, proposed.desk)
    parts = messages.own_parts(said)
    told = messages.compose_plain(proposed.desk.language, said["zone"], said["subject"], said["title"], parts)
    return Draft(proposed.receivers, told.subject, told.text)


def send(
    tx: Connection, book: Book, ticket: RowLike, proposed: Proposed, words: str, actor: str, now_ms: int
) -> None:
    """Write the dossier's rows, what went out, and the case; asked again, the case goes on with the newer dossier."""
    reason = Reason("reason.provider.sent", {"desk": proposed.desk.name, "to": ", ".join(proposed.receivers)})
    body = {"reason": reason.to_dict(), "dossier": dataclasses.asdict(proposed.dossier), "text": words}
    event_id = ledger.write_event(tx, ticket["id"], now_ms, actor, "dossier", body)
    ids = _write(tx, book, ticket, proposed.desk, proposed.dossier, event_id, words, now_ms)
    table = tables.provider_cases
    values = {
        "desk": proposed.desk.name,
        "message_id": ids[0],
        "receivers": proposed.receivers,
        "asked_at_ms": now_ms,
        "answered_at_ms": None,
        "reminders": 0,
        "remind_at_ms": _next_reminder(proposed.desk, 0, now_ms),
    }
    if case(tx, ticket["id"]) is None:
        tx.execute(insert(table).values(ticket_id=ticket["id"], **values))
    else:
        tx.execute(update(table).where(table.c.ticket_id == ticket["id"]).values(**values))


def remind(tx: Connection, book: Book, ticket: RowLike, known: RowLike, event_id: int, now_ms: int) -> bool:
    """Write a reminder and when the next one is due; False where the contract names no such desk any more."""
    contract = book.contract(ticket["contract_id"])
    desk = dossier.desk_of(contract, ticket["affected"])
    if desk is None:
        stop(tx, ticket["id"])
        return False
    number = known["reminders"] + 1
    told = dossier.reminder(ticket, contract, desk, known, number, now_ms)
    _write(tx, book, ticket, desk, told, event_id, "", now_ms, in_reply_to=known["message_id"])
    table = tables.provider_cases
    tx.execute(
        update(table)
        .where(table.c.ticket_id == ticket["id"])
        .values(reminders=number, remind_at_ms=_next_reminder(desk, number, now_ms))
    )
    return True


def case(conn: Connection, ticket_id: int) -> RowMapping | None:
    """What the provider was asked about this ticket."""
    table = tables.provider_cases
    return conn.execute(select(table).where(table.c.ticket_id == ticket_id)).mappings().first()


def due(conn: Connection, now_ms: int, limit: int) -> list[RowMapping]:
    """Cases whose reminder is due."""
    table = tables.provider_cases
    wanted = select(table).where(table.c.remind_at_ms <= now_ms).order_by(table.c.remind_at_ms).limit(limit)
    return list(conn.execute(wanted).mappings())


def stop(tx: Connection, ticket_id: int) -> None:
    """No more reminders."""
    table = tables.provider_cases
    tx.execute(update(table).where(table.c.ticket_id == ticket_id).values(remind_at_ms=None))


def answer(tx: Connection, ticket_id: int, number: str, now_ms: int) -> None:
    """They answered, under this number where they gave one: no more reminders until they are asked again."""
    note_number(tx, ticket_id, number)
    table = tables.provider_cases
    tx.execute(
        update(table).where(table.c.ticket_id == ticket_id).values(remind_at_ms=None, answered_at_ms=now_ms)
    )


def note_number(tx: Connection, ticket_id: int, number: str) -> bool:
    """Keep their number, the first one that is told; True when it was new."""
    table = tables.provider_cases
    number = number.strip()[:100]
    if not number:
        return False
    done = tx.execute(
        update(table).where(table.c.ticket_id == ticket_id, table.c.number == "").values(number=number)
    )
    return done.rowcount > 0


def number_of(book: Book, ticket: RowLike, subject: str, text: str) -> str:
    """Their number in an answer: in its subject, else in its first lines."""
    desk = dossier.desk_of(book.contract(ticket["contract_id"]), ticket["affected"])
    pattern = desk.number_pattern if desk is not None else ""
    return number_in(subject, pattern, ticket["id"]) or number_in(text, pattern, ticket["id"])


def _write(
    tx: Connection,
    book: Book,
    ticket: RowLike,
    desk: ProviderDesk,
    told: Dossier,
    event_id: int,
    words: str,
    now_ms: int,
    *,
    in_reply_to: str = "",
) -> list[str]:
    """One row a receiver; the ids, in order."""
    contract: Contract = book.contract(ticket["contract_id"])
    letter: dict[str, Any] = told.to_letter("" if words == BY_CONTRACT else words, desk)
    payload: dict[str, Any] = snapshots.snapshot(tx, contract, ticket, None) | {
        "event": "dossier",
        "event_id": event_id,
        "at_ms": now_ms,
        "language": desk.language,
        "letter": letter,
        "in_reply_to": in_reply_to,
    }
    if desk.api is not None:
        payload["api"] = _api(desk)
    ids = []
    for address in [desk.api.url] if desk.api is not None else desk.to:
        one_id = outbox.message_id(ticket["id"], ticket["created_at_ms"], event_id, f"provider/{address}")
        outbox.enqueue(
            tx,
            channel="provider" if desk.api is not None else "mail",
            destination=address,
            message_id=one_id,
            payload=payload,
            now_ms=now_ms,
            ticket_id=ticket["id"],
        )
        ids.append(one_id)
    return ids


def _api(desk: ProviderDesk) -> dict[str, Any]:
    api = desk.api
    assert api is not None
    return {
        "method": api.method,
        "body": api.body,
        "headers": dict(api.headers),
        "secret_headers": {name: [one.file, one.prefix] for name, one in api.secret_headers.items()},
        "key_header": api.key_header,
        "number": api.number,
        "timeout_s": float(api.timeout),
        "client_number": desk.client_number,
    }


def _next_reminder(desk: ProviderDesk, sent: int, now_ms: int) -> int | None:
    return now_ms + int(desk.remind_after * 1000) if sent < desk.reminders else None
