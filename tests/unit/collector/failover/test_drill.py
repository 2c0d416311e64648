"""Rehearsals: what may be done for real, what their results let a contract do, and what their times are for (I15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from collector.failover import gather, journal, outcomes, runs
from collector.failover.decide import Decision, decide
from collector.failover.engine import Enter, next_move
from collector.failover.plan import Subject, make
from collector.failover.states import State
from collector.observed import keep_newest
from tests.unit.collector.failover.houses import PAIR, House
from tests.unit.collector.failover.worlds import T0, facts, pair
from ticketing.model import Reason

pytestmark = pytest.mark.collector
WORD = Reason("failover.by_person", {"kind": "drill"})


@pytest.fixture
def house() -> Iterator[House]:
    made = House(drill=True)
    made.well()
    yield made
    made.store.close()


def begun(kind: str) -> journal.Run:
    plan = make(pair(drill=True), Subject(0, kind, "acme", 1), kind)
    run = journal.fold(
        [journal.following(None, "r1", T0, "begin", {"plan": plan.to_dict(), "mode": "approve"})]
    )
    assert run is not None
    return run


def test_a_drill_has_every_step_of_a_failover() -> None:
    assert [s.key for s in begun("drill").plan.steps] == [s.key for s in begun("failover").plan.steps]


def test_a_drill_of_a_pair_that_is_marked_needs_no_trouble_and_one_that_is_not_does_nothing() -> None:
    marked = next_move(begun("drill"), facts(T0 + 10_000, pair=pair(drill=True), trouble=None), 10.0)
    assert isinstance(marked, Enter) and marked.state is State.ARMED
    unmarked = next_move(begun("drill"), facts(T0 + 10_000, pair=pair(), trouble=None), 10.0)
    assert isinstance(unmarked, Enter) and unmarked.state is State.ABORTED
    assert unmarked.reason.params == {"why": "unmarked"}


@pytest.mark.parametrize("changed", ["lag", "fit", "off"])
def test_a_drill_stops_where_a_person_s_switch_would(changed: str) -> None:
    good = facts(T0 + 10_000, pair=pair(drill=True), trouble=None)
    changes: dict[str, Any] = {
        "lag": {"backup": type(good.backup)(is_alive=True)},
        "fit": {"backup": type(good.backup)(is_alive=True, lag=good.backup.lag, unfit=("disk",))},
        "off": {"switched_off": "olena: works on it"},
    }[changed]
    move = next_move(begun("drill"), facts(T0 + 10_000, pair=pair(drill=True), trouble=None, **changes), 10.0)
    assert isinstance(move, Enter) and move.state is State.ABORTED


def ended(house: House, kind: str, state: State, took_s: float = 0.0) -> None:
    """A run of that kind that fenced and came to this state so many seconds later, a minute after the last one."""
    house.now_ms += 60_000
    plan = gather.plan_of(house.contract, 1, house.pair, house.facts(), kind)

    def write(tx: Any) -> None:
        run_id = runs.begin(tx, plan, runs.Began("approve", WORD), house.now_ms)
        body = {"state": "armed", "reason": WORD.to_dict()}
        runs.append(tx, run_id, "enter", body, house.now_ms)
        runs.append(tx, run_id, "enter", {**body, "state": "fencing"}, house.now_ms)
        now_ms = house.now_ms + round(took_s * 1000)
        run = runs.load(tx, run_id)
        assert run is not None
        outcomes.entered(tx, house.book_in(tx), house.pair, run, state, WORD, now_ms)
        runs.append(tx, run_id, "enter", {**body, "state": state.value}, now_ms)
        # Over, so that the pair may have another one.
        runs.append(tx, run_id, "enter", {**body, "state": "aborted"}, now_ms)

    house.store.write(write)


def test_the_ninetieth_percentile_of_drills_and_switches_is_what_a_switch_is_known_to_take(house) -> None:
    assert house.facts().switch_time_s is None
    for took_s in (*range(10, 20), 300.0):
        ended(house, "drill" if took_s % 2 else "failover", State.ON_BACKUP, took_s)
    assert house.facts().switch_time_s == 19.0
    # Without effects nothing took its time, and where nobody was fenced it is another road.
    for kind in ("rehearsal", "switchover", "failback"):
        ended(house, kind, State.ON_BACKUP, 1_000.0)
    assert house.facts().switch_time_s == 19.0
    house.falls()
    fallen = house.facts()
    assert fallen.latest_start_ms() == fallen.trouble.began_at_ms + round((1800 - 19.0) * 1000)


@pytest.mark.parametrize(
    ("kind", "state", "is_asked"),
    [
        ("drill", State.STUCK, True),
        ("drill", State.ABORTED, True),
        ("rehearsal", State.STUCK, True),
        ("failover", State.STUCK, True),
        ("failover", State.ABORTED, False),
        ("failback", State.STUCK, False),
        ("drill", State.ON_BACKUP, False),
    ],
)
def test_after_one_that_failed_the_machine_asks_until_another_has_passed(
    house, kind, state, is_asked
) -> None:
    def decision() -> Decision:
        house.asked()
        return decide(house.facts()).decision

    ended(house, kind, state)
    lag = ("b9", "repl.lag_s", 2.0, house.now_ms, "agent", house.now_ms)
    house.store.write(lambda tx: keep_newest(tx, *lag))
    house.store.write(lambda tx: runs.set_pair(tx, PAIR, hold_down_until_ms=None))
    house.falls()
    house.now_ms += 61_000
    assert decision() is (Decision.REQUEST if is_asked else Decision.AUTO)
    blocked = [checked.guard for checked in decide(house.facts()).blocking]
    assert blocked == (["rehearsal"] if is_asked else [])
    ended(house, "rehearsal", State.ON_BACKUP)
    assert "rehearsal" not in [checked.guard for checked in decide(house.facts()).blocking]
