"""The auditor: every open ticket has its clocks, running or resting with a reason, and a next step in time (invariant 4).

What breaks that is our own fault, so the auditor opens a ticket about it on the contract ``internal``. A step that is
missing it plans anew for at once; clocks are put right from the events by the nightly proof (``collector.tick.proof``).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, bindparam, exists, or_, select, update

from collector.tick.context import TickContext, TickReport
from collector.tick.rows import CUT_OFF_SINCE, remembered
from ticketing import intake
from ticketing.contracts import Book
from ticketing.model import INTERNAL_CONTRACT, ClockKind, ClockState, Confidence, Reason, Verdict
from ticketing.tables import clocks, tickets

EVERY_MS = 60_000
SUBJECT = "collector:auditor"
JUDGE = "collector:judge"
CUT_OFF = "collector:cut_off"
CUT_OFF_TOLD_AFTER_MS = 300_000
NAMED_MAX = 20
LATE_MS = 300_000
OVERDUE_MAX = 5000
"""A step that was due for so long at two looks in a row is late: a tick does what is due, and its bounds only defer. One that
moved meanwhile is not: after we were away a ticket makes up for its steps one by one.
"""


def audit(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Once a minute: find open tickets without a living clock or a next step, and say so in a ticket of our own."""
    if now_ms - ctx.audited_at_ms < EVERY_MS:
        return
    ctx.audited_at_ms = now_ms
    _tell_cut_off(tx, now_ms, book)
    if ctx.judge_failures:
        params = {"n": ctx.judge_failures}
        why, line = Reason("reason.internal.judge_failures", params), Reason("summary.internal.judge", params)
        tell_ourselves(tx, book, JUDGE, "internal.judge", why, line, now_ms, now_ms)
        ctx.judge_failures = 0
    rows = tx.execute(_OVERDUE.limit(OVERDUE_MAX), {"b_before": now_ms - LATE_MS})
    overdue = {(row.id, row.next_step_at_ms) for row in rows}
    late, ctx.overdue_steps = overdue & ctx.overdue_steps, overdue
    wrong = sorted({*tx.execute(_WRONG.limit(NAMED_MAX)).scalars(), *(one for one, _ in late)})[:NAMED_MAX]
    if not wrong:
        return
    tx.execute(_PLAN_ANEW, {"b_now": now_ms})
    report.count("audit_faults", len(wrong))
    named = ", ".join(str(ticket_id) for ticket_id in wrong)
    params = {"tickets": named, "n": len(wrong)}
    why = Reason("reason.internal.clockless", params)
    tell_ourselves(
        tx, book, SUBJECT, "internal.audit", why, Reason("summary.internal.audit", params), now_ms, now_ms
    )


def _tell_cut_off(tx: Connection, now_ms: int, book: Book) -> None:
    """Being cut off for minutes is worth our own ticket; it resolves when we see again."""
    since = remembered(tx, CUT_OFF_SINCE)
    known = intake.find_open(tx, str(INTERNAL_CONTRACT), f"internal|{CUT_OFF}")
    if since and now_ms - int(since) >= CUT_OFF_TOLD_AFTER_MS:
        why = Reason("reason.internal.cut_off")
        tell_ourselves(
            tx, book, CUT_OFF, "internal.cut_off", why, Reason("summary.internal.cut_off"), int(since), now_ms
        )
    elif not since and known is not None:
        intake.resolve(tx, book, known["id"], Reason("reason.resolved.seeing_again"), now_ms)


def tell_ourselves(
    tx: Connection,
    book: Book,
    subject: str,
    cause: str,
    why: Reason,
    summary: Reason,
    began_ms: int,
    now_ms: int,
) -> None:
    """Open or join a ticket about a fault of our own."""
    verdict = Verdict(
        class_=2,
        root_cause=cause,
        scope=subject,
        subject=subject,
        family="internal",
        affected=(),
        began_at_ms=began_ms,
        confidence=Confidence.HIGH,
        severity="high",
        reasons=(why,),
        summary=summary,
    )
    intake.open_or_join(tx, book, verdict, str(INTERNAL_CONTRACT), now_ms)


_reaction = exists().where(clocks.c.ticket_id == tickets.c.id, clocks.c.kind == ClockKind.REACTION.value)
_alive_resolution = exists().where(
    clocks.c.ticket_id == tickets.c.id,
    clocks.c.kind == ClockKind.RESOLUTION.value,
    or_(
        clocks.c.state == ClockState.RUNNING.value,
        (clocks.c.state == ClockState.PAUSED.value) & (clocks.c.pause_reason != ""),
    ),
)

_WRONG = (
    select(tickets.c.id)
    .where(
        tickets.c.open_mark == 1,
        or_(~_reaction, ~_alive_resolution, tickets.c.next_step_at_ms.is_(None)),
        tickets.c.problem != f"internal|{SUBJECT}",
    )
    .order_by(tickets.c.id)
)

_OVERDUE = (
    select(tickets.c.id, tickets.c.next_step_at_ms)
    .where(tickets.c.next_step_at_ms < bindparam("b_before", type_=BigInteger))
    .order_by(tickets.c.next_step_at_ms)
)
_PLAN_ANEW = (
    update(tickets)
    .where(tickets.c.open_mark == 1, tickets.c.next_step_at_ms.is_(None))
    .values(next_step_at_ms=bindparam("b_now", type_=BigInteger))
)
