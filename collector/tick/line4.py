"""A step of the tick: what line 4 owes a provider by itself, dossiers that the contract lets go and reminders."""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.context import TickContext, TickReport
from collector.tick.due import Due
from ticketing import line4
from ticketing.contracts import Book

LOOK_MS = 5000
"""Least time between two looks for dossiers, which wait for minutes."""


def run_line4(
    tx: Connection, now_ms: int, ctx: TickContext, book: Book, due: Due, report: TickReport
) -> None:
    """Let the desk do its due part, at most ``limits.tickets`` of each."""
    if due.reminders:
        report.count("provider_reminders", line4.remind_due(tx, book, now_ms, ctx.limits.tickets))
    if 0 <= now_ms - ctx.line4_at_ms < LOOK_MS:
        return
    ctx.line4_at_ms = now_ms
    report.count("dossiers", line4.send_due(tx, book, now_ms, ctx.limits.tickets))
