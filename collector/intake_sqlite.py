"""Group statements of intake and tick on SQLite: many rows in one step.

The driver gives up the interpreter's lock for every row it steps over, and beside a busy event loop each row then waits
for its turn: 128 rows wait 128 times. A statement with many rows is one step, and SQLite does its work while Python
answers others.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from collector.fleet import TABLE, Life, Sign
from collector.tables import findings, observations

ROWS_MAX = 64
"""Most rows in one statement. Each smaller number has a statement of its own, which the driver keeps prepared
(``collector.store.engine.PREPARED``): a batch is then one step, not one for every odd row."""

FINDING = tuple(column.name for column in findings.columns if column.name != "id")
OBSERVATION = tuple(column.name for column in observations.columns if column.name != "id")
REPORTED = (
    "silent_after_ms",
    "last_report_at_ms",
    "boot_id",
    "run_id",
    "mono_ms",
    "wall_offset_ms",
    "mono_offset_ms",
    "interval_s",
    "goodbye",
    "agent_version",
    "vitals",
    "sweep_age_s",
    "spool_depth",
    "spool_dropped",
    "settings_version",
)
"""Columns of hosts that a newest report sets; some are JSON."""

KEYS = ("b_id", "b_boot", "b_mono", "b_received")
"""What finds and guards the row of a newest report."""

_JSON = frozenset({"vitals", "sweep_age_s", "body", "why", "value"})


def lives_after(sign: Sign) -> dict[str, str]:
    """Life before -> life after, for a sign, as the table of lives has it."""
    return {life.value: row.becomes.value for (life, one), row in TABLE.items() if one is sign}


def append(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append findings."""
    head = f"INSERT INTO findings ({', '.join(FINDING)}) VALUES "
    _many(tx, head, "", [_values(row, FINDING) for row in rows])


def observe(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append observations."""
    head = f"INSERT INTO observations ({', '.join(OBSERVATION)}) VALUES "
    _many(tx, head, "", [_values(row, OBSERVATION) for row in rows])


def move(tx: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Set the next n of streams: (host, stream, n)."""
    tail = (
        ") UPDATE streams SET next_n = moved.n FROM moved"
        " WHERE streams.host_id = moved.host AND streams.stream = moved.name"
    )
    _many(tx, "WITH moved (host, name, n) AS (VALUES ", tail, rows)


def handled(tx: Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Mark findings handled: (id, when, outcome, ticket, why)."""
    tail = (
        ") UPDATE findings SET handled_at_ms = done.at_ms, outcome = done.outcome, ticket_id = done.ticket, why = done.why"
        " FROM done WHERE findings.id = done.id"
    )
    texts = [(*row[:4], _text(row[4])) for row in rows]
    _many(tx, "WITH done (id, at_ms, outcome, ticket, why) AS (VALUES ", tail, texts)


def streams_of(tx: Connection, host_ids: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """Every stream of these hosts: (host, stream, next n, whether it is current), fetched as one value."""
    found = tx.exec_driver_sql(_STREAMS, (msgspec.json.encode(host_ids).decode(),)).scalar_one()
    return msgspec.json.decode(found)


def write_newest(tx: Connection, sign: Sign, rows: Sequence[Mapping[str, Any]]) -> None:
    """Update the hosts that these reports are the newest of."""
    names = (*KEYS, *REPORTED)
    _many(
        tx,
        f"WITH fresh ({', '.join(names)}) AS (VALUES ",
        _newest_tail(sign),
        [_values(row, names) for row in rows],
    )


_STREAMS = (
    "SELECT json_group_array(json_array(host_id, stream, next_n, is_current)) FROM streams "
    "WHERE host_id IN (SELECT value FROM json_each(?))"
)


@functools.cache
def _newest_tail(sign: Sign) -> str:
    becomes = lives_after(sign)
    moves = " ".join(f"WHEN '{before}' THEN '{after}'" for before, after in becomes.items())
    changed = ", ".join(f"'{before}'" for before, after in becomes.items() if before != after)
    sets = [f"{name} = fresh.{name}" for name in REPORTED]
    sets.append(f"life = CASE hosts.life {moves} ELSE hosts.life END")
    sets.append(
        f"life_since_ms = CASE WHEN hosts.life IN ({changed}) THEN b_received ELSE hosts.life_since_ms END"
    )
    return (
        f") UPDATE hosts SET {', '.join(sets)} FROM fresh"
        f" WHERE hosts.id = b_id AND hosts.life != '{Life.RETIRED.value}'"
        " AND (hosts.last_report_at_ms IS NULL OR hosts.last_report_at_ms <= b_received"
        " OR (hosts.boot_id = b_boot AND hosts.mono_ms <= b_mono))"
    )


def _values(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    return [_text(row[name]) if name in _JSON else row[name] for name in names]


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _many(tx: Connection, head: str, tail: str, rows: Sequence[Sequence[Any]]) -> None:
    for start in range(0, len(rows), ROWS_MAX):
        part = rows[start : start + ROWS_MAX]
        statement = _statement(head, tail, len(part[0]), len(part))
        tx.exec_driver_sql(statement, tuple(itertools.chain.from_iterable(part)))


@functools.lru_cache(maxsize=512)
def _statement(head: str, tail: str, width: int, count: int) -> str:
    place = f"({', '.join('?' * width)})"
    return head + ", ".join([place] * count) + tail
