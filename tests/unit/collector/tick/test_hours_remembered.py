"""Load at its hour: past nights in the store, compared by hour, size, wait and length; and the ticket that is not opened."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from collector.qualify.case import held_from_body
from collector.qualify.hours import DAY_MS, Spell, same_hour_match
from collector.tables import findings
from collector.tick.hours import Hours
from tests.unit.collector.tick.conftest import T0, World

MINUTE = 60_000
BUSY = {"disk.iops": {"now": 900.0}, "disk.await_ms": {"now": 12.0}}


def night(days_ago: int, *, minutes: float = 40, size: float = 900.0, wait: float = 12.0) -> Spell:
    began = T0 - days_ago * DAY_MS + 5 * MINUTE
    return Spell(began, began + round(minutes * MINUTE), size, {"disk.await_ms": wait})


TODAY = Spell(T0, None, 900.0, {"disk.await_ms": 12.0})
SIX = [night(days) for days in (1, 2, 3, 5, 6, 7)]


def test_six_nights_of_seven_are_six_sevenths() -> None:
    assert same_hour_match(TODAY, SIX, T0) == 0.86


def test_a_new_server_has_no_hours() -> None:
    assert same_hour_match(TODAY, [], T0) == 0.0


def test_two_runs_of_one_night_are_one_night() -> None:
    assert same_hour_match(TODAY, [night(1), night(1), night(1)], T0) == 0.14


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Spell(T0, None, 900.0, {"disk.await_ms": 60.0}), "the disk is slower than on any of them"),
        (Spell(T0, None, 2_000.0, {"disk.await_ms": 12.0}), "the job is larger"),
        (Spell(T0, None, 300.0, {"disk.await_ms": 12.0}), "it is another, smaller job"),
        (Spell(T0 + 3 * 3_600_000, None, 900.0, {}), "another hour"),
        (Spell(T0, None, None, {}), "nothing says how large it is"),
    ],
)
def test_what_differs_matches_no_night(odd: Spell, why: str) -> None:
    assert same_hour_match(odd, SIX, T0) == 0.0, why


def test_a_job_that_outlasts_its_nights_matches_them_no_longer() -> None:
    assert same_hour_match(TODAY, SIX, T0 + 75 * MINUTE) == 0.86
    assert same_hour_match(TODAY, SIX, T0 + 3 * 60 * MINUTE) == 0.0


def test_the_change_of_summer_time_moves_no_job_out_of_its_hour() -> None:
    before = [Spell(s.began_ms - 60 * MINUTE, s.ended_ms, s.size, s.waits) for s in SIX]
    assert same_hour_match(TODAY, before, T0) == 0.86


def test_a_night_that_is_not_over_is_no_past_night() -> None:
    assert same_hour_match(TODAY, [Spell(T0 - DAY_MS, None, 900.0, {})], T0) == 0.0


# --- from the store ------------------------------------------------------------------------------------------------


def remember_night(world: World, days_ago: int, facts: dict[str, Any], *, rule: str = "io_wait") -> None:
    """A finding of a past night, as intake and tick leave it: opened, and closed 40 minutes later."""
    began = T0 - days_ago * DAY_MS
    n = 1_000 + 10 * (10 - days_ago)
    body = {"facts": facts, "evidence": None, "reason": ""}
    rows = []
    for kind, at_ms, number in (("opened", began, n), ("closed", began + 40 * MINUTE, n + 1)):
        rows.append(
            {
                "host_id": "h1", "stream": "s0", "n": number, "kind": kind, "opening_n": n, "rule": rule, "subject": "",
                "family": "io", "severity": "medium", "at_ms": at_ms, "received_at_ms": at_ms, "body": body,
                "handled_at_ms": at_ms, "outcome": "recorded",
            }
        )  # fmt: skip
    world.store.write(lambda tx: tx.execute(insert(findings), rows))


def asked(world: World, facts: dict[str, Any], *, rule: str = "io_wait", family: str = "io") -> list[float]:
    held = held_from_body(
        {"facts": facts}, host_id="h1", rule=rule, subject="", family=family, severity="medium", at_ms=T0
    )
    return world.store.write(lambda tx: [seen.value for seen in Hours(tx, T0).seen(held)])


@pytest.fixture
def remembering(world: World) -> World:
    for days_ago in (1, 2, 3, 4, 6, 7):
        remember_night(world, days_ago, BUSY)
    return world


def test_the_store_remembers_six_nights_of_seven(remembering: World) -> None:
    assert asked(remembering, BUSY) == [0.86]


def test_a_slower_night_another_rule_and_no_load_find_nothing(remembering: World) -> None:
    assert asked(remembering, {**BUSY, "disk.await_ms": {"now": 80.0}}) == []
    assert asked(remembering, BUSY, rule="disk_slow") == []
    assert asked(remembering, BUSY, family="hardware") == []


def test_a_new_server_finds_nothing(world: World) -> None:
    assert asked(world, BUSY) == []


def test_nights_older_than_a_week_are_forgotten(world: World) -> None:
    for days_ago in (8, 9):
        remember_night(world, days_ago, BUSY)
    assert asked(world, BUSY) == []


@pytest.mark.parametrize(("nights", "opens"), [((1, 2, 3, 4, 6, 7), 0), ((1, 2), 1)])
def test_load_of_its_hour_opens_no_ticket_and_load_of_two_nights_does(
    world: World, nights: tuple[int, ...], opens: int
) -> None:
    facts = {"disk.await_ms": {"now": 45.0, "before": 3.0}, "disk.iops": {"now": 900.0, "before": 60.0}}
    world.add_host("h1", provider="alfa", virt="none")
    for days_ago in nights:
        remember_night(world, days_ago, facts, rule="disk_slow")
    world.find("h1", "disk_slow", "io", facts=facts)
    world.run(30 * 60, beating=("h1",))
    assert len(world.tickets()) == opens, [row["why"] for row in world.findings() if row["stream"] == "s1"]
    whys = [row["why"]["key"] for row in world.findings() if row["stream"] == "s1" and row["why"]]
    assert ("reason.quiet.as_usual" in whys) == (not opens), whys
