"""The ticket above the contracts': which one gathers a group that grows, and what becomes of several when one cause holds all.

It belongs to no client; the contracts' own tickets are its children. A cause that turns out to be broader, or to be known from
inside, is told on the ticket that is there: no second one is opened beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from collector.qualify.shared import may_reach
from ticketing import intake
from ticketing.model import Reason, Verdict
from ticketing.tables import tickets

if TYPE_CHECKING:
    from collector.qualify.subjects import OpenProblem
    from collector.tick.ticket import Desk


def parents_of(desk: Desk, verdict: Verdict) -> list[int]:
    """The open parents that the hosts' tickets have for this very trouble, the oldest first; the first one is kept."""
    above = {
        desk.rows[p.ticket_id]["parent_id"]
        for host_id in verdict.affected
        for p in desk.problems.get(host_id, ())
        if p.ticket_id in desk.rows and _is_this(desk, verdict, p)
    } - {None}
    found = []
    for parent_id in sorted(above):
        desk.refresh(parent_id)
        row = desk.rows.get(parent_id)
        if row is not None and row["open_mark"] == 1 and _explains(verdict, row):
            found.append(parent_id)
    return found


def _is_this(desk: Desk, verdict: Verdict, problem: OpenProblem) -> bool:
    is_same = problem.root_cause == verdict.root_cause or desk.is_of_now(verdict, problem)
    return is_same or desk.is_why_silent(verdict, problem)


def _explains(verdict: Verdict, row) -> bool:
    """Whether the verdict speaks of all that the parent gathers, or may well come to."""
    is_all = row["root_cause"] == verdict.root_cause or set(row["affected"]) <= set(verdict.affected)
    return is_all or may_reach(verdict.root_cause, row["scope"])


def take_in(desk: Desk, verdict: Verdict, known: Sequence[int]) -> intake.Outcome | None:
    """Widen the oldest of the known parents to the verdict's hosts, and judge it anew where the cause is another."""
    if not known:
        return None
    row = desk.rows[known[0]]
    is_other = row["root_cause"] != verdict.root_cause
    if is_other and not set(row["affected"]) <= set(verdict.affected):
        # The others of the outage have not told yet. Until they have, the parent stands as it was judged.
        return intake.Outcome("joined", row["id"], Reason("reason.intake.joined", {"ticket": row["id"]}))
    members = tuple(sorted({*row["affected"], *verdict.affected}))
    wide = dataclasses.replace(verdict, subject=row["problem"].partition("|")[2], affected=members)
    done = intake.widen(desk.tx, desk.book, row["id"], wide, desk.now_ms)
    if is_other:
        wide = dataclasses.replace(wide, began_at_ms=min(verdict.began_at_ms, row["began_at_ms"]))
        intake.requalify(desk.tx, desk.book, row["id"], wide, desk.now_ms)
    return done


def fold(desk: Desk, verdict: Verdict, others: Sequence[int], parent_id: int | None) -> None:
    """Fold the further parents into the kept one, with whatever still stands below them: one cause, one parent."""
    why = Reason("reason.join.group", {"scope": verdict.scope})
    for other in others:
        if parent_id is not None and set(desk.rows[other]["affected"]) <= set(verdict.affected):
            below = select(tickets.c.id).where(tickets.c.parent_id == other, tickets.c.open_mark == 1)
            for child_id in desk.tx.execute(below).scalars().all():
                intake.attach(desk.tx, child_id, parent_id, why, desk.now_ms)
            intake.merge(desk.tx, desk.book, other, parent_id, why, desk.now_ms)
