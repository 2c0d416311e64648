"""The guards before an act: a table. Each is one invariant of failover.md section 3 as a small question to the facts.

A guard that does not hold says what follows from that: nothing at all, a refusal, a wait, or a request to a person. Every
guard is asked every time, so that the audit shows all of them with their inputs; the gravest outcome decides.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.failover.causes import why_not
from collector.failover.facts import Facts
from collector.failover.terms import level_rank
from ticketing.model import Reason

UNKNOWN = "unknown"
"""The cause of a trouble that nothing explains."""
MAX_AT_ONCE = 1
MAX_PER_HOUR = 2
MAX_PER_INCIDENT = 1
MIN_VANTAGES = 2
MIN_WITNESSES = 3


class Outcome(enum.IntEnum):
    """What a guard that does not hold leads to; the highest of all decides."""

    ACT = 0
    ASK = 1
    WAIT = 2
    REFUSE = 3
    IDLE = 4
    """There is nothing to fail over from."""
    NOTHING = 5
    """We are in no state to judge: no act, no request; the house is told."""


Inputs = Mapping[str, Any]
Question = Callable[[Facts], "tuple[bool, Inputs]"]


@dataclasses.dataclass(frozen=True)
class Guard:
    """One question, and what follows when the answer is no."""

    id: str
    invariant: str
    otherwise: Outcome
    holds: Question
    waiver: str = ""
    """Name of the waiver that the client can sign for it; "" = none can."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """A guard with its answer, as the audit keeps it."""

    guard: str
    invariant: str
    ok: bool
    outcome: Outcome
    inputs: Inputs
    waived_by: str = ""

    @property
    def reason(self) -> Reason:
        """The sentence of a guard that did not hold."""
        return Reason(f"failover.guard.{self.guard}", dict(self.inputs))

    def to_dict(self) -> dict[str, Any]:
        """As an audit row keeps it."""
        return {
            "guard": self.guard,
            "invariant": self.invariant,
            "ok": self.ok,
            "outcome": self.outcome.name.lower(),
            "inputs": dict(self.inputs),
            "waived_by": self.waived_by,
        }


def _anchors(facts: Facts) -> tuple[bool, Inputs]:
    return facts.judge.anchors_ok is not False, {}


def _own_clock(facts: Facts) -> tuple[bool, Inputs]:
    return facts.judge.clock_ok, {}


def _store(facts: Facts) -> tuple[bool, Inputs]:
    return facts.judge.store_ok, {}


def _witnesses(facts: Facts) -> tuple[bool, Inputs]:
    return facts.judge.witnesses >= MIN_WITNESSES, {"n": facts.judge.witnesses, "least": MIN_WITNESSES}


def _trouble(facts: Facts) -> tuple[bool, Inputs]:
    return facts.trouble is not None, {"host": facts.pair.primary}


def _is_served(facts: Facts) -> bool:
    """Somebody outside is served, or nobody outside says anything while the agent reports."""
    return bool(facts.served_at) or (facts.is_reporting and not facts.down_at)


def _outage(facts: Facts) -> tuple[bool, Inputs]:
    """An outage is more than a ticket: a full disk on a server that serves its clients is none."""
    return facts.looks_down, {"host": facts.pair.primary}


def _cause_says(facts: Facts) -> str:
    if facts.trouble is None:
        return ""
    pair = facts.pair
    why = why_not(facts.trouble.cause, tuple(pair.allowed_causes), tuple(pair.forbidden_causes))
    return "" if why == "unknown" and _is_dead_unexplained(facts) else why


def _is_dead_unexplained(facts: Facts) -> bool:
    """Whether nobody hears the server any more and nothing tells why: a lone server that lost power says no more than that."""
    return facts.trouble is not None and facts.trouble.cause == UNKNOWN and not facts.is_reporting


def _cause(facts: Facts) -> tuple[bool, Inputs]:
    why = _cause_says(facts)
    cause = facts.trouble.cause if facts.trouble else ""
    return why == "", {"cause": cause, "why": why}


def _nobody_served(facts: Facts) -> tuple[bool, Inputs]:
    return not _is_served(facts), {"vantages": ", ".join(facts.served_at) or facts.pair.primary}


def _planned(facts: Facts) -> tuple[bool, Inputs]:
    return not facts.window, {"window": facts.window}


def _overrun(facts: Facts) -> tuple[bool, Inputs]:
    return not facts.overran_window, {"window": facts.overran_window}


def _switched_on(facts: Facts) -> tuple[bool, Inputs]:
    return not facts.switched_off, {"who": facts.switched_off}


def _backup_alive(facts: Facts) -> tuple[bool, Inputs]:
    is_fit = facts.backup.is_alive is True and not facts.backup.trouble
    return is_fit, {"host": facts.pair.backup, "cause": facts.backup.trouble}


def _backup_fit(facts: Facts) -> tuple[bool, Inputs]:
    return not facts.backup.unfit, {"host": facts.pair.backup, "what": ", ".join(facts.backup.unfit)}


def _apart(facts: Facts) -> tuple[bool, Inputs]:
    return not facts.backup.shared_domain, {"scope": facts.backup.shared_domain}


def _dwell(facts: Facts) -> tuple[bool, Inputs]:
    if facts.trouble is None:
        return True, {}
    stood_s = (facts.now_ms - facts.trouble.held_since_ms) / 1000
    return stood_s >= float(facts.pair.dwell), {
        "stood": round(stood_s),
        "needed": round(float(facts.pair.dwell)),
    }


def _repair(facts: Facts) -> tuple[bool, Inputs]:
    """The provider's announced end comes sooner than we could switch, and still inside the RTO."""
    latest_ms = facts.latest_start_ms()
    if facts.repair_at_ms is None or latest_ms is None:
        return True, {}
    is_soon = facts.now_ms < facts.repair_at_ms <= facts.now_ms + facts.t_switch_s * 1000
    return not (is_soon and facts.repair_at_ms <= latest_ms), {"at_ms": facts.repair_at_ms}


def _vantages(facts: Facts) -> tuple[bool, Inputs]:
    seen = facts.down_at
    return len(seen) >= MIN_VANTAGES, {"n": len(seen), "vantages": ", ".join(seen)}


def _certain(facts: Facts) -> tuple[bool, Inputs]:
    """A cause that is provisional or not known is enough to ask a person; to act it must have been decided, or power read
    back off (F4): whatever it was, that server writes nothing any more."""
    if facts.trouble is None or not (facts.trouble.is_provisional or facts.trouble.cause == UNKNOWN):
        return True, {}
    return level_rank(facts.best_fence()) >= level_rank("F4"), {"cause": facts.trouble.cause}


def _fence(facts: Facts) -> tuple[bool, Inputs]:
    best, wanted = facts.best_fence(), facts.pair.demanded
    return level_rank(best) >= level_rank(wanted), {"best": best, "wanted": wanted}


def _exposure(facts: Facts) -> tuple[bool, Inputs]:
    exposure = facts.exposure_s()
    limit = float(facts.pair.rpo)
    told = -1 if exposure is None else round(exposure)
    return exposure is not None and exposure <= limit, {"exposure": told, "limit": round(limit)}


def _rehearsal(facts: Facts) -> tuple[bool, Inputs]:
    at_ms = facts.backup.rehearsed_at_ms
    is_recent = at_ms is not None and facts.now_ms - at_ms <= facts.pair.rehearsal_days * 86_400_000
    return is_recent, {"days": facts.pair.rehearsal_days}


def _held_down(facts: Facts) -> tuple[bool, Inputs]:
    until_ms = facts.history.hold_down_until_ms
    return until_ms is None or facts.now_ms >= until_ms, {"until_ms": until_ms or 0}


def _rate(facts: Facts) -> tuple[bool, Inputs]:
    past = facts.history
    is_free = (
        past.running < MAX_AT_ONCE
        and past.last_hour < MAX_PER_HOUR
        and past.same_incident < MAX_PER_INCIDENT
        and past.contract_today < facts.pair.max_per_day
    )
    return is_free, {"running": past.running, "hour": past.last_hour, "today": past.contract_today}


def _mode(facts: Facts) -> tuple[bool, Inputs]:
    mode = facts.pair.mode_at(facts.now_ms)
    return mode == "auto", {"mode": mode}


def _not_by_hand(facts: Facts) -> tuple[bool, Inputs]:
    return facts.pair.mode_at(facts.now_ms) != "manual", {}


GUARDS: Sequence[Guard] = (
    Guard("anchors", "I7", Outcome.NOTHING, _anchors),
    Guard("clock", "I7", Outcome.NOTHING, _own_clock),
    Guard("store", "I6", Outcome.NOTHING, _store),
    Guard("trouble", "I4", Outcome.IDLE, _trouble),
    Guard("outage", "I4", Outcome.IDLE, _outage),
    Guard("witnesses", "I7", Outcome.NOTHING, _witnesses),
    Guard("cause", "I4", Outcome.REFUSE, _cause),
    Guard("served", "I4", Outcome.REFUSE, _nobody_served),
    Guard("planned", "I4", Outcome.REFUSE, _planned),
    Guard("off", "I16", Outcome.REFUSE, _switched_on),
    Guard("by_hand", "I16", Outcome.REFUSE, _not_by_hand),
    Guard("backup_alive", "I3", Outcome.REFUSE, _backup_alive),
    Guard("backup_fit", "I3", Outcome.REFUSE, _backup_fit),
    Guard("apart", "I3", Outcome.REFUSE, _apart),
    Guard("dwell", "I9", Outcome.WAIT, _dwell),
    Guard("repair", "I4", Outcome.WAIT, _repair),
    Guard("vantages", "I7", Outcome.ASK, _vantages, waiver="second_vantage"),
    Guard("certain", "I4", Outcome.ASK, _certain),
    Guard("fence", "I1", Outcome.ASK, _fence, waiver="fence"),
    Guard("exposure", "I3", Outcome.ASK, _exposure, waiver="exposure"),
    Guard("rehearsal", "I15", Outcome.ASK, _rehearsal, waiver="rehearsal"),
    Guard("overrun", "I4", Outcome.ASK, _overrun),
    Guard("held_down", "I9", Outcome.ASK, _held_down),
    Guard("rate", "I10", Outcome.ASK, _rate),
    Guard("mode", "I16", Outcome.ASK, _mode),
)
"""In the order in which a person would ask; of guards with the same outcome the first gives the reason."""


def check(guard: Guard, facts: Facts) -> Checked:
    """One guard's answer; a signed waiver lets it hold, and stands in the audit (I13)."""
    ok, inputs = guard.holds(facts)
    waived_by = facts.waivers.get(guard.waiver, "") if guard.waiver and not ok else ""
    outcome = Outcome.ACT if ok or waived_by else guard.otherwise
    return Checked(guard.id, guard.invariant, ok, outcome, inputs, waived_by)


def check_all(facts: Facts) -> tuple[Checked, ...]:
    """Every guard's answer, in the table's order."""
    return tuple(check(guard, facts) for guard in GUARDS)
