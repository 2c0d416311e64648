"""The tick opens the tickets that the score counts: the same findings through the real decider, with its real store."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from collector.tick.context import TickContext
from tests.score.fleet import START_S, fleet
from tests.score.streams import Desk, Series, changes_of, shipped_rules
from tests.unit.collector.tick.conftest import T0, World

pytestmark = [pytest.mark.collector, pytest.mark.slow]

DAYS = 12


def restless_with_nights(seed: int) -> Series:
    """A quiet server with a nightly job, bursts, and two afternoons of load that it never had."""
    random = Random(seed)
    rows = []
    for at_s in range(START_S, START_S + DAYS * 86_400, 300):
        day, hour = (at_s - START_S) // 86_400, at_s % 86_400 / 3600
        value = random.uniform(3, 12)
        if 2 <= hour < 3:
            value = random.uniform(88, 96)
        if day in (5, 10) and 14 <= hour < 17:
            value = random.uniform(90, 99)
        if random.random() < 0.004:
            value = random.uniform(60, 100)
        values = {("cpu.user_pct", ""): value, ("cpu.sys_pct", ""): 0.0, ("cpu.softirq_pct", ""): 0.0}
        rows.append((at_s, values))
    return Series("a1", 300, rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_tick_opens_the_tickets_that_the_score_counts(tmp_path: Path, seed: int) -> None:
    series = restless_with_nights(seed)
    world, desk = World(), Desk("a1")
    world.add_host("a1", provider="alfa")
    opened: list[int] = []
    for at_s, changes in changes_of(series, shipped_rules(), tmp_path):
        desk.take(at_s, changes)
        world.now_ms = T0 + (at_s - START_S) * 1000
        for change in changes:
            facts = {
                name: {"now": f.now, "before": f.before, "usual": f.usual, "as_usual": f.as_usual}
                for name, f in change.facts.items()
            }
            at_ms = T0 + change.at_ms - START_S * 1000
            world.find(
                "a1",
                change.rule,
                change.family,
                change.kind,
                subject=change.subject,
                severity=change.severity,
                at_ms=at_ms,
                facts=facts,
            )
        world.ctx = TickContext(is_first=False, quiet_checked_at_ms=world.now_ms)
        world.heartbeat("a1")
        world.tick()
        opened += [at_s for t in world.tickets()[len(opened) :]]
    meant = sorted(int(span.opened_s) for span in desk.end().tickets)
    assert meant, f"seed {seed} proves nothing"
    assert opened == meant


def test_a_young_made_up_fleet_is_told_of_load_seldom(tmp_path: Path) -> None:
    """Six servers over their first two weeks, when nothing is usual yet: no mark of SCORE.md, which asks for three months.

    The whole fleet over three months is run by hand (tests/score/fleet.py).
    """
    tickets, days = 0, 0.0
    for n, series in enumerate(fleet(6, 14, seed=11)):
        desk = Desk(series.server)
        folder = tmp_path / str(n)
        folder.mkdir()
        for at_s, changes in changes_of(series, shipped_rules(), folder):
            desk.take(at_s, changes)
        mine = len(desk.end().tickets)
        assert mine / series.days() <= 0.5, series.server
        tickets, days = tickets + mine, days + series.days()
    assert tickets / days <= 0.1, f"{tickets} tickets in {days} server-days"
