"""Small SQL that several steps of the tick share: what is remembered, what the collector itself finds, in chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select, update

from collector.tables import findings, own_state, streams

CHUNK = 500

SILENCE_STREAM = "collector:silence"
CUT_OFF_SINCE = "cut_off_since_ms"
CUT_OFF_UNTIL = "cut_off_until_ms"
"""own_state key: since when our own anchors have been out of reach; "" when they are not."""

OUTSIDE_STREAM = "collector:outside"

T = TypeVar("T")


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items in slices that fit an IN (...)."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def remembered(tx: Connection, key: str) -> str | None:
    """A small thing that outlives a restart, or None."""
    return tx.execute(_REMEMBERED, {"b_key": key}).scalar()


def remember(tx: Connection, key: str, value: str) -> None:
    """Keep a small thing over a restart."""
    done = tx.execute(_REMEMBER, {"b_key": key, "b_value": value})
    if done.rowcount == 0:
        tx.execute(insert(own_state).values(key=key, value=value))


# Said each second: built once, since building a statement costs more than running it.
_REMEMBERED = select(own_state.c.value).where(own_state.c.key == bindparam("b_key"))
_REMEMBER = update(own_state).where(own_state.c.key == bindparam("b_key")).values(value=bindparam("b_value"))


@dataclasses.dataclass(frozen=True)
class OwnFinding:
    """A change that the collector itself found about a host; written into its own numbered stream."""

    host_id: str
    kind: str
    rule: str
    subject: str
    family: str
    at_ms: int
    severity: str = "high"
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""
    opening_n: int = 0
    """For closed: the opening it belongs to."""


def append_own(tx: Connection, stream: str, found: Sequence[OwnFinding], now_ms: int) -> None:
    """Write the collector's findings, numbered like any agent's stream, so that they go through the same mill.

    What stands there already and waits to be judged is not written again: who finds it looks at what holds, tick by tick.
    """
    waiting = _waiting(tx, stream, sorted({f.host_id for f in found}))
    found = [f for f in found if waiting.get((f.host_id, f.rule, f.subject)) != f.kind or f.kind == "changed"]
    if not found:
        return
    next_n = _next_numbers(tx, stream, sorted({f.host_id for f in found}), now_ms)
    rows = []
    for finding in found:
        n = next_n[finding.host_id]
        next_n[finding.host_id] = n + 1
        rows.append(_row(finding, stream, n, now_ms))
    tx.execute(insert(findings), rows)
    tx.execute(
        update(streams)
        .where(streams.c.host_id == bindparam("b_host"), streams.c.stream == stream)
        .values(next_n=bindparam("b_n")),
        [{"b_host": host_id, "b_n": n} for host_id, n in sorted(next_n.items())],
    )


def _waiting(tx: Connection, stream: str, host_ids: Sequence[str]) -> dict[tuple[str, str, str], str]:
    """(host, rule, subject) -> kind of the newest row of the stream that no tick has judged."""
    known: dict[tuple[str, str, str], str] = {}
    for part in chunks(host_ids):
        wanted = (
            select(findings.c.host_id, findings.c.rule, findings.c.subject, findings.c.kind)
            .where(
                findings.c.host_id.in_(part), findings.c.stream == stream, findings.c.handled_at_ms.is_(None)
            )
            .order_by(findings.c.host_id, findings.c.n)
        )
        known.update({(row.host_id, row.rule, row.subject): row.kind for row in tx.execute(wanted)})
    return known


def _next_numbers(tx: Connection, stream: str, host_ids: Sequence[str], now_ms: int) -> dict[str, int]:
    known: dict[str, int] = {}
    for part in chunks(host_ids):
        wanted = select(streams.c.host_id, streams.c.next_n).where(
            streams.c.stream == stream, streams.c.host_id.in_(part)
        )
        known.update({row.host_id: row.next_n for row in tx.execute(wanted)})
    missing = [host_id for host_id in host_ids if host_id not in known]
    if missing:
        fresh = [
            {"host_id": h, "stream": stream, "next_n": 1, "announced_at_ms": now_ms, "is_current": True}
            for h in missing
        ]
        tx.execute(insert(streams), fresh)
        known.update(dict.fromkeys(missing, 1))
    return known


def _row(finding: OwnFinding, stream: str, n: int, now_ms: int) -> dict[str, Any]:
    body = {"facts": dict(finding.facts), "reason": finding.reason, "evidence": None}
    if finding.notes:
        body["evidence"] = {"notes": dict(finding.notes)}
    return {
        "host_id": finding.host_id,
        "stream": stream,
        "n": n,
        "kind": finding.kind,
        "opening_n": finding.opening_n or n,
        "rule": finding.rule,
        "subject": finding.subject,
        "family": finding.family,
        "severity": finding.severity,
        "at_ms": finding.at_ms,
        "received_at_ms": now_ms,
        "body": body,
        "handled_at_ms": None,
        "outcome": "",
        "ticket_id": None,
    }
