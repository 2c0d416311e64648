"""Judge: one tick's judging of problems, each by itself, and what becomes of each.

It holds the scene (hosts, neighbours, what was seen), the desk (open tickets) and the planned windows, asks the pure
judgement, and writes what came of it into findings and tickets. What several hosts share is ``groups``' work, before.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from collector.qualify.case import Case, Held
from collector.qualify.excuses import EVENTS, MAINTENANCE, excused, noted
from collector.qualify.judge import qualify
from collector.qualify.shared import FAR_FAMILIES
from collector.qualify.subjects import stem
from collector.store.engine import savepoint
from collector.tick.again import Windows
from collector.tick.cases import OpenRow, Scene, load_scene
from collector.tick.context import TickContext, TickReport
from collector.tick.hours import Hours
from collector.tick.parting import carry
from collector.tick.problems import OpenSet, Problem, Row, write_fate
from collector.tick.quiet import Quiet
from collector.tick.ticket import Desk, Placed
from config.log import fields
from ticketing.contracts import Book
from ticketing.model import Reason, Verdict

log = logging.getLogger(__name__)

ORDER = (
    "silence",
    "virt",
    "hardware",
    "kernel",
    "fs",
    "fs_space",
    "memory",
    "network",
    "cpu",
    "io",
    "limits",
    "unit",
    "process",
)
"""Causes before consequences: what is judged earlier in a tick may take later symptoms in."""

SEEN_BEFORE_MS = 600_000
SERVICES_SINCE_MS = 2 * 3_600_000
"""So long ago a service may have begun to fail for the act before it still to be read."""
FEW_SILENT = 50
"""Past so many silent hosts at once their providers' other hosts are not read as witnesses: the group speaks."""


@dataclasses.dataclass
class Judge:
    """One tick's judging. ``open_set`` = what holds on the hosts concerned, after this tick's rows were folded in."""

    tx: Connection
    now_ms: int
    ctx: TickContext
    windows: Windows
    open_set: OpenSet
    report: TickReport
    desk: Desk
    patience: Quiet
    hours: Hours
    _problems: Sequence[Problem] = ()

    @staticmethod
    def of(
        tx: Connection,
        now_ms: int,
        ctx: TickContext,
        book: Book,
        windows: Windows,
        open_set: OpenSet,
        report: TickReport,
    ) -> Judge:
        """A judge with an empty scene; ``look`` fills it."""
        patience = Quiet(tx, now_ms, report, sorted(open_set), ctx.flapping)
        return Judge(
            tx, now_ms, ctx, windows, open_set, report, Desk(tx, book, now_ms), patience, Hours(tx, now_ms)
        )

    def look(self, problems: Sequence[Problem]) -> None:
        """Take in what is to be judged: how it came and went, planned windows, and the hosts' open tickets."""
        members = {f"{p.host_id}\n{p.key}": p.members(self.open_set) for p in problems}
        self.patience.watch(problems, members)
        # The end of what never held here says nothing about its host.
        self._problems = [p for p in problems if p.ended or members[f"{p.host_id}\n{p.key}"]]
        self.windows.learn(sorted({p.host_id for p in problems if members[f"{p.host_id}\n{p.key}"]}))
        stems, outside = _stems(self.open_set)
        self.desk.learn(sorted({p.host_id for p in self._problems}), stems, outside)
        for opened in [*(o for here in self.open_set.values() for o in here.values()), *_ended(problems)]:
            if opened.ticket_id is not None:
                self.desk.note_joined(opened.host_id, opened.ticket_id, opened.held())

    @functools.cached_property
    def scene(self) -> Scene:
        """The hosts concerned, their neighbours, and what was seen of them; read when the first case asks for it.

        What is only over needs none, and that is half of all that arrives.
        """
        held = [p for p in self._problems if p.members(self.open_set)]
        families = {p.key.partition("|")[0] for p in held}
        silent = sum(p.key.startswith("silence|") for p in held)
        return load_scene(
            self.tx,
            sorted({p.host_id for p in self._problems}),
            with_siblings=bool(families - {"silence"}) or 0 < silent <= FEW_SILENT,
            is_wide=bool(families & FAR_FAMILIES) or 0 < silent <= FEW_SILENT,
            families=_families(self.open_set),
            seen_since_ms=self._since(self._problems),
        )

    def run(self, alone: Sequence[Problem], over: Sequence[Problem]) -> None:
        """Each problem that stands alone, causes first; then what is over."""
        for problem in sorted(alone, key=rank):
            self._guarded(problem, self._settle_held)
        for problem in over:
            self._guarded(problem, self._settle_over)
        carry(self.desk, self.open_set)
        self.patience.write()

    def _guarded(self, problem: Problem, act: Callable[[Problem], None]) -> None:
        """Judge one problem; when that breaks, its rows are recorded with the reason, and the auditor opens a ticket."""
        if self.survives(problem.key, lambda: act(problem)):
            return
        for row in problem.rows:
            row.outcome, row.ticket_id = "recorded", None
            row.why = Reason("reason.internal.judge_failed", {"problem": problem.key})

    def survives(self, name: str, act: Callable[[], None]) -> bool:
        """Run ``act``, so that a fault of ours in it cannot stop the judging of all others; whether it went well.

        A fault of the database is everybody's and goes up: the whole tick is undone and tried again.
        """
        try:
            with savepoint(self.tx):
                act()
        except DBAPIError:
            raise
        except Exception:  # one odd problem must not keep every other from its ticket
            log.exception("A problem could not be judged. %s", fields(problem=name))
            self.report.count("judge_failures")
            self.ctx.judge_failures += 1
            return False
        return True

    def _settle_held(self, problem: Problem) -> None:
        self.settle(problem, self._judge(problem))

    def quiet(self, problem: Problem, case: Case, verdict: Verdict) -> Placed | None:
        """Why nothing is opened for what holds, where that is so: planned work, ordered, or nobody is harmed."""
        members = problem.members(self.open_set)
        if any(m.ticket_id is not None for m in members):
            return None
        if members and all(m.body.get("quiet") == "window" and m.rule in EVENTS for m in members):
            return Placed("recorded", None, Reason("reason.quiet.window", {"title": "-"}))
        window = self.windows.title(problem.host_id)
        if window is not None:
            for member in members:
                member.body = {**member.body, "quiet": "window"}
            self.report.count("quiet_window")
            return Placed("recorded", None, Reason("reason.quiet.window", {"title": window or "-"}))
        reason = noted([m.held() for m in members], case.beside) or excused(case, verdict)
        if reason is not None and reason.key == MAINTENANCE and self.windows.is_elsewhere(problem.host_id):
            reason = None  # what the provider announced is told to be at other hosts of its
        reason = reason or self.patience.holds_back(problem, members)
        return Placed("recorded", None, reason) if reason is not None else None

    def _judge(self, problem: Problem) -> Placed:
        members = problem.members(self.open_set)
        known = next((m.ticket_id for m in members if m.ticket_id is not None), None)
        case = self.case(members, problem.brief)
        verdict = qualify(case, self.ctx.without_rows)
        return self.quiet(problem, case, verdict) or self.desk.place(verdict, case, known)

    def case(self, members: Sequence[OpenRow], brief: Sequence[OpenRow] = ()) -> Case:
        """The case of one host's problem: what holds of it, what of it came late and over (``brief``), and what is beside it."""
        subject = members[0].held()
        mine = {m.key for m in members}
        beside = [m.held() for m in (*members[1:], *brief)]
        beside += [o.held() for o in self.open_set[subject.host_id].values() if o.key not in mine]
        case = self.scene.case(self.now_ms, subject, beside)
        return dataclasses.replace(case, seen=(*case.seen, *self.hours.seen(subject)))

    def settle(self, problem: Problem, placed: Placed, *, with_evidence: bool = True) -> None:
        """Write what became of a problem into its findings and rows, and hand over the evidence."""
        members = problem.members(self.open_set)
        for member in members:
            if placed.ticket_id is not None:
                member.ticket_id = placed.ticket_id
        for row in problem.rows:
            if not row.outcome:
                row.outcome, row.ticket_id = placed.outcome, placed.ticket_id
                row.why = placed.reason if placed.ticket_id is None else None
        if placed.ticket_id is not None and with_evidence:
            bodies = [
                (_held_of(row), row.body)
                for row in problem.rows
                if row.kind != "closed" and row.body.get("evidence")
            ]
            self.desk.pass_evidence(placed.ticket_id, bodies[-3:])
        if problem.is_asked_again and not problem.rows:
            why = placed.reason if placed.ticket_id is None else None
            write_fate(self.tx, members, placed.outcome, placed.ticket_id, why)
        self.patience.settled(problem, placed.ticket_id)
        self.report.count(f"problems_{placed.outcome}")

    def _settle_over(self, problem: Problem) -> None:
        """Nothing of the problem holds any more: its ticket resolves after the hold time; what never had one is recorded."""
        ticket_id = next((o.ticket_id for o in problem.ended if o.ticket_id is not None), None)
        why = None
        if ticket_id is None:
            ticket_id = self._ticket_of_cause(problem)
            why = Reason("reason.finding.over_before_known") if ticket_id is None else None
            if ticket_id is not None:
                self._learn_from_past(problem, ticket_id)
        for row in problem.rows:
            if row.outcome:
                continue
            row.ticket_id = ticket_id
            if ticket_id is None:
                row.outcome, row.why = "recorded", why
            else:
                row.outcome = "resolved" if row.kind == "closed" else "joined"
        if ticket_id is not None:
            bodies = [(_held_of(row), row.body) for row in problem.rows if row.body.get("evidence")]
            self.desk.pass_evidence(ticket_id, bodies[-3:])
        self.patience.settled(problem, ticket_id)
        self.report.count("problems_over")

    def _learn_from_past(self, problem: Problem, ticket_id: int) -> None:
        """What was seen inside while we could not hear the host may tell why: its silence is judged anew by it."""
        ended = sorted(problem.ended, key=lambda o: o.at_ms)
        beside = [m.held() for m in ended[1:]]
        beside += [o.held() for o in self.open_set.get(problem.host_id, {}).values()]
        case = self.scene.case(self.now_ms, ended[0].held(), beside)
        verdict = qualify(case, self.ctx.without_rows)
        own = self.desk.book.for_contract(verdict, self.desk.contract_id(problem.host_id))
        self.desk.learn_from(ticket_id, own, case)

    def _ticket_of_cause(self, problem: Problem) -> int | None:
        """A fault that came and went while we could not hear it belongs to the host's open ticket on silence."""
        if not problem.ended:
            return None
        began = min(o.at_ms for o in problem.ended)
        for known in self.desk.problems.get(problem.host_id, ()):
            if known.family == "silence" and began >= known.began_at_ms - 60_000:
                return known.ticket_id
        return None

    def _since(self, problems: Sequence[Problem]) -> int:
        """From when on what the collector's side saw may matter: a while before the oldest of these faults began."""
        began = [m.at_ms for p in problems for m in (*p.members(self.open_set), *p.ended)]
        # A unit may be what an operator touched when a service of the host began to fail, a good while before.
        lately = self.now_ms - SERVICES_SINCE_MS
        held = [o for p in problems for o in self.open_set.get(p.host_id, {}).values()]
        began += [o.at_ms for o in held if o.family == "service" and o.at_ms >= lately]
        return min(began, default=self.now_ms) - SEEN_BEFORE_MS


def rank(problem: Problem) -> tuple[str, int, str]:
    """The order of judging: host by host, causes before consequences."""
    family = problem.key.partition("|")[0]
    return (problem.host_id, ORDER.index(family) if family in ORDER else len(ORDER), problem.key)


def _ended(problems: Sequence[Problem]) -> list[OpenRow]:
    return [opened for problem in problems for opened in problem.ended]


def _stems(open_set: OpenSet) -> tuple[dict[int, frozenset[str]], frozenset[int]]:
    """Per ticket the bare names of what its findings are about, and which tickets were seen from outside."""
    stems: dict[int, frozenset[str]] = {}
    outside: set[int] = set()
    for here in open_set.values():
        for opened in here.values():
            if opened.ticket_id is None:
                continue
            if opened.subject:
                stems[opened.ticket_id] = stems.get(opened.ticket_id, frozenset()) | {stem(opened.subject)}
            if opened.stream.startswith("collector:"):
                outside.add(opened.ticket_id)
    return stems, frozenset(outside)


def _families(open_set: OpenSet) -> dict[str, frozenset[str]]:
    """Host -> symptom families that hold there, what this tick brought included."""
    return {host_id: frozenset(o.family for o in here.values()) for host_id, here in open_set.items()}


def _held_of(row: Row) -> Held:
    return Held(row.host_id, row.rule, row.subject, row.family, row.severity, row.at_ms, row.stream)
