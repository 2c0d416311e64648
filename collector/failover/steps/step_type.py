"""The contract of a step type: precheck, act, probe, undo. What a file of this folder must give, and what it is given.

An act's own answer is never enough: ``probe`` reads back what is true, by another channel where one exists, and says
done only of what it saw. What cannot be told is "unknown", never "not_done". No step raises for what the world does.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from agent.checks.deadline import Deadline
from collector.failover.plan import Plan, Step
from collector.ssh import Target
from config import loader

T = TypeVar("T")

DONE, NOT_DONE, UNKNOWN = "done", "not_done", "unknown"
DETAIL_MAX = 300


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a step says; of a precheck "done" means that it can be done now."""

    outcome: str
    error: str = ""
    level: str = ""
    """Fences: how surely the old primary cannot write."""
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Small and without secrets: it stands in the journal (I17)."""

    def to_dict(self) -> dict[str, Any]:
        """As a journal entry holds it."""
        told = {"outcome": self.outcome, "error": self.error[:DETAIL_MAX], "level": self.level}
        return {**told, "evidence": dict(self.evidence)}


@dataclasses.dataclass(frozen=True)
class Order:
    """One step, as it is to be done now."""

    step: Step
    plan: Plan
    run_id: str
    epoch: int
    term: int
    attempt: int
    deadline_s: float
    addresses: Mapping[str, str]
    """Host -> its first address."""
    ssh: Callable[[str], Target]
    """Where a host of the pair is spoken to."""
    pause: Callable[[float], None]
    """Wait so many seconds."""
    waited_s: float = 0.0
    """Since this process first saw this attempt's intent, by its own monotonic clock: a wall clock may jump."""

    def clock(self) -> Deadline:
        """The order's time, from now on: whatever an act does first is taken from what its effect may still use (I2)."""
        return Deadline(self.deadline_s)

    @property
    def key(self) -> str:
        """Names this attempt's effect once; a host does no key twice."""
        return f"{self.run_id}-{self.step.key}-{self.attempt}"

    def options(self, kind: type[T]) -> T:
        """The step's options, typed; ConfigError with every fault."""
        # ``back`` is for the way back alone (plan); no step knows it.
        text = json.dumps({key: value for key, value in self.step.options.items() if key != "back"})
        return loader.parse(text, kind, file=f"step {self.step.key} ({self.step.type})")


class StepType(Protocol):
    """A kind of step."""

    type: str
    effect: str
    """none, reversible or irreversible."""
    Options: type
    """Typed settings of ``options``."""

    def precheck(self, order: Order) -> Answer:
        """Whether it could be done now; touches nothing."""
        ...

    def act(self, order: Order) -> Answer:
        """Do it, within ``order.deadline_s``; done twice it equals once."""
        ...

    def probe(self, order: Order) -> Answer:
        """What is true."""
        ...

    def undo(self, order: Order) -> Answer | None:
        """Take it back; None = there is no way back."""
        ...
