"""What people do with letters that wait for them: onto a ticket, as a new ticket, or set aside with a reason. Page and command.

Each verb locks the letter's row, does it only while the letter is still held, and leaves an audit row; so two who open the
same letter cannot both file it. Nothing is thrown away: the row and its octets stay as long as the settings say.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, func, select

from ticketing import acts, audit, ledger, tables
from ticketing.contracts import Book
from ticketing.filing import Refusal
from ticketing.letters import acting, rows
from ticketing.letters.decide import Outcome
from ticketing.letters.parse import read
from ticketing.letters.quotes import new_words
from ticketing.model import Reason
from ticketing.queries import Viewer

MAX_COUNTED = 1000


def count(conn: Connection) -> int:
    """How many letters wait, up to a bound."""
    table = tables.mails
    waiting = select(table.c.id).where(table.c.outcome == Outcome.HELD.value).limit(MAX_COUNTED)
    return int(conn.execute(select(func.count()).select_from(waiting.subquery())).scalar() or 0)


def file(
    tx: Connection, book: Book, mail_id: int, actor: Viewer, contract_id: str, class_: int, now_ms: int
) -> int | Refusal:
    """A new ticket of this letter, under a contract of the person's choice; its number."""
    row = _waiting(tx, mail_id)
    if isinstance(row, Refusal):
        return row
    filed = acting.file_held(tx, book, row, actor, contract_id, class_, now_ms)
    if not isinstance(filed, Refusal):
        _audit(tx, now_ms, actor, "mail_file", mail_id, {"ticket": filed})
    return filed


def put(
    tx: Connection, book: Book, mail_id: int, actor: Viewer, ticket_id: int, now_ms: int
) -> int | Refusal:
    """Onto a ticket that is there: its words stand in the history, internal until somebody answers; no clock moves."""
    row = _waiting(tx, mail_id)
    if isinstance(row, Refusal):
        return row
    ticket = ledger.ticket_row(tx, ticket_id)
    if ticket is None or ticket["contract_id"] not in {*book.contracts, *book.retired}:
        missing = Reason("refusal.not_found", {"ticket": ticket_id})
        return Refusal("not_found", missing, {"ticket": missing})
    letter = read(row["raw"])
    reason = Reason("reason.letter.put_by", {"who": actor.person_id, "sender": letter.sender or "–"})
    body = {
        "reason": reason.to_dict(),
        "text": (new_words(letter.text) or letter.subject)[: acts.MAX_TEXT],
        "mail": mail_id,
        "from": letter.sender,
        "attachments": [one.to_dict() for one in letter.attachments],
        "is_cut": bool(row["is_cut"] or letter.is_text_cut),
    }
    ledger.write_event(tx, ticket_id, now_ms, actor.person_id, "letter", body)
    ledger.touch(tx, ticket, now_ms)
    rows.settle(tx, mail_id, Outcome.REMARKED, reason, now_ms, ticket_id)
    _audit(tx, now_ms, actor, "mail_put", mail_id, {"ticket": ticket_id})
    return ticket_id


def drop(tx: Connection, mail_id: int, actor: Viewer, why: str, now_ms: int) -> Refusal | None:
    """It asks for nothing; ``why`` stays with it."""
    row = _waiting(tx, mail_id)
    if isinstance(row, Refusal):
        return row
    why = " ".join(why.split())[:200]
    if not why:
        missing = Reason("refusal.missing")
        return Refusal("invalid", Reason("refusal.invalid"), {"why": missing})
    rows.settle(
        tx,
        mail_id,
        Outcome.IGNORED,
        Reason("reason.letter.dropped_why", {"who": actor.person_id, "why": why}),
        now_ms,
    )
    _audit(tx, now_ms, actor, "mail_drop", mail_id, {"why": why})
    return None


def _waiting(tx: Connection, mail_id: int) -> RowMapping | Refusal:
    table = tables.mails
    row = tx.execute(select(table).where(table.c.id == mail_id).with_for_update()).mappings().first()
    if row is None:
        return Refusal("not_found", Reason("refusal.no_letter", {"letter": mail_id}))
    if row["outcome"] != Outcome.HELD.value:
        return Refusal("stale", Reason("refusal.letter_done", {"letter": mail_id}))
    return row


def _audit(
    tx: Connection, now_ms: int, actor: Viewer, act: str, mail_id: int, told: dict[str, object]
) -> None:
    audit.write(tx, now_ms, actor.person_id, act, f"mail:{mail_id}", actor.from_address, told)
