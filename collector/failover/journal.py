"""The journal of a failover as values: entries in a hash chain, and the run that they add up to.

Every entry is committed before anything happens that it announces (I6), so a run can be taken up from its entries alone
(I12): ``fold`` is the only reading of them. An intent without a result is an act whose outcome nobody knows: its next move
is a probe, never a guess. Secrets never stand here: options are redacted by the step that owns them (I17).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from collector.failover.plan import Approval, Plan
from collector.failover.states import State

GENESIS = "0" * 64
KINDS = ("begin", "enter", "arm", "approve", "intent", "result", "probe", "undo", "note", "order")
"""begin: plan and reason. order: a person's word (abort, promote, acknowledge). The rest as they are called."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    run_id: str
    seq: int
    at_ms: int
    kind: str
    actor: str
    """engine, or a person's log-in name."""
    term: int
    epoch: int
    body: Mapping[str, Any]
    prev_sha256: str

    @property
    def sha256(self) -> str:
        """The entry's link: over everything in it, the link before included."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def following(
    last: Entry | None,
    run_id: str,
    at_ms: int,
    kind: str,
    body: Mapping[str, Any],
    *,
    actor: str = "engine",
    term: int = 0,
    epoch: int | None = None,
) -> Entry:
    """The entry after ``last``; the epoch stays unless it is given."""
    assert kind in KINDS, kind
    return Entry(
        run_id=run_id,
        seq=0 if last is None else last.seq + 1,
        at_ms=at_ms,
        kind=kind,
        actor=actor,
        term=term,
        epoch=epoch if epoch is not None else (last.epoch if last else 0),
        body=body,
        prev_sha256=GENESIS if last is None else last.sha256,
    )


def broken_at(entries: Iterable[Entry]) -> int | None:
    """The sequence number of the first entry that does not follow from the one before; None = the chain holds."""
    expected, seq = GENESIS, 0
    for entry in entries:
        if entry.seq != seq or entry.prev_sha256 != expected:
            return entry.seq
        expected, seq = entry.sha256, seq + 1
    return None


@dataclasses.dataclass(frozen=True)
class StepRun:
    """How far one step came."""

    attempts: int = 0
    intent_open: bool = False
    """An intent stands without a result: what happened is unknown until a probe says so."""
    outcome: str = ""
    """done, not_done, unknown; "" = nothing is known."""
    is_verified: bool = False
    """A probe, and not only the act's own answer, said done."""
    fence_level: str = ""
    is_on_its_way: bool = False
    """An act's own answer was unknown: what it ordered may still happen, whatever a probe finds meanwhile."""
    error: str = ""
    probes: int = 0
    """Since the last intent."""
    intent_at_ms: int = 0
    at_ms: int = 0
    """Of the last entry about it."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A failover as its journal tells it."""

    id: str
    plan: Plan
    mode: str
    state: State
    entered_at_ms: int
    begun_at_ms: int
    epoch: int
    steps: Mapping[str, StepRun]
    approval: Approval | None = None
    approve_until_ms: int | None = None
    fenced_at_ms: int | None = None
    fence_level: str = ""
    reason: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Reason of the state, as ``Reason.to_dict`` wrote it."""
    ordered: str = ""
    """The last order of a person that has not been followed: abort, promote, acknowledge."""

    def step(self, key: str) -> StepRun:
        return self.steps.get(key, StepRun())


def fold(entries: Iterable[Entry]) -> Run | None:
    """The run that the entries add up to; None without any. Raises ValueError for entries of no run."""
    run: Run | None = None
    for entry in entries:
        run = _after(run, entry)
    return run


def _after(run: Run | None, entry: Entry) -> Run:
    if run is None:
        if entry.kind != "begin":
            raise ValueError(f"a run begins with begin, not {entry.kind}")
        return Run(
            id=entry.run_id,
            plan=Plan.from_dict(entry.body["plan"]),
            mode=entry.body["mode"],
            state=State.DECIDED,
            entered_at_ms=entry.at_ms,
            begun_at_ms=entry.at_ms,
            epoch=entry.epoch,
            steps={},
            approve_until_ms=entry.body.get("approve_until_ms"),
            reason=entry.body.get("reason", {}),
        )
    if entry.kind == "enter":
        return _entered(run, entry)
    if entry.kind == "approve":
        return dataclasses.replace(run, approval=Approval(**entry.body["approval"]))
    if entry.kind == "order":
        return dataclasses.replace(run, ordered=entry.body["order"])
    if entry.kind in ("intent", "result", "probe"):
        key = entry.body["step"]
        steps = {**run.steps, key: _stepped(run.step(key), entry)}
        return dataclasses.replace(run, steps=steps)
    return run


def _entered(run: Run, entry: Entry) -> Run:
    state = State(entry.body["state"])
    changes: dict[str, Any] = {
        "state": state,
        "entered_at_ms": entry.at_ms,
        "epoch": entry.epoch,
        "reason": entry.body.get("reason", {}),
    }
    if state is State.FENCED:
        changes |= {"fenced_at_ms": entry.at_ms, "fence_level": entry.body.get("level", "")}
    if run.ordered:
        changes["ordered"] = ""
    if run.state is State.STUCK:
        # A person leads on: what was given up before has its tries again, what is proven stays proven.
        changes["steps"] = {key: step for key, step in run.steps.items() if step.is_verified}
    return dataclasses.replace(run, **changes)


def _stepped(step: StepRun, entry: Entry) -> StepRun:
    if entry.kind == "intent":
        return StepRun(
            attempts=step.attempts + 1,
            intent_open=True,
            is_on_its_way=step.is_on_its_way,
            intent_at_ms=entry.at_ms,
            at_ms=entry.at_ms,
        )
    outcome = entry.body["outcome"]
    return dataclasses.replace(
        step,
        intent_open=False,
        outcome=outcome,
        is_verified=entry.kind == "probe" and outcome == "done",
        is_on_its_way=step.is_on_its_way or (entry.kind == "result" and outcome == "unknown"),
        fence_level=entry.body.get("level", "") if outcome == "done" else "",
        error=entry.body.get("error", ""),
        probes=step.probes + (entry.kind == "probe"),
        at_ms=entry.at_ms,
    )
