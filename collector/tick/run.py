"""One tick: every decision of the collector, in one order, with one ``now``, in one transaction.

vantages, silence, outside probes, qualify and ticket, resolve, clocks, outbox, auditor. Under pressure the judging of
findings comes in slices between the ticks (``run_slice``), each a transaction of its own. Slow things happen elsewhere:
probes and deliveries are rows that workers claim. The caller holds the lease, flushes buffered heartbeats first (else a
host that beat a moment ago would look late), and runs the next tick no later than ``next_wake_ms``.
"""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.asks import watch_vantages
from collector.tick.auditor import audit
from collector.tick.clocks import run_clocks
from collector.tick.context import TickContext, TickReport
from collector.tick.outbox import count_outbox
from collector.tick.outside import watch_outside
from collector.tick.qualify import judge_findings
from collector.tick.resolve import resolve_cleared
from collector.tick.seen import watch_seen
from collector.tick.silence import watch_silence
from collector.tick.traces import ask_traces
from collector.tick.unserved import watch_unserved
from ticketing import contracts

SHORTEST_WAIT_MS = 20
"""A tick that left work over asks for the next one at once, but never for a spin."""


def run_tick(tx: Connection, now_ms: int, ctx: TickContext) -> TickReport:
    """Decide everything that is due at ``now_ms``; what exceeds a tick's bounds waits for the next."""
    report = TickReport(next_wake_ms=now_ms + round(ctx.tick_s * 1000))
    ctx.book = contracts.current(tx, ctx.book)
    watch_vantages(tx, now_ms, ctx, ctx.book, report)
    watch_silence(tx, now_ms, ctx, ctx.book, report)
    ask_traces(tx, now_ms, ctx, report)
    watch_outside(tx, now_ms, ctx, ctx.book, report)
    watch_seen(tx, now_ms, ctx, report)
    watch_unserved(tx, now_ms, ctx, report)
    judge_findings(tx, now_ms, ctx, ctx.book, report)
    resolve_cleared(tx, now_ms, ctx, ctx.book, report)
    run_clocks(tx, now_ms, ctx, ctx.book, report)
    count_outbox(tx, now_ms, report)
    audit(tx, now_ms, ctx, ctx.book, report)
    ctx.is_first = False
    report.next_wake_ms = max(report.next_wake_ms, now_ms + SHORTEST_WAIT_MS)
    return report


def run_slice(tx: Connection, now_ms: int, ctx: TickContext) -> TickReport:
    """Judge and place as many findings as a tick's bounds allow, and nothing else."""
    report = TickReport(next_wake_ms=now_ms + round(ctx.tick_s * 1000))
    ctx.book = contracts.current(tx, ctx.book)
    judge_findings(tx, now_ms, ctx, ctx.book, report)
    count_outbox(tx, now_ms, report)
    report.next_wake_ms = max(report.next_wake_ms, now_ms + SHORTEST_WAIT_MS)
    return report
