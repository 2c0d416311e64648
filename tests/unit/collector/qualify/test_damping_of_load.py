"""Damping: a burst pages nobody, what lasts and is unusual pages once, the same story ever more seldom."""

from __future__ import annotations

import pytest

from collector.qualify.damping import (
    AT_ONCE,
    LOAD,
    QUIET,
    SEVERITIES,
    UNUSUAL,
    Course,
    Damped,
    Policy,
    closed,
    decide,
    opened,
)

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def ask(
    course: Course,
    at: int,
    policy: Policy = LOAD,
    severity: str = "low",
    usual: bool = False,
    young: bool = False,
) -> tuple[Course, Damped]:
    return decide(policy, course, at, severity=severity, is_usual=usual, is_young=young)


def test_a_burst_that_ends_within_the_hold_is_no_ticket() -> None:
    course, damped = ask(opened(QUIET, 0), 10 * MINUTE)
    assert (damped.verb, damped.again_at_ms) == ("wait", LOAD.hold_ms)
    assert closed(course, 11 * MINUTE) == QUIET


def test_what_lasts_is_one_ticket() -> None:
    course, damped = ask(opened(QUIET, 0), LOAD.hold_ms)
    assert damped.verb == "open"
    assert ask(course, LOAD.hold_ms + MINUTE)[1].verb == "wait"


@pytest.mark.parametrize(("severity", "verb"), [("medium", "wait"), ("high", "open"), ("critical", "open")])
def test_harm_is_not_held_as_long_as_load(severity: str, verb: str) -> None:
    assert ask(opened(QUIET, 0), LOAD.hold_high_ms, severity=severity, young=True)[1].verb == verb


def test_a_critical_finding_is_a_ticket_at_once_whatever_is_usual() -> None:
    assert ask(opened(QUIET, 0), 0, severity="critical", usual=True)[1].verb == "open"


def test_what_is_usual_at_this_hour_waits_until_it_outlasts_it() -> None:
    course, damped = ask(opened(QUIET, 0), LOAD.hold_ms, usual=True)
    assert (damped.verb, damped.reason) == ("wait", "usual_at_this_hour")
    assert ask(course, 3 * HOUR)[1].verb == "open"


def test_a_server_whose_habits_are_unknown_gets_more_patience() -> None:
    assert ask(opened(QUIET, 0), LOAD.hold_ms, young=True)[1].verb == "wait"
    assert ask(opened(QUIET, 0), LOAD.hold_young_ms, young=True)[1].verb == "open"


def test_a_finding_that_opens_while_the_ticket_rests_joins_it() -> None:
    course, _ = ask(opened(QUIET, 0), LOAD.hold_ms)
    course = opened(closed(course, HOUR), 2 * HOUR)
    course, damped = ask(course, 2 * HOUR)
    assert damped.verb == "join"
    course = closed(course, 3 * HOUR)
    assert ask(course, 3 * HOUR + 1)[1].verb == "rest"
    course, damped = ask(course, 3 * HOUR + LOAD.rest_ms)
    assert damped.verb == "close" and course.ticket_since_ms is None


def ticket(course: Course, at: int) -> tuple[Course, Damped]:
    """A finding of an hour at ``at``, and the rest behind it."""
    course, damped = ask(opened(course, at), at + LOAD.hold_ms)
    course = closed(course, at + HOUR)
    if course.ticket_since_ms is not None:
        course, _ = ask(course, at + HOUR + LOAD.rest_ms)
    return course, damped


def test_the_same_story_every_day_is_told_ever_more_seldom() -> None:
    course, told = QUIET, []
    for day in range(90):
        course, damped = ticket(course, day * DAY)
        if damped.verb == "open":
            told.append(day)
        else:
            assert damped.reason == "told_lately"
    assert told == [0, 4, 12, 28, 60]


def test_after_a_long_quiet_the_patience_is_as_at_first() -> None:
    course, _ = ticket(QUIET, 0)
    course, _ = ticket(course, 5 * DAY)
    assert course.hold_off_ms == 2 * LOAD.hold_off_ms
    course, damped = ticket(course, 80 * DAY)
    assert damped.verb == "open"
    assert course.hold_off_ms == LOAD.hold_off_ms


def test_a_level_that_never_was_need_not_last_and_other_families_go_their_way() -> None:
    assert ask(opened(QUIET, 0), 0, policy=UNUSUAL)[1].verb == "open"
    assert ask(opened(QUIET, 0), 0, policy=AT_ONCE)[1].verb == "open"


def test_a_second_finding_beside_an_open_one_changes_nothing() -> None:
    assert opened(opened(QUIET, 5), 9).finding_since_ms == 5


def test_severities_are_those_of_the_rules() -> None:
    from agent.signals.rules import SEVERITIES as OF_RULES

    assert SEVERITIES == OF_RULES
