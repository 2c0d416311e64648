"""Every evidence row has a scenario in row_witnesses.txt; a sample of them is played with and without its row (``make test``)."""

from __future__ import annotations

import os
from random import Random, randrange

import pytest

from collector.qualify.judge import ROWS
from tests.scenarios import labelled
from tests.scenarios.row_worth import DECIDES, WITNESSES, Witness, scenarios, witnesses, worth

pytestmark = pytest.mark.collector

SEED = int(os.environ.get("SEED", "0")) or randrange(1, 1_000_000)
SAMPLE = 8
"""Rows of a run: each takes two plays. All of them by hand: ``python -m tests.scenarios.row_worth --check``."""


def sample() -> list[Witness]:
    """The rows of this run, those of scenarios that are here."""
    here = [one for one in witnesses() if one.scenario in scenarios()]
    return Random(SEED).sample(here, SAMPLE)


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


@pytest.mark.slow
def test_a_row_is_worth_what_the_list_says():
    if not labelled.public():
        pytest.skip(labelled.NO_PUBLIC)
    for one in sample():
        found = worth(one.row, one.scenario)
        again = f"SEED={SEED}: {one.row} in {one.scenario} is worth {found or 'nothing'}, and {one.worth} is listed"
        assert found in (DECIDES, one.worth), again
