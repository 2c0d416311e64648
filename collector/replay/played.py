"""What came of a play, as values: tickets as they stand at its end, what stayed quiet, what was done about failover."""

from __future__ import annotations

import dataclasses
from collections import Counter

from collector.replay.scenario import Scenario
from ticketing.model import Reason


@dataclasses.dataclass(frozen=True)
class PlayedTicket:
    """A ticket as it stands at the end."""

    id: int
    role: str
    class_: str
    kind: str
    scope: str
    affected: tuple[str, ...]
    opened_at_s: float
    root_cause: str
    severity: str
    state: str
    confidence: str
    contract: str
    reasons: tuple[Reason, ...]
    summary: Reason
    first_class: str = ""
    """The class that it opened with, where it was judged anew since."""
    is_parted: bool = False
    """Whether hosts left it, or came out of another, when their cause turned out to be their own."""


@dataclasses.dataclass(frozen=True)
class Quiet:
    """A finding that became no ticket, and why."""

    host: str
    rule: str
    subject: str
    at_s: float
    reason: Reason | None


@dataclasses.dataclass(frozen=True)
class Failover:
    """What was done about the failover pair."""

    decision: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of a scenario."""

    scenario: Scenario
    tickets: tuple[PlayedTicket, ...]
    quiet: tuple[Quiet, ...]
    failover: Failover
    counts: Counter[str]
