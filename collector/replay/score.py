"""Scoring: what came out against what was the matter, by the ``scoring`` section of the scenario files. Pure.

Class 3 points, root cause 2, tickets with scope 2, time 1. Parents are matched to the truth by the hosts they affect;
``accept`` widens what counts as right. A client ticket where there should be none, and any failover act that was not
wanted, are hard fails whatever the points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from collector.replay.scenario import Truth, TruthTicket

WEIGHTS = {"class": 3, "root_cause": 2, "tickets": 2, "time": 1}

ACTS = frozenset({"auto", "switch", "act", "auto_failover"})
"""Failover decisions that do something without a person."""


@dataclasses.dataclass(frozen=True)
class Came:
    """A ticket that came out, as far as scoring looks at it."""

    role: str
    class_: str
    root_cause: str
    scope: str
    affected: tuple[str, ...]
    opened_at_s: float


@dataclasses.dataclass(frozen=True)
class Score:
    """One scenario's score."""

    class_: bool
    root_cause: bool
    tickets: bool
    time: bool
    hard_fails: tuple[str, ...]
    failover: bool = True
    """The decision about the pair is the expected one; it has no points, a wrong act is a hard fail."""
    notes: tuple[str, ...] = ()
    """What was wrong, for a person."""

    @property
    def points(self) -> int:
        """Points out of ``sum(WEIGHTS.values())``."""
        held = {
            "class": self.class_,
            "root_cause": self.root_cause,
            "tickets": self.tickets,
            "time": self.time,
        }
        return sum(weight for word, weight in WEIGHTS.items() if held[word])

    def to_dict(self) -> dict[str, object]:
        """Plain values for --json."""
        return {
            "class": self.class_,
            "root_cause": self.root_cause,
            "tickets": self.tickets,
            "time": self.time,
            "failover": self.failover,
            "hard_fails": list(self.hard_fails),
            "points": self.points,
            "of": sum(WEIGHTS.values()),
            "notes": list(self.notes),
        }


def score(truth: Truth, came: Sequence[Came], failover: str) -> Score:
    """The score of what came out; ``failover`` is the decision that was taken."""
    wrong = failover_note(truth, failover)
    found = _score(truth, came, failover)
    return dataclasses.replace(found, failover=False, notes=(*found.notes, wrong)) if wrong else found


def failover_note(truth: Truth, failover: str) -> str:
    """What is wrong with the decision; "" = it is the expected one. To do nothing is right by both its names."""
    quiet = ("none", "forbidden_auto")
    is_right = failover == truth.failover or (failover in quiet and truth.failover in quiet)
    return "" if is_right else f"failover {failover} instead of {truth.failover}"


def _score(truth: Truth, came: Sequence[Came], failover: str) -> Score:
    parents = [ticket for ticket in came if ticket.role == "parent"]
    hard = hard_fails(truth, came, failover)
    if truth.class_ == "none" or not truth.parents:
        is_none = not parents
        notes = () if is_none else (f"{len(parents)} tickets where none belongs",)
        return Score(is_none, is_none, is_none, is_none, hard, notes=notes)
    pairs = match(truth.parents, parents)
    strangers = [p for p in parents if not _best(p, truth.parents)]
    notes = [f"no ticket for {', '.join(t.affected)}" for t, p in pairs if p is None]
    notes += [f"a ticket about {', '.join(p.affected)}, who have no fault" for p in strangers]
    is_whole = not notes
    classes = (truth.accept.get("class", ()), truth.accept.get("root_cause", ()))
    wrong_class, wrong_cause = [], []
    for parent in parents:
        meant = next((t for t, p in pairs if p is parent), None) or _best(parent, truth.parents)
        if meant is None:
            continue
        cause = meant.root_cause or truth.root_cause
        if parent.class_ not in (meant.class_, *classes[0]):
            wrong_class.append(f"class {parent.class_} instead of {meant.class_}")
        if parent.root_cause not in (cause, *classes[1]):
            wrong_cause.append(f"cause {parent.root_cause} instead of {cause}")
    scopes = _scope_notes(truth.parents, parents, pairs)
    times = _time_notes(pairs)
    return Score(
        is_whole and not wrong_class,
        is_whole and not wrong_cause,
        not scopes,
        is_whole and not times,
        hard,
        notes=tuple(dict.fromkeys([*notes, *wrong_class, *wrong_cause, *scopes, *times])),
    )


def hard_fails(truth: Truth, came: Sequence[Came], failover: str) -> tuple[str, ...]:
    """What must never happen, and did."""
    found = []
    if came and (truth.class_ == "none" or "any_ticket" in truth.must_not):
        found.append("a client ticket where there is no fault")
    acts = failover in ACTS
    if acts and truth.failover in ("none", "forbidden_auto"):
        found.append(f"failover act where {truth.failover} was right")
    elif acts and truth.failover == "request":
        found.append("failover act without approval")
    elif acts and {"failover", "auto_failover"} & set(truth.must_not):
        found.append("failover act that must not be")
    return tuple(found)


def match(meant: Sequence[TruthTicket], came: Sequence[Came]) -> list[tuple[TruthTicket, Came | None]]:
    """Each true parent with the ticket that shares most of its hosts, its own cause first; no ticket twice."""
    free = list(came)
    found: list[tuple[TruthTicket, Came | None]] = []
    for ticket in sorted(meant, key=lambda t: -len(t.affected)):
        best = max(free, key=lambda c: _likeness(ticket, c), default=None)
        if best is not None and _overlap(ticket.affected, best.affected) > 0:
            free.remove(best)
            found.append((ticket, best))
        else:
            found.append((ticket, None))
    return found


def _best(ticket: Came, meant: Sequence[TruthTicket]) -> TruthTicket | None:
    best = max(meant, key=lambda t: _overlap(t.affected, ticket.affected), default=None)
    return best if best is not None and _overlap(best.affected, ticket.affected) > 0 else None


def _likeness(ticket: TruthTicket, came: Came) -> tuple[float, bool, float]:
    return _overlap(ticket.affected, came.affected), came.root_cause == ticket.root_cause, -came.opened_at_s


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of hosts in common (Jaccard)."""
    both, any_ = set(one) & set(other), set(one) | set(other)
    return len(both) / len(any_) if any_ else 0.0


def _scope_notes(
    meant: Sequence[TruthTicket], came: Sequence[Came], pairs: Sequence[tuple[TruthTicket, Came | None]]
) -> list[str]:
    notes = []
    if len(came) != len(meant):
        notes.append(f"{len(came)} parents instead of {len(meant)}")
    for ticket, found in pairs:
        if found is None:
            continue
        if found.scope.partition(":")[0] != ticket.scope_type:
            notes.append(f"scope {found.scope} instead of {ticket.scope}")
        if set(found.affected) != set(ticket.affected):
            notes.append(f"affects {', '.join(found.affected)} instead of {', '.join(ticket.affected)}")
    return notes


def _time_notes(pairs: Sequence[tuple[TruthTicket, Came | None]]) -> list[str]:
    notes = []
    for ticket, found in pairs:
        if found is not None and not ticket.not_before_s <= found.opened_at_s <= ticket.open_by_s:
            notes.append(
                f"opened at {found.opened_at_s:g} s, not within {ticket.not_before_s:g} to {ticket.open_by_s:g} s"
            )
    return notes


def summary(scores: Mapping[str, Score]) -> dict[str, int]:
    """How many scenarios are right in each respect."""
    found = list(scores.values())
    return {
        "class": sum(s.class_ for s in found),
        "root_cause": sum(s.root_cause for s in found),
        "tickets": sum(s.tickets for s in found),
        "time": sum(s.time for s in found),
        "failover": sum(s.failover for s in found),
        "hard_fails": sum(bool(s.hard_fails) for s in found),
        "of": len(found),
    }


def is_above(counts: Mapping[str, int], gate: float) -> bool:
    """Whether the share of right classes reaches the gate (0 to 1) and nothing failed hard."""
    return counts["hard_fails"] == 0 and counts["class"] >= gate * counts["of"] - 1e-9
