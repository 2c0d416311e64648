"""Step 4: SLA clocks whose instant has come warn, breach and escalate, and people hear of what they were called for; the
desk's own rules decide what that means."""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.context import TickContext, TickReport
from ticketing import calls, clock_step
from ticketing.contracts import Book


def run_clocks(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Let the desk look at its due clocks, at most ``limits.tickets`` of them."""
    for event in clock_step.run(tx, book, now_ms, ctx.limits.tickets):
        report.count(f"clock_{getattr(event, 'kind', 'event')}")
    told = calls.run(tx, book, now_ms, ctx.limits.tickets)
    if told:
        report.count("calls", told)
