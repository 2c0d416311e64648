"""A second pair of eyes for verification: vantages of ours look at the public name while the run waits for their word.

An ask is a row like any other (collector.asks), handed out on a vantage's long poll. Nobody to ask, or nobody who could
tell in time, is no "no": it stands in the journal as such (I13), and the collector's own look decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from agent.checks.spec import CheckSettings
from collector.asks import rows_of, word_of
from collector.tables import hosts, probes
from collector.tick.asks import standing
from collector.vantage import choose, named_in
from ticketing.contracts import Book

WAIT_S = 10.0
POLL_S = 0.25
WHY = "failover"


def asked(
    tx: Connection, book: Book, own: tuple[str, ...], host_id: str, check: CheckSettings, now_ms: int
) -> list[int]:
    """Ask the vantages that stand apart from this host; the ids of the asks."""
    here = tx.execute(select(hosts.c.topology).where(hosts.c.id == host_id)).scalar() or {}
    chosen = choose(host_id, here, standing(tx, now_ms, named_in(book, own)), with_peers=False)
    target = {"service": "", "address": "", "name": check.name, "check": _plain(check)}
    rows = rows_of(host_id, [("service", target)], chosen, WHY, now_ms, now_ms + round(WAIT_S * 1000))
    ids = []
    for row in rows:
        key = tx.execute(insert(probes).values(**row)).inserted_primary_key
        assert key is not None, "a row that was inserted has its key"
        ids.append(int(key[0]))
    return ids


def answered(conn: Connection, ids: list[int]) -> dict[str, str]:
    """Vantage -> its word, of those that have answered; "" where it could not tell."""
    wanted = select(probes.c.vantage, probes.c.kind, probes.c.answer).where(
        probes.c.id.in_(ids), probes.c.answered_at_ms.is_not(None)
    )
    return {row.vantage: word_of(row.kind, row.answer or {}) for row in conn.execute(wanted)}


def wait_for(
    look: Callable[[], Mapping[str, str]], n: int, pause: Callable[[float], None]
) -> Mapping[str, str]:
    """The words, as soon as all have come or the time is over."""
    for _ in range(round(WAIT_S / POLL_S)):
        words = look()
        if len(words) >= n:
            return words
        pause(POLL_S)
    return look()


def _plain(check: CheckSettings) -> dict[str, Any]:
    default = CheckSettings(name=check.name, type=check.type)
    return {
        field.name: getattr(check, field.name)
        for field in dataclasses.fields(check)
        if field.name != "name"
        and (field.name == "type" or getattr(check, field.name) != getattr(default, field.name))
    }
