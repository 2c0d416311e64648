"""What keeps a problem from its ticket, or its ticket from closing: patience with load, and flapping. One row a problem.

``Quiet`` is the tick's memory of courses (``collector.qualify.damping``) and rings (``collector.qualify.flapping``). It
reads the rows of the hosts in hand, is asked once a problem, and writes back what changed, in the tick's transaction: a
collector that starts again goes on where it stood. A row lives as long as there is something to remember; what is due
to be asked again comes up by ``due``. Whether a flapping problem's ticket may resolve is ``kept_open``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from collector.qualify import damping
from collector.qualify.damping import Course
from collector.qualify.flapping import ICINGA, Constants, Ring
from collector.tables import courses
from collector.tick.cases import OpenRow
from collector.tick.context import TickReport
from collector.tick.problems import Problem
from collector.tick.rows import chunks
from ticketing import intake
from ticketing.model import Reason

Key = tuple[str, str]
"""(host, problem)."""


@dataclasses.dataclass
class _Kept:
    """One row in hand."""

    course: Course = damping.QUIET
    ring: Ring = Ring()  # noqa: RUF009 - frozen
    ticket_id: int | None = None
    """The ticket that says that the problem flaps."""
    again_at_ms: int | None = None
    is_stored: bool = False
    is_changed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return self.course == damping.QUIET and not self.ring.bits and self.again_at_ms is None


def due(tx: Connection, now_ms: int, limit: int) -> list[Key]:
    """Problems that asked to be looked at again by now."""
    wanted = select(courses.c.host_id, courses.c.problem).where(courses.c.again_at_ms <= now_ms)
    return [
        (row.host_id, row.problem) for row in tx.execute(wanted.order_by(courses.c.again_at_ms).limit(limit))
    ]


def kept_open(tx: Connection, now_ms: int) -> dict[int, int]:
    """Tickets of problems that flap -> until when at least."""
    wanted = select(courses.c.ticket_id, courses.c.calm_at_ms).where(
        courses.c.ticket_id.is_not(None), courses.c.calm_at_ms > now_ms
    )
    return {row.ticket_id: row.calm_at_ms for row in tx.execute(wanted)}


class Quiet:
    """The courses of one tick's problems."""

    def __init__(
        self,
        tx: Connection,
        now_ms: int,
        report: TickReport,
        host_ids: Sequence[str],
        by: Constants = ICINGA,
    ) -> None:
        self._tx = tx
        self._now_ms = now_ms
        self._report = report
        self._by = by
        self._kept: dict[Key, _Kept] = {}
        self._said: dict[Key, Reason | None] = {}
        for part in chunks(host_ids):
            for row in tx.execute(select(courses).where(courses.c.host_id.in_(part))):
                self._kept[row.host_id, row.problem] = _Kept(
                    Course.from_dict(row.state),
                    Ring.from_list(row.state.get("ring")),
                    row.ticket_id,
                    row.again_at_ms,
                    is_stored=True,
                )

    def watch(self, problems: Iterable[Problem], members: Mapping[str, Sequence[OpenRow]]) -> None:
        """Take in how these problems came and went in this tick. ``members``: problem's id -> what holds of it now."""
        for problem in problems:
            key = (problem.host_id, problem.key)
            known = self._kept.get(key)
            moves = _moves(problem, members[_id(problem)])
            if known is None and not moves:
                continue
            kept = self._kept.setdefault(key, _Kept())
            kept.again_at_ms = None
            kept.is_changed = True
            for at_ms in moves:
                kept.ring = (kept.ring if kept.ring.bits else Ring(last_ms=at_ms)).changed(at_ms, self._by)
            kept.ring = kept.ring.at(self._now_ms, self._by)

    def holds_back(self, problem: Problem, members: Sequence[OpenRow]) -> Reason | None:
        """Why load is not a ticket yet; None where it is none, or has become one. Asked again, it says the same."""
        key = (problem.host_id, problem.key)
        if key in self._said:
            return self._said[key]
        held = [member.held() for member in members]
        policy = damping.patience(held)
        said = None
        if policy is not None:
            kept = self._kept.setdefault(key, _Kept())
            since_ms = min(each.at_ms for each in held)
            usual = damping.is_usual(held)
            kept.course, damped = damping.decide(policy, kept.course, since_ms, self._now_ms, usual)
            kept.again_at_ms, kept.is_changed = damped.again_at_ms, True
            if damped.verb != "open":
                said = Reason(f"reason.quiet.{damped.why}")
                self._report.count("quiet_load")
        self._said[key] = said
        return said

    def ask_again(self, key: Key, at_ms: int) -> None:
        """Have the problem judged again then, whatever is told of it."""
        kept = self._kept.setdefault(key, _Kept())
        kept.again_at_ms, kept.is_changed = at_ms, True

    def settled(self, problem: Problem, ticket_id: int | None) -> None:
        """The problem's fate: a ticket of one that flaps says so once, and says so when that is over."""
        kept = self._kept.get((problem.host_id, problem.key))
        if kept is None:
            return
        calm_at_ms = kept.ring.calm_at_ms(self._by)
        if calm_at_ms is None:
            if kept.ticket_id is not None:
                self._tell(kept.ticket_id, problem, Reason("reason.flaps.over"))
                kept.ticket_id, kept.is_changed = None, True
            return
        if ticket_id is not None and ticket_id != kept.ticket_id:
            changes = bin(kept.ring.bits).count("1")
            params = {"n": changes, "value": round(kept.ring.value(self._by))}
            self._tell(ticket_id, problem, Reason("reason.flaps.begun", params))
            kept.ticket_id = ticket_id
            self._report.count("flapping")
        if kept.ticket_id is not None:
            kept.again_at_ms = min(calm_at_ms, kept.again_at_ms or calm_at_ms)
            kept.is_changed = True

    def _tell(self, ticket_id: int, problem: Problem, reason: Reason) -> None:
        body = {"reason": reason.to_dict(), "family": problem.key.partition("|")[0]}
        intake.add_evidence(self._tx, ticket_id, body, self._now_ms)

    def write(self) -> None:
        """Bring the table to what is remembered now."""
        changed = [(key, kept) for key, kept in self._kept.items() if kept.is_changed]
        gone = [key for key, kept in changed if kept.is_stored and kept.is_empty]
        fresh = [(key, kept) for key, kept in changed if not kept.is_stored and not kept.is_empty]
        stay = [(key, kept) for key, kept in changed if kept.is_stored and not kept.is_empty]
        where = (courses.c.host_id == bindparam("b_host")) & (courses.c.problem == bindparam("b_problem"))
        if gone:
            self._tx.execute(delete(courses).where(where), [{"b_host": h, "b_problem": p} for h, p in gone])
        if fresh:
            rows = [{"host_id": h, "problem": p, **self._columns(kept)} for (h, p), kept in fresh]
            self._tx.execute(insert(courses), rows)
        if stay:
            rows = [{"b_host": h, "b_problem": p, **self._columns(kept)} for (h, p), kept in stay]
            self._tx.execute(update(courses).where(where), rows)

    def _columns(self, kept: _Kept) -> dict[str, Any]:
        return {
            "state": {**kept.course.to_dict(), "ring": kept.ring.to_list()},
            "ticket_id": kept.ticket_id,
            "calm_at_ms": kept.ring.calm_at_ms(self._by),
            "again_at_ms": kept.again_at_ms,
            "changed_at_ms": self._now_ms,
        }


def _id(problem: Problem) -> str:
    return f"{problem.host_id}\n{problem.key}"


def _moves(problem: Problem, members: Sequence[OpenRow]) -> list[int]:
    """When the problem as a whole began or ceased to hold in this tick, in order."""
    held = {o.key for o in (*members, *problem.ended) if o.is_stored}
    moves = []
    for row in problem.rows:
        before = bool(held)
        if row.kind == "opened":
            held.add(row.key)
        elif row.kind == "closed":
            held.discard(row.key)
        if bool(held) != before:
            moves.append(row.at_ms)
    return moves
