"""Tickets whose findings have all been clear for the hold time resolve, each with its proof; silence is none."""

from __future__ import annotations

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from collector.tables import findings, open_findings
from collector.tick.context import TickContext, TickReport
from collector.tick.quiet import kept_open
from ticketing import intake
from ticketing.contracts import Book
from ticketing.model import Reason
from ticketing.tables import tickets


def resolve_cleared(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Resolve what has been clear long enough, then parents whose children are all done."""
    hold_ms = round(ctx.resolve_after_s * 1000)
    flapping = kept_open(tx, now_ms)
    for row in tx.execute(_CLEARED.limit(ctx.limits.tickets)).all():
        if row.cleared_at_ms is None:
            continue
        due_ms = max(row.cleared_at_ms + hold_ms, flapping.get(row.id, 0))
        if due_ms > now_ms:
            report.wake_at(due_ms)
            continue
        proof = Reason("reason.resolved.clear", {"clear_for_ms": now_ms - row.ended_at_ms, "n": row.closings})
        intake.resolve(tx, book, row.id, proof, now_ms, ended_at_ms=row.ended_at_ms)
        report.count("resolved")
    for parent_id in tx.execute(CHILDLESS.limit(ctx.limits.tickets)).scalars().all():
        intake.resolve(tx, book, parent_id, Reason("reason.resolved.children"), now_ms)
        report.count("resolved")


_holding = select(open_findings.c.ticket_id).where(open_findings.c.ticket_id == tickets.c.id).exists()

_closed = (
    select(findings.c.id).where(findings.c.ticket_id == tickets.c.id, findings.c.kind == "closed").exists()
)

CLEAR = select(tickets.c.id).where(
    tickets.c.open_mark == 1, tickets.c.origin == "machine", ~_holding, _closed
)
"""The machine's open tickets of which nothing holds any more, and something did."""

_CLEARED = (
    select(
        tickets.c.id,
        func.max(findings.c.received_at_ms).label("cleared_at_ms"),
        func.max(findings.c.at_ms).label("ended_at_ms"),
        func.count().label("closings"),
    )
    .join(findings, (findings.c.ticket_id == tickets.c.id) & (findings.c.kind == "closed"))
    .where(tickets.c.open_mark == 1, tickets.c.origin == "machine", ~_holding)
    .group_by(tickets.c.id)
    .order_by(tickets.c.id)
)

_child = aliased(tickets, name="child")
_any_child = select(_child.c.id).where(_child.c.parent_id == tickets.c.id)

CHILDLESS = (
    select(tickets.c.id)
    .where(
        tickets.c.open_mark == 1,
        tickets.c.origin == "machine",
        tickets.c.contract_id == "internal",
        ~_holding,
        _any_child.exists(),
        ~_any_child.where(_child.c.open_mark == 1).exists(),
    )
    .order_by(tickets.c.id)
)
