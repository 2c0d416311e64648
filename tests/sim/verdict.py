"""What a month came to: the tickets that opened, held against the faults that were injected."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from collector.tables import findings
from tests.sim.faults import FAULTS, Injected
from ticketing.tables import ticket_events, tickets

LATE_MS = 5 * 60_000
"""A fault that ended just before it was noticed may still open its ticket."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of fault in the table."""

    fault: str
    injected: int
    owed: int
    """Of those, faults for which a contract asks for a ticket."""
    alone: int
    """Of those owed, faults with exactly one ticket (one parent)."""
    class_: int
    cause: int
    resolved: int

    @property
    def is_right(self) -> bool:
        return {self.alone, self.class_, self.cause, self.resolved} == {self.owed}


@dataclasses.dataclass
class Verdict:
    """What a month came to."""

    seed: int
    days: float
    hosts: int
    happened: Counter[str]
    rows: list[Row]
    stray: list[str]
    """Tickets that no fault asks for, and faults whose tickets are not as they should be, in words."""

    @property
    def is_right(self) -> bool:
        """Whether exactly what was asked for opened."""
        return not self.stray and all(row.is_right for row in self.rows)

    def lines(self) -> list[str]:
        """The table for people."""
        ordinary = ", ".join(f"{word} {n}" for word, n in sorted(self.happened.items()))
        lines = [f"seed {self.seed}, {self.days:g} days, {self.hosts} hosts; {ordinary}"]
        if self.rows:
            names = ("fault", "injected", "owed", "one ticket", "class", "cause", "resolved")
            lines.append("".join(f"{name:>11}" for name in names))
            lines += ["".join(f"{value!s:>11}" for value in dataclasses.astuple(row)) for row in self.rows]
        return [*lines, *self.stray]


def compare(
    conn: Connection, injected: Sequence[Injected], start_ms: int
) -> tuple[list[Row], list[str]]:  # fmt: skip
    """The table's rows, and in words what is not as it should be; ``injected`` learns its tickets."""
    rows = {row["id"]: dict(row) for row in conn.execute(select(tickets)).mappings()}
    opened = conn.execute(
        select(ticket_events.c.ticket_id, ticket_events.c.at_ms, ticket_events.c.kind)
        .where(ticket_events.c.kind.in_(("open", "reopen")))
        .order_by(ticket_events.c.id)
    ).all()
    stray: list[str] = []
    for event in opened:
        row = rows[event.ticket_id]
        if row["parent_id"] is not None:
            continue  # a child tells its own contract of the parent's cause
        mine = [
            each for each in injected
            if each.from_ms <= event.at_ms <= each.to_ms + LATE_MS and set(row["affected"]) & set(each.hosts)
        ]  # fmt: skip
        if mine:
            mine[0].opened.append(event.ticket_id)
        else:
            stray.append(f"nobody asked for: {event.kind} {_words(row, event.at_ms - start_ms)}")
    judged = _judgements(conn, rows)
    for each in injected:
        if not _is_right(each, judged):
            at = (each.from_ms - start_ms) / 3_600_000
            came = "; ".join(_words(rows[i], rows[i]["created_at_ms"] - start_ms) for i in each.opened)
            came = came or f"nothing: {_recorded(conn, each)}"
            stray.append(f"{each.fault.name} of {', '.join(each.hosts)} at {at:.3f} h gave: {came}")
    return [row for fault in FAULTS if (row := _row(fault.name, injected, judged)).injected], stray


Judged = Callable[[Injected], Mapping[str, Any]]
"""Class, cause and open mark of the one ticket of a fault, as they were when the fault was over."""


def _judgements(conn: Connection, rows: Mapping[int, Mapping[str, Any]]) -> Judged:
    """A ticket whose problem came back later, as something else, stands under that now: its history tells what it was."""
    events = ticket_events
    wanted = select(events.c.ticket_id, events.c.at_ms, events.c.kind, events.c.body)
    story = conn.execute(
        wanted.where(events.c.kind.in_(("reopen", "requalify", "resolve"))).order_by(events.c.id)
    ).all()

    def judged(one: Injected) -> Mapping[str, Any]:
        row = rows[one.opened[0]]
        mine = [told for told in story if told.ticket_id == row["id"] and told.at_ms > one.from_ms]
        back = next(
            (n for n, told in enumerate(mine) if told.kind == "reopen" and told.at_ms > one.to_ms + LATE_MS),
            None,
        )
        if back is None:
            return row
        before = next((told.body["before"] for told in mine[back:] if told.body.get("before")), {})
        is_open = not any(told.kind == "resolve" for told in mine[:back])
        return {**row, **before, "open_mark": 1 if is_open else None}

    return judged


def _is_right(one: Injected, judged: Judged) -> bool:
    if not one.is_owed or len(one.opened) != 1:
        return len(one.opened) == int(one.is_owed)
    row = judged(one)
    return (
        row["class"] == one.fault.class_
        and row["root_cause"] in one.fault.causes
        and row["open_mark"] is None
    )


def _row(name: str, injected: Sequence[Injected], judged: Judged) -> Row:
    each = [one for one in injected if one.fault.name == name]
    owed = [one for one in each if one.is_owed]
    alone = [(one.fault, judged(one)) for one in owed if len(one.opened) == 1]
    return Row(
        name,
        len(each),
        len(owed),
        len(alone),
        sum(row["class"] == fault.class_ for fault, row in alone),
        sum(row["root_cause"] in fault.causes for fault, row in alone),
        sum(row["open_mark"] is None for _, row in alone),
    )


def _recorded(conn: Connection, one: Injected) -> str:
    """What was recorded of its hosts meanwhile, and why it became no ticket."""
    wanted = select(findings.c.rule, findings.c.kind, findings.c.why).where(
        findings.c.host_id.in_(one.hosts), findings.c.at_ms.between(one.from_ms, one.to_ms + LATE_MS)
    )
    return ", ".join(
        f"{row.rule} {row.kind} {(row.why or {}).get('key', '-')}" for row in conn.execute(wanted)
    )


def _words(row: Mapping[str, Any], at_ms: int) -> str:
    state = "open" if row["open_mark"] else row["state"]
    return (
        f"{row['problem']} as class {row['class']} {row['root_cause']} ({row['confidence']}, {state}) "
        f"at {at_ms / 3_600_000:.3f} h for {', '.join(r['key'] for r in (row['verdict'] or {}).get('reasons', ()))}"
    )
