"""Findings about events (rules with `lasts`): what opens them, what is told while they are open, how they age and end."""

from __future__ import annotations

from typing import Any

import pytest

from agent.signals.sample import Sample

MINUTE_S = 60
EVENTS = """
rules:
  - {name: killed, family: memory, severity: high, signal: kmsg, subjects: parts, raise: {all: ["kmsg ~ ."]}, lasts: 30 min}
  - {name: unclean, family: kernel, severity: high, signal: boot.wtmp_shutdown,
     raise: {all: ["boot.wtmp_shutdown == false"]}, lasts: 30 min}
"""


def line(text="Killed process 1"):
    return ("kmsg", "oom", text)


def told(changes):
    return [(c.kind, c.rule, c.reason) for c in changes]


def quiet(host, seconds):
    """Sweeps without an event, ten seconds apart; what they closed."""
    return [change for _ in range(seconds // 10) for change in host.sweep(("load.per_cpu", "", 0.1))]


@pytest.fixture
def events(make_host: Any) -> Any:
    return make_host(EVENTS)


def test_a_finding_about_an_event_ends_when_none_came_for_long_enough_and_is_dated_by_the_last(events):
    assert told(events.sweep(line())) == [("opened", "killed", "")]
    last_ms = events.clock.now_ms()
    assert quiet(events, 29 * MINUTE_S) == []
    (closed,) = quiet(events, 2 * MINUTE_S)
    assert (closed.kind, closed.reason, closed.at_ms) == ("closed", "quiet_since", last_ms)


def test_one_event_more_is_told_as_a_change_with_its_words_and_a_burst_only_now_and_then(events):
    events.sweep(line())
    assert quiet(events, 6 * MINUTE_S) == []
    (changed,) = events.sweep(line("Killed process 2"))
    assert (changed.kind, changed.facts["kmsg"].now) == ("changed", "Killed process 2")
    assert changed.at_ms == events.clock.now_ms()
    burst = [change for n in range(29) for change in events.sweep(line(f"Killed process {n}"))]
    assert burst == [], "one in five minutes is enough"
    assert told(events.sweep(line())) == [("changed", "killed", "")]


def test_the_first_event_after_a_restart_is_told_however_soon_it_comes(events):
    """A machine that loses its power twice within a quarter of an hour: the second time is news."""
    events.sweep(("boot.wtmp_shutdown", "", False))
    events.clock.advance(90_000)
    events.restart()
    (changed,) = events.sweep(("boot.wtmp_shutdown", "", False))
    assert (changed.kind, changed.opening_n) == ("changed", 1)
    assert changed.at_ms == events.clock.now_ms()


def test_the_same_event_told_again_after_a_restart_is_no_news(events):
    opened_ms = events.clock.mono_ms() + 10_000
    events.sweep(("boot.wtmp_shutdown", "", False))
    events.restart()
    again = Sample("boot.wtmp_shutdown", "", False, opened_ms + 40)
    events.clock.advance(5_000)
    assert events.core.take([again], events.now(), "s") == []


@pytest.mark.parametrize("restart_after_min", [1, 10, 25])
def test_a_restart_is_no_event_and_the_finding_ages_on(events, restart_after_min):
    events.sweep(line())
    assert quiet(events, restart_after_min * MINUTE_S) == []
    events.restart()
    assert quiet(events, (29 - restart_after_min) * MINUTE_S) == []
    assert told(quiet(events, 3 * MINUTE_S)) == [("closed", "killed", "quiet_since")]


def test_after_a_restart_it_ages_from_the_newest_event_that_was_told_also_when_the_spool_was_compacted(
    events,
):
    events.sweep(line())
    quiet(events, 20 * MINUTE_S)
    assert told(events.sweep(line())) == [("changed", "killed", "")]
    events.spool.acknowledge(1)
    events.spool.acknowledge(3)
    events.spool._rewrite()
    events.restart()
    assert quiet(events, 28 * MINUTE_S) == []
    assert told(quiet(events, 3 * MINUTE_S)) == [("closed", "killed", "quiet_since")]


def test_one_that_was_over_while_the_agent_was_away_waits_for_what_the_kernel_said_meanwhile(events):
    events.sweep(line())
    events.clock.advance(3 * 3_600_000)
    events.restart()
    assert events.sweep(("load.per_cpu", "", 0.1)) == []
    assert told(events.sweep(line("Killed process 3"))) == [("changed", "killed", "")]
    assert quiet(events, 29 * MINUTE_S) == []

    events.clock.advance(3 * 3_600_000)
    events.restart()
    assert told(quiet(events, 2 * MINUTE_S)) == [("closed", "killed", "quiet_since")]
