"""The simulated fleet keeps every law; and it finds bugs that are planted on purpose, so that its silence means something."""

from __future__ import annotations

import dataclasses

import pytest

from tests.sim.collector import Variant
from tests.sim.world import LawBroken, Size, simulate

SMALL = Size(hosts=4)


def test_the_laws_hold_in_a_short_run() -> None:
    world = simulate(seed=2, hours=0.4, size=Size(hosts=8))
    assert world.tally["tickets"] >= 3, "too little happened for the laws to mean anything"
    assert world.tally["findings"] >= 20
    assert world.counts["second_decider"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_the_laws_hold_for_two_hours(seed: int) -> None:
    world = simulate(seed, hours=2, size=Size(hosts=20))
    for what, least in (("tickets", 20), ("silences", 20), ("kills", 5), ("repeats", 10)):
        assert world.tally[what] >= least, f"{what}: too few for the laws to mean anything"


@pytest.mark.slow
def test_the_same_seed_lives_the_same_life_twice() -> None:
    first, second = (simulate(seed=5, hours=0.05, size=SMALL) for _ in range(2))
    assert first.digest == second.digest
    assert first.digest != simulate(seed=6, hours=0.05, size=SMALL).digest


@pytest.mark.parametrize(
    ("variant", "law"),
    [
        (Variant(answers_before_commit=True), "every finding is accounted for"),
        (Variant(has_no_unique_constraint=True), "one open ticket"),
        (Variant(forgets_its_own_pause=True), "no false silence"),
    ],
    ids=lambda value: (
        next((k for k, v in dataclasses.asdict(value).items() if v), "") if isinstance(value, Variant) else ""
    ),
)
@pytest.mark.slow
def test_a_planted_bug_is_found(variant: Variant, law: str) -> None:
    """Within a few seeds; the failure names the seed and the command that replays it."""
    for seed in range(8, 16):
        try:
            simulate(seed, hours=0.6, size=Size(hosts=8), variant=variant)
        except LawBroken as broken:
            assert law in str(broken)
            assert f"make sim SEED={seed}" in str(broken)
            return
    pytest.fail(f"eight seeds did not find {variant}")
