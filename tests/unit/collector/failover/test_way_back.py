"""What the facts of a failback say of the old primary that is to take over again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert

from collector.failover import gather
from collector.tables import open_findings
from tests.unit.collector.failover.houses import House

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
