"""The nightly proof that clocks and events agree (``ticketing.clock_proof``), a slice each tick until every ticket was seen.

In the tick and not beside it, because a repair is a decision: it is made by whoever holds the lease, in a transaction that
has compared the term. Where the proof stands is remembered in the store, so that a restart goes on with it. A difference
is repaired, and is our own fault: a ticket about ourselves says which tickets it was.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection

from collector.tick.auditor import NAMED_MAX, tell_ourselves
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import remember, remembered
from ticketing import clock_proof
from ticketing.contracts import Book
from ticketing.model import Reason

SUBJECT = "collector:clock_proof"
CAUSE = "internal.clocks"
STANDS_AT = "clock_proof"
DAY_MS = 86_400_000
NIGHT_MS = 3_600_000
"""01:00 UTC: the small hours where most of our clients are."""

SLICE = 25
"""Tickets a tick: some 20 ms of it."""

ENDED_SINCE_MS = 2 * DAY_MS
"""Tickets that closed since then are proved once more."""


def prove_clocks(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Prove the next tickets, when a night has come that was not proved yet."""
    if now_ms < ctx.proof_due_ms:
        return
    due_ms, after = _stands_at(tx, now_ms)
    if now_ms < due_ms:
        ctx.proof_due_ms = due_ms
        return
    ids = clock_proof.to_prove(tx, after, due_ms - ENDED_SINCE_MS, SLICE)
    wrong: list[int] = []
    for ticket_id in ids:
        found = clock_proof.differences(tx, book, ticket_id)
        if found:
            clock_proof.repair(tx, book, ticket_id, found, now_ms)
            wrong.append(ticket_id)
    if wrong:
        _tell(tx, book, wrong, now_ms)
    report.count("clocks_proved", len(ids))
    report.count("clocks_repaired", len(wrong))
    if len(ids) < SLICE:
        ctx.proof_due_ms = next_night_ms(now_ms)
        _remember(tx, ctx.proof_due_ms, 0)
    else:
        _remember(tx, due_ms, ids[-1])


def next_night_ms(now_ms: int) -> int:
    """The next 01:00 UTC after ``now``."""
    return (now_ms - NIGHT_MS) // DAY_MS * DAY_MS + DAY_MS + NIGHT_MS


def _stands_at(tx: Connection, now_ms: int) -> tuple[int, int]:
    """(when the proof is due, the last ticket that it has seen); a new house begins with its first night."""
    known = remembered(tx, STANDS_AT)
    if known is None:
        due_ms = next_night_ms(now_ms)
        _remember(tx, due_ms, 0)
        return due_ms, 0
    stood = json.loads(known)
    return int(stood["due_ms"]), int(stood["after"])


def _remember(tx: Connection, due_ms: int, after: int) -> None:
    remember(tx, STANDS_AT, json.dumps({"due_ms": due_ms, "after": after}))


def _tell(tx: Connection, book: Book, wrong: list[int], now_ms: int) -> None:
    params = {"tickets": ", ".join(map(str, wrong[:NAMED_MAX])), "n": len(wrong)}
    why = Reason("reason.internal.clocks_differed", params)
    tell_ourselves(tx, book, SUBJECT, CAUSE, why, Reason("summary.internal.clocks", params), now_ms, now_ms)
