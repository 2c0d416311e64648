"""Asks for a trace to each suspect: where does the way to it end? The answer is an observation (collector.trace).

Beside the silence step and not in it: no suspicion waits for a trace, and none is decided by one alone.
"""

from __future__ import annotations

from sqlalchemy import Connection, exists, insert, select

from collector.fleet import Life
from collector.store.engine import after_commit
from collector.tables import hosts, probes
from collector.tick.context import TickContext, TickReport

AGAIN_MS = 60_000
AT_ONCE = 40
"""Most traces asked in one tick: of a whole site that is dark a few ways tell as much as all."""


def ask_traces(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    """Traces to suspects that none was made to lately."""
    if not ctx.can_trace:
        return
    asked = exists().where(
        probes.c.host_id == hosts.c.id, probes.c.kind == "trace", probes.c.asked_at_ms > now_ms - AGAIN_MS
    )
    wanted = (
        select(hosts.c.id, hosts.c.addresses)
        .where(hosts.c.life == Life.SUSPECT.value, hosts.c.silent_after_ms <= now_ms, ~asked)
        .order_by(hosts.c.silent_after_ms, hosts.c.id)
        .limit(AT_ONCE)
    )
    rows = [
        {
            "host_id": row.id,
            "kind": "trace",
            "vantage": "collector",
            "target": {"address": row.addresses[0]},
            "why": "trace",
            "asked_at_ms": now_ms,
        }
        for row in tx.execute(wanted)
        if row.addresses
    ]
    if rows:
        tx.execute(insert(probes), rows)
        after_commit(tx, ctx.wake_probes)
        report.count("traces_asked", len(rows))
