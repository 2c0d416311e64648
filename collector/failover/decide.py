"""decide: facts to a decision with its reason. Pure; asked by the tick, by ``failover plan`` and by replay alike."""

from __future__ import annotations

import dataclasses
import enum

from collector.failover.facts import Facts
from collector.failover.guards import Checked, Outcome, check_all
from ticketing.model import Reason


class Decision(enum.Enum):
    """What the engine would do now."""

    NONE = "none"
    WAIT = "wait"
    REFUSE = "refuse"
    REQUEST = "request"
    AUTO = "auto"


_OF: dict[Outcome, Decision] = {
    Outcome.ACT: Decision.AUTO,
    Outcome.ASK: Decision.REQUEST,
    Outcome.WAIT: Decision.WAIT,
    Outcome.REFUSE: Decision.REFUSE,
    Outcome.IDLE: Decision.NONE,
    Outcome.NOTHING: Decision.NONE,
}


@dataclasses.dataclass(frozen=True)
class Decided:
    """The decision, its decisive reason, and every guard with its inputs for the audit."""

    decision: Decision
    reason: Reason
    checked: tuple[Checked, ...]
    exposure_s: float | None
    latest_start_ms: int | None

    @property
    def blocking(self) -> tuple[Checked, ...]:
        """Guards that keep the machine from acting by itself, gravest first."""
        return tuple(
            sorted((c for c in self.checked if c.outcome is not Outcome.ACT), key=lambda c: -c.outcome)
        )

    @property
    def waived(self) -> tuple[Checked, ...]:
        """Guards that only a waiver let pass (I13)."""
        return tuple(c for c in self.checked if c.waived_by)


def decide(facts: Facts) -> Decided:
    """What to do about the pair now. The gravest guard that does not hold decides; with none, the machine may act."""
    checked = check_all(facts)
    worst = max((c.outcome for c in checked), default=Outcome.ACT)
    if worst is Outcome.ACT:
        lag = facts.backup.lag
        reason = Reason(
            "failover.may_act",
            {
                "host": facts.pair.primary,
                "backup": facts.pair.backup,
                "level": facts.best_fence(),
                "exposure": round(facts.exposure_s() or 0.0),
                "lag": lag.lag_s if lag is not None else 0.0,
            },
        )
    else:
        reason = next(c.reason for c in checked if c.outcome is worst)
    return Decided(_OF[worst], reason, checked, facts.exposure_s(), facts.latest_start_ms())
