"""Row: one piece of evidence as a declaration. What it sees, what it argues for, how strongly, and who says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from collector.qualify.case import Case

WEAK, MEDIUM, STRONG, DECISIVE = 0.5, 1.0, 2.0, 4.0
"""Log-odds of signals.md section 1. Positive argues for a cause below the OS (class 1), negative for class 2."""

GROUPS = ("inside", "clock", "kernel", "hardware", "outside", "siblings", "provider", "ops", "demand")

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """One evidence row. ``when`` is a small pure predicate: the reason's parameters where it holds, else None."""

    id: str
    families: frozenset[str]
    """Symptom families whose cases it may speak in."""
    cause: str
    """Root cause key that it argues for; "" argues for the class only, whatever the cause."""
    weight: float
    group: str
    source: str
    """Where the rule comes from, e.g. ``signals.md 3.1 C2``."""
    when: Callable[[Case], Params | None]
    says: str = ""
    """Id of the row whose sentence it shares: the same thing seen on another platform, where another cause is meant."""

    @property
    def key(self) -> str:
        """The text key of its reason."""
        return f"reason.{self.says or self.id}"


def row(
    id: str,
    families: str,
    cause: str,
    weight: float,
    group: str,
    source: str,
    when: Callable[[Case], Params | None],
    says: str = "",
) -> Row:
    """A Row with its families as one string of words."""
    assert group in GROUPS, group
    return Row(id, frozenset(families.split()), cause, weight, group, source, when, says)


def holds(condition: bool, **params: Any) -> Params | None:
    """The parameters when the condition is true, else None: keeps a predicate one expression."""
    return params if condition else None
