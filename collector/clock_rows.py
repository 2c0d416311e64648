"""Writes what the folding of clocks found, a whole flush in a few statements.

The same words as ``collector.observed.observe`` has for one value (a held value is written when it changes, an event
once), but hundreds of hosts may tell theirs in one second: a statement or two for each kept the writer from every
report that waited for its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select

from collector import intake_sqlite
from collector.clock_fold import Fold
from collector.observed import is_event
from collector.tables import observations

SOURCE = "clocks"
ONCE_MS = 120_000
"""Behind a load balancer two collectors hear one host: the same step within this time is one."""

ROWS_MAX = 500
"""Most rows of one flush; the rest waits for the next one, a second later."""

Told = tuple[str, str]
"""Host and signal."""


def write_folds(tx: Connection, folds: Sequence[Fold], now_ms: int) -> int:
    """Write them, in order; how many were new."""
    written = 0
    for start in range(0, len(folds), ROWS_MAX):
        written += _write(tx, folds[start : start + ROWS_MAX], now_ms)
    return written


def _write(tx: Connection, folds: Sequence[Fold], now_ms: int) -> int:
    events = [fold for fold in folds if is_event(fold.signal)]
    near = _near(tx, events)
    held = _newest(tx, [fold for fold in folds if not is_event(fold.signal)])
    fresh: list[Fold] = []
    for fold in folds:
        told = (fold.host_id, fold.signal)
        if is_event(fold.signal):
            known = near.setdefault(told, [])
            if any(abs(at - fold.at_ms) <= ONCE_MS and abs(value - fold.value) < 0.5 for at, value in known):
                continue
            known.append((fold.at_ms, fold.value))
        else:
            before = held.get(told)
            if before is not None and before[1] == fold.value:
                continue
            if before is None or fold.at_ms >= before[0]:
                held[told] = (fold.at_ms, fold.value)
        fresh.append(fold)
    if fresh:
        _insert(tx, [_row(fold, now_ms) for fold in fresh])
    return len(fresh)


def _near(tx: Connection, events: Sequence[Fold]) -> dict[Told, list[tuple[int, float]]]:
    """Events that are known already around the time of these."""
    found: dict[Told, list[tuple[int, float]]] = {}
    if not events:
        return found
    wanted = select(
        observations.c.host_id, observations.c.signal, observations.c.at_ms, observations.c.value
    ).where(
        observations.c.host_id.in_({fold.host_id for fold in events}),
        observations.c.signal.in_({fold.signal for fold in events}),
        observations.c.vantage == "",
        observations.c.source == SOURCE,
        observations.c.at_ms.between(
            min(fold.at_ms for fold in events) - ONCE_MS, max(fold.at_ms for fold in events) + ONCE_MS
        ),
    )
    for host_id, signal, at_ms, value in tx.execute(wanted):
        found.setdefault((host_id, signal), []).append((at_ms, float(value)))
    return found


def _newest(tx: Connection, folds: Sequence[Fold]) -> dict[Told, tuple[int, Any]]:
    """What holds of these signals on these hosts: when it was said last, and what."""
    if not folds:
        return {}
    last = (
        select(observations.c.host_id, observations.c.signal, func.max(observations.c.at_ms).label("at_ms"))
        .where(
            observations.c.host_id.in_({fold.host_id for fold in folds}),
            observations.c.signal.in_({fold.signal for fold in folds}),
            observations.c.vantage == "",
        )
        .group_by(observations.c.host_id, observations.c.signal)
        .subquery()
    )
    wanted = (
        select(observations.c.host_id, observations.c.signal, observations.c.at_ms, observations.c.value)
        .join(
            last,
            and_(
                observations.c.host_id == last.c.host_id,
                observations.c.signal == last.c.signal,
                observations.c.at_ms == last.c.at_ms,
            ),
        )
        .where(observations.c.vantage == "")
        .order_by(observations.c.id)
    )
    # Two rows of one instant: the later written one is what holds.
    return {(host_id, signal): (at_ms, value) for host_id, signal, at_ms, value in tx.execute(wanted)}


def _row(fold: Fold, now_ms: int) -> dict[str, Any]:
    return {
        "host_id": fold.host_id,
        "signal": fold.signal,
        "vantage": "",
        "value": fold.value,
        "source": SOURCE,
        "at_ms": fold.at_ms,
        "received_at_ms": now_ms,
    }


def _insert(tx: Connection, rows: list[dict[str, Any]]) -> None:
    if tx.dialect.name == "sqlite":
        intake_sqlite.observe(tx, rows)
    else:
        tx.execute(insert(observations), rows)
