"""Which findings about load become tickets: what lasts, is unusual for that server, and was not just told.

The agent notices every burst; a person is paged only for what a person can act on. Damped is *load*: low severity in
LOAD_FAMILIES (``patience``). Harm goes its way at once: the rules raise it as medium or more, since something waits,
swaps or fails beside it. Theory of operation, of one problem (family and subject) of one host:

    quiet --finding opens--> pending --held for `hold`, not usual, and no hold-off runs--> ticket
    pending --finding closes first--> quiet (recorded: too short)
    ticket --finding closes--> resolved as any other; what opens while it is open joins it

After a ticket a hold-off runs from its opening: ``hold_off_ms`` at first, GROWTH times as long with each further ticket
up to ``hold_off_max_ms``, and shorter again for each time it passed in quiet. What falls into it is recorded, not opened: the
same burst every other day is one story, to be told once and then ever more seldom. What is as high at this hour in
every week waits for as long as the agent says so: it says otherwise once the load outgrows or outlasts what is usual.

Pure: values and ``now_ms`` in, a new course and a decision with its reason out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from collector.qualify.case import Held

MINUTE_MS = 60_000
DAY_MS = 86_400_000
NOTED_FAMILIES = frozenset({"cpu", "io", "memory"})
NOTED_SEVERITY = "low"
LOAD_FAMILIES = NOTED_FAMILIES | {"network"}
NOVELTY = "usual.outside"
"""The fact of findings about a level that the server never had."""
EVENTS = frozenset({"kmsg", "log"})
"""Facts of findings about log lines: those happen, and are no load."""

GROWTH = 4
"""The third ticket on one load within weeks says nothing that the first two did not."""

Verb = Literal["wait", "open", "record"]


@dataclasses.dataclass(frozen=True)
class Policy:
    """How much patience a finding about load gets."""

    hold_ms: int = 60 * MINUTE_MS
    """A finding must be open for so long before it is a ticket."""
    hold_young_ms: int = 240 * MINUTE_MS
    """The same while nobody knows what is usual on the server: its night job must not greet us."""
    hold_off_ms: int = 4 * DAY_MS
    hold_off_max_ms: int = 64 * DAY_MS


LOAD = Policy()
UNUSUAL = dataclasses.replace(LOAD, hold_ms=0, hold_young_ms=0)
"""A level that this server never had: its novelty is the evidence, it need not last."""

SETTLING = Policy(5 * MINUTE_MS, 5 * MINUTE_MS, 0, 0)
"""What may be whole again in a moment and hurts nobody meanwhile (signals.md 3.6 H11); told each time it is not."""
SETTLES = frozenset({"bond_leg_lost"})
"""Rules about a way that is lost beside another."""


@dataclasses.dataclass(frozen=True)
class Course:
    """Where one problem of one host stands; kept by the caller between decisions."""

    last_ticket_ms: int | None = None
    hold_off_ms: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Course:
        """The course back from ``to_dict``; whatever is missing begins anew."""
        return Course(raw.get("last_ticket_ms"), int(raw.get("hold_off_ms") or 0))


QUIET = Course()


@dataclasses.dataclass(frozen=True)
class Damped:
    """What to do now, why (``reason.quiet.WHY``), and when to ask again."""

    verb: Verb
    why: str
    again_at_ms: int | None = None


def patience(held: Sequence[Held]) -> Policy | None:
    """The policy for what holds of one problem; None where it is not load, and goes its way at once."""
    if held and all(each.rule in SETTLES for each in held):
        return SETTLING
    if not held or any(not is_load(each) for each in held):
        return None
    return UNUSUAL if any(NOVELTY in each.facts for each in held) else LOAD


def is_load(held: Held) -> bool:
    """Whether the finding says only that much is used, and not that anybody is hurt."""
    is_low = held.severity == NOTED_SEVERITY and held.family in LOAD_FAMILIES
    return is_low and not held.is_outside and EVENTS.isdisjoint(held.facts)


def is_usual(held: Sequence[Held]) -> bool | None:
    """Whether all that holds is as on other days at this hour; None where nobody knows."""
    words = [_is_usual(each) for each in held]
    if False in words:
        return False
    return None if None in words or not words else True


def _is_usual(held: Held) -> bool | None:
    if NOVELTY in held.facts:
        return False
    main = next(iter(held.facts.values()), None)  # the agent names the rule's own signal first
    return None if main is None else main.as_usual


def decide(
    policy: Policy, course: Course, since_ms: int, now_ms: int, usual: bool | None
) -> tuple[Course, Damped]:
    """What becomes of load that has held since ``since_ms`` and has no ticket. Ask after each change, and when told to."""
    hold_ms = policy.hold_young_ms if usual is None else policy.hold_ms
    if now_ms - since_ms < hold_ms:
        return course, Damped("wait", "too_short_so_far", since_ms + hold_ms)
    if usual:
        # Not told for good: when it outlasts what is usual, the agent says so.
        return course, Damped("wait", "usual_at_this_hour")
    if course.last_ticket_ms is not None and now_ms < course.last_ticket_ms + course.hold_off_ms:
        return course, Damped("record", "told_lately")
    return _told(policy, course, now_ms), Damped("open", "lasts_and_is_unusual")


def _told(policy: Policy, course: Course, now_ms: int) -> Course:
    hold_off = policy.hold_off_ms
    if course.last_ticket_ms is not None and course.hold_off_ms:
        passed = (now_ms - course.last_ticket_ms) // course.hold_off_ms
        hold_off = max(
            policy.hold_off_ms, GROWTH * course.hold_off_ms // GROWTH ** min(8, max(0, passed - 1))
        )
    return Course(now_ms, min(hold_off, policy.hold_off_max_ms))
