"""A recorded incident, played: the facts that a verdict was made from, judged again by the very same rows.

The agents' rules, probes and correlation did their work when it was recorded; what they made is in the file
(``findings``, siblings, what was seen). So only the judgement is played: what would today's rows, or those without one,
make of it. Whom it concerned (scope and hosts) is taken from the record.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from collector.qualify.judge import qualify
from collector.qualify.recorded import read_record
from collector.replay.played import Failover, Played, PlayedTicket, Quiet
from ticketing.model import MACHINE_CLASSES, Reason, Verdict

if TYPE_CHECKING:
    from collector.replay.scenario import Scenario


def play_recorded(scenario: Scenario, without: frozenset[str]) -> Played:
    """The ticket that the recorded facts would make; the file was found readable when it was loaded."""
    assert scenario.recorded is not None
    raw = scenario.recorded
    case, before = read_record(raw)
    verdict = qualify(case, without)
    if before is not None:
        known = set(scenario.topology.host_ids)
        hosts = tuple(host for host in before.affected if host in known)
        verdict = dataclasses.replace(verdict, scope=before.scope, affected=hosts)
    at_s = float(raw.get("judged_at_s") or 0)
    failover = Failover("none", "a recorded judgement")
    if verdict.class_ not in MACHINE_CLASSES:
        why = Reason("reason.intake.proposed", {"class_": verdict.class_, "cause": verdict.root_cause})
        quiet = Quiet(case.host.id, case.subject.rule, case.subject.subject, at_s, why)
        return Played(scenario, (), (quiet,), failover, Counter(judged=1))
    return Played(scenario, (_ticket(verdict, before, at_s, scenario),), (), failover, Counter(judged=1))


def _ticket(verdict: Verdict, before: Verdict | None, at_s: float, scenario: Scenario) -> PlayedTicket:
    host = next((h for h in scenario.topology.hosts if h.id in verdict.affected), scenario.topology.hosts[0])
    return PlayedTicket(
        id=1,
        role="parent",
        class_=str(verdict.class_),
        kind=f"{verdict.family}.{verdict.root_cause}",
        scope=verdict.scope,
        affected=verdict.affected,
        opened_at_s=at_s,
        root_cause=verdict.root_cause,
        severity=verdict.severity,
        state="new",
        confidence=verdict.confidence.value,
        contract=host.contract,
        reasons=verdict.reasons,
        summary=verdict.summary,
        first_class=str(before.class_) if before is not None else "",
    )
