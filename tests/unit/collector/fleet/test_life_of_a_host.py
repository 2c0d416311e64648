"""The table of a host's life, and the arithmetic of its deadlines."""

from __future__ import annotations

import pytest

from collector.fleet import (
    TABLE,
    Life,
    Sign,
    decide_by_ms,
    lifted_deadline_ms,
    return_due_ms,
    silent_after_ms,
    step,
    was_asleep,
)

pytestmark = pytest.mark.collector


def walk(life: Life, *signs: Sign) -> Life:
    for sign in signs:
        row = step(life, sign)
        assert row is not None, f"{life} has no row for {sign}"
        life = row.becomes
    return life


def test_a_missed_deadline_makes_a_suspect_and_never_more():
    assert walk(Life.ALIVE, Sign.DEADLINE_PASSED) is Life.SUSPECT
    assert {row.becomes for (_, sign), row in TABLE.items() if sign is Sign.DEADLINE_PASSED} == {Life.SUSPECT}


def test_only_a_confirmed_suspect_is_silent():
    assert [key for key, row in TABLE.items() if row.becomes is Life.SILENT] == [
        (Life.SUSPECT, Sign.CONFIRMED)
    ]


@pytest.mark.parametrize("life", [Life.AWAITED, Life.ALIVE, Life.SUSPECT, Life.SILENT, Life.STOPPED])
def test_a_report_makes_any_guarded_host_alive(life):
    assert walk(life, Sign.REPORT) is Life.ALIVE


def test_a_retired_host_stays_retired():
    assert {row.becomes for (life, _), row in TABLE.items() if life is Life.RETIRED} == {Life.RETIRED}


def test_a_host_that_was_never_heard_is_not_suspected():
    assert step(Life.AWAITED, Sign.DEADLINE_PASSED) is None


def test_an_orderly_stop_that_does_not_end_is_suspected():
    assert walk(Life.ALIVE, Sign.GOODBYE, Sign.DEADLINE_PASSED, Sign.CONFIRMED) is Life.SILENT


def test_every_state_can_be_reached_and_left():
    reached = {row.becomes for row in TABLE.values()} | {Life.AWAITED}
    assert reached == set(Life)
    assert {life for life, _ in TABLE} == set(Life)


@pytest.mark.parametrize(
    ("interval_s", "late_ms"), [(1.0, 1500), (10.0, 15_000), (60.0, 65_000), (4.0, 6000)]
)
def test_the_deadline_is_the_interval_and_its_grace(interval_s, late_ms):
    assert silent_after_ms(0, interval_s) == late_ms


@pytest.mark.parametrize(
    ("word", "announced", "back_ms"),
    [("host_shutdown", False, 300_000), ("service_stop", True, 1_800_000), ("service_stop", False, 15_000)],
)
def test_how_long_a_return_may_take(word, announced, back_ms):
    assert return_due_ms(0, word, 10.0, announced) == back_ms


def test_a_lifted_deadline_is_never_sooner_than_it_was():
    assert lifted_deadline_ms(5_000_000, 10.0, 0) == 5_000_000
    assert lifted_deadline_ms(0, 10.0, 1_000) >= silent_after_ms(1_000, 10.0)


@pytest.mark.parametrize(
    ("last_ms", "now_ms", "tick_s", "asleep"),
    [
        (None, 0, 1.0, True),
        (0, 1000, 1.0, False),
        (0, 5000, 1.0, False),
        (0, 5001, 1.0, True),
        (0, 20_000, 10.0, False),
    ],
)
def test_whether_we_were_the_ones_asleep(last_ms, now_ms, tick_s, asleep):
    assert was_asleep(last_ms, now_ms, tick_s) is asleep


def test_a_suspicion_is_decided_ten_seconds_after_the_deadline_at_the_latest():
    assert decide_by_ms(1000) == 11_000
