"""What must not matter does not: other names, order, contracts, hours, healthy hosts beside. A sample by seed."""

from __future__ import annotations

import os
from random import Random, randrange

import pytest

from tests.scenarios import labelled
from tests.scenarios.changed_worlds import CHANGES, differences

pytestmark = [pytest.mark.collector, pytest.mark.slow]

SEED = int(os.environ.get("SEED", "0")) or randrange(1, 1_000_000)
SAMPLE = 4
"""Scenarios of a run for each change; all of them by hand: ``python -m tests.scenarios.changed_worlds``."""
COST_MAX = 12_000
"""Host-seconds of a scenario that a sample may take; longer ones are for the command by hand."""


def sample(change: str) -> list[str]:
    """The scenarios of this run, some of the public set where it is there."""
    fit = [
        name
        for name, one in sorted({**labelled.public(), **labelled.own()}.items())
        if one.duration_s * len(one.topology.hosts) <= COST_MAX
    ]
    return Random(f"{SEED}/{change}").sample(fit, SAMPLE)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_what_must_not_matter_changes_no_verdict(change):
    scenarios = {**labelled.public(), **labelled.own()}
    wrong = []
    for name in sample(change):
        before = labelled.played(scenarios[name])
        random = Random(f"{SEED}/{change}/{name}")
        wrong += [f"{name}: {line}" for line in differences(scenarios[name], CHANGES[change], random, before)]
    again = f"python -m tests.scenarios.changed_worlds --change {change} --seed {SEED}"
    assert not wrong, f"{again}\n" + "\n".join(wrong)
