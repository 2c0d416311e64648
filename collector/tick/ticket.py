"""Step 3: a verdict becomes a ticket, joins one, widens one, or is recorded with the reason why not.

The desk's verbs (``ticketing.intake``) keep the hard rules (one open ticket a problem, eligibility, clocks); here is
only which of them a verdict asks for, and what else belongs to the same cause.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from collector.qualify.case import Case, Held
from collector.qualify.recorded import scenario_of
from collector.qualify.subjects import (
    ANY_REASON,
    JOIN_WITHIN_MS,
    NO_CAUSE_OF_SILENCE,
    SERVICE_FAMILIES,
    OpenProblem,
    is_named,
    is_next_stage,
    may_explain,
    may_join,
    stem,
)
from collector.tables import judgements
from collector.tick.above import fold, parents_of, take_in
from collector.tick.members import as_it_stands, is_full, member, same_by_act
from collector.tick.parting import Parted, part
from collector.tick.returned import as_last_time
from collector.vitals import WINDOW_MS, Series, series_of
from ticketing import intake, opening
from ticketing.contracts import Book
from ticketing.model import SEVERITIES, Confidence, Reason, Verdict
from ticketing.tables import tickets

PLOTTED_MAX = 40
"""Hosts whose vitals one tick reads for a plot: an outage of hundreds is told by its first."""

BEFORE_SILENCE_MS = 120_000
"""What began this little after the silence was noticed still came before it: a deadline dates it, and a rule holds first."""

GATHERING = "internal"
"""The contract of tickets that only gather those of several contracts (and of hosts that no contract names)."""

_RANK = {Confidence.LOW: 0, Confidence.MEDIUM: 1, Confidence.HIGH: 2}


@dataclasses.dataclass(frozen=True)
class Placed:
    """What became of a verdict: the outcome word for its findings, the ticket, and why."""

    outcome: str
    """opened, joined or recorded."""
    ticket_id: int | None
    reason: Reason


@dataclasses.dataclass
class Desk:
    """The open tickets that this tick's problems may concern, kept current while it places verdicts."""

    tx: Connection
    book: Book
    now_ms: int
    problems: dict[str, list[OpenProblem]] = dataclasses.field(default_factory=dict)
    rows: dict[int, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    holding: set[tuple[int, str, str]] = dataclasses.field(default_factory=set)
    """(ticket, host, family) of what still holds."""
    parted: list[Parted] = dataclasses.field(default_factory=list)
    """Hosts that left a group's ticket in this tick; their findings follow (collector.tick.parting)."""
    plotted: int = 0
    """Hosts whose vitals were read for a plot."""

    def learn(
        self, host_ids: Sequence[str], stems: Mapping[int, frozenset[str]], outside: frozenset[int]
    ) -> None:
        """Read the open tickets of these hosts. ``stems`` = bare names of the parts that each ticket's findings name."""
        wanted = set(host_ids)
        known = [dict(row) for row in intake.open_tickets_of(self.tx, sorted(wanted))]
        # A host's trouble is its own contract's: what is above it only gathers those of several contracts.
        above = {(host_id, row["parent_id"]) for row in known for host_id in row["affected"]}
        for row in known:
            self.rows[row["id"]] = row
            if row["origin"] != "machine":
                continue
            for host_id in wanted.intersection(row["affected"]):
                if (host_id, row["id"]) in above and row["contract_id"] == GATHERING:
                    continue
                self.note(
                    OpenProblem(
                        row["id"],
                        host_id,
                        row["problem"].partition("|")[2],
                        row["family"],
                        row["root_cause"],
                        row["began_at_ms"],
                        stems.get(row["id"], frozenset()),
                        row["id"] in outside,
                    )
                )

    def note(self, problem: OpenProblem) -> None:
        """One more problem that has a ticket."""
        self.problems.setdefault(problem.host_id, []).append(problem)

    def note_joined(self, host_id: str, ticket_id: int, held: Held) -> None:
        """A finding that belongs to a ticket: what follows from it belongs there as well, counted from its own beginning."""
        row = self.rows.get(ticket_id)
        if row is None or row["origin"] != "machine":
            return
        self.holding.add((ticket_id, host_id, held.family))
        self.note(member(ticket_id, row["problem"].partition("|")[2], row["root_cause"], held))

    def contract_id(self, host_id: str) -> str:
        """The contract that guards the host; ``internal`` for one that no contract names any more."""
        contract = self.book.contract_of(host_id)
        return str(contract.id) if contract is not None else "internal"

    def place(self, verdict: Verdict, case: Case, known_ticket: int | None) -> Placed:
        """One host's verdict: its own ticket, or that of the cause it belongs to."""
        verdict = self.book.for_contract(verdict, self.contract_id(case.host.id))
        if known_ticket is not None and known_ticket in self.rows:
            return self._again(verdict, case, known_ticket)
        symptom = self._symptom(verdict, case.subject)
        if case.subject.family in SERVICE_FAMILIES and is_named(case.subject.subject, case.ops):
            symptom = dataclasses.replace(symptom, is_acted_on=True)
        symptom = dataclasses.replace(symptom, stems=symptom.stems | same_by_act(case))
        mine = self.problems.get(case.host.id, ())
        joins = [
            (problem, why)
            for problem in (as_it_stands(p, mine, case) for p in mine)
            if (why := may_join(problem, symptom, is_full=is_full(case))) is not None
        ]
        # Another view of the same is nearer than what may have caused it.
        joins.sort(key=lambda join: join[1].key == "reason.join.consequence")
        if joins and verdict.class_ in (1, 2):
            return self._join(joins[0][0], verdict, case, joins[0][1])
        for problem in mine:
            why = may_explain(symptom, problem)
            if why is not None and verdict.class_ in (1, 2):
                return self._join(problem, verdict, case, why, is_cause=True)
        return self._open(verdict, case, symptom)

    def _symptom(self, verdict: Verdict, held: Held) -> OpenProblem:
        found = member(0, verdict.subject, verdict.root_cause, held)
        return dataclasses.replace(found, family=verdict.family, began_at_ms=verdict.began_at_ms)

    def _open(self, verdict: Verdict, case: Case, symptom: OpenProblem) -> Placed:
        contract_id = self.contract_id(case.host.id)
        verdict = as_last_time(self.tx, verdict, case, contract_id)
        done = intake.open_or_join(self.tx, self.book, verdict, contract_id, self.now_ms)
        if done.ticket_id is None:
            return Placed("recorded", None, done.reason)
        self.refresh(done.ticket_id)
        self.note(dataclasses.replace(symptom, ticket_id=done.ticket_id))
        record_judgement(self.tx, done.ticket_id, self.now_ms, verdict, case)
        return _placed(done)

    def _join(
        self, problem: OpenProblem, verdict: Verdict, case: Case, why: Reason, *, is_cause: bool = False
    ) -> Placed:
        """A symptom of a cause that has its ticket: said there, with its own reasons, and nowhere else."""
        own_id = part(self, problem.ticket_id, verdict, case)
        if own_id is not None:
            record_judgement(self.tx, own_id, self.now_ms, verdict, case)
            return Placed("joined", own_id, why)
        body = {
            "reason": why.to_dict(),
            "family": verdict.family,
            "summary": verdict.summary.to_dict(),
            "reasons": [r.to_dict() for r in verdict.reasons],
            "began_at_ms": verdict.began_at_ms,
        }
        intake.add_evidence(self.tx, problem.ticket_id, body, self.now_ms)
        self.learn_from(problem.ticket_id, verdict, case, is_cause=is_cause)
        self.note(self._symptom_of(problem.ticket_id, verdict, case))
        self.note(
            dataclasses.replace(
                problem,
                stems=problem.stems | frozenset({stem(verdict.subject.rpartition(":")[2])}),
                is_outside=problem.is_outside,
            )
        )
        return Placed("joined", problem.ticket_id, why)

    def _symptom_of(self, ticket_id: int, verdict: Verdict, case: Case) -> OpenProblem:
        """The symptom as a member of that ticket: what follows from it belongs there as well."""
        row = self.rows.get(ticket_id)
        cause = row["root_cause"] if row is not None else verdict.root_cause
        return dataclasses.replace(
            self._symptom(verdict, case.subject), ticket_id=ticket_id, root_cause=cause
        )

    def learn_from(self, ticket_id: int, verdict: Verdict, case: Case, *, is_cause: bool = False) -> None:
        """A symptom may know more of the cause than the ticket that it belongs to: then the ticket is judged anew.

        So the inside view, the forensics after a boot or a pause seen on the clocks turn a provisional verdict.
        """
        row = self.rows.get(ticket_id)
        if row is None or not row["scope"].startswith("host:") or verdict.class_ not in (1, 2):
            return
        if row["family"] == "silence" and not _may_silence(verdict, row):
            return
        if verdict.root_cause in ANY_REASON and row["root_cause"] not in ANY_REASON:
            return  # that something failed is what the ticket's cause explains, and no better cause
        is_open_question = row["root_cause"] in ("unknown", verdict.root_cause) or row["confidence"] == "low"
        knows_more = _RANK[verdict.confidence] > _RANK[Confidence(row["confidence"])]
        is_cause = is_cause and verdict.confidence is not Confidence.LOW
        is_first_guess = row["root_cause"] == "unknown" and verdict.root_cause != "unknown"
        is_first_guess = is_first_guess or is_next_stage(verdict.root_cause, row["root_cause"])
        is_told_anew = _takes_back(verdict, row)
        if not ((is_open_question and knows_more) or is_cause or is_first_guess or is_told_anew):
            return
        taken = dataclasses.replace(
            verdict,
            subject=row["problem"].partition("|")[2],
            family=row["family"],
            scope=row["scope"],
            affected=tuple(row["affected"]),
            began_at_ms=min(verdict.began_at_ms, row["began_at_ms"]),
            severity=max(verdict.severity, row["severity"], key=SEVERITIES.index),
        )
        intake.requalify(self.tx, self.book, ticket_id, taken, self.now_ms)
        self.refresh(ticket_id)
        record_judgement(self.tx, ticket_id, self.now_ms, taken, case)

    def _again(self, verdict: Verdict, case: Case, ticket_id: int) -> Placed:
        """New facts about a problem that has its ticket: requalified only by a verdict that knows at least as much."""
        row = self.rows[ticket_id]
        own_id = part(self, ticket_id, verdict, case)
        if own_id is not None:
            record_judgement(self.tx, own_id, self.now_ms, verdict, case)
            return Placed("joined", own_id, Reason("reason.parted", {"host": case.host.id}))
        is_own = row["problem"] == verdict.problem
        differs = (row["class"], row["root_cause"]) != (verdict.class_, verdict.root_cause)
        knows_more = _RANK[verdict.confidence] >= _RANK[Confidence(row["confidence"])]
        knows_more = knows_more or is_next_stage(verdict.root_cause, row["root_cause"])
        # What has recovered and is not yet closed shows nothing any more: silence of the rows takes no finding back.
        knows_more = knows_more and (any(r.weight for r in verdict.reasons) or row["root_cause"] == "unknown")
        if is_own and differs and knows_more and verdict.class_ != 0 and row["scope"].startswith("host:"):
            done = intake.requalify(self.tx, self.book, ticket_id, verdict, self.now_ms)
            self.refresh(ticket_id)
            record_judgement(self.tx, ticket_id, self.now_ms, verdict, case)
            return Placed("joined", ticket_id, done.reason)
        if not is_own and case.subject.family not in SERVICE_FAMILIES:
            # A symptom that joined another problem's ticket may have learned what that problem is.
            self.learn_from(ticket_id, verdict, case)
        return Placed("joined", ticket_id, Reason("reason.intake.joined", {"ticket": ticket_id}))

    def place_group(self, verdict: Verdict, case: Case) -> dict[str, Placed]:
        """A group's verdict: host -> what became of its finding. One ticket a contract, over several a parent above.

        Tickets that were opened for single hosts of the group before it was known are widened, the oldest of each
        contract, and the others are folded into it.
        """
        by_contract: dict[str, list[str]] = {}
        for host_id in verdict.affected:
            by_contract.setdefault(self.contract_id(host_id), []).append(host_id)
        parent_id = None
        known = parents_of(self, verdict) if len(by_contract) > 1 else []
        if len(by_contract) > 1:
            parent = take_in(self, verdict, known) or intake.open_or_join(
                self.tx, self.book, verdict, GATHERING, self.now_ms
            )
            parent_id = parent.ticket_id
            if parent_id is not None and parent.verb != "joined":
                record_judgement(self.tx, parent_id, self.now_ms, verdict, case)
        placed: dict[str, Placed] = {}
        fresh: list[tuple[str, Verdict]] = []
        for contract_id, host_ids in sorted(by_contract.items()):
            own = self.book.for_contract(verdict, contract_id, host_ids)
            single = self._singles(own, contract_id)
            if single:
                placed.update(dict.fromkeys(host_ids, self._widen_single(own, single, parent_id, case)))
            else:
                fresh.append((contract_id, own))
        outcomes = opening.open_many(self.tx, self.book, fresh, self.now_ms, parent_id=parent_id)
        for (contract_id, own), done in zip(fresh, outcomes, strict=True):
            if done.ticket_id is not None and done.verb != "joined" and parent_id is None:
                record_judgement(self.tx, done.ticket_id, self.now_ms, own, case)
            placed.update(dict.fromkeys(by_contract[contract_id], _placed(done)))
        fold(self, verdict, known[1:], parent_id)
        for host_id, done in placed.items():
            if done.ticket_id is not None and done.ticket_id not in self.rows:
                self.refresh(done.ticket_id)
            if done.ticket_id is not None:
                held = dataclasses.replace(case.subject, host_id=host_id)
                self.note(dataclasses.replace(self._symptom(verdict, held), ticket_id=done.ticket_id))
        return {
            host_id: placed[host_id] for _, host_ids in sorted(by_contract.items()) for host_id in host_ids
        }

    def _singles(self, verdict: Verdict, contract_id: str) -> list[int]:
        """Tickets of this contract that were opened for single hosts of the group, the oldest first."""
        return sorted(
            {
                problem.ticket_id
                for host_id in verdict.affected
                for problem in self.problems.get(host_id, ())
                if (
                    self.is_of_now(verdict, problem)
                    or problem.root_cause == verdict.root_cause
                    or self.is_why_silent(verdict, problem)
                )
                and self.rows[problem.ticket_id]["contract_id"] == contract_id
            }
        )

    def is_of_now(self, verdict: Verdict, problem: OpenProblem) -> bool:
        """The same trouble, that still holds or began just before: what was over a while ago had a cause of its own."""
        holds = (problem.ticket_id, problem.host_id, problem.family) in self.holding
        is_near = verdict.began_at_ms - problem.began_at_ms <= JOIN_WITHIN_MS
        return problem.family == verdict.family and (holds or is_near)

    def is_why_silent(self, verdict: Verdict, problem: OpenProblem) -> bool:
        """The layer below did what the silence of these very hosts was: a pause that ended, a node that is back."""
        row = self.rows[problem.ticket_id]
        is_below = verdict.class_ == 1 and verdict.family in ("virt", "kernel", "network", "io", "fs")
        return problem.family == "silence" and is_below and _may_silence(verdict, row)

    def _widen_single(
        self, verdict: Verdict, single: Sequence[int], parent_id: int | None, case: Case
    ) -> Placed:
        """The group's ticket of a contract that has one for single hosts already."""
        ticket_id = single[0]
        row = self.rows[ticket_id]
        # The problem was fixed when the ticket opened; only scope, hosts and judgement grow.
        subject = row["problem"].partition("|")[2]
        wide = dataclasses.replace(
            verdict, subject=subject, began_at_ms=min(verdict.began_at_ms, row["began_at_ms"])
        )
        why = Reason("reason.join.group", {"scope": verdict.scope})
        is_part = not set(row["affected"]) <= set(verdict.affected) and not row["scope"].startswith("host:")
        if is_part and row["root_cause"] != verdict.root_cause:
            # The others of the outage have told nothing of the kind: until they have, it stands as it was judged.
            return Placed("joined", ticket_id, why)
        intake.widen(self.tx, self.book, ticket_id, wide, self.now_ms)
        intake.requalify(self.tx, self.book, ticket_id, wide, self.now_ms)
        if parent_id is not None:
            intake.attach(self.tx, ticket_id, parent_id, why, self.now_ms)
        for other in single[1:]:
            intake.merge(self.tx, self.book, other, ticket_id, why, self.now_ms)
        self.refresh(ticket_id)
        if parent_id is None:
            # Else the parent's judgement holds the facts, once for all contracts.
            record_judgement(self.tx, ticket_id, self.now_ms, wide, case)
        return Placed("joined", ticket_id, why)

    def pass_evidence(self, ticket_id: int, found: Iterable[tuple[Held, Mapping[str, Any]]]) -> None:
        """Hand each finding's evidence (series, log lines, top processes) to its ticket.

        What the collector saw of a host brings no series; the last minutes of the host's vitals stand in for them.
        """
        for finding, body in found:
            evidence = body.get("evidence")
            if not isinstance(evidence, Mapping) or not any(
                evidence.get(part) for part in ("series", "log", "top", "notes")
            ):
                continue
            told = {
                "host": finding.host_id,
                "rule": finding.rule,
                "subject": finding.subject,
                "family": finding.family,
                "at_ms": finding.at_ms,
                "facts": body.get("facts") or {},
                "top": evidence.get("top") or [],
                "log": evidence.get("log") or [],
                "series": evidence.get("series") or {},
                "notes": evidence.get("notes") or {},
            }
            if finding.is_outside and not told["series"]:
                told["series"] = self._vitals_before(finding)
                told["is_from_vitals"] = bool(told["series"])
            intake.add_evidence(self.tx, ticket_id, told, self.now_ms)

    def _vitals_before(self, finding: Held) -> Series:
        if self.plotted >= PLOTTED_MAX:
            return {}
        self.plotted += 1
        return series_of(self.tx, finding.host_id, finding.at_ms - WINDOW_MS, self.now_ms)

    def refresh(self, ticket_id: int) -> None:
        """Read the ticket again."""
        row = self.tx.execute(select(tickets).where(tickets.c.id == ticket_id)).mappings().first()
        if row is None:
            return
        self.rows[ticket_id] = dict(row)
        for host_id, known in self.problems.items():
            self.problems[host_id] = [
                dataclasses.replace(p, root_cause=row["root_cause"]) if p.ticket_id == ticket_id else p
                for p in known
            ]


def _may_silence(verdict: Verdict, row: Mapping[str, Any]) -> bool:
    """Whether what was found may be why the host fell silent: a cause, and one that was there before (rule 6).

    The kernel's and the hardware's own word is dated by the boot that brought it, and speaks of the one before.
    """
    is_told_afterwards = verdict.family in ("kernel", "hardware", "silence")
    is_before = verdict.began_at_ms <= row["began_at_ms"] + BEFORE_SILENCE_MS
    return verdict.root_cause not in NO_CAUSE_OF_SILENCE and (is_before or is_told_afterwards)


def _takes_back(verdict: Verdict, row: Mapping[str, Any]) -> bool:
    """Whether the provider said something else before, by which the ticket was judged, and nothing of that stands any more."""

    def said(judged: Verdict) -> set[str]:
        return {str(r.params.get("line")) for r in judged.reasons if r.group == "provider" and r.weight}

    then, now = said(Verdict.from_dict(row["verdict"])), said(verdict)
    is_as_sure = _RANK[verdict.confidence] >= _RANK[Confidence(row["confidence"])]
    return bool(then) and bool(now) and then.isdisjoint(now) and is_as_sure


def _placed(done: intake.Outcome) -> Placed:
    """The desk's answer in the words of a finding's outcome: a ticket that is resumed counts as opened."""
    return Placed("opened" if done.verb == "reopened" else done.verb, done.ticket_id, done.reason)


def record_judgement(tx: Connection, ticket_id: int, now_ms: int, verdict: Verdict, case: Case) -> None:
    """Keep the facts that the verdict was made from, in the scenario format, so that the incident can be replayed."""
    tx.execute(
        insert(judgements).values(
            ticket_id=ticket_id, at_ms=now_ms, verdict=verdict.to_dict(), case=scenario_of(case, verdict)
        )
    )
