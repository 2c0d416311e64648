"""Agents that were stopped in order to be replaced: their hosts are waited for as long as a roll-out may take.

A roll-out is known by the operator's act on record (a package manager, or a tool of many servers, that names our agent),
or by several agents of one contract that say goodbye within minutes of each other. One agent that is stopped by itself,
without a word why, is asked after at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from collector.fleet import ROLL_OUT_GRACE_S, Life
from collector.observed import recent
from collector.tables import hosts
from collector.tick.context import TickReport

SERVICE_STOP = "service_stop"
ACT_BEFORE_MS, ACT_AFTER_MS = 600_000, 60_000
TOGETHER_MS = 600_000
ALIKE = 2
HOSTS_MAX = 2_000

_AGENT = re.compile(r"(?i)vartovyi|\bagent\b|monitoring")
_REPLACE = re.compile(
    r"(?i)\b(?:up(?:date|grad)\w*|install\w*|reinstall\w*|deploy\w*|roll.?out\w*|ansible|puppet|salt|dnf|yum|apt(?:-get)?|rpm|dpkg)\b"
)


def is_roll_out(act: str) -> bool:
    """Whether an operator's act replaces our agent. Pure."""
    return bool(_AGENT.search(act)) and bool(_REPLACE.search(act))


def wait_for_roll_outs(tx: Connection, now_ms: int, report: TickReport) -> None:
    """New deadlines for the hosts whose agent is being replaced: 1,800 s from its goodbye."""
    grace_ms = round(ROLL_OUT_GRACE_S * 1000)
    overdue = tx.execute(
        select(hosts.c.id, hosts.c.contract_id, hosts.c.last_report_at_ms)
        .where(
            hosts.c.silent_after_ms <= now_ms,
            hosts.c.life == Life.STOPPED.value,
            hosts.c.goodbye == SERVICE_STOP,
            hosts.c.last_report_at_ms > now_ms - grace_ms,
            hosts.c.is_retired.is_(False),
        )
        .limit(HOSTS_MAX)
    ).all()
    if not overdue:
        return
    waited = _by_act(tx, overdue) | _together(tx, overdue, now_ms)
    for row in overdue:
        if row.id in waited:
            due_ms = row.last_report_at_ms + grace_ms
            tx.execute(update(hosts).where(hosts.c.id == row.id).values(silent_after_ms=due_ms))
    report.count("rolling_out", len(waited))


def _by_act(tx: Connection, rows: Sequence[Any]) -> set[str]:
    since = min(row.last_report_at_ms for row in rows) - ACT_BEFORE_MS
    stopped = {row.id: row.last_report_at_ms for row in rows}
    return {
        seen.host_id
        for seen in recent(tx, stopped, since)
        if seen.signal == "ops.action"
        and is_roll_out(str(seen.value))
        and stopped[seen.host_id] - ACT_BEFORE_MS <= seen.at_ms <= stopped[seen.host_id] + ACT_AFTER_MS
    }


def _together(tx: Connection, rows: Sequence[Any], now_ms: int) -> set[str]:
    """Hosts whose agents were stopped with others of their contract, a few minutes apart at most."""
    contracts = sorted({row.contract_id for row in rows})[:500]
    stopped = tx.execute(
        select(hosts.c.id, hosts.c.contract_id, hosts.c.last_report_at_ms)
        .where(
            hosts.c.contract_id.in_(contracts),
            hosts.c.goodbye == SERVICE_STOP,
            hosts.c.life == Life.STOPPED.value,
            hosts.c.last_report_at_ms > now_ms - round(ROLL_OUT_GRACE_S * 1000),
        )
        .limit(HOSTS_MAX)
    ).all()
    found = set()
    for row in rows:
        near = [
            other.id
            for other in stopped
            if other.contract_id == row.contract_id
            and abs(other.last_report_at_ms - row.last_report_at_ms) <= TOGETHER_MS
        ]
        if len(near) >= ALIKE:
            found.add(row.id)
    return found
