"""Letters as rows: taken before anything is done with them, so that nothing is lost or done twice under kill -9.

A letter is first a row, with its octets, in one commit with how far its mailbox was read; only then is it marked on the
mail server. What it means is decided later, in one transaction with what it does to its ticket.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ticketing import tables
from ticketing.letters.decide import Outcome
from ticketing.letters.parse import Letter, read
from ticketing.model import Reason

RECEIVED, DONE = "received", "done"


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A letter as the mailbox gave it."""

    uid: int
    received_at_ms: int
    """INTERNALDATE: when our mail server got it."""
    raw: bytes
    is_cut: bool = False
    """Longer than the bound: only its beginning is here."""


def read_up_to(conn: Connection, mailbox: str, uidvalidity: int) -> int:
    """The highest UID taken; 0 for a mailbox that is new or was built anew (another UIDVALIDITY)."""
    table = tables.mailboxes
    row = conn.execute(select(table).where(table.c.name == mailbox)).mappings().first()
    return row["uid"] if row is not None and row["uidvalidity"] == uidvalidity else 0


def take(tx: Connection, mailbox: str, uidvalidity: int, letters: Sequence[Fetched], now_ms: int) -> int:
    """Write letters and how far the mailbox is read; how many were new. One that is there already is passed over."""
    taken = 0
    for fetched in letters:
        try:
            with tx.begin_nested():
                tx.execute(insert(tables.mails).values(**_values(tx, mailbox, uidvalidity, fetched, now_ms)))
        except IntegrityError:
            continue  # another collector was quicker
        taken += 1
    if letters:
        _remember(tx, mailbox, uidvalidity, max(letter.uid for letter in letters), now_ms)
    return taken


def _values(
    tx: Connection, mailbox: str, uidvalidity: int, fetched: Fetched, now_ms: int
) -> dict[str, object]:
    letter = read(fetched.raw)
    key = content_key(letter, fetched.raw)
    table = tables.mails
    is_known = tx.execute(select(table.c.id).where(table.c.content_key == key).limit(1)).first() is not None
    return {
        "mailbox": mailbox,
        "uidvalidity": uidvalidity,
        "uid": fetched.uid,
        "content_key": key,
        "message_id": letter.message_id[:250],
        "sender": letter.sender[:320],
        "subject": letter.subject,
        "received_at_ms": min(fetched.received_at_ms, now_ms),
        "taken_at_ms": now_ms,
        "raw": b"" if is_known else fetched.raw,
        "is_cut": fetched.is_cut,
        "state": DONE if is_known else RECEIVED,
        "outcome": Outcome.DUPLICATE.value if is_known else "",
        "reason": Reason("reason.letter.duplicate").to_dict() if is_known else None,
    }


def content_key(letter: Letter, raw: bytes) -> str:
    """One key for one letter, however often it lies in the mailbox: id, sender and everything below the headers.

    The headers differ between copies; without an id they belong to the key as well.
    """
    ends = [at for at in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if at >= 0]
    body = raw[min(ends) :].strip() if ends else b""
    said = body if letter.message_id else raw
    digest = hashlib.sha256(said.replace(b"\r\n", b"\n")).hexdigest()
    return hashlib.sha256(f"{letter.message_id}\n{letter.sender}\n{digest}".encode()).hexdigest()


def _remember(tx: Connection, mailbox: str, uidvalidity: int, uid: int, now_ms: int) -> None:
    table = tables.mailboxes
    row = tx.execute(select(table).where(table.c.name == mailbox).with_for_update()).mappings().first()
    values = {"uidvalidity": uidvalidity, "uid": uid, "read_at_ms": now_ms}
    if row is None:
        tx.execute(insert(table).values(name=mailbox, **values))
    elif row["uidvalidity"] != uidvalidity or row["uid"] < uid:
        tx.execute(update(table).where(table.c.name == mailbox).values(**values))


def unmarked(conn: Connection, mailbox: str, uidvalidity: int, limit: int = 200) -> list[int]:
    """UIDs that were taken and are not yet marked on the server."""
    table = tables.mails
    wanted = (
        select(table.c.uid)
        .where(table.c.mailbox == mailbox, table.c.uidvalidity == uidvalidity, table.c.marked_at_ms.is_(None))
        .order_by(table.c.uid)
        .limit(limit)
    )
    return list(conn.execute(wanted).scalars())


def mark(tx: Connection, mailbox: str, uidvalidity: int, uids: Sequence[int], now_ms: int) -> None:
    """The server has marked them."""
    table = tables.mails
    tx.execute(
        update(table)
        .where(table.c.mailbox == mailbox, table.c.uidvalidity == uidvalidity, table.c.uid.in_(uids))
        .values(marked_at_ms=now_ms)
    )


def next_received(tx: Connection) -> RowMapping | None:
    """The oldest letter that nothing was done with, locked; one that another collector holds is passed over."""
    table = tables.mails
    wanted = select(table).where(table.c.state == RECEIVED).order_by(table.c.id).limit(1)
    return tx.execute(wanted.with_for_update(skip_locked=True)).mappings().first()


def settle(
    tx: Connection, mail_id: int, outcome: Outcome, reason: Reason, now_ms: int, ticket_id: int | None = None
) -> None:
    """What became of a letter."""
    tx.execute(
        update(tables.mails)
        .where(tables.mails.c.id == mail_id)
        .values(
            state=DONE,
            outcome=outcome.value,
            reason=reason.to_dict(),
            ticket_id=ticket_id,
            settled_at_ms=now_ms,
        )
    )


def of_sender_since(conn: Connection, sender: str, since_ms: int, but_id: int) -> int:
    """Letters of this sender taken since then, duplicates not counted."""
    table = tables.mails
    wanted = select(func.count()).where(
        table.c.sender == sender,
        table.c.taken_at_ms >= since_ms,
        table.c.id < but_id,
        table.c.outcome != Outcome.DUPLICATE.value,
    )
    return int(conn.execute(wanted).scalar() or 0)


def held(conn: Connection, limit: int = 100) -> list[RowMapping]:
    """Letters that wait for a person, oldest first, without their octets."""
    table = tables.mails
    columns = [column for column in table.c if column.name != "raw"]
    wanted = select(*columns).where(table.c.outcome == Outcome.HELD.value).order_by(table.c.id).limit(limit)
    return list(conn.execute(wanted).mappings())


def one(conn: Connection, mail_id: int) -> RowMapping | None:
    """A letter with its octets."""
    table = tables.mails
    return conn.execute(select(table).where(table.c.id == mail_id)).mappings().first()
