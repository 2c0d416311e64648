"""Which findings about load become tickets: what lasts, is unusual for that server, and was not just told.

The agent notices every burst; a person is paged only for what a person can act on. Theory of operation: of one host
and one problem (family and subject) a ``Course`` is kept, which is quiet, pending, open or closing:

    quiet --finding opens--> pending --it held for `hold`, is not usual, and no hold-off runs--> open (one ticket)
    pending --finding closes first--> quiet (recorded: too short)
    open --finding closes--> closing --quiet for `rest`--> quiet; a finding that opens meanwhile joins the same ticket

After a ticket a hold-off runs from its opening: ``hold_off`` at first, doubled with each further ticket up to
``hold_off_max``, and halved again for each time it passed in quiet. What falls into it is recorded on the last
ticket, not opened: the same burst every other day is one story, to be told once and then ever more seldom. What is
as high at this hour in every week is recorded as usual. Findings of at least ``urgent`` severity pass all of this: harm
is never damped, only load.

Pure: values and ``now_ms`` in, a new course and a decision with its reason out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

SEVERITIES = ("low", "medium", "high", "critical")
"""Those of agent.signals.rules, mildest first."""

Verb = Literal["wait", "open", "join", "record", "rest", "close"]


@dataclasses.dataclass(frozen=True)
class Policy:
    """How much patience a family of findings gets."""

    hold_ms: int = 30 * 60_000
    """A finding must be open for so long before it is a ticket."""
    hold_young_ms: int = 4 * 3_600_000
    """The same while the server's profile is too young to say what is usual: its night job must not greet us."""
    rest_ms: int = 4 * 3_600_000
    """The ticket closes when nothing was open for so long; until then whatever opens joins it."""
    hold_off_ms: int = 4 * 86_400_000
    hold_off_max_ms: int = 64 * 86_400_000
    hold_high_ms: int = 10 * 60_000
    """The same for a finding of high severity; a critical one is not held."""


LOAD = Policy()
UNUSUAL = dataclasses.replace(LOAD, hold_ms=0, hold_high_ms=0, hold_young_ms=0)
"""A level that this server never had: its novelty is the evidence, it need not last."""
AT_ONCE = Policy(hold_ms=0, hold_high_ms=0, hold_young_ms=0, rest_ms=60_000, hold_off_ms=0, hold_off_max_ms=0)

POLICIES: Mapping[str, Policy] = {"cpu": LOAD, "io": LOAD, "memory": LOAD}
"""Families that are damped; every other family goes its way at once."""


@dataclasses.dataclass(frozen=True)
class Course:
    """Where one problem of one host stands; kept by the caller between decisions."""

    finding_since_ms: int | None = None
    """The finding's beginning while one is open."""
    is_told: bool = False
    """The open finding was decided on: opened, joined or recorded."""
    ticket_since_ms: int | None = None
    quiet_since_ms: int | None = None
    """With a ticket open: since when no finding is."""
    last_ticket_ms: int | None = None
    hold_off_ms: int = 0


@dataclasses.dataclass(frozen=True)
class Damped:
    """What to do now, why, and when to ask again."""

    verb: Verb
    reason: str
    again_at_ms: int | None = None


QUIET = Course()


def opened(course: Course, at_ms: int) -> Course:
    """A finding of this problem opened (a second one beside an open one changes nothing)."""
    if course.finding_since_ms is not None:
        return course
    return dataclasses.replace(course, finding_since_ms=at_ms, is_told=False, quiet_since_ms=None)


def closed(course: Course, at_ms: int) -> Course:
    """The last finding of this problem closed."""
    quiet = at_ms if course.ticket_since_ms is not None else None
    return dataclasses.replace(course, finding_since_ms=None, is_told=False, quiet_since_ms=quiet)


def decide(
    policy: Policy, course: Course, now_ms: int, *, severity: str, is_usual: bool, is_young: bool = False
) -> tuple[Course, Damped]:
    """What becomes of the problem at ``now_ms``. Ask after each change, and at ``again_at_ms``."""
    if course.ticket_since_ms is not None:
        return _with_ticket(policy, course, now_ms)
    since = course.finding_since_ms
    if since is None:
        return course, Damped("wait", "quiet")
    if course.is_told:
        return course, Damped("wait", "told")
    if severity == "critical" or (severity == "high" and now_ms - since >= policy.hold_high_ms):
        return _open(policy, course, now_ms, "harm")
    hold_ms = policy.hold_young_ms if is_young else policy.hold_ms
    if severity == "high":
        hold_ms = min(hold_ms, policy.hold_high_ms)
    if now_ms - since < hold_ms:
        return course, Damped("wait", "too_short_so_far", since + hold_ms)
    if is_usual:
        # Not told for good: when it outlasts what is usual, it is asked again.
        return course, Damped("wait", "usual_at_this_hour", now_ms + policy.hold_ms)
    if course.last_ticket_ms is not None and now_ms < course.last_ticket_ms + course.hold_off_ms:
        return dataclasses.replace(course, is_told=True), Damped("record", "told_lately")
    return _open(policy, course, now_ms, "lasts_and_is_unusual")


def _with_ticket(policy: Policy, course: Course, now_ms: int) -> tuple[Course, Damped]:
    if course.finding_since_ms is not None:
        if course.is_told:
            return course, Damped("wait", "told")
        return dataclasses.replace(course, is_told=True), Damped("join", "ticket_is_open")
    quiet = course.quiet_since_ms if course.quiet_since_ms is not None else now_ms
    if now_ms - quiet < policy.rest_ms:
        return course, Damped("rest", "closing", quiet + policy.rest_ms)
    return dataclasses.replace(course, ticket_since_ms=None, quiet_since_ms=None), Damped("close", "rested")


def _open(policy: Policy, course: Course, now_ms: int, reason: str) -> tuple[Course, Damped]:
    hold_off = policy.hold_off_ms
    if course.last_ticket_ms is not None and course.hold_off_ms:
        passed = (now_ms - course.last_ticket_ms) // course.hold_off_ms
        hold_off = max(policy.hold_off_ms, 2 * course.hold_off_ms >> max(0, passed - 1))
    course = dataclasses.replace(
        course,
        is_told=True,
        ticket_since_ms=now_ms,
        quiet_since_ms=None,
        last_ticket_ms=now_ms,
        hold_off_ms=min(hold_off, policy.hold_off_max_ms),
    )
    return course, Damped("open", reason)
