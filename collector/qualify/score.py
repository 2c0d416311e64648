"""Scoring: what the rows that hold add up to (signals.md section 1).

Log-odds per row; of each group of evidence at most one contribution per layer, so that five counters of one kind do
not outvote a witness of another. Class 1 needs a sum of 2.5 from two groups, or one decisive row, or the hardware's
or provider's own word; class 2 needs -1, or demand of 2. Anything between is class 2 for the time being
(``provisional``), with low confidence, since somebody must look and the evidence may still come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from collector.qualify.case import Case
from collector.qualify.row import DECISIVE, Params, Row
from ticketing.model import Confidence, Reason

CLASS_1_FROM = 2.5
CLASS_2_FROM = -1.0
DEMAND_FROM = 2.0
ENOUGH_ALONE = frozenset({"hardware", "provider"})
"""Groups whose word needs no second witness (rule 4)."""

NO_WITNESS = frozenset({"demand", "ops"})
"""Groups that may weigh for a layer below, and are none of the witnesses that class 1 asks two of."""

_LAYER_CLASS = {"virt": 1, "hw": 1, "net": 1, "svc3": 1, "os": 2, "app": 3, "none": 0}
_OWN_CLASS = {"app.slow": 5}
PROPOSED = (3, 5)
"""Classes that the machine may only propose; their evidence argues, as class 2 does, against the layers below."""


@dataclasses.dataclass(frozen=True)
class Weighed:
    """A row that holds, with the parameters of its sentence."""

    row: Row
    params: Params


@dataclasses.dataclass(frozen=True)
class Score:
    """What the evidence comes to."""

    class_: int
    cause: str
    sum: float
    groups: int
    provisional: bool
    confidence: Confidence


def class_of(cause: str) -> int:
    """The class that a root cause belongs to: its layer is the word before the dot."""
    if cause in _OWN_CLASS:
        return _OWN_CLASS[cause]
    return _LAYER_CLASS.get(cause.split(".", 1)[0], 2)


def weigh(case: Case, rows: Iterable[Row], without: frozenset[str] = frozenset()) -> tuple[Weighed, ...]:
    """The rows of the case's family that hold, strongest first (as explain and the ticket show them)."""
    held = []
    for row in rows:
        if case.subject.family not in row.families or row.id in without:
            continue
        params = row.when(case)
        if params is not None:
            held.append(Weighed(row, params))
    held.sort(key=lambda w: -abs(w.row.weight))
    return tuple(held)


def contributions(weighed: Sequence[Weighed]) -> dict[tuple[str, bool], float]:
    """Per (group, argues for class 1): the strongest row's weight, the only one that counts."""
    best: dict[tuple[str, bool], float] = {}
    for entry in weighed:
        weight = entry.row.weight
        if weight:
            key = (entry.row.group, weight > 0)
            if abs(weight) > abs(best.get(key, 0.0)):
                best[key] = weight
    return best


@dataclasses.dataclass(frozen=True)
class Contribution:
    """A reason of a recorded verdict, and whether it is the one of its group and layer that counts."""

    reason: Reason
    counts: bool


def counted(reasons: Sequence[Reason]) -> tuple[Contribution, ...]:
    """The reasons in their order, each with whether it counted."""
    seen: set[tuple[str, bool]] = set()
    found = []
    for reason in sorted(reasons, key=lambda r: -abs(r.weight)):
        key = (reason.group, reason.weight > 0)
        found.append(Contribution(reason, bool(reason.weight) and key not in seen))
        seen.add(key)
    return tuple(found)


def score(weighed: Sequence[Weighed], default_cause: str) -> Score:
    """Class, cause and confidence of the rows that hold; the family's default cause where none names one."""
    parts = contributions(weighed)
    total = sum(parts.values())
    below = {group for group, is_below in parts if is_below and group not in NO_WITNESS}
    demand = -parts.get(("demand", False), 0.0)
    class_, is_provisional = _class(parts, total, below, demand)
    cause = _cause(weighed, default_cause, None if is_provisional else class_)
    if not is_provisional and class_of(cause) in PROPOSED:
        class_ = class_of(cause)
    groups = len({group for group, _ in parts})
    confidence = _confidence(class_, total, groups, is_provisional)
    return Score(class_, cause, total, groups, is_provisional, confidence)


def _class(
    parts: dict[tuple[str, bool], float], total: float, below: set[str], demand: float
) -> tuple[int, bool]:
    decisive_below = any(weight >= DECISIVE for weight in parts.values())
    decisive_own = any(weight <= -DECISIVE for weight in parts.values())
    if decisive_below and not decisive_own:
        return 1, False
    if total >= CLASS_1_FROM and len(below) >= 2:
        return 1, False
    if total > 0 and below & ENOUGH_ALONE:
        return 1, False
    if total <= CLASS_2_FROM or (demand >= DEMAND_FROM and total < CLASS_1_FROM):
        return 2, False
    return 2, True


def _cause(weighed: Sequence[Weighed], default: str, class_: int | None) -> str:
    """The cause with the most support; a decided class admits only causes of its own layer (proposals go with 2)."""
    support: dict[str, dict[str, float]] = {}
    for entry in weighed:
        cause = entry.row.cause
        fits = class_ is None or class_of(cause) == class_ or (class_ == 2 and class_of(cause) in PROPOSED)
        if cause and fits:
            groups = support.setdefault(cause, {})
            groups[entry.row.group] = max(groups.get(entry.row.group, 0.0), abs(entry.row.weight))
    if not support:
        return default
    # Of equals the earlier row wins: rows stand in their files with the more telling first.
    return max(support, key=lambda cause: sum(support[cause].values()))


def _confidence(class_: int, total: float, groups: int, is_provisional: bool) -> Confidence:
    if is_provisional:
        return Confidence.LOW
    if abs(total) >= 4.0 or (abs(total) >= 3.0 and groups >= 2):
        return Confidence.HIGH
    return Confidence.MEDIUM
