"""The core of the laboratory: cases that ``make test`` plays, several houses beside each other, and a few random schedules.

All of them, and 200 schedules: ``make failover-lab``. Every row stands in ``tests/lab/table.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.lab.house import require_house
from tests.lab.play import Row
from tests.lab.rows import rows_of
from tests.lab.table import CASES

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(2400)]

CORE = [case.id for case in CASES if case.is_core and case.do is not None]
SEEDS = (2, 7, 14)
BESIDE = 4
"""Mostly they wait: a house needs about twelve seconds of a processor."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Row]:
    require_house()
    folder = str(tmp_path_factory.mktemp("lab"))
    return {row.id: row for row in rows_of(CORE, SEEDS, BESIDE, folder)}


@pytest.mark.parametrize("case_id", CORE)
def test_a_case_of_the_core_ends_as_the_specification_says(rows: Mapping[str, Row], case_id: str) -> None:
    row = rows[case_id]
    assert row.faults == (), f"{row.fault}: {row.got}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_schedule_breaks_no_law(rows: Mapping[str, Row], seed: int) -> None:
    """J1."""
    row = rows[f"J1/{seed}"]
    assert row.faults == (), f"make failover-lab CASES=J1 RUNS=1 SEED={seed}: {row.fault}"
