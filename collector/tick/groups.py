"""One cause, one problem: hosts that fell together, and neighbours that suffer from one thing, are placed as one.

Two ways. The dead are grouped by the topology alone (``collector.qualify.correlate``); what suffers is grouped by the
cause that each was judged to have and by what can share it (``collector.qualify.shared``). What neither takes stands
alone, and is returned.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from collector.qualify.case import Case, FactView
from collector.qualify.correlate import Group, Place, fallen_groups, groups_of
from collector.qualify.judge import qualify, summary
from collector.qualify.parting import has_own_cause, is_settled
from collector.qualify.shared import FAMILIES, began_together, breadth, scopes_of
from collector.tables import hosts, open_findings
from collector.tick.cases import body_of
from collector.tick.judging import Judge, rank
from collector.tick.kin import silence_word
from collector.tick.problems import Problem
from collector.tick.rows import SILENCE_STREAM, chunks
from collector.tick.ticket import Placed
from ticketing.model import SEVERITIES, Verdict
from ticketing.tables import tickets

DEAD = ("down", "unknown")
TELLING = ("prov.event", "ops.action")
GROUP_EVIDENCE = 3
"""Hosts of one group whose evidence goes into their contract's ticket."""

GROUP_TICKETS = 50
"""Past so many contracts only the parent's judgement tells; a tick must end within its budget."""


@dataclasses.dataclass
class Groups:
    """Placing of shared problems, before each is judged by itself."""

    judge: Judge

    def place(self, held: Sequence[Problem]) -> list[Problem]:
        """Place what is shared; returns the problems that stand alone."""
        return self._place_kin(self._place_fallen(held))

    # neighbours that suffer

    def _place_kin(self, problems: Sequence[Problem]) -> list[Problem]:
        judged: dict[tuple[str, str], list[tuple[Problem, Verdict, Case]]] = {}
        for problem in sorted(problems, key=rank):
            if problem.key.partition("|")[0] not in FAMILIES:
                continue
            entry = self._witness(problem)
            if entry is not None:
                for scope in scopes_of(entry[1].root_cause, entry[2].host):
                    judged.setdefault((entry[1].root_cause, scope), []).append(entry)
        placed: set[int] = set()
        # Of groups that explain the same hosts the smallest; one that explains more goes first.
        for (cause, scope), entries in sorted(
            judged.items(), key=lambda i: (-len({p.host_id for p, _, _ in i[1]}), breadth(*i[0]), i[0])
        ):
            free = [entry for entry in entries if id(entry[0]) not in placed]
            shared = began_together(cause, [verdict.began_at_ms for _, verdict, _ in free])
            free = [entry for entry, is_shared in zip(free, shared, strict=True) if is_shared]
            if len({problem.host_id for problem, verdict, _ in free if verdict.class_ == 1}) < 2:
                continue
            if self.judge.survives(scope, functools.partial(self._place_shared, scope, free)):
                placed |= {id(problem) for problem, _, _ in free}
        return [problem for problem in problems if id(problem) not in placed]

    def _witness(self, problem: Problem) -> tuple[Problem, Verdict, Case] | None:
        """The problem's verdict where it blames a layer below; what cannot be judged is met again, and told, by itself.

        One that names such a cause and cannot prove it alone (class 2 yet) goes with those that can.
        """
        found: list[tuple[Problem, Verdict, Case]] = []

        def look() -> None:
            case = self.judge.case(problem.members(self.judge.open_set), problem.brief)
            verdict = qualify(case, self.judge.ctx.without_rows)
            if verdict.class_ in (1, 2) and self.judge.quiet(problem, case, verdict) is None:
                found.append((problem, verdict, case))

        self.judge.survives(problem.key, look)
        return found[0] if found else None

    def _place_shared(self, scope: str, entries: Sequence[tuple[Problem, Verdict, Case]]) -> None:
        _, first, case = max(entries, key=lambda e: (e[1].class_ == 1, len(e[1].reasons), -e[1].began_at_ms))
        hosts = tuple(sorted({problem.host_id for problem, _, _ in entries}))
        verdict = dataclasses.replace(
            first,
            scope=scope,
            subject=scope,
            affected=hosts,
            began_at_ms=min(each.began_at_ms for _, each, _ in entries),
            severity=max((each.severity for _, each, _ in entries), key=SEVERITIES.index),
            summary=summary(case, first.root_cause, scope, hosts),
        )
        done = self.judge.desk.place_group(verdict, case)
        for problem, _, _ in entries:
            self.judge.settle(problem, done[problem.host_id])

    # hosts that fell

    def _place_fallen(self, held: Sequence[Problem]) -> list[Problem]:
        open_set = self.judge.open_set
        silent = {p.host_id: p for p in held if p.key.partition("|")[0] == "silence"}
        dead = {h: p for h, p in silent.items() if silence_word(p.members(open_set)[0]) in DEAD}
        if not dead:
            return list(held)
        told = {s.host_id for s in self.judge.scene.seen if s.signal in TELLING}
        dead = {h: p for h, p in dead.items() if not self._fell_alone(p, is_told=h in told)}
        groups = self._fallen(dead) if dead else {}
        placed: set[str] = set()
        if groups:
            self.judge.desk.learn(sorted(groups.keys() - set(self.judge.scene.hosts)), {}, frozenset())
        for group in sorted(set(groups.values()), key=lambda g: g.scope):
            mine = {h: p for h, p in dead.items() if groups.get(h) == group and not self._is_excused(p)}
            if not mine:
                continue
            # A group that cannot be judged is judged host by host.
            if self.judge.survives(group.scope, functools.partial(self._place_group, group, mine)):
                placed.update(mine)
        return [p for p in held if p.host_id not in placed or p.key.partition("|")[0] != "silence"]

    def _fell_alone(self, problem: Problem, *, is_told: bool) -> bool:
        """Whether somebody's word (its provider's, an operator's, its own goodbye) says why this very host is away."""
        members = problem.members(self.judge.open_set)
        goodbye = (members[0].body.get("facts") or {}).get("agent.stop_reason") or {}
        if not is_told and goodbye.get("now", "none") in ("none", ""):
            return False
        return has_own_cause(qualify(self.judge.case(members), self.judge.ctx.without_rows))

    def _is_excused(self, problem: Problem) -> bool:
        """Whether the host's silence is planned; what it is then recorded as is said when it is judged by itself."""
        case = self.judge.case(problem.members(self.judge.open_set))
        if self.judge.windows.title(problem.host_id) is not None:
            return True
        is_told = any(m.ticket_id is not None for m in problem.members(self.judge.open_set))
        is_announced = case.provider_status() == "maintenance"
        return not is_told and is_announced and not self.judge.windows.is_elsewhere(problem.host_id)

    def _place_group(self, group: Group, mine: Mapping[str, Problem]) -> None:
        verdict, case = self._judge_group(group, mine)
        done = self.judge.desk.place_group(verdict, case)
        told: dict[int | None, int] = {}
        for host_id, problem in mine.items():
            fate = done.get(host_id) or next(iter(done.values()))
            told[fate.ticket_id] = told.get(fate.ticket_id, 0) + 1
            # The two thousandth host that did not answer tells an engineer nothing that the first few did not.
            few = told[fate.ticket_id] <= GROUP_EVIDENCE and len(told) <= GROUP_TICKETS
            self.judge.settle(problem, fate, with_evidence=few)
        self._adopt_members(group, mine, done)

    def _adopt_members(self, group: Group, fresh: Mapping[str, Problem], done: Mapping[str, Placed]) -> None:
        """Members that were silent before this tick follow their contract's ticket, which may have been folded."""
        for host_id in group.fallen:
            placed = done.get(host_id)
            if host_id in fresh or placed is None or placed.ticket_id is None:
                continue
            self.judge.tx.execute(
                open_findings.update()
                .where(open_findings.c.host_id == host_id, open_findings.c.stream == SILENCE_STREAM)
                .values(ticket_id=placed.ticket_id)
            )

    def _fallen(self, dead: Mapping[str, Problem]) -> dict[str, Group]:
        """The groups that fell: looked for among all hosts of the providers concerned."""
        open_set, tx = self.judge.open_set, self.judge.tx
        views = [self.judge.scene.hosts[h] for h in dead if h in self.judge.scene.hosts]
        providers = sorted({v.place("provider") for v in views} - {""})
        fell_at = {h: p.members(open_set)[0].at_ms for h, p in dead.items()}
        words = {
            h: silence_word(o) for h, here in open_set.items() for o in here.values() if o.family == "silence"
        }
        silences = (
            select(
                open_findings.c.host_id,
                open_findings.c.at_ms,
                open_findings.c.body,
                tickets.c.scope,
                tickets.c.root_cause,
                tickets.c.confidence,
            )
            .join(tickets, tickets.c.id == open_findings.c.ticket_id, isouter=True)
            .where(open_findings.c.stream == SILENCE_STREAM, open_findings.c.rule == "silence")
        )
        for row in tx.execute(silences):
            if is_settled(row.scope or "", row.root_cause or "", row.confidence or ""):
                fell_at.pop(row.host_id, None)
                continue
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
            for row in tx.execute(wanted):
                # A host whose agent is gone but which answers is well: it speaks against an outage of its group.
                is_well = row.life == "alive" or words.get(row.id) == "agent_gone"
                places.append(Place(row.id, row.contract_id, groups_of(row.topology), is_well))
        return fallen_groups(places, fell_at)

    def _judge_group(self, group: Group, mine: Mapping[str, Problem]) -> tuple[Verdict, Case]:
        members = [p.members(self.judge.open_set)[0] for p in mine.values()]
        first = min(members, key=lambda m: (m.at_ms, m.host_id))
        facts = dict(first.held().facts)
        facts["silence.group"] = FactView(group.scope)
        facts["silence.group_silent"] = FactView(len(group.fallen))
        facts["silence.group_size"] = FactView(group.size)
        facts["silence.members"] = FactView(list(group.fallen))
        subject = dataclasses.replace(first.held(), facts=facts)
        case = self.judge.scene.case(self.judge.now_ms, subject, ())
        return qualify(case, self.judge.ctx.without_rows), case
