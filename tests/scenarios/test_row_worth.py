"""Evidence rows decide or support where row_witnesses.txt says so (``make test``)."""

from __future__ import annotations

import pytest

from collector.qualify.judge import ROWS
from tests.scenarios import labelled
from tests.scenarios.row_worth import WITNESSES, scenarios, witnesses, worth

pytestmark = [pytest.mark.collector, pytest.mark.slow]


@pytest.mark.parametrize("row", [row.id for row in ROWS])
def test_a_scenario_exercises_the_row(row):
    witness = next((one for one in witnesses() if one.row == row), None)
    if witness is None:
        pytest.xfail(f"{WITNESSES.name} has no witness yet: python -m tests.scenarios.row_worth --find")
    if witness.scenario not in scenarios():
        pytest.skip(labelled.NO_PUBLIC)
    assert worth(row, witness.scenario) == witness.worth
