"""Patience with load and flapping, as the tick asks for them: what becomes a ticket, when, and what outlives a restart."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from collector.store.retention import sweep
from collector.tables import courses
from collector.tick.context import TickContext
from ticketing.tables import ticket_events

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FULL = {"fs.used_pct": {"now": 97.0}}


def busy(as_usual: bool | None) -> dict[str, Any]:
    return {"cpu.user_pct": {"now": 92.0, "usual": 20.0, "as_usual": as_usual}}


def at(world: Any, at_ms: int) -> None:
    """Move to an instant without looking like a gap of our own, and tick there."""
    world.now_ms = at_ms
    world.ctx.is_first = False
    world.heartbeat("a1")
    world.tick()


def rows(world: Any) -> list[Any]:
    with world.store.read() as conn:
        return list(conn.execute(select(courses)).mappings())


def words(world: Any) -> list[str]:
    """Keys of the reasons on tickets' events, in order."""
    with world.store.read() as conn:
        bodies = conn.execute(select(ticket_events.c.body).order_by(ticket_events.c.id)).scalars()
        return [body["reason"]["key"] for body in bodies if isinstance(body.get("reason"), dict)]


@pytest.fixture
def one(world: Any) -> Any:
    world.add_host("a1", provider="alfa")
    return world


def test_load_that_lasts_and_is_unusual_is_a_ticket_dated_by_its_beginning(one: Any) -> None:
    begun = one.now_ms
    one.find("a1", "cpu_busy", "cpu", severity="low", facts=busy(False))
    at(one, begun + 1_000)
    at(one, begun + 59 * MINUTE)
    assert one.tickets() == []
    assert one.findings()[0]["why"]["key"] == "reason.quiet.too_short_so_far"
    at(one, begun + 60 * MINUTE)
    (ticket,) = one.tickets()
    assert (ticket["root_cause"], ticket["began_at_ms"], ticket["severity"]) == (
        "os.cpu_demand",
        begun,
        "low",
    )


def test_a_burst_of_minutes_pages_nobody(one: Any) -> None:
    begun = one.now_ms
    one.find("a1", "cpu_jump", "cpu", severity="low", facts=busy(False))
    at(one, begun + 1_000)
    one.now_ms = begun + 5 * MINUTE
    one.find("a1", "cpu_jump", "cpu", "closed", severity="low")
    for minute in (5, 61, 300):
        at(one, begun + minute * MINUTE)
    assert one.tickets() == []
    assert [f["outcome"] for f in one.findings()] == ["recorded", "recorded"]


def test_what_is_usual_at_this_hour_waits_until_it_outlasts_it(one: Any) -> None:
    begun = one.now_ms
    one.find("a1", "cpu_busy", "cpu", severity="low", facts=busy(True))
    at(one, begun + 1_000)
    at(one, begun + 2 * HOUR)
    assert one.tickets() == []
    one.find("a1", "cpu_busy", "cpu", "changed", severity="low", facts=busy(False))
    at(one, begun + 2 * HOUR + 1_000)
    (ticket,) = one.tickets()
    assert ticket["began_at_ms"] == begun


def test_while_nobody_knows_what_is_usual_load_gets_four_hours(one: Any) -> None:
    begun = one.now_ms
    one.find("a1", "cpu_busy", "cpu", severity="low", facts=busy(None))
    at(one, begun + 1_000)
    at(one, begun + 4 * HOUR - 1_000)
    assert one.tickets() == []
    at(one, begun + 4 * HOUR)
    assert len(one.tickets()) == 1


def burst(world: Any, at_ms: int) -> None:
    """Load of two hours."""
    world.now_ms = at_ms
    world.find("a1", "cpu_busy", "cpu", severity="low", facts=busy(False))
    for minutes in (0, 60, 119):
        at(world, at_ms + minutes * MINUTE + 1_000)
    world.now_ms = at_ms + 2 * HOUR
    world.find("a1", "cpu_busy", "cpu", "closed", severity="low")
    at(world, at_ms + 2 * HOUR + 1_000)
    at(world, at_ms + 2 * HOUR + 2 * MINUTE)


def test_the_same_load_the_next_day_is_recorded_also_after_a_restart_of_the_collector(one: Any) -> None:
    begun = one.now_ms
    burst(one, begun)
    one.ctx = TickContext(is_first=False)
    burst(one, begun + DAY)
    assert len(one.tickets()) == 1
    assert one.tickets(is_open=True) == []
    assert one.findings()[-2]["why"]["key"] == "reason.quiet.told_lately"
    burst(one, begun + 5 * DAY)
    assert len(one.tickets()) == 2


@pytest.mark.parametrize(
    ("family", "outside", "cause"),
    [("cpu", 0.6, "os.cpu_demand"), ("cpu", -0.6, "unknown"), ("network", 0.6, "unknown")],
)
def test_a_level_that_never_was_is_told_at_once_and_mildly(
    one: Any, family: str, outside: float, cause: str
) -> None:
    facts = {"usual.outside": {"now": outside}, "cpu.user_pct": {"now": 70.0, "usual": 20.0}}
    one.find("a1", f"unusual_{family}", family, subject="cpu.user_pct", severity="low", facts=facts)
    at(one, one.now_ms + 1_000)
    (ticket,) = one.tickets()
    assert (ticket["class"], ticket["root_cause"], ticket["severity"]) == (2, cause, "low")


def flap(world: Any, times: int) -> int:
    """A file system that is full for ten seconds, ``times`` times in a row; when the last one ended."""
    for _ in range(times):
        world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
        at(world, world.now_ms + 10_000)
        world.find("a1", "fs_full", "fs_space", "closed", subject="/var")
        at(world, world.now_ms + 10_000)
    return world.now_ms


def test_what_flaps_is_one_ticket_that_says_so_and_stays_open_until_it_is_quiet(one: Any) -> None:
    ended = flap(one, 5)
    (ticket,) = one.tickets()
    assert ticket["open_mark"] == 1
    assert words(one).count("reason.flaps.begun") == 1
    one.ctx = TickContext(is_first=False)
    at(one, ended + 10 * MINUTE)
    assert len(one.tickets(is_open=True)) == 1, "not resolved after the usual minute, also after a restart"
    for minute in range(11, 60):
        at(one, ended + minute * MINUTE)
    (ticket,) = one.tickets()
    assert ticket["open_mark"] is None
    assert words(one).count("reason.flaps.over") == 1


def test_what_comes_back_once_does_not_flap(one: Any) -> None:
    ended = flap(one, 2)
    at(one, ended + 2 * MINUTE)
    assert one.tickets(is_open=True) == []
    assert "reason.flaps.begun" not in words(one)


def test_what_is_remembered_has_its_age(one: Any) -> None:
    flap(one, 1)
    assert len(rows(one)) == 1
    deleted = one.store.write(lambda tx: sweep(tx, one.now_ms + 300 * DAY, {"courses": 200 * DAY / 1000}))
    assert deleted["courses"] == 1 and rows(one) == []
