"""What must not matter does not: other names, order, contracts, hours, healthy hosts beside. A sample by seed."""

from __future__ import annotations

import os
from functools import cache
from random import Random, randrange

import pytest

from collector.replay.played import Played
from tests.scenarios import labelled
from tests.scenarios.changed_worlds import CHANGES, differences

pytestmark = [pytest.mark.collector, pytest.mark.slow]

SEED = int(os.environ.get("SEED", "0")) or randrange(1, 1_000_000)
SAMPLE = 4
"""Scenarios of a run; all of them by hand: ``python -m tests.scenarios.changed_worlds``."""
COST_MAX = 12_000
"""Host-seconds of a scenario that a sample may take; longer ones are for the command by hand."""


def sample() -> list[str]:
    """The scenarios of this run, some of the public set where it is there."""
    fit = [
        name
        for name, one in sorted({**labelled.public(), **labelled.own()}.items())
        if one.recorded is None and one.duration_s * len(one.topology.hosts) <= COST_MAX
    ]
    return Random(SEED).sample(fit, SAMPLE)


@cache
def as_it_is(name: str) -> Played:
    """The scenario unchanged, played once for all changes."""
    return labelled.played({**labelled.public(), **labelled.own()}[name])


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_must_not_matter_changes_no_verdict(change):
    scenarios = {**labelled.public(), **labelled.own()}
    wrong = []
    for name in sample():
        random = Random(f"{SEED}/{change}/{name}")
        wrong += [
            f"{name}: {line}"
            for line in differences(scenarios[name], CHANGES[change], random, as_it_is(name))
        ]
    again = f"python -m tests.scenarios.changed_worlds --change {change} --seed {SEED}"
    assert not wrong, f"{again}\n" + "\n".join(wrong)


@pytest.mark.parametrize(("name", "change"), [("BA17", "over-contracts")])
def test_a_world_that_once_was_judged_otherwise_is_judged_alike(name, change):
    scenario = labelled.own()[name]
    assert differences(scenario, CHANGES[change], Random(f"1/{change}/{name}"), as_it_is(name)) == []
