"""Our median is the standard library's, without what that one imports."""

from __future__ import annotations

import random
import statistics

import pytest

from agent.signals.median import median


def test_it_agrees_with_the_standard_library():
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(200):
        values = [chance.uniform(-5, 5) for _ in range(chance.randint(1, 30))]
        assert median(values) == statistics.median(values), f"seed {seed}"


def test_nothing_has_no_median():
    with pytest.raises(ValueError):
        median([])
