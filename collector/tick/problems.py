"""Folding the finding stream into what holds: each unhandled row changes the open set, and names the problem it touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, BigInteger, Connection, Integer, and_, bindparam, delete, insert, select, update

from collector import intake_sqlite
from collector.qualify.subjects import subject_of
from collector.tables import findings, open_findings
from collector.tick.cases import OpenRow, body_of
from collector.tick.rows import SILENCE_STREAM
from ticketing.model import Reason, problem_key

OpenSet = dict[str, dict[tuple[str, str, str], OpenRow]]


@dataclasses.dataclass
class Row:
    """One unhandled row of ``findings``, and what became of it."""

    id: int
    host_id: str
    stream: str
    n: int
    kind: str
    opening_n: int
    rule: str
    subject: str
    family: str
    severity: str
    at_ms: int
    received_at_ms: int
    body: dict[str, Any]
    outcome: str = ""
    ticket_id: int | None = None
    why: Reason | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.host_id, self.rule, self.subject)

    @property
    def problem(self) -> str:
        return problem_key(subject_of(self.host_id, self.family, self.subject, self.rule), self.family)


@dataclasses.dataclass
class Problem:
    """A problem that this tick's rows touch."""

    host_id: str
    key: str
    rows: list[Row] = dataclasses.field(default_factory=list)
    ended: list[OpenRow] = dataclasses.field(default_factory=list)
    """What closed in this tick."""

    @property
    def brief(self) -> list[OpenRow]:
        """What was told late, already over: it came and went in one delivery, and argues with what holds."""
        return [opened for opened in self.ended if not opened.is_stored]

    is_asked_again: bool = False
    """Nothing new came of it; it waited for an instant that is now."""

    def members(self, open_set: OpenSet) -> list[OpenRow]:
        """What still holds of it, oldest first."""
        here = [o for o in open_set.get(self.host_id, {}).values() if problem_of(o) == self.key]
        return sorted(here, key=lambda o: (o.at_ms, o.rule, o.subject))


def problem_of(opened: OpenRow) -> str:
    """The problem key that an open finding belongs to."""
    return problem_key(subject_of(opened.host_id, opened.family, opened.subject, opened.rule), opened.family)


def unhandled(tx: Connection, limit: int, silent_at_ms: int | None = None) -> list[Row]:
    """The first rows that no tick has handled, in order of arrival.

    With ``silent_at_ms`` also every silence that the collector told in that very tick: hosts that fell together are judged
    together, however many findings wait before them.
    """
    rows = [_row(row) for row in tx.execute(_UNHANDLED, {"b_limit": limit})]
    if silent_at_ms is not None and len(rows) >= limit:
        known = {row.id for row in rows}
        told = tx.execute(_TOLD_NOW, {"b_now": silent_at_ms, "b_stream": SILENCE_STREAM})
        rows += sorted((row for row in map(_row, told) if row.id not in known), key=lambda row: row.id)
    return rows


def _row(columns: Any) -> Row:
    return Row(*columns[:12], body=body_of(columns[12]))


_ROW = select(
    findings.c.id,
    findings.c.host_id,
    findings.c.stream,
    findings.c.n,
    findings.c.kind,
    findings.c.opening_n,
    findings.c.rule,
    findings.c.subject,
    findings.c.family,
    findings.c.severity,
    findings.c.at_ms,
    findings.c.received_at_ms,
    findings.c.body,
)
_UNHANDLED = (
    _ROW.where(findings.c.handled_at_ms.is_(None))
    .order_by(findings.c.id)
    .limit(bindparam("b_limit", type_=Integer))
)
_TOLD_NOW = _ROW.where(
    findings.c.received_at_ms == bindparam("b_now", type_=BigInteger),
    findings.c.stream == bindparam("b_stream"),
    findings.c.handled_at_ms.is_(None),
)


def fold(rows: Sequence[Row], open_set: OpenSet) -> dict[str, Problem]:
    """Apply the rows to the open set, in order; returns the problems they touch, in order of first touch."""
    touched: dict[str, Problem] = {}
    for row in rows:
        problem = touched.setdefault(f"{row.host_id}\n{row.problem}", Problem(row.host_id, row.problem))
        problem.rows.append(row)
        here = open_set.setdefault(row.host_id, {})
        held = here.get(row.key)
        if row.kind == "closed":
            if held is None:
                row.outcome, row.why = "recorded", Reason("reason.finding.nothing_open")
            else:
                problem.ended.append(here.pop(row.key))
        elif held is None:
            here[row.key] = _opened(row)
        else:
            _change(held, row)
    return touched


def _opened(row: Row) -> OpenRow:
    return OpenRow(
        row.host_id,
        row.rule,
        row.subject,
        row.stream,
        row.opening_n,
        row.family,
        row.severity,
        row.at_ms,
        row.at_ms,
        row.body,
    )


def _change(held: OpenRow, row: Row) -> None:
    """New facts about what already holds, or the same finding taken up by a new stream: its beginning stays."""
    held.stream, held.opening_n, held.severity = row.stream, row.opening_n, row.severity
    held.changed_at_ms = max(held.changed_at_ms, row.at_ms)
    held.at_ms = min(held.at_ms, row.at_ms)
    merged = dict(held.body)
    merged["facts"] = _newer(held.body.get("facts") or {}, row.body.get("facts") or {})
    merged["evidence"] = row.body.get("evidence") or held.body.get("evidence")
    held.body = merged


def _newer(facts: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as they are now; what each was when the finding opened goes with it."""
    found = dict(facts)
    for name, fact in changes.items():
        known = facts.get(name)
        if isinstance(known, Mapping) and isinstance(fact, Mapping):
            fact = {**fact, "first": known.get("first", known.get("now"))}
        found[name] = fact
    return found


def write_open(tx: Connection, before: Sequence[tuple[str, str, str]], open_set: OpenSet) -> None:
    """Bring the table to what the open set holds now. ``before`` = keys that the table held."""
    now_open = [opened for here in open_set.values() for opened in here.values()]
    # One that was closed and opened again in the same delivery is a new row under an old key: the old one goes first.
    keys = {opened.key for opened in now_open if opened.is_stored}
    gone = [key for key in before if key not in keys]
    where = and_(
        open_findings.c.host_id == bindparam("b_host"),
        open_findings.c.rule == bindparam("b_rule"),
        open_findings.c.subject == bindparam("b_subject"),
    )
    if gone:
        tx.execute(
            delete(open_findings).where(where),
            [{"b_host": h, "b_rule": r, "b_subject": s} for h, r, s in gone],
        )
    fresh = [opened for opened in now_open if not opened.is_stored]
    if fresh:
        tx.execute(insert(open_findings), [_columns(opened) for opened in fresh])
    kept = [opened for opened in now_open if opened.is_stored]
    if kept:
        rows = [{"b_host": o.host_id, "b_rule": o.rule, "b_subject": o.subject, **_changing(o)} for o in kept]
        tx.execute(update(open_findings).where(where), rows)


def _columns(opened: OpenRow) -> dict[str, Any]:
    return {
        "host_id": opened.host_id,
        "rule": opened.rule,
        "subject": opened.subject,
        "family": opened.family,
        **_changing(opened),
    }


def _changing(opened: OpenRow) -> dict[str, Any]:
    return {
        "stream": opened.stream,
        "opening_n": opened.opening_n,
        "severity": opened.severity,
        "at_ms": opened.at_ms,
        "changed_at_ms": opened.changed_at_ms,
        "body": opened.body,
        "ticket_id": opened.ticket_id,
    }


def write_fate(
    tx: Connection, members: Sequence[OpenRow], outcome: str, ticket_id: int | None, why: Reason | None
) -> None:
    """What became, at last, of openings that were recorded first: their rows say so."""
    for member in members:
        mine = and_(
            findings.c.host_id == member.host_id,
            findings.c.stream == member.stream,
            findings.c.n == member.opening_n,
        )
        said = why.to_dict() if why is not None else None
        tx.execute(update(findings).where(mine).values(outcome=outcome, ticket_id=ticket_id, why=said))


def write_handled(tx: Connection, rows: Sequence[Row], now_ms: int) -> None:
    """Mark the rows handled, each with its outcome: in the same transaction as what came of it."""
    done = [(r.id, now_ms, r.outcome, r.ticket_id, r.why.to_dict() if r.why else None) for r in rows]
    if tx.dialect.name == "sqlite":
        intake_sqlite.handled(tx, done)
        return
    names = ("b_id", "b_now", "b_outcome", "b_ticket", "b_why")
    tx.execute(_HANDLED, [dict(zip(names, row, strict=True)) for row in done])


_HANDLED = (
    update(findings)
    .where(findings.c.id == bindparam("b_id"))
    .values(
        handled_at_ms=bindparam("b_now"),
        outcome=bindparam("b_outcome"),
        ticket_id=bindparam("b_ticket"),
        why=bindparam("b_why", type_=JSON(none_as_null=True)),
    )
)
