"""Step 2: unhandled findings are folded into problems, each is judged with all that stands around it, and placed.

One pass a tick: rows are read in order, the open set changes, problems that still hold get a verdict; what arrived
already closed is accounted for too. Findings, open set and tickets are written in the tick's one transaction.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from collector.qualify.case import Case, FactView, Held
from collector.qualify.correlate import Group, Place, fallen_groups, groups_of
from collector.qualify.judge import as_usual, qualify, summary
from collector.qualify.shared import FAMILIES, FAR_FAMILIES, breadth, scopes_of
from collector.qualify.subjects import stem
from collector.store.engine import savepoint
from collector.tables import hosts, open_findings
from collector.tick.cases import OpenRow, Scene, body_of, load_open, load_scene
from collector.tick.context import TickContext, TickReport
from collector.tick.kin import call_kin
from collector.tick.problems import (
    OpenSet,
    Problem,
    Row,
    fold,
    problem_of,
    unhandled,
    write_fate,
    write_handled,
    write_open,
)
from collector.tick.quiet import Quiet, due
from collector.tick.rows import SILENCE_STREAM, chunks
from collector.tick.ticket import Desk, Placed
from config.log import fields
from ticketing.contracts import Book
from ticketing.model import SEVERITIES, Reason, Verdict

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

QUIET_CHECK_MS = 10_000
SEEN_BEFORE_MS = 600_000
DEAD = ("down", "unknown")
GROUP_EVIDENCE = 3
"""Hosts of one group whose evidence goes into their contract's ticket."""

GROUP_TICKETS = 50
"""Past so many contracts only the parent's judgement tells; a tick must end within its budget."""


def judge_findings(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """The whole step."""
    rows = unhandled(tx, ctx.limits.findings)
    outlived = _outlived_windows(tx, now_ms, ctx, book)
    again = due(tx, now_ms, ctx.limits.findings)
    if not rows and not outlived and not again:
        return
    host_ids = sorted({row.host_id for row in rows} | {o.host_id for o in outlived} | {h for h, _ in again})
    open_set = load_open(tx, host_ids)
    before = [key for here in open_set.values() for key in here]
    touched = fold(rows, open_set)
    known = set(open_set)
    call_kin(tx, touched, open_set)
    before += [key for host_id in set(open_set) - known for key in open_set[host_id]]
    for opened in outlived:
        touched.setdefault(
            f"{opened.host_id}\n{problem_of(opened)}", Problem(opened.host_id, problem_of(opened))
        )
    for host_id, key in again:
        touched.setdefault(f"{host_id}\n{key}", Problem(host_id, key, is_asked_again=True))
    judge = _Judge(tx, now_ms, ctx, book, open_set, report)
    judge.run(list(touched.values()))
    write_open(tx, before, open_set)
    if rows:
        write_handled(tx, rows, now_ms)
    report.count("findings", len(rows))
    if len(rows) == ctx.limits.findings:
        report.wake_at(now_ms)


def _outlived_windows(tx: Connection, now_ms: int, ctx: TickContext, book: Book) -> list[OpenRow]:
    """Findings that a planned window kept quiet and that outlived it: they open with their original start."""
    if now_ms - ctx.quiet_checked_at_ms < QUIET_CHECK_MS or not any(
        c.windows for c in book.contracts.values()
    ):
        return []
    ctx.quiet_checked_at_ms = now_ms
    wanted = select(open_findings).where(open_findings.c.ticket_id.is_(None)).limit(ctx.limits.findings)
    found = []
    for row in tx.execute(wanted).mappings():
        values = dict(row)
        values["body"] = body_of(values["body"])
        opened = OpenRow(**values, is_stored=True)
        if opened.body.get("quiet") == "window" and _window(book, opened.host_id, now_ms) is None:
            found.append(opened)
    return found


def _window(book: Book, host_id: str, at_ms: int) -> str | None:
    contract = book.contract_of(host_id)
    window = contract.window_at(host_id, at_ms) if contract is not None else None
    return None if window is None else window.title


class _Judge:
    """One tick's judging: the scene, the desk, and the problems in the order of cause before consequence."""

    def __init__(
        self, tx: Connection, now_ms: int, ctx: TickContext, book: Book, open_set: OpenSet, report: TickReport
    ) -> None:
        self.tx = tx
        self.now_ms = now_ms
        self.ctx = ctx
        self.book = book
        self.open_set = open_set
        self.report = report
        self.desk = Desk(tx, book, now_ms)
        self.scene = Scene({}, ())
        self.quiet = Quiet(tx, now_ms, report, sorted(open_set))

    def run(self, problems: Sequence[Problem]) -> None:
        members = {f"{p.host_id}\n{p.key}": p.members(self.open_set) for p in problems}
        self.quiet.watch(problems, members)
        held = [p for p in problems if p.members(self.open_set)]
        over = [p for p in problems if not p.members(self.open_set)]
        host_ids = sorted({p.host_id for p in problems})
        families = {p.key.partition("|")[0] for p in held}
        self.scene = load_scene(
            self.tx,
            host_ids,
            with_siblings=bool(families - {"silence"}),
            is_wide=bool(families & FAR_FAMILIES),
            families=_families(self.open_set),
            seen_since_ms=_since(self.open_set, problems, self.now_ms),
        )
        stems, outside = _stems(self.open_set)
        self.desk.learn(host_ids, stems, outside)
        rest = self._place_kin(self._place_groups(held))
        for problem in sorted(rest, key=_rank):
            self._guarded(problem, self._settle_held)
        for problem in over:
            self._guarded(problem, self._settle_over)
        self.quiet.write()

    def _guarded(self, problem: Problem, act: Callable[[Problem], None]) -> None:
        """Judge one problem; when that breaks, its rows are recorded with the reason, and the auditor opens a ticket."""
        if not self._survives(problem.key, lambda: act(problem)):
            for row in problem.rows:
                row.outcome, row.ticket_id = "recorded", None
                row.why = Reason("reason.internal.judge_failed", {"problem": problem.key})

    def _survives(self, name: str, act: Callable[[], None]) -> bool:
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
        self._settle(problem, self._judge(problem))

    def _place_kin(self, problems: Sequence[Problem]) -> list[Problem]:
        """Neighbours that suffer from one shared cause are one problem; returns the problems that stand alone."""
        judged: dict[tuple[str, str], list[tuple[Problem, Verdict, Case]]] = {}
        for problem in sorted(problems, key=_rank):
            if problem.key.partition("|")[0] not in FAMILIES or self._is_quiet(problem) is not None:
                continue
            entry = self._witness(problem)
            if entry is not None:
                for scope in scopes_of(entry[1].root_cause, entry[2].host):
                    judged.setdefault((entry[1].root_cause, scope), []).append(entry)
        placed: set[int] = set()
        # Of groups that explain the same hosts the smallest; one that explains more goes first.
        for (_, scope), entries in sorted(
            judged.items(), key=lambda i: (-len({p.host_id for p, _, _ in i[1]}), breadth(*i[0]), i[0])
        ):
            free = [entry for entry in entries if id(entry[0]) not in placed]
            if len({problem.host_id for problem, _, _ in free}) < 2:
                continue
            if self._survives(scope, functools.partial(self._place_shared, scope, free)):
                placed |= {id(problem) for problem, _, _ in free}
        return [problem for problem in problems if id(problem) not in placed]

    def _witness(self, problem: Problem) -> tuple[Problem, Verdict, Case] | None:
        """The problem's verdict where it blames a layer below; what cannot be judged is met again, and told, by itself."""
        found: list[tuple[Problem, Verdict, Case]] = []

        def look() -> None:
            case = self._case(problem.members(self.open_set))
            verdict = qualify(case, self.ctx.without_rows)
            if verdict.class_ == 1:
                found.append((problem, verdict, case))

        self._survives(problem.key, look)
        return found[0] if found else None

    def _place_shared(self, scope: str, entries: Sequence[tuple[Problem, Verdict, Case]]) -> None:
        _, first, case = max(entries, key=lambda e: (len(e[1].reasons), -e[1].began_at_ms))
        verdict = dataclasses.replace(
            first,
            scope=scope,
            subject=scope,
            affected=tuple(sorted({problem.host_id for problem, _, _ in entries})),
            began_at_ms=min(each.began_at_ms for _, each, _ in entries),
            severity=max((each.severity for _, each, _ in entries), key=SEVERITIES.index),
            summary=summary(case, first.root_cause, scope),
        )
        done = self.desk.place_group(verdict, case)
        for problem, _, _ in entries:
            self._settle(problem, done[problem.host_id])

    def _is_quiet(self, problem: Problem) -> Placed | None:
        """Why nothing is opened for what holds, where that is so: planned work, or nobody is harmed."""
        members = problem.members(self.open_set)
        if any(m.ticket_id is not None for m in members):
            return None
        window = _window(self.book, problem.host_id, self.now_ms)
        if window is not None:
            for member in members:
                member.body = {**member.body, "quiet": "window"}
            self.report.count("quiet_window")
            return Placed("recorded", None, Reason("reason.quiet.window", {"title": window}))
        quiet = as_usual(self._case(members)) or self.quiet.holds_back(problem, members)
        return Placed("recorded", None, quiet) if quiet is not None else None

    def _judge(self, problem: Problem) -> Placed:
        members = problem.members(self.open_set)
        known = next((m.ticket_id for m in members if m.ticket_id is not None), None)
        quiet = self._is_quiet(problem)
        if quiet is not None:
            return quiet
        case = self._case(members)
        verdict = qualify(case, self.ctx.without_rows)
        return self.desk.place(verdict, case, known)

    def _case(self, members: Sequence[OpenRow]) -> Case:
        subject = members[0].held()
        mine = {m.key for m in members}
        beside = [m.held() for m in members[1:]]
        beside += [o.held() for o in self.open_set[subject.host_id].values() if o.key not in mine]
        return self.scene.case(self.now_ms, subject, beside)

    def _settle(self, problem: Problem, placed: Placed, *, with_evidence: bool = True) -> None:
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
        self.quiet.settled(problem, placed.ticket_id)
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
        self.quiet.settled(problem, ticket_id)
        self.report.count("problems_over")

    def _learn_from_past(self, problem: Problem, ticket_id: int) -> None:
        """What was seen inside while we could not hear the host may tell why: its silence is judged anew by it."""
        ended = sorted(problem.ended, key=lambda o: o.at_ms)
        beside = [m.held() for m in ended[1:]]
        beside += [o.held() for o in self.open_set.get(problem.host_id, {}).values()]
        case = self.scene.case(self.now_ms, ended[0].held(), beside)
        self.desk.learn_from(ticket_id, qualify(case, self.ctx.without_rows), case)

    def _ticket_of_cause(self, problem: Problem) -> int | None:
        """A fault that came and went while we could not hear it belongs to the host's open ticket on silence."""
        if not problem.ended:
            return None
        began = min(o.at_ms for o in problem.ended)
        for known in self.desk.problems.get(problem.host_id, ()):
            if known.family == "silence" and began >= known.began_at_ms - 60_000:
                return known.ticket_id
        return None

    def _place_groups(self, held: Sequence[Problem]) -> list[Problem]:
        """Silent hosts that fell together are one problem; returns the problems that stand alone."""
        silent = {p.host_id: p for p in held if p.key.partition("|")[0] == "silence"}
        dead = {h: p for h, p in silent.items() if _outcome_word(p.members(self.open_set)[0]) in DEAD}
        groups = self._fallen(dead) if dead else {}
        placed: set[str] = set()
        if groups:
            self.desk.learn(sorted(groups.keys() - set(self.scene.hosts)), {}, frozenset())
        for group in sorted(set(groups.values()), key=lambda g: g.scope):
            mine = {h: p for h, p in dead.items() if groups.get(h) == group}
            mine = {h: p for h, p in mine.items() if _window(self.book, h, self.now_ms) is None}
            if not mine:
                continue
            # A group that cannot be judged is judged host by host.
            if self._survives(group.scope, functools.partial(self._place_group, group, mine)):
                placed.update(mine)
        return [p for p in held if p.host_id not in placed or p.key.partition("|")[0] != "silence"]

    def _place_group(self, group: Group, mine: Mapping[str, Problem]) -> None:
        verdict, case = self._judge_group(group, mine)
        done = self.desk.place_group(verdict, case)
        told: dict[int | None, int] = {}
        for host_id, problem in mine.items():
            fate = done.get(host_id) or next(iter(done.values()))
            told[fate.ticket_id] = told.get(fate.ticket_id, 0) + 1
            # The two thousandth host that did not answer tells an engineer nothing that the first few did not.
            few = told[fate.ticket_id] <= GROUP_EVIDENCE and len(told) <= GROUP_TICKETS
            self._settle(problem, fate, with_evidence=few)
        self._adopt_members(group, mine, done)

    def _adopt_members(self, group: Group, fresh: Mapping[str, Problem], done: Mapping[str, Placed]) -> None:
        """Members that were silent before this tick follow their contract's ticket, which may have been folded."""
        for host_id in group.fallen:
            placed = done.get(host_id)
            if host_id in fresh or placed is None or placed.ticket_id is None:
                continue
            self.tx.execute(
                open_findings.update()
                .where(open_findings.c.host_id == host_id, open_findings.c.stream == SILENCE_STREAM)
                .values(ticket_id=placed.ticket_id)
            )

    def _fallen(self, dead: Mapping[str, Problem]) -> dict[str, Group]:
        """The groups that fell: looked for among all hosts of the providers concerned."""
        views = [self.scene.hosts[h] for h in dead if h in self.scene.hosts]
        providers = sorted({v.place("provider") for v in views} - {""})
        fell_at = {h: p.members(self.open_set)[0].at_ms for h, p in dead.items()}
        words = {
            h: _outcome_word(o)
            for h, here in self.open_set.items()
            for o in here.values()
            if o.family == "silence"
        }
        for row in self.tx.execute(
            select(open_findings.c.host_id, open_findings.c.at_ms, open_findings.c.body).where(
                open_findings.c.stream == SILENCE_STREAM, open_findings.c.rule == "silence"
            )
        ):
            fact = (body_of(row.body).get("facts") or {}).get("silence.outcome") or {}
            words.setdefault(row.host_id, str(fact.get("now", "")))
            if words[row.host_id] in DEAD:
                fell_at.setdefault(row.host_id, row.at_ms)
        places: list[Place] = []
        for part in chunks(providers):
            wanted = select(hosts.c.id, hosts.c.contract_id, hosts.c.topology, hosts.c.life).where(
                hosts.c.topology["provider"].as_string().in_(part),
                hosts.c.is_retired.is_(False),
                hosts.c.life != "awaited",
            )
            for row in self.tx.execute(wanted):
                # A host whose agent is gone but which answers is well: it speaks against an outage of its group.
                is_well = row.life == "alive" or words.get(row.id) == "agent_gone"
                places.append(Place(row.id, row.contract_id, groups_of(row.topology), is_well))
        return fallen_groups(places, fell_at)

    def _judge_group(self, group: Group, mine: Mapping[str, Problem]) -> tuple[Verdict, Case]:
        members = [p.members(self.open_set)[0] for p in mine.values()]
        first = min(members, key=lambda m: (m.at_ms, m.host_id))
        facts = dict(first.held().facts)
        facts["silence.group"] = FactView(group.scope)
        facts["silence.group_silent"] = FactView(len(group.fallen))
        facts["silence.group_size"] = FactView(group.size)
        facts["silence.members"] = FactView(list(group.fallen))
        case = self.scene.case(self.now_ms, dataclasses.replace(first.held(), facts=facts), ())
        return qualify(case, self.ctx.without_rows), case


def _outcome_word(opened: OpenRow) -> str:
    fact = (opened.body.get("facts") or {}).get("silence.outcome") or {}
    return str(fact.get("now", ""))


def _rank(problem: Problem) -> tuple[str, int, str]:
    family = problem.key.partition("|")[0]
    return (problem.host_id, ORDER.index(family) if family in ORDER else len(ORDER), problem.key)


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


def _since(open_set: OpenSet, problems: Sequence[Problem], now_ms: int) -> int:
    """From when on what the collector's side saw may matter: a while before the oldest of these faults began."""
    began = [m.at_ms for p in problems for m in (*p.members(open_set), *p.ended)]
    return min(began, default=now_ms) - SEEN_BEFORE_MS


def _held_of(row: Row) -> Held:
    return Held(row.host_id, row.rule, row.subject, row.family, row.severity, row.at_ms, row.stream)
