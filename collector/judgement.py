"""Learning from the engineer: what the machine thought, what a person made of it, and which evidence rows erred.

``vartovyi-collector judgement`` prints it. A person's word is the last class and root cause that a person gave a machine's
ticket (act ``requalify``, with the reason), or, where nobody corrected it, that a person resolved it as it stood. The
machine's is what stood before the first correction, with the verdict and the facts recorded then (``judgements``). A
row erred where it counted and pulled to the class that was wrong, or named the cause that was. ``export`` writes the
case as a scenario file with the person's word as its truth: ``replay --score`` judges it again. Nothing here changes a
rule: rows are changed by people, with the case as their test.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from collector.qualify.judge import ROWS
from collector.qualify.score import class_of, counted
from collector.tables import judgements
from ticketing.ledger import MACHINE
from ticketing.model import Verdict
from ticketing.tables import ticket_events, tickets

MAX_TICKETS = 10_000
"""Newest tickets looked at; older ones say little of today's rows."""
NOTHING = "none"
"""Class of what was no fault at all, in scenario files."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A class and a root cause."""

    class_: int
    cause: str

    def to_dict(self) -> dict[str, Any]:
        return {"class": self.class_, "root_cause": self.cause}


@dataclasses.dataclass(frozen=True)
class Judged:
    """One ticket on which machine and person have both spoken."""

    ticket_id: int
    machine: Word
    person: Word
    by: str
    why: str
    """The person's reason; "" where the ticket was only resolved as it stood."""
    at_ms: int
    verdict: Verdict | None
    """What the machine's word was made of; None where it is past its retention."""

    @property
    def is_right(self) -> bool:
        return self.machine == self.person


@dataclasses.dataclass(frozen=True)
class Erred:
    """An evidence row that pulled toward what was wrong."""

    row: str
    tickets: tuple[int, ...]
    weight: float
    """Sum of its weights where it erred, without sign."""
    counted: int
    """Tickets on which it counted at all, the right ones among them."""


@dataclasses.dataclass(frozen=True)
class Learned:
    """Everything that there is to learn from."""

    judged: tuple[Judged, ...]
    waiting: int
    """Machine's tickets on which no person has spoken."""
    erred: tuple[Erred, ...]

    def matrix(self) -> Counter[tuple[int, int]]:
        """(machine's class, person's class) -> tickets."""
        return Counter((one.machine.class_, one.person.class_) for one in self.judged)

    def causes(self) -> Counter[tuple[str, str]]:
        """(machine's cause, person's cause) -> tickets, where they differ."""
        return Counter(
            (one.machine.cause, one.person.cause)
            for one in self.judged
            if one.machine.cause != one.person.cause
        )


def learn(conn: Connection, since_ms: int = 0) -> Learned:
    """What can be learned from the tickets opened since then."""
    wanted = (
        select(tickets.c.id, tickets.c["class"].label("class_"), tickets.c.root_cause)
        .where(tickets.c.origin == "machine", tickets.c.created_at_ms >= since_ms)
        .order_by(tickets.c.id.desc())
        .limit(MAX_TICKETS)
    )
    rows = conn.execute(wanted).all()
    judged = [one for one in (_judged(conn, row) for row in rows) if one is not None]
    return Learned(tuple(judged), len(rows) - len(judged), erred_rows(judged))


def _judged(conn: Connection, row: Any) -> Judged | None:
    spoken = conn.execute(
        select(ticket_events.c.at_ms, ticket_events.c.actor, ticket_events.c.kind, ticket_events.c.body)
        .where(
            ticket_events.c.ticket_id == row.id,
            ticket_events.c.kind.in_(("requalify", "resolve")),
            ticket_events.c.actor != MACHINE,
        )
        .order_by(ticket_events.c.id)
    ).all()
    corrected = [event for event in spoken if event.kind == "requalify" and "before" in event.body]
    if corrected:
        first, last = corrected[0], corrected[-1]
        machine, person = _word(first.body["before"]), _word(last.body["after"])
        verdict = _verdict_then(conn, row.id, machine, first.at_ms)
        return Judged(
            row.id, machine, person, last.actor, str(last.body.get("text") or ""), last.at_ms, verdict
        )
    if not spoken:
        return None
    as_it_stood = Word(row.class_, row.root_cause)
    verdict = _verdict_then(conn, row.id, as_it_stood, spoken[-1].at_ms)
    return Judged(row.id, as_it_stood, as_it_stood, spoken[-1].actor, "", spoken[-1].at_ms, verdict)


def _word(raw: Any) -> Word:
    return Word(int(raw["class"]), str(raw["root_cause"]))


def _recorded(conn: Connection, ticket_id: int, until_ms: int) -> Sequence[Any]:
    """Judgements of the ticket up to then, the newest first; a child's are its parent's."""
    parent_id = conn.execute(select(tickets.c.parent_id).where(tickets.c.id == ticket_id)).scalar()
    for one in (ticket_id, parent_id):
        wanted = (
            select(judgements.c.verdict, judgements.c.case)
            .where(judgements.c.ticket_id == one, judgements.c.at_ms <= until_ms)
            .order_by(judgements.c.id.desc())
        )
        rows = conn.execute(wanted).all() if one is not None else []
        if rows:
            return rows
    return []


def _then(conn: Connection, ticket_id: int, machine: Word, at_ms: int) -> Any | None:
    """The record that the machine's word was made from: the newest one that says it."""
    for row in _recorded(conn, ticket_id, at_ms):
        if Word(int(row.verdict["class"]), row.verdict["root_cause"]) == machine:
            return row
    return None


def _verdict_then(conn: Connection, ticket_id: int, machine: Word, at_ms: int) -> Verdict | None:
    row = _then(conn, ticket_id, machine, at_ms)
    return None if row is None else Verdict.from_dict(row.verdict)


def erred_rows(judged: Iterable[Judged]) -> tuple[Erred, ...]:
    """The rows that pulled toward what was wrong, those that did so most first."""
    cause_of = {row.key: row.cause for row in ROWS}
    wrong: dict[str, list[tuple[int, float]]] = {}
    seen: Counter[str] = Counter()
    for one in judged:
        for entry in counted(one.verdict.reasons) if one.verdict is not None else ():
            if not entry.counts:
                continue
            reason = entry.reason
            seen[reason.key] += 1
            if _pulled_wrong(one, reason.weight, cause_of.get(reason.key, "")):
                wrong.setdefault(reason.key, []).append((one.ticket_id, abs(reason.weight)))
    found = [
        Erred(key.removeprefix("reason."), tuple(t for t, _ in on), sum(w for _, w in on), seen[key])
        for key, on in wrong.items()
    ]
    return tuple(sorted(found, key=lambda row: (-row.weight, row.row)))


def _pulled_wrong(one: Judged, weight: float, cause: str) -> bool:
    if one.machine.class_ != one.person.class_:
        # Weights above 0 argue for the layer below (class 1), those under 0 against it.
        was_below, is_below = one.machine.class_ == 1, one.person.class_ == 1
        if was_below != is_below:
            return weight > 0 if was_below else weight < 0
    return one.machine.cause != one.person.cause and cause == one.machine.cause


def export(conn: Connection, ticket_id: int) -> dict[str, Any] | None:
    """The ticket's case as a scenario that ``replay`` reads, the person's word as its truth; None without a record."""
    row = conn.execute(
        select(
            tickets.c.id, tickets.c["class"].label("class_"), tickets.c.root_cause, tickets.c.updated_at_ms
        ).where(tickets.c.id == ticket_id, tickets.c.origin == "machine")
    ).first()
    if row is None:
        return None
    one = _judged(conn, row)
    machine = one.machine if one is not None else Word(row.class_, row.root_cause)
    person = one.person if one is not None else machine
    record = _then(conn, ticket_id, machine, one.at_ms if one is not None else row.updated_at_ms)
    if record is None:
        return None
    case = dict(record.case)
    verdict = Verdict.from_dict(record.verdict)
    is_known = {host["id"] for host in case["topology"]["hosts"]}
    affected = [host for host in verdict.affected if host in is_known]
    case["id"] = f"ticket-{ticket_id}-{case['id']}"
    case["title"] = one.why if one is not None else ""
    case["machine"] = dict(record.verdict)
    case["truth"] = _truth(person, verdict, affected)
    return case


def _truth(person: Word, verdict: Verdict, affected: Sequence[str]) -> dict[str, Any]:
    if class_of(person.cause) == 0:
        return {"class": NOTHING, "root_cause": person.cause, "tickets": []}
    ticket = {
        "role": "parent",
        "class": str(person.class_),
        "scope": verdict.scope,
        "affected": list(affected),
    }
    return {"class": str(person.class_), "root_cause": person.cause, "tickets": [ticket]}
