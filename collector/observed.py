"""What the collector's side sees of a host, a provider or itself: one table, one door in, one door out.

Provider adapters, operator acts, windows, the folding of clocks, traces and second vantages write here; judgement
reads here. So a new producer needs no new way into a verdict, and a replay enters by the same door as the real thing.

A held value (``prov.status``, ``ext.icmp``) is written when it changes; an event (``prov.event``, ``ops.action``) each
time it happens. ``host_id`` is a host, or a provider's id where it is said of a whole provider.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from agent.signals.catalogue import signal_named
from collector.tables import observations

HOSTS_IN_ONE_SELECT = 500
ROWS_MAX = 5_000
"""Most observations that one look brings: the newest."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """One value of one signal, seen from one place."""

    host_id: str
    signal: str
    value: Any
    at_ms: int
    source: str
    """Who says so: the adapter, ``probe``, ``trace``, ``person``, ..."""
    vantage: str = ""
    """Where it was seen from, for what is seen from outside; "" = the collector."""
    received_at_ms: int = 0


UNTIL = "prov.until"
"""Of a provider: Unix ms at which it expects its repair to end, 0 = none (any more). A plan of theirs, and no evidence."""


def is_event(signal: str) -> bool:
    """Whether the signal happens (and is written each time) instead of holding."""
    known = signal_named(signal)
    return known is not None and known.kind == "event"


def observe(
    tx: Connection,
    host_id: str,
    signal: str,
    value: Any,
    at_ms: int,
    source: str,
    *,
    vantage: str = "",
    received_at_ms: int | None = None,
    is_each_told: bool = False,
) -> bool:
    """Write what was seen; False where a held value is what it was. ``at_ms`` = when it was so, not when we heard.

    ``is_each_told``: the value belongs to its instant, and the same again is news (two unclean boots).
    """
    if not is_each_told and not is_event(signal):
        newest = (
            select(observations.c.value)
            .where(
                observations.c.host_id == host_id,
                observations.c.signal == signal,
                observations.c.vantage == vantage,
            )
            .order_by(observations.c.at_ms.desc(), observations.c.id.desc())
            .limit(1)
        )
        before = tx.execute(newest).first()
        if before is not None and before.value == value:
            return False
    tx.execute(
        insert(observations).values(
            host_id=host_id,
            signal=signal,
            vantage=vantage,
            value=value,
            source=source,
            at_ms=at_ms,
            received_at_ms=at_ms if received_at_ms is None else received_at_ms,
        )
    )
    return True


def keep_newest(
    tx: Connection, host_id: str, signal: str, value: Any, at_ms: int, source: str, received_at_ms: int
) -> bool:
    """Write a number of which only the last is ever asked (how far a backup is behind), in place of the one before.

    False where it is no number, or one that was true later is known already: reports may come twice and out of order.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        return False
    same = (
        observations.c.host_id == host_id,
        observations.c.signal == signal,
        observations.c.vantage == "",
    )
    known = tx.execute(select(func.max(observations.c.at_ms)).where(*same)).scalar()
    if known is not None and known >= at_ms:
        return False
    tx.execute(delete(observations).where(*same))
    row = {"host_id": host_id, "signal": signal, "vantage": "", "value": value, "source": source}
    tx.execute(insert(observations).values(**row, at_ms=at_ms, received_at_ms=received_at_ms))
    return True


def recent(conn: Connection, host_ids: Iterable[str], since_ms: int) -> list[Observation]:
    """What was seen of these hosts (and providers) since then, oldest first, and before it what held at that moment.

    Events older than ``since_ms`` are left out; of a held value the newest older row stands for "it was so already".
    """
    found: list[Observation] = []
    ids = sorted(set(host_ids))
    for start in range(0, len(ids), HOSTS_IN_ONE_SELECT):
        part = ids[start : start + HOSTS_IN_ONE_SELECT]
        found += _held_before(conn, part, since_ms)
        newer = (
            select(observations)
            .where(observations.c.host_id.in_(part), observations.c.at_ms >= since_ms)
            .order_by(observations.c.at_ms.desc(), observations.c.id.desc())
            .limit(ROWS_MAX)
        )
        found += reversed([_observation(row) for row in conn.execute(newer)])
    return sorted(found, key=lambda o: o.at_ms)


def newest(conn: Connection, host_ids: Iterable[str], signal: str) -> dict[tuple[str, str], Observation]:
    """(host, vantage) -> the newest value of one held signal, however old."""
    found: dict[tuple[str, str], Observation] = {}
    ids = sorted(set(host_ids))
    for start in range(0, len(ids), HOSTS_IN_ONE_SELECT):
        part = ids[start : start + HOSTS_IN_ONE_SELECT]
        for seen in _newest_rows(conn, observations.c.host_id.in_(part), observations.c.signal == signal):
            found[seen.host_id, seen.vantage] = seen
    return found


def _held_before(conn: Connection, host_ids: Sequence[str], since_ms: int) -> list[Observation]:
    rows = _newest_rows(conn, observations.c.host_id.in_(host_ids), observations.c.at_ms < since_ms)
    return [seen for seen in rows if not is_event(seen.signal)]


def _newest_rows(conn: Connection, *where: ColumnElement[bool]) -> list[Observation]:
    """Of each host, signal and vantage the last of the rows that are asked for."""
    last = (
        select(
            observations.c.host_id,
            observations.c.signal,
            observations.c.vantage,
            func.max(observations.c.at_ms).label("at_ms"),
        )
        .where(*where)
        .group_by(observations.c.host_id, observations.c.signal, observations.c.vantage)
        .subquery()
    )
    wanted = (
        select(observations)
        .join(
            last,
            and_(
                observations.c.host_id == last.c.host_id,
                observations.c.signal == last.c.signal,
                observations.c.vantage == last.c.vantage,
                observations.c.at_ms == last.c.at_ms,
            ),
        )
        .order_by(observations.c.id)
    )
    # Two rows of one instant: the later written one is what held.
    kept = {(row.host_id, row.signal, row.vantage): row for row in conn.execute(wanted)}
    return [_observation(row) for row in kept.values()]


def _observation(row: Any) -> Observation:
    return Observation(
        row.host_id, row.signal, row.value, row.at_ms, row.source, row.vantage, row.received_at_ms
    )
