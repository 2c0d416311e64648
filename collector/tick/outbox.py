"""Step 6: messages wait as rows and workers claim them; the tick only counts what waits, so that metrics can say it."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from collector.tick.context import TickReport
from ticketing.tables import outbox


def count_outbox(tx: Connection, now_ms: int, report: TickReport) -> None:
    """How many messages are due now, and when the next one will be."""
    due, next_ms = tx.execute(
        select(
            func.count().filter(outbox.c.next_attempt_at_ms <= now_ms),
            func.min(outbox.c.next_attempt_at_ms).filter(outbox.c.next_attempt_at_ms > now_ms),
        ).where(outbox.c.next_attempt_at_ms.is_not(None))
    ).one()
    report.count("outbox_due", due)
    report.wake_at(next_ms)
