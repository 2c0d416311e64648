"""Damping: a burst pages nobody, what lasts and is unusual pages once, the same story ever more seldom."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collector.qualify.case import FactView, Held
from collector.qualify.damping import GROWTH, LOAD, QUIET, UNUSUAL, Course, Damped, decide, is_usual, patience

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def found(family: str = "cpu", severity: str = "low", **values: Any) -> Held:
    values.setdefault("facts", {"cpu.user_pct": FactView(95.0)})
    return Held("a1", "r", "", family, severity, 0, **values)


def ask(course: Course, since: int, at: int, usual: bool | None = False) -> tuple[Course, Damped]:
    return decide(LOAD, course, since, at, usual)


def test_a_burst_that_has_not_lasted_waits_and_is_asked_again_when_it_may_have() -> None:
    assert ask(QUIET, 0, 10 * MINUTE) == (QUIET, Damped("wait", "too_short_so_far", LOAD.hold_ms))


def test_what_lasts_and_is_unusual_is_a_ticket() -> None:
    course, damped = ask(QUIET, 0, LOAD.hold_ms)
    assert damped.verb == "open"
    assert course.last_ticket_ms == LOAD.hold_ms


def test_what_is_usual_waits_for_as_long_as_the_agent_says_so() -> None:
    assert ask(QUIET, 0, 20 * HOUR, usual=True)[1] == Damped("wait", "usual_at_this_hour")
    assert ask(QUIET, 0, 20 * HOUR, usual=False)[1].verb == "open"


def test_a_server_whose_habits_are_unknown_gets_more_patience() -> None:
    assert ask(QUIET, 0, LOAD.hold_ms, usual=None)[1].verb == "wait"
    assert ask(QUIET, 0, LOAD.hold_young_ms, usual=None)[1].verb == "open"


def ticket(course: Course, at: int) -> tuple[Course, Damped]:
    """Load that has lasted long enough at ``at``."""
    return ask(course, at - LOAD.hold_ms, at)


def test_the_same_story_every_day_is_told_ever_more_seldom() -> None:
    course, told = QUIET, []
    for day in range(90):
        course, damped = ticket(course, day * DAY)
        if damped.verb == "open":
            told.append(day)
        else:
            assert damped == Damped("record", "told_lately")
    assert told == [0, 4, 20, 84]


def test_after_a_long_quiet_the_patience_is_as_at_first() -> None:
    course, _ = ticket(QUIET, 0)
    course, _ = ticket(course, 5 * DAY)
    assert course.hold_off_ms == GROWTH * LOAD.hold_off_ms
    course, damped = ticket(course, 80 * DAY)
    assert damped.verb == "open"
    assert course.hold_off_ms == LOAD.hold_off_ms


def test_a_level_that_never_was_need_not_last() -> None:
    assert decide(UNUSUAL, QUIET, 0, 0, False)[1].verb == "open"
    assert patience([found(), found(facts={"usual.outside": FactView(0.4)})]) == UNUSUAL
    assert patience([found()]) == LOAD


@pytest.mark.parametrize(
    "harm",
    [
        found(severity="medium"),
        found(family="unit"),
        found(stream="collector:outside"),
        found(family="network", facts={"kmsg": FactView("eth0: NIC Link is Down")}),
    ],
)
def test_harm_is_not_damped_nor_is_load_beside_it(harm: Held) -> None:
    assert patience([harm]) is None
    assert patience([found(), harm]) is None


@pytest.mark.parametrize(
    ("words", "together"),
    [((True,), True), ((True, False), False), ((True, None), None), ((None, False), False), ((), None)],
)
def test_all_that_holds_must_be_usual(words: tuple[bool | None, ...], together: bool | None) -> None:
    held = [found(facts={"cpu.user_pct": FactView(95.0, as_usual=word)}) for word in words]
    assert is_usual(held) is together


def test_a_level_that_never_was_is_never_usual() -> None:
    assert is_usual([found(facts={"usual.outside": FactView(0.4, as_usual=True)})]) is False


def test_a_course_comes_back_from_the_store() -> None:
    course, _ = ticket(QUIET, DAY)
    assert Course.from_dict(course.to_dict()) == course
    assert Course.from_dict({}) == QUIET
    assert dataclasses.asdict(course) == course.to_dict()
