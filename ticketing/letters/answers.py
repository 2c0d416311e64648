"""What the desk writes back by itself: a receipt to who filed, and one polite word to who is not known. Rows only.

An unknown sender gets one answer in a long while, and all of them together only so many an hour: a flood with forged
senders must not make us a nuisance. A machine's letter gets none at all (``decide`` sees to it).
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from sqlalchemy import Connection, func, select

from ticketing import ledger, outbox, tables
from ticketing.contracts import Book
from ticketing.letters.parse import Letter
from ticketing.texts import texts

HOUR_MS = 3_600_000


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much is answered to people whom nobody here knows."""

    language: str = "uk"
    contact: str = ""
    """Whom to ask instead; said in the answer."""
    again_after_ms: int = 7 * 24 * HOUR_MS
    per_hour: int = 20


def tell_filer(tx: Connection, book: Book, ticket_id: int, letter: Letter, now_ms: int) -> None:
    """A receipt to who filed by mail, with the number, so that the answer finds its ticket; once a ticket."""
    row = ledger.ticket_row(tx, ticket_id)
    assert row is not None
    contract = book.contract(row["contract_id"])
    if any(
        letter.sender in [a.lower() for a in channel.to] and "opened" in channel.on
        for channel in contract.channels
    ):
        return  # the contract's own channel has told them
    outbox.tell_filer(
        tx, contract, row, letter.sender, "file", 0, now_ms, text="", in_reply_to=letter.message_id
    )


def tell_stranger(tx: Connection, letter: Letter, bounds: Bounds, now_ms: int) -> bool:
    """One polite answer, within the bounds; whether it was written."""
    message_id = stranger_message_id(letter.sender, now_ms // bounds.again_after_ms)
    table = tables.outbox
    recent = tx.execute(
        select(func.count()).where(
            table.c.channel == "mail",
            table.c.message_id.startswith("vt-who-", autoescape=True),
            table.c.created_at_ms > now_ms - HOUR_MS,
        )
    ).scalar()
    last = tx.execute(
        select(func.max(table.c.created_at_ms)).where(
            table.c.channel == "mail",
            table.c.message_id.startswith(message_id.rpartition("-")[0], autoescape=True),
        )
    ).scalar()
    if int(recent or 0) >= bounds.per_hour or (last is not None and now_ms - last < bounds.again_after_ms):
        return False
    words = texts(bounds.language)
    lines = [words.get("letter.stranger.text", subject=letter.subject[:120] or "–")]
    if bounds.contact:
        lines.append(words.get("letter.stranger.contact", contact=bounds.contact))
    payload: dict[str, Any] = {
        "language": bounds.language,
        "event": "stranger",
        "letter": {
            "subject": words.get("letter.stranger.subject"),
            "paragraphs": lines,
            "in_reply_to": letter.message_id,
            "is_reply": True,
        },
    }
    outbox.enqueue(
        tx, channel="mail", destination=letter.sender, message_id=message_id, payload=payload, now_ms=now_ms
    )
    return True


def stranger_message_id(sender: str, span: int) -> str:
    """The id of an answer to an unknown sender: one a sender and span of time."""
    return f"vt-who-{hashlib.sha256(sender.encode()).hexdigest()[:24]}-{span}"
