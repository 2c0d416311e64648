"""Every evidence row has a scenario in row_witnesses.txt and is worth there what the list says (``make test``)."""

from __future__ import annotations

import pytest

from collector.qualify.judge import ROWS
from tests.scenarios import labelled
from tests.scenarios.row_worth import WITNESSES, Witness, scenarios, witnesses, worth

pytestmark = pytest.mark.collector


def test_every_row_has_a_scenario_that_exercises_it():
    listed = [one.row for one in witnesses()]
    assert sorted(listed) == sorted(set(listed)), "a row stands twice"
    missing = {row.id for row in ROWS} - set(listed)
    assert not missing, (
        f"{WITNESSES.name} lacks {sorted(missing)}: python -m tests.scenarios.row_worth --find"
    )
    assert not set(listed) - {row.id for row in ROWS}, "rows that are gone"


def test_every_scenario_of_the_list_is_there():
    known = scenarios().keys() | {
        f"P{n:02}" for n in range(1, 41)
    }  # the public set may not be beside the checkout
    assert {one.scenario for one in witnesses()} <= known


def _by_scenario(one: Witness) -> tuple[str, str]:
    return one.scenario, one.row  # rows of one scenario in a row: its play with all rows is kept


@pytest.mark.slow
@pytest.mark.parametrize("listed", [
    pytest.param(one, id=f"{one.row}-{one.scenario}") for one in sorted(witnesses(), key=_by_scenario)
])  # fmt: skip
def test_a_row_is_worth_what_the_list_says(listed):
    if listed.scenario not in scenarios():
        pytest.skip(labelled.NO_PUBLIC)
    again = f"python -m tests.scenarios.row_worth --find --only {listed.row}"
    assert worth(listed.row, listed.scenario) == listed.worth, again
