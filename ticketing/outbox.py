"""Every outgoing message is a row first; a few workers claim rows, send, and settle them.

At least once toward mail and webhooks, always under the same message id. A retry waits longer each time, spread by a
jitter that comes from the message id (so that a simulation repeats); after the last attempt the row is given up, which
is itself recorded on the ticket.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from ticketing import ledger, tables
from ticketing.clocks import Stopwatch
from ticketing.mirrors import going
from ticketing.model import ClockKind, Reason
from ticketing.snapshots import changes_since, names_in, place_terms, snapshot
from ticketing.tables import RowLike
from ticketing.terms import Contract

NOTICE_OF = {
    "open": "opened",
    "file": "opened",
    "join": "joined",
    "reopen": "reopened",
    "requalify": "requalified",
    "widen": "widened",
    "merge": "merged",
    "escalate": "escalated",
    "warn": "warned",
    "breach": "breached",
    "note": "note",
    "ask_client": "ask_client",
    "client_answered": "client_answered",
    "ask_provider": "ask_provider",
    "provider_answered": "provider_answered",
    "take": "assigned",
    "assign": "assigned",
    "consult": "consulted",
    "advise": "advised",
    "remind": "reminded",
    "resolve": "resolved",
    "close": "closed",
    "preventive": "preventive",
}
"""Kind of event -> what a contract's channel calls it."""

FIRST_KINDS = ("open", "file", "preventive")
"""Events with which a ticket begins: nobody was told anything before."""

FILER_NOTICES = ("note", "ask_client", "reopened", "resolved")
"""What somebody who filed by mail hears of, also where no channel of the contract tells them."""

RETRY_S = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200)
"""Waits after each failed attempt; the whole schedule ends after about 28 hours."""

MAX_ATTEMPTS = len(RETRY_S) + 1

CLAIM_MS = 600_000
"""A worker's hold on its rows: longer than it takes to time out on all that it claimed, so that nobody sends beside it."""


@dataclasses.dataclass(frozen=True)
class Delivered:
    """The other side took it."""

    reference: str = ""
    """What it calls it, where it says so."""


@dataclasses.dataclass(frozen=True)
class Later:
    """It may work later."""

    error: str
    not_before_s: float | None = None
    """What the other side asked for (Retry-After)."""


@dataclasses.dataclass(frozen=True)
class GaveUp:
    """It will never work as it is."""

    error: str


Result = Delivered | Later | GaveUp


def announce(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    kind: str,
    event_id: int,
    now_ms: int,
    *,
    reasons: Sequence[Reason] = (),
    text: str = "",
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Enqueue one row for each receiver of the contract that wants this moment; returns how many."""
    rows = messages(tx, contract, ticket, kind, event_id, now_ms, reasons=reasons, text=text, extra=extra)
    write(tx, rows)
    return len(rows)


def messages(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    kind: str,
    event_id: int,
    now_ms: int,
    *,
    reasons: Sequence[Reason] = (),
    text: str = "",
    extra: Mapping[str, Any] | None = None,
    held: Mapping[ClockKind, Stopwatch] | None = None,
) -> list[dict[str, Any]]:
    """The rows for the receivers of the contract that want this moment; ``held`` = the ticket's clocks, where in hand.

    The payload is a snapshot, so that every retry of one id says the same.
    """
    notice = NOTICE_OF.get(kind)
    wanted = [(n, channel) for n, channel in enumerate(contract.channels) if notice in channel.on]
    filer = None if (extra or {}).get("is_by_client") else _filer(tx, ticket, notice)
    mirrors = going.wanting(tx, contract.mirrors, ticket["id"], notice, event_id)
    if notice is None or not (wanted or filer or mirrors):
        return []
    body = snapshot(tx, contract, ticket, held) | {
        "event": notice,
        "event_id": event_id,
        "at_ms": now_ms,
        "reasons": [reason.to_dict() for reason in reasons],
        "text": text,
        "names": names_in(tx, reasons, ticket["assignee"]),
        **(extra or {}),
    }
    is_first = kind in FIRST_KINDS or not ticket["id"]
    rows: list[dict[str, Any]] = []
    told = {address.lower() for _, channel in wanted for address in channel.to}
    if filer is not None and filer["sender"] not in told:
        rows.append(_to_filer(contract, ticket, filer["sender"], body, filer["message_id"], now_ms))
    for number, channel in wanted:
        payload = body | {
            "language": channel.language or contract.language,
            "channel": place_terms(channel),
        }
        # One row a recipient: one who is refused must not make the others get it twice.
        for address in channel.to if channel.type == "mail" else [channel.url or channel.url_file]:
            one_id = message_id(ticket["id"], ticket["created_at_ms"], event_id, f"{number}/{address}")
            since = {} if is_first else changes_since(tx, ticket["id"], channel.type, address, body)
            said = payload | {"since": since}
            rows.append(pending(channel.type, address, one_id, said, now_ms, ticket_id=ticket["id"] or None))
    for mirror in mirrors:
        payload = body | {"language": mirror.language or contract.language}
        one_id = message_id(ticket["id"], ticket["created_at_ms"], event_id, f"mirror/{mirror.desk}")
        rows.append(
            pending(f"mirror:{mirror.desk}", mirror.desk, one_id, payload, now_ms, ticket_id=ticket["id"])
        )
    return rows


def tell_filer(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    address: str,
    kind: str,
    event_id: int,
    now_ms: int,
    *,
    text: str = "",
    in_reply_to: str = "",
) -> None:
    """Enqueue a mail to who filed the ticket by mail, whatever the contract's channels say."""
    body = snapshot(tx, contract, ticket, None) | {
        "event": NOTICE_OF[kind],
        "event_id": event_id,
        "at_ms": now_ms,
        "reasons": [],
        "text": text,
    }
    write(tx, [_to_filer(contract, ticket, address, body, in_reply_to, now_ms)])


def _to_filer(
    contract: Contract,
    ticket: RowLike,
    address: str,
    body: Mapping[str, Any],
    in_reply_to: str,
    now_ms: int,
) -> dict[str, Any]:
    payload = {**body, "language": contract.language, "in_reply_to": in_reply_to, "is_to_filer": True}
    one_id = message_id(ticket["id"], ticket["created_at_ms"], body["event_id"], f"filer/{address}")
    return pending("mail", address, one_id, payload, now_ms, ticket_id=ticket["id"])


def _filer(tx: Connection, ticket: RowLike, notice: str | None) -> RowMapping | None:
    """The letter that filed this ticket, where its sender wants to hear of this moment."""
    if ticket.get("origin") != "mail" or notice not in FILER_NOTICES:
        return None
    table = tables.mails
    wanted = select(table.c.sender, table.c.message_id).where(
        table.c.ticket_id == ticket["id"], table.c.outcome == "filed"
    )
    return tx.execute(wanted.order_by(table.c.id).limit(1)).mappings().first()


def write(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write messages to be sent as soon as a worker is free; one that belongs to no ticket only the first time."""
    fresh = [
        dict(row) for row in rows if row["ticket_id"] is not None or not _is_known(tx, row["message_id"])
    ]
    if fresh:
        tx.execute(_OUTBOX, fresh)


def enqueue(
    tx: Connection,
    *,
    channel: str,
    destination: str,
    message_id: str,
    payload: Mapping[str, Any],
    now_ms: int,
    ticket_id: int | None = None,
) -> None:
    """Write one message."""
    write(tx, [pending(channel, destination, message_id, payload, now_ms, ticket_id=ticket_id)])


_OUTBOX = insert(tables.outbox)


def _is_known(tx: Connection, message_id: str) -> bool:
    """Whether the same forecast was told before."""
    return tx.execute(select(tables.outbox.c.id).filter_by(message_id=message_id)).first() is not None


def pending(
    channel: str,
    destination: str,
    message_id: str,
    payload: Mapping[str, Any],
    now_ms: int,
    *,
    ticket_id: int | None,
) -> dict[str, Any]:
    """The row of a message that is to be sent as soon as a worker is free."""
    return {
        "ticket_id": ticket_id,
        "channel": channel,
        "destination": destination[:512],
        "message_id": message_id,
        "payload": dict(payload),
        "state": "pending",
        "attempts": 0,
        "created_at_ms": now_ms,
        "next_attempt_at_ms": now_ms,
        "last_error": "",
    }


def claim(
    tx: Connection, worker: str, now_ms: int, limit: int = 10, *, hold_ms: int = CLAIM_MS
) -> list[RowMapping]:
    """Take due rows for this worker, as they were before; rows of a worker that died come back when its claim runs out.

    A mirror's rows go out in the order in which they were written, ticket by ticket.
    """
    table = tables.outbox
    due = (
        select(table)
        .where(
            table.c.state == "pending",
            table.c.next_attempt_at_ms <= now_ms,
            or_(table.c.claimed_until_ms.is_(None), table.c.claimed_until_ms <= now_ms),
            going.is_its_turn(table),
        )
        .order_by(table.c.next_attempt_at_ms, table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = list(tx.execute(due).mappings())
    if rows:
        tx.execute(
            update(table)
            .where(table.c.id.in_([row["id"] for row in rows]))
            .values(claimed_by=worker, claimed_until_ms=now_ms + hold_ms)
        )
    return rows


def settle(tx: Connection, outbox_id: int, result: Result, now_ms: int, *, worker: str | None = None) -> str:
    """Write what became of an attempt; returns the row's state. With ``worker``, only while its claim holds."""
    table = tables.outbox
    row = tx.execute(select(table).where(table.c.id == outbox_id).with_for_update()).mappings().first()
    if row is None or row["state"] != "pending" or (worker is not None and row["claimed_by"] != worker):
        return "" if row is None else row["state"]  # another worker settled it after our claim ran out
    attempts = row["attempts"] + 1
    values: dict[str, Any] = {"attempts": attempts, "claimed_by": None, "claimed_until_ms": None}
    if isinstance(result, Later) and attempts >= MAX_ATTEMPTS:
        result = GaveUp(f"{result.error} ({attempts} attempts)")
    if isinstance(result, Delivered):
        values |= {
            "state": "delivered",
            "settled_at_ms": now_ms,
            "next_attempt_at_ms": None,
            "last_error": "",
        }
    elif isinstance(result, Later):
        wait_ms = retry_wait_ms(row["message_id"], attempts, result.not_before_s)
        values |= {
            "next_attempt_at_ms": now_ms + wait_ms,
            "last_error": result.error[:1000],
            "state": "pending",
        }
    else:
        values |= {
            "state": "given_up",
            "settled_at_ms": now_ms,
            "next_attempt_at_ms": None,
            "last_error": result.error[:1000],
        }
        if row["ticket_id"] is not None:
            reason = Reason(
                "reason.delivery.given_up",
                {"channel": row["channel"], "destination": row["destination"], "error": result.error[:300]},
            )
            body = {"reason": reason.to_dict(), "message_id": row["message_id"], "attempts": attempts}
            ledger.write_event(tx, row["ticket_id"], now_ms, ledger.MACHINE, "delivery", body)
    tx.execute(update(table).where(table.c.id == outbox_id).values(**values))
    return values["state"]


def postpone(tx: Connection, channel: str, until_ms: int) -> None:
    """The other side of a whole channel is away: what waits for it waits until then, and no attempt is counted."""
    table = tables.outbox
    is_waiting = (
        table.c.state == "pending",
        table.c.next_attempt_at_ms < until_ms,
        table.c.channel == channel,
    )
    is_free = table.c.claimed_by.is_(None)
    tx.execute(update(table).where(*is_waiting, is_free).values(next_attempt_at_ms=until_ms))


def retry_wait_ms(message_id: str, attempts: int, not_before_s: float | None = None) -> int:
    """Wait before the next attempt: the schedule, up to a quarter longer by the message's own jitter, or as asked."""
    base_s = RETRY_S[min(attempts, len(RETRY_S)) - 1]
    spread = int(hashlib.sha256(f"{message_id}/{attempts}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    wait_s = base_s * (1 + spread / 4)
    # Somebody who asks us to come back in a year gets a visit tomorrow: attempts are bounded anyway.
    return int(1000 * max(wait_s, min(not_before_s or 0.0, 86_400.0)))


def message_id(ticket_id: int, created_at_ms: int, event_id: int, receiver: str) -> str:
    """One id for one event and one receiver; the creation time keeps two installations apart."""
    digest = hashlib.sha256(f"{ticket_id}/{created_at_ms}/{event_id}/{receiver}".encode()).hexdigest()
    return f"vt-{ticket_id}-{event_id}-{digest[:16]}"


def thread_id(ticket_id: int, created_at_ms: int) -> str:
    """What every mail of a ticket refers to, so that mail programs show one thread."""
    return f"vt-{ticket_id}-{hashlib.sha256(f'{ticket_id}/{created_at_ms}'.encode()).hexdigest()[:12]}"
