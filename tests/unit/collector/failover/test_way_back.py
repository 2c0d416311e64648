"""The way back: what the facts say of the old primary that is to take over again, and when nobody is asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from collector.failover import gather, journal
from collector.failover.engine import Enter, next_move
from collector.failover.facts import Backup, LagSample
from collector.failover.plan import Subject, make
from collector.failover.states import State
from collector.failover.terms import StepTerms
from collector.tables import open_findings
from tests.unit.collector.failover.houses import House
from tests.unit.collector.failover.worlds import T0, facts, pair

pytestmark = pytest.mark.collector


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    made.well()
    yield made
    made.store.close()


def holds(house: House, host: str, family: str) -> None:
    row = {
        "host_id": host, "rule": f"{family}_rule", "subject": "x", "stream": "s", "opening_n": 1, "family": family,
        "severity": "high", "at_ms": house.now_ms, "changed_at_ms": house.now_ms, "body": {},
    }  # fmt: skip
    house.store.write(lambda tx: tx.execute(insert(open_findings).values(**row)))


def unfit(house: House, kind: str) -> Any:
    with house.store.read() as conn:
        args = (conn, house.book, house.contract, house.pair, kind, house.now_ms, gather.Sight())
        return gather.gather_for(*args).backup.unfit


def test_an_old_primary_is_not_unfit_because_it_does_not_run_what_it_was_stopped_from_running(house) -> None:
    for family in ("service", "unit", "memory"):
        holds(house, "a1", family)
    assert unfit(house, "failback") == ("memory",)


def test_a_backup_whose_service_is_broken_stays_unfit_for_a_failover(house) -> None:
    holds(house, "b9", "service")
    assert unfit(house, "failover") == ("service",)


def begun(kind: str) -> journal.Run:
    terms = pair(demote=[StepTerms("demote.ssh")])
    plan = make(terms, Subject(7, "hw.power", "acme", 1), kind)
    body = {"plan": plan.to_dict(), "mode": "approve", "reason": {}}
    run = journal.fold([journal.following(None, "r1", T0, "begin", body)])
    assert run is not None
    return run


@pytest.mark.parametrize("kind", ["switchover", "failback"])
@pytest.mark.parametrize("lag", [None, LagSample(3_600.0, T0)])
def test_nobody_is_asked_to_stop_for_a_copy_that_is_too_far_behind_or_unknown(kind, lag) -> None:
    move = next_move(begun(kind), facts(T0 + 1_000, backup=Backup(True, lag=lag)), 30.0)
    assert isinstance(move, Enter)
    assert (move.state, move.reason.key) == (State.ABORTED, "failover.guard.exposure")


@pytest.mark.parametrize("kind", ["switchover", "failback"])
def test_with_a_near_copy_the_way_is_open(kind) -> None:
    move = next_move(begun(kind), facts(T0 + 1_000, backup=Backup(True, lag=LagSample(1.0, T0))), 30.0)
    assert isinstance(move, Enter)
    assert move.state is State.ARMED
