"""The engine: a run as its journal tells it, the facts, and ``now``; out comes the one next move. Pure.

Theory of operation. The shell (``run``) folds the journal, asks for the next move, writes what the move announces, does
it, writes what came of it, and asks again; so a crash between any two lines, and another collector's taking over, are
the same thing as going on. The rules of resuming are the ordinary rules here: an intent without a result is probed; a
fence is repeated while its plan is young and the cause holds; a promotion of unknown outcome is nobody's to repeat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Union

from collector.failover.decide import Decided, Decision, decide
from collector.failover.facts import Facts
from collector.failover.guards import Outcome
from collector.failover.journal import Run, StepRun
from collector.failover.plan import MAX_AGE_MS, Step
from collector.failover.states import NEXT_PHASE, TABLE, State
from collector.failover.terms import level_rank
from ticketing.model import Reason

PROBE_EVERY_MS = 2_000
PROBE_FIRST_MS = 250
"""The pause before a step is asked again: this, doubled each time, up to the one above. What a step is done with in a second
must not wait for two."""
MAX_PROBES = 3
"""An act whose outcome stays unknown is asked about at least so often, and until its deadline, before it counts as failed."""
PROMOTE_ATTEMPTS = 2
MIN_LEASE_S = 2.0
LEASE_MARGIN_S = 1.0


@dataclasses.dataclass(frozen=True)
class Enter:
    """Go to another state, with the reason."""

    state: State
    reason: Reason
    level: str = ""
    raises_epoch: bool = False


@dataclasses.dataclass(frozen=True)
class Act:
    """Write the intent, check the term, do the step, write its result; all within ``deadline_s``."""

    step: Step
    deadline_s: float


@dataclasses.dataclass(frozen=True)
class Probe:
    """Ask what became of a step, by another channel than the act's, and write the answer."""

    step: Step


@dataclasses.dataclass(frozen=True)
class Wait:
    """Nothing to do before ``until_ms``."""

    until_ms: int
    why: str


@dataclasses.dataclass(frozen=True)
class Rest:
    """The run is over, or waits for a person alone."""


Move = Union[Enter, Act, Probe, Wait, Rest]


def next_move(run: Run, facts: Facts, lease_left_s: float) -> Move:
    """What to do next. ``lease_left_s``: what is left of the decider's lease; no act may outlast it (I2)."""
    row = TABLE[run.state]
    if run.ordered == "abort" and State.ABORTED in row.leads_to and not row.is_past_no_return:
        return Enter(State.ABORTED, _aborted(run, "order"))
    if row.is_end:
        return _after_order(run)
    if facts.pair_epoch > run.epoch and not row.is_past_no_return:
        return Enter(State.ABORTED, _aborted(run, "superseded"))
    if _is_over(run, facts.now_ms):
        assert row.on_timeout is not None, "a state with a time-out says where it leads"
        return Enter(row.on_timeout, Reason("failover.timeout", {"state": run.state.value}))
    return _STATES[run.state](run, facts, lease_left_s)


def _is_over(run: Run, now_ms: int) -> bool:
    timeout_s = TABLE[run.state].timeout_s
    is_timed = timeout_s is not None and run.state is not State.HOLD_DOWN
    return is_timed and now_ms - run.entered_at_ms > (timeout_s or 0) * 1000


def _after_order(run: Run) -> Move:
    """A person leads out of STUCK: on with the promotion (they answer for what was unknown), or away from it."""
    if run.state is State.STUCK and run.ordered == "promote" and run.fenced_at_ms is not None:
        return Enter(State.PROMOTING, Reason("failover.ordered", {"order": run.ordered}))
    if run.state is State.STUCK and run.ordered == "acknowledge":
        return Enter(State.ON_BACKUP, Reason("failover.ordered", {"order": run.ordered}))
    return Rest()


# before the first effect


def _decided(run: Run, facts: Facts, _lease_s: float) -> Move:
    if run.plan.kind in ("rehearsal", "drill", "switchover", "failback"):
        return _armed_by_person(run, facts)
    decided = decide(facts)
    if decided.decision is Decision.AUTO and run.mode == "auto":
        return Enter(State.ARMED, decided.reason, raises_epoch=True)
    if decided.decision in (Decision.AUTO, Decision.REQUEST):
        return Enter(State.AWAIT_APPROVAL, decided.reason)
    if decided.decision is Decision.WAIT:
        return Wait(facts.now_ms + PROBE_EVERY_MS, decided.reason.key)
    return Enter(State.ABORTED, decided.reason)


def _armed_by_person(run: Run, facts: Facts) -> Move:
    """What a person began (a rehearsal, a drill, a planned switchover) needs a judge that is well and a backup that is fit.

    And a copy that is known to be near enough, before the one that serves is asked to stop: afterwards is too late.
    """
    if run.plan.kind == "drill" and not facts.pair.drill:
        return Enter(State.ABORTED, _aborted(run, "unmarked"))
    stops = run.plan.kind == "drill" or run.plan.of("demote")
    guards = _PERSON_GUARDS | ({"exposure"} if stops else frozenset())
    wrong = _first_failed(decide(facts), guards)
    if wrong is not None:
        return Enter(State.ABORTED, wrong)
    return Enter(State.ARMED, Reason("failover.by_person", {"kind": run.plan.kind}), raises_epoch=True)


_PERSON_GUARDS = frozenset({"anchors", "clock", "store", "off", "backup_alive", "backup_fit"})


def _await_approval(run: Run, facts: Facts, _lease_s: float) -> Move:
    decided = decide(facts)
    if decided.decision is Decision.NONE or decided.decision is Decision.REFUSE:
        return Enter(State.ABORTED, decided.reason)
    if run.approval is not None:
        refused = run.approval.refusal(run.plan, run.epoch, facts.now_ms)
        if refused:
            return Enter(State.ABORTED, Reason("failover.approval", {"why": refused}))
        if decided.decision is Decision.WAIT:
            return Wait(facts.now_ms + PROBE_EVERY_MS, decided.reason.key)
        return Enter(
            State.ARMED, Reason("failover.approved", {"who": run.approval.person}), raises_epoch=True
        )
    if run.approve_until_ms is not None and facts.now_ms >= run.approve_until_ms:
        return _unanswered(run, facts, decided)
    return Wait(run.approve_until_ms or facts.now_ms + 60_000, "failover.await_approval")


def _unanswered(run: Run, facts: Facts, decided: Decided) -> Move:
    """Nobody answered in time: abort, unless the contract says to proceed and only the mode stood in the way."""
    others = [c for c in decided.blocking if c.guard != "mode"]
    if facts.pair.approval.on_timeout == "proceed" and not others:
        return Enter(State.ARMED, Reason("failover.proceeds"), raises_epoch=True)
    return Enter(State.ABORTED, _aborted(run, "unanswered"))


def _armed(run: Run, facts: Facts, lease_s: float) -> Move:
    move = _phase(run, facts, lease_s)
    if not isinstance(move, _Proven):
        return Enter(State.ABORTED, _aborted(run, move.error)) if isinstance(move, _Failed) else move
    there = State.DEMOTING if run.plan.of("demote") else State.FENCING
    return Enter(there, Reason("failover.armed", {"epoch": run.epoch}))


def _demoting(run: Run, facts: Facts, lease_s: float) -> Move:
    move = _phase(run, facts, lease_s)
    if isinstance(move, _Proven):
        return Enter(State.FENCED, Reason("failover.demoted"), level="F1")
    return Enter(State.ABORTED, _aborted(run, move.error)) if isinstance(move, _Failed) else move


# fencing


def _fencing(run: Run, facts: Facts, lease_s: float) -> Move:
    """Levels in their order; a level that cannot be proven gives way to the next, and none is ever assumed."""
    groups = run.plan.fence_groups()
    if not groups and _is_waived(run, facts):
        return Enter(State.FENCED, Reason("failover.fence_waived"), level="F0")
    for group in groups:
        move = _group(run, facts, lease_s, group)
        if isinstance(move, _Proven):
            level = max((run.step(step.key).fence_level or "F0" for step in group), key=level_rank)
            if level_rank(level) >= level_rank(run.plan.fence_min) or _is_waived(run, facts):
                return Enter(State.FENCED, Reason("failover.fenced", {"level": level}), level=level)
        elif not isinstance(move, _Failed):
            return _still_wanted(run, facts, move)
    return Enter(State.STUCK, Reason("failover.unfenced", {"level": run.plan.fence_min}))


def _is_waived(run: Run, facts: Facts) -> bool:
    return "fence" in facts.waivers or run.plan.kind == "rehearsal"


def _still_wanted(run: Run, facts: Facts, move: Move) -> Move:
    """A fence order is given only for a plan that is young and a trouble that still stands (or was just fenced).

    And once more, whoever is back meanwhile, where an order may still be on its way: to be cut off in a minute with nobody
    to take over is worse than to go on (B5).
    """
    if not isinstance(move, Act) or run.plan.kind != "failover":
        return move
    is_old = facts.now_ms - run.begun_at_ms > MAX_AGE_MS
    is_ordered = any(run.step(step.key).is_on_its_way for step in run.plan.of("fence"))
    is_over = (facts.trouble is None or facts.served_at) and not is_ordered
    if is_old or is_over:
        return Enter(State.ABORTED, _aborted(run, "old" if is_old else "recovered"))
    return move


def _fenced(run: Run, facts: Facts, _lease_s: float) -> Move:
    """The last look before the point of no return: exposure with the real end of writes, judge, backup, silence."""
    if facts.now_ms - run.begun_at_ms > MAX_AGE_MS and run.plan.kind == "failover":
        return Enter(State.STUCK, Reason("failover.plan_old"))
    final = dataclasses.replace(facts, writes_stopped_at_ms=run.fenced_at_ms)
    decided = decide(final)
    accepted = _LAST_GUARDS - ({"exposure"} if run.approval is not None else set())
    wrong = _first_failed(decided, accepted)
    if wrong is not None:
        is_ours = any(c.guard in ("anchors", "clock", "store") for c in decided.blocking)
        # Our own trouble may pass; the backup's, or lost writes, need a person now.
        return Wait(facts.now_ms + PROBE_EVERY_MS, wrong.key) if is_ours else Enter(State.STUCK, wrong)
    if final.served_at and run.plan.kind == "failover":
        return Wait(facts.now_ms + PROBE_EVERY_MS, "failover.guard.served")
    return Enter(State.PROMOTING, Reason("failover.promotes", {"host": run.plan.backup}))


_LAST_GUARDS = frozenset({"anchors", "clock", "store", "backup_alive", "backup_fit", "exposure"})


# from here on only forward


def _promoting(run: Run, facts: Facts, lease_s: float) -> Move:
    for step in run.plan.of("promote"):
        held = run.step(step.key)
        if held.outcome == "done" and held.is_verified:
            continue
        if held.intent_open or (held.outcome == "done" and not held.probes):
            return Probe(step)
        is_young = facts.now_ms < held.intent_at_ms + int(step.deadline_s * 1000)
        if held.outcome in ("done", "unknown") and (held.probes < MAX_PROBES or is_young):
            return _probe_in_time(step, held, facts)
        if held.outcome in ("done", "unknown"):
            # Never a second promotion on a guess, and never back to a primary that was fenced.
            return Enter(State.STUCK, Reason("failover.promote_unknown", {"step": step.type}))
        if held.attempts >= PROMOTE_ATTEMPTS:
            return Enter(State.STUCK, Reason("failover.promote_failed", {"step": step.type}))
        return _act(step, facts, lease_s)
    return Enter(State.PROMOTED, Reason("failover.promoted", {"host": run.plan.backup}))


def _promoted(run: Run, _facts: Facts, _lease_s: float) -> Move:
    return Enter(State.SWITCHING, Reason("failover.switches", {"host": run.plan.backup}))


def _forward(run: Run, facts: Facts, lease_s: float) -> Move:
    """Traffic: every step proven; one that cannot be leaves the backup primary and calls a person."""
    move = _phase(run, facts, lease_s)
    if isinstance(move, _Failed):
        return Enter(State.STUCK, Reason("failover.traffic_failed", {"error": move.error}))
    if isinstance(move, _Proven):
        return Enter(NEXT_PHASE[run.state], Reason("failover.switched"))
    return move


def _verifying(run: Run, facts: Facts, lease_s: float) -> Move:
    """Probed again and again until proven or too late; a traffic step that was undone meanwhile is done again."""
    for step in run.plan.of("verify"):
        held = run.step(step.key)
        if held.outcome == "done":
            continue
        if held.outcome:
            again = _undone_traffic(run, facts, held, lease_s)
            if again is not None:
                return again
        return _probe_in_time(step, held, facts)
    return Enter(State.ON_BACKUP, Reason("failover.verified", {"host": run.plan.backup}))


def _undone_traffic(run: Run, facts: Facts, failed: StepRun, lease_s: float) -> Move | None:
    for step in run.plan.of("traffic"):
        held = run.step(step.key)
        if held.at_ms < failed.at_ms or held.intent_open:
            return Probe(step)
        if held.outcome == "not_done" and held.attempts <= step.retries + 1:
            return _act(step, facts, lease_s)
    return None


def _on_backup(run: Run, _facts: Facts, _lease_s: float) -> Move:
    return Enter(State.HOLD_DOWN, Reason("failover.holds_down"))


def _hold_down(run: Run, facts: Facts, _lease_s: float) -> Move:
    until_ms = run.entered_at_ms + int(float(facts.pair.hold_down) * 1000)
    if run.ordered == "acknowledge" or facts.now_ms >= until_ms:
        return Enter(State.FAILBACK_READY, Reason("failover.failback_ready"))
    return Wait(until_ms, "failover.holds_down")


# steps


@dataclasses.dataclass(frozen=True)
class _Proven:
    """Every step of the group is done, and a probe said so."""


@dataclasses.dataclass(frozen=True)
class _Failed:
    error: str


def _phase(run: Run, facts: Facts, lease_s: float) -> Move | _Proven | _Failed:
    return _group(run, facts, lease_s, run.plan.of(TABLE[run.state].phase))


def _group(run: Run, facts: Facts, lease_s: float, steps: Sequence[Step]) -> Move | _Proven | _Failed:
    for step in steps:
        move = _one(run.step(step.key), step, facts, lease_s)
        if not isinstance(move, _Proven):
            return move
    return _Proven()


def _one(held: StepRun, step: Step, facts: Facts, lease_s: float) -> Move | _Proven | _Failed:
    """One step of a phase whose acts may be repeated: act, probe, and again while tries are left."""
    if held.outcome == "done" and held.is_verified:
        return _Proven()
    if held.intent_open:
        return Probe(step)
    is_young = facts.now_ms < held.intent_at_ms + int(step.deadline_s * 1000)
    if held.outcome in ("done", "unknown") and (held.probes < MAX_PROBES or is_young):
        return _probe_in_time(step, held, facts)
    if held.attempts <= step.retries:
        return _act(step, facts, lease_s)
    return _Failed(held.error or held.outcome)


def _probe_in_time(step: Step, held: StepRun, facts: Facts) -> Move:
    """The first probe at once, the others with a pause between that grows."""
    next_ms = held.at_ms + min(PROBE_EVERY_MS, PROBE_FIRST_MS << max(0, min(held.probes, 10) - 1))
    return Wait(next_ms, "failover.probes") if held.probes and facts.now_ms < next_ms else Probe(step)


def _act(step: Step, facts: Facts, lease_left_s: float) -> Move:
    if lease_left_s < MIN_LEASE_S + LEASE_MARGIN_S:
        return Wait(facts.now_ms + 500, "failover.lease_short")
    return Act(step, min(step.deadline_s, lease_left_s - LEASE_MARGIN_S))


def _first_failed(decided: Decided, guards: frozenset[str] | set[str]) -> Reason | None:
    for checked in decided.checked:
        if checked.guard in guards and checked.outcome is not Outcome.ACT:
            return checked.reason
    return None


def _aborted(run: Run, why: str) -> Reason:
    """Why it ended; where a fence order went out, that the old primary may be off."""
    was_ordered = any(run.step(step.key).attempts for step in run.plan.of("fence"))
    return Reason("failover.aborted_may_be_off" if was_ordered else "failover.aborted", {"why": why})


_STATES = {
    State.DECIDED: _decided,
    State.AWAIT_APPROVAL: _await_approval,
    State.ARMED: _armed,
    State.DEMOTING: _demoting,
    State.FENCING: _fencing,
    State.FENCED: _fenced,
    State.PROMOTING: _promoting,
    State.PROMOTED: _promoted,
    State.SWITCHING: _forward,
    State.VERIFYING: _verifying,
    State.ON_BACKUP: _on_backup,
    State.HOLD_DOWN: _hold_down,
}
