"""Asks for a trace to each suspect: where does the way to it end? The answer is an observation (collector.trace).

Beside the silence step and not in it: no suspicion is decided by a trace alone, and where time is short none waits for one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exists, insert, select

from collector.fleet import Life
from collector.store.engine import after_commit
from collector.tables import hosts, probes
from collector.tick.asks import asks_about, write_asks
from collector.tick.context import TickContext, TickReport
from collector.tick.questions import probe_row

AGAIN_MS = 60_000
AT_ONCE = 40
"""Most traces asked in one tick: of a whole site that is dark a few ways tell as much as all."""


def ask_traces(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    """Traces to suspects that none was made to lately."""
    if not ctx.can_trace:
        return
    asked = exists().where(
        probes.c.host_id == hosts.c.id, probes.c.why == "trace", probes.c.asked_at_ms > now_ms - AGAIN_MS
    )
    wanted = (
        select(hosts.c.id, hosts.c.addresses, hosts.c.topology)
        .where(hosts.c.life == Life.SUSPECT.value, hosts.c.silent_after_ms <= now_ms, ~asked)
        .order_by(hosts.c.silent_after_ms, hosts.c.id)
        .limit(AT_ONCE)
    )
    rows: list[dict[str, Any]] = []
    asks: list[dict[str, Any]] = []
    for host in tx.execute(wanted):
        if host.addresses:
            target = {"address": host.addresses[0]}
            rows.append(probe_row(host.id, "trace", target, "trace", now_ms))
            asks += asks_about(now_ms, ctx, host, [("trace", target)], "trace", with_peers=False)
    report.count("asks_made", write_asks(tx, ctx, asks))
    if rows:
        tx.execute(insert(probes), rows)
        after_commit(tx, ctx.wake_probes)
        report.count("traces_asked", len(rows))
