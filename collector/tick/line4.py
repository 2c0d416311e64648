"""A step of the tick: what line 4 owes a provider by itself, dossiers that the contract lets go and reminders."""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.context import TickContext, TickReport
from ticketing import line4
from ticketing.contracts import Book

LOOK_MS = 5000
"""Least time between two looks: dossiers wait for minutes, reminders for hours."""


def run_line4(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Let the desk do its due part, at most ``limits.tickets`` of each."""
    if 0 <= now_ms - ctx.line4_at_ms < LOOK_MS:
        return
    ctx.line4_at_ms = now_ms
    for kind, count in line4.run(tx, book, now_ms, ctx.limits.tickets).items():
        if count:
            report.count(kind, count)
