"""Plan: the steps of one switch in their order, as a value with a hash that an approval is bound to (I18)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from collector.failover.terms import PairTerms, StepTerms

PHASES = ("arm", "demote", "fence", "promote", "traffic", "verify")
EPOCH_STEP = "gate.epoch"
"""Step type that writes the run's epoch on the backup and, where it can be reached, on the old primary."""
ARM_DEADLINE_S = 5.0
ARM_RETRIES = 1
MAX_AGE_MS = 600_000
"""A plan older than ten minutes is void: facts were others then (failover.md section 5)."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a plan. ``key`` names its effect once: the host refuses to do a key twice."""

    key: str
    phase: str
    type: str
    options: Mapping[str, Any]
    deadline_s: float
    retries: int
    group: int = 0
    """Fence only: its level in the order of trying; steps of one group must all succeed."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"options": dict(self.options)}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Step:
        return Step(**{**raw, "options": dict(raw["options"])})


@dataclasses.dataclass(frozen=True)
class Plan:
    """What would be done, for whom, and within which budget."""

    pair: str
    primary: str
    backup: str
    ticket_id: int
    cause: str
    contract_id: str
    contract_version: int
    kind: str
    """failover, switchover (planned: the primary is asked to stop), failback, rehearsal (nothing is done) or drill (all of it
    is, on a pair that the contract marks for it)."""
    fence_min: str
    steps: tuple[Step, ...]

    @property
    def hash(self) -> str:
        """Changes with everything that a person approved; not with the moment at which it was made."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def of(self, phase: str) -> tuple[Step, ...]:
        """The steps of one phase, in order."""
        return tuple(step for step in self.steps if step.phase == phase)

    def fence_groups(self) -> tuple[tuple[Step, ...], ...]:
        """Fence steps by level, in the order in which levels are tried."""
        groups: dict[int, list[Step]] = {}
        for step in self.of("fence"):
            groups.setdefault(step.group, []).append(step)
        return tuple(tuple(groups[n]) for n in sorted(groups))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"steps": [step.to_dict() for step in self.steps]}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Plan:
        return Plan(**{**raw, "steps": tuple(Step.from_dict(step) for step in raw["steps"])})


@dataclasses.dataclass(frozen=True)
class Subject:
    """Why and under which contract a plan is made."""

    ticket_id: int
    cause: str
    contract_id: str
    contract_version: int


def make(pair: PairTerms, subject: Subject, kind: str = "failover") -> Plan:
    """The plan that the pair's terms give: a switchover asks first (demote), a failover fences."""
    # The new epoch must lie on the backup before anything else: a host that knows it refuses every older order.
    taker = pair.primary if kind == "failback" else pair.backup
    steps = [Step("arm-0", "arm", EPOCH_STEP, {"host": taker}, ARM_DEADLINE_S, ARM_RETRIES)]
    if kind == "switchover":
        steps += _steps("demote", pair.demote)
    if kind == "failback":
        steps += [_back(step) for step in _steps("demote", pair.demote)]
    for group, level in enumerate(pair.fence if kind in ("failover", "rehearsal", "drill") else []):
        steps += _steps("fence", level, group)
    for phase, terms in (("promote", pair.promote), ("traffic", pair.traffic), ("verify", pair.verify)):
        found = _steps(phase, terms)
        steps += [_back(step) for step in found] if kind == "failback" else found
    return Plan(
        pair=pair.id,
        primary=pair.primary,
        backup=pair.backup,
        ticket_id=subject.ticket_id,
        cause=subject.cause,
        contract_id=subject.contract_id,
        contract_version=subject.contract_version,
        kind=kind,
        fence_min=pair.demanded,
        steps=tuple(steps),
    )


def _steps(phase: str, terms: Iterable[StepTerms], group: int = 0) -> list[Step]:
    return [
        Step(
            key=f"{phase}-{group}-{n}" if phase == "fence" else f"{phase}-{n}",
            phase=phase,
            type=step.type,
            options=step.options,
            deadline_s=float(step.deadline),
            retries=step.retries,
            group=group,
        )
        for n, step in enumerate(terms)
    ]


def _back(step: Step) -> Step:
    """The step on the way back: old and new change places, what is asked only of the old one is left out.

    A step that names neither (a provider's interface) has ``back`` in its options: what is said there instead.
    """
    options = dict(step.options)
    options |= options.pop("back", None) or {}
    if "old" in options and "new" in options:
        options["old"], options["new"] = options["new"], options["old"]
    for name in ("old_url", "old_host"):
        options.pop(name, None)
    return dataclasses.replace(step, options=options)


@dataclasses.dataclass(frozen=True)
class Approval:
    """A person's yes: bound to one plan, one epoch, one moment."""

    plan_hash: str
    epoch: int
    person: str
    given_at_ms: int
    expires_at_ms: int

    def refusal(self, plan: Plan, epoch: int, now_ms: int) -> str:
        """Why it does not count for this plan now; "" = it does."""
        if self.plan_hash != plan.hash:
            return "plan_changed"
        if self.epoch != epoch:
            return "epoch_changed"
        return "expired" if now_ms >= self.expires_at_ms else ""
