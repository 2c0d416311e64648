"""The nouns of the desk as values: Reason, Verdict, and the words that tickets and clocks may hold.

Everything here is frozen and plain, so that a verdict can be written as JSON, replayed, and compared.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NewType

TicketId = NewType("TicketId", int)
HostId = NewType("HostId", str)
ContractId = NewType("ContractId", str)
PersonId = NewType("PersonId", str)

INTERNAL_CONTRACT = ContractId("internal")
"""Owner of parents over several contracts, and of tickets about ourselves. Never NULL (invariant 2)."""

MAX_PROBLEM = 400
"""Width of tickets.problem."""

CLASSES = (1, 2, 3, 4, 5, 6)
MACHINE_CLASSES = (1, 2)
"""The only classes that the machine opens by itself."""

LINES = (1, 2, 3, 4)

FAMILIES = (
    "silence",  # no reports: host down, hung, agent gone, path broken
    "service",  # a contracted or watched service does not answer
    "unit",  # a systemd unit failed or restarts
    "cpu",
    "memory",
    "io",
    "fs_space",  # bytes or inodes
    "fs",  # read-only, errors
    "network",
    "dns",
    "clock",
    "virt",  # pause, balloon, vCPU removed, limits
    "hardware",
    "kernel",
    "limits",  # descriptors, pids, conntrack, ports
    "process",  # a watched process is gone, zombies
    "tls",
    "agent",  # the agent itself: sampler stuck, spool full, settings refused
    "internal",  # the collector about itself
    "request",  # filed by a person
)
"""Symptom families: with the subject they make the problem key, fixed when the ticket opens."""


class TicketState(enum.Enum):
    """Where a ticket stands; ``ticketing.transitions`` has the table of what leads where."""

    NEW = "new"
    IN_WORK = "in_work"
    WAITING_CLIENT = "waiting_client"
    WAITING_PROVIDER = "waiting_provider"
    RESOLVED = "resolved"
    CLOSED = "closed"
    MERGED = "merged"
    """Folded into another ticket; stays as history."""


OPEN_STATES = (
    TicketState.NEW,
    TicketState.IN_WORK,
    TicketState.WAITING_CLIENT,
    TicketState.WAITING_PROVIDER,
)


class ClockKind(enum.Enum):
    """The SLA stopwatches of a ticket."""

    REACTION = "reaction"
    RESOLUTION = "resolution"
    PROVIDER = "provider"
    """Line 4's own clock against the provider; the client's keeps running beside it."""


class ClockState(enum.Enum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    """Reached its end; the outcome says how."""


class Confidence(enum.Enum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


SEVERITIES = ("low", "medium", "high", "critical")


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why: a key into the text catalogues (``ticketing.texts``) with its parameters. Text is made when it is read."""

    key: str
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weight: float = 0.0
    """Log-odds for class 1 (positive) or class 2 (negative); 0 = says something, argues for neither."""
    group: str = ""
    """Evidence group of signals.md section 1: inside, clock, kernel, hardware, outside, siblings, provider, ops, demand."""

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "params": dict(self.params), "weight": self.weight, "group": self.group}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Reason:
        return Reason(
            raw["key"], dict(raw.get("params", {})), float(raw.get("weight", 0)), raw.get("group", "")
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whose problem it is, and how we know."""

    class_: int
    """1 to 6; 0 = none (nothing to open: the reasons say why)."""
    root_cause: str
    """Key such as ``os.disk_full``; the vocabulary of the scenario files."""
    scope: str
    """``host:a1``, ``node:alfa/n7``, ``storage:..``, ``rack:..``, ``site:..``, ``provider:..``, ``path:..``, ..."""
    subject: str
    """Subject of the problem key: the scope, or a part of a host (``host:a1/fs:/var``)."""
    family: str
    affected: tuple[str, ...]
    """Host ids, sorted."""
    began_at_ms: int
    """When the fault began: the original time, not when we noticed."""
    confidence: Confidence = Confidence.MEDIUM
    severity: str = "medium"
    reasons: tuple[Reason, ...] = ()
    would_change: tuple[Reason, ...] = ()
    """What would change this verdict, for the engineer and for requalification."""
    provisional: bool = False
    preventive: bool = False
    """Only a forecast (disk full in six days): a ticket or a note, as the contract says."""
    summary: Reason = dataclasses.field(default_factory=lambda: Reason("summary.unknown"))
    """The ticket's one line, as a reason so that it exists in both languages."""

    @property
    def problem(self) -> str:
        """The key against duplicates."""
        return problem_key(self.subject, self.family)

    def to_dict(self) -> dict[str, Any]:
        return {
            "class": self.class_,
            "root_cause": self.root_cause,
            "scope": self.scope,
            "subject": self.subject,
            "family": self.family,
            "affected": list(self.affected),
            "began_at_ms": self.began_at_ms,
            "confidence": self.confidence.value,
            "severity": self.severity,
            "reasons": [r.to_dict() for r in self.reasons],
            "would_change": [r.to_dict() for r in self.would_change],
            "provisional": self.provisional,
            "preventive": self.preventive,
            "summary": self.summary.to_dict(),
        }

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Verdict:
        return Verdict(
            class_=int(raw["class"]),
            root_cause=raw["root_cause"],
            scope=raw["scope"],
            subject=raw["subject"],
            family=raw["family"],
            affected=tuple(raw["affected"]),
            began_at_ms=int(raw["began_at_ms"]),
            confidence=Confidence(raw["confidence"]),
            severity=raw["severity"],
            reasons=tuple(Reason.from_dict(r) for r in raw["reasons"]),
            would_change=tuple(Reason.from_dict(r) for r in raw["would_change"]),
            provisional=bool(raw["provisional"]),
            preventive=bool(raw.get("preventive", False)),
            summary=Reason.from_dict(raw["summary"]),
        )


def problem_key(subject: str, family: str) -> str:
    """The problem: subject and symptom family; with the contract it is unique among open tickets.

    A subject may hold a long path: past the column's width its tail becomes a digest, so that two stay two.
    """
    key = f"{family}|{subject}"
    if len(key) <= MAX_PROBLEM:
        return key
    return f"{key[: MAX_PROBLEM - 33]}~{hashlib.sha256(key.encode()).hexdigest()[:32]}"


NAMED_MAX = 3


def named_in_line(hosts: Sequence[str]) -> str:
    """The first few by name, the others counted: it is one line."""
    more = len(hosts) - NAMED_MAX
    return ", ".join(hosts[:NAMED_MAX]) + (f" +{more}" if more > 0 else "")
