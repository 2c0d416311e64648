"""The lag that a backup's agent tells, as a failover reads it: the last one, and when it was true."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from agent.wire import Told
from collector.failover.facts import LagSample
from collector.failover.lag import last_lag
from collector.tables import observations
from tests.unit.collector.producers.test_intake_clocks_and_acts import T0, House

pytestmark = pytest.mark.collector


@pytest.fixture
def house() -> Any:
    made = House()
    yield made
    made.store.close()


def lag(house: House) -> LagSample | None:
    with house.store.read() as conn:
        return last_lag(conn, "web-1")


def told(second: float, value: Any) -> list[Told]:
    return [Told(T0 + round(second * 1000), "repl.lag_s", value)]


def test_a_host_that_told_none_has_none(house: House) -> None:
    house.report(10)
    assert lag(house) is None


def test_the_last_lag_is_kept_with_its_moment_and_grows_old_when_no_more_come(house: House) -> None:
    house.report(10, told=told(8, 2.0))
    house.report(20, told=told(8, 2.0))  # told again: the answer was lost
    house.report(40, told=told(38, 3.5))
    house.report(50)
    house.report(60)
    assert lag(house) == LagSample(3.5, T0 + 38_000)


def test_only_one_row_is_kept_and_an_older_word_changes_nothing(house: House) -> None:
    for second in range(10, 100, 10):
        house.report(second, told=told(second - 1, 1.0))
    house.report(100, told=told(50, 9.0))
    assert lag(house) == LagSample(1.0, T0 + 89_000)
    with house.store.read() as conn:
        kept = select(func.count()).where(observations.c.signal == "repl.lag_s")
        assert conn.execute(kept).scalar() == 1


@pytest.mark.parametrize("value", ["2", True, -1.0, None, {"lag": 2}])
def test_what_is_no_lag_is_not_kept(house: House, value: Any) -> None:
    house.report(10, told=told(8, value))
    assert lag(house) is None
