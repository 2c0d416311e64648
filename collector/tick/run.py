"""One tick: every decision of the collector, in one order, with one ``now``, in one transaction.

vantages, silence, outside probes, qualify and ticket, resolve, clocks, line 4, failover, outbox, auditor, proof of the clocks.
Under pressure the judging of findings comes in slices between the ticks (``run_slice``), each a transaction of its own.
Slow things happen elsewhere: probes and deliveries are rows that workers claim. The caller holds the lease, flushes
buffered heartbeats first (else a host that beat a moment ago would look late), and runs the next tick no later than
``next_wake_ms``.

A step that asks more than one small question runs when its own question is answered yes (collector.tick.due), or when a
step before it may have changed what it looks at: judged findings move tickets.
"""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.asks import watch_vantages
from collector.tick.auditor import audit
from collector.tick.clocks import run_clocks
from collector.tick.context import TickContext, TickReport
from collector.tick.due import Due, look
from collector.tick.failover import watch_failover
from collector.tick.line4 import run_line4
from collector.tick.outside import watch_outside
from collector.tick.proof import prove_clocks
from collector.tick.qualify import judge_findings
from collector.tick.resolve import resolve_cleared
from collector.tick.seen import watch_seen
from collector.tick.silence import lift_after_gap, watch_silence
from collector.tick.traces import ask_traces
from collector.tick.unserved import watch_unserved
from ticketing import contracts
from ticketing.contracts import Book

TOGETHER_MS = 1000
"""Routine probes that fall due within a second share a tick: 2,000 services would else turn it 60 times a second."""

SHORTEST_WAIT_MS = 20
"""A tick that left work over asks for the next one at once, but never for a spin."""


def run_tick(tx: Connection, now_ms: int, ctx: TickContext) -> TickReport:
    """Decide everything that is due at ``now_ms``; what exceeds a tick's bounds waits for the next."""
    report = TickReport(next_wake_ms=now_ms + round(ctx.tick_s * 1000))
    due = look(tx, now_ms, ctx.seen_since_ms)
    book = _book(tx, ctx, due)
    lift_after_gap(tx, now_ms, ctx, due.last_tick, report)
    watch_vantages(tx, now_ms, ctx, book, report)
    _eyes(tx, now_ms, ctx, book, due, report)
    watch_unserved(tx, now_ms, ctx, report)
    before = dict(report.counts)
    judge_findings(tx, now_ms, ctx, book, report)
    has_judged = report.counts != before
    if has_judged or due.cleared:
        resolve_cleared(tx, now_ms, ctx, book, report)
    if has_judged or due.clocks:
        run_clocks(tx, now_ms, ctx, book, report)
    watch_failover(tx, now_ms, ctx, book, report)
    run_line4(tx, now_ms, ctx, book, due, report)
    audit(tx, now_ms, ctx, book, report)
    prove_clocks(tx, now_ms, ctx, book, report)
    ctx.is_first = False
    return _told(tx, now_ms, ctx, due, report)


def run_slice(tx: Connection, now_ms: int, ctx: TickContext) -> TickReport:
    """Judge and place as many findings as a slice's bounds allow, and nothing else.

    The whole tick, a second away at most, asks what else is due and whether the contracts moved: asked in each slice,
    those questions cost as much as the judging.
    """
    report = TickReport(next_wake_ms=now_ms + SHORTEST_WAIT_MS)
    if ctx.book is not None:
        judge_findings(tx, now_ms, ctx, ctx.book, report)
    return report


def _told(tx: Connection, now_ms: int, ctx: TickContext, due: Due, report: TickReport) -> TickReport:
    """The report, with when the next tick is due after what this one changed."""
    if report.counts:
        due = look(tx, now_ms, ctx.seen_since_ms)
    # Messages wait as rows and workers claim them; the tick only says how many, and when the next one is due.
    report.count("outbox_due", due.outbox)
    report.wake_at(due.next_message_ms)
    report.wake_at(due.next_silence_ms)
    if due.next_service_ms is not None:
        report.wake_at(max(due.next_service_ms, now_ms + TOGETHER_MS))
    report.next_wake_ms = max(report.next_wake_ms, now_ms + SHORTEST_WAIT_MS)
    return report


def _book(tx: Connection, ctx: TickContext, due: Due) -> Book:
    """The contracts in force; read only where the store says that they moved."""
    if ctx.book is None or ctx.book_mark != due.book_mark:
        ctx.book = contracts.current(tx, ctx.book)
        ctx.book_mark = due.book_mark
    return ctx.book


def _eyes(tx: Connection, now_ms: int, ctx: TickContext, book: Book, due: Due, report: TickReport) -> None:
    """The steps that look at hosts from outside."""
    if due.suspects or due.returned:
        watch_silence(tx, now_ms, ctx, book, report)
        ask_traces(tx, now_ms, ctx, report)
    if due.answered or due.services or ctx.book_of_services is not book:
        watch_outside(tx, now_ms, ctx, book, report)
    if due.seen or now_ms >= ctx.seen_due_ms:
        watch_seen(tx, now_ms, ctx, report)
