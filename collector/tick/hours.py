"""Reads a host's findings of the last week for ``hist.same_hour_match``: the collector's memory of hours.

Asked only of load, which alone has a timetable; one bounded look-up a finding and a bounded number of them a tick. Past
that nothing is excused: a storm on many hosts at once is no nightly job. What is computed here is never stored: it is true
of its instant only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from collector.qualify.case import Held, Seen, as_number, held_from_body
from collector.qualify.excuses import LOAD_FAMILIES
from collector.qualify.hours import DAY_MS, DAYS, NEAR_MS, WAITS, Spell, same_hour_match
from collector.tables import findings
from collector.tick.cases import body_of

SIGNAL = "hist.same_hour_match"
ROWS_MAX = 500
"""Rows of one host's week that are read of one rule and subject: the newest."""
LOOKS_MAX = 100
"""Look-ups of one tick."""


class Hours:
    """What the collector remembers of a host's hours, within one tick."""

    def __init__(self, tx: Connection, now_ms: int) -> None:
        self._tx = tx
        self._now_ms = now_ms
        self._known: dict[tuple[str, str, str, int], tuple[Seen, ...]] = {}

    def seen(self, held: Held) -> tuple[Seen, ...]:
        """The share of days like this one as something seen; () where there is none, or it is not asked."""
        key = (held.host_id, held.rule, held.subject, held.at_ms)
        if held.family not in LOAD_FAMILIES or held.is_outside:
            return ()
        if key not in self._known:
            if len(self._known) >= LOOKS_MAX:
                return ()
            share = same_hour_match(_spell_of(held), self._past(held), self._now_ms)
            self._known[key] = (Seen(held.host_id, SIGNAL, share, "", self._now_ms),) if share else ()
        return self._known[key]

    def _past(self, held: Held) -> list[Spell]:
        wanted = (
            select(
                findings.c.stream,
                findings.c.n,
                findings.c.opening_n,
                findings.c.kind,
                findings.c.at_ms,
                findings.c.body,
            )
            .where(
                findings.c.host_id == held.host_id,
                findings.c.rule == held.rule,
                findings.c.subject == held.subject,
                findings.c.at_ms >= held.at_ms - DAYS * DAY_MS - NEAR_MS,
            )
            .order_by(findings.c.id.desc())
            .limit(ROWS_MAX)
        )
        return spells(reversed([dict(row) for row in self._tx.execute(wanted).mappings()]))


def spells(rows: Iterable[Mapping[str, Any]]) -> list[Spell]:
    """Rows of ``findings`` of one rule and subject, oldest first, as spells. One whose opening is not among them is left out."""
    found: dict[tuple[str, int], Spell] = {}
    for row in rows:
        key = (row["stream"], row["opening_n"] or row["n"])
        part = _spell(row["at_ms"], body_of(row["body"]))
        before = found.get(key)
        if row["kind"] == "opened":
            found[key] = part
        elif before is not None:
            ended = row["at_ms"] if row["kind"] == "closed" else None
            largest = part if row["kind"] == "changed" else before
            found[key] = Spell(
                before.began_ms, ended, _larger(before.size, largest.size), _larger_waits(before, largest)
            )
    return list(found.values())


def _spell(at_ms: int, body: Mapping[str, Any]) -> Spell:
    empty = {"host_id": "", "rule": "", "subject": "", "family": "", "severity": ""}
    return _spell_of(held_from_body(body, at_ms=at_ms, **empty))


def _spell_of(held: Held) -> Spell:
    # The rule's own signal stands first among the facts (agent.findings.facts_of), and JSON keeps the order.
    main = next(iter(held.facts.values()), None)
    waits = {name: as_number(held.facts[name].now) for name in WAITS if name in held.facts}
    size = None if main is None else as_number(main.now)
    return Spell(held.at_ms, None, size, {name: wait for name, wait in waits.items() if wait is not None})


def _larger(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, key=abs, default=None)


def _larger_waits(one: Spell, other: Spell) -> dict[str, float]:
    names = {*one.waits, *other.waits}
    return {name: max(one.waits.get(name, 0.0), other.waits.get(name, 0.0)) for name in names}
