"""Made-up fleets for cross-checks: servers with habits, growth, nightly jobs and bursts, five-minute samples, no fault.

Nobody's data: the shapes are those that studies of cloud fleets name (idle with rare bursts, day and night, batch,
always high, restless, growing), drawn from a seed. Whatever is opened on them reached a person for nothing. They are
for the question whether patience holds on servers that it was not tuned on, and are no truth about any real fleet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

from tests.score.streams import Row, Series

TAU_S = 300
DAY_S = 86_400
START_S = 1_751_328_000
"""A Tuesday."""

Load = Callable[[int], float]


def _idle(random: Random) -> Load:
    base, chance = random.uniform(1, 8), random.uniform(0.0002, 0.004)
    state = {"until": 0, "height": 0.0}

    def load(at_s: int) -> float:
        if at_s >= state["until"] and random.random() < chance:
            state["until"] = at_s + TAU_S * max(1, round(random.expovariate(1 / random.choice((1.5, 4, 20)))))
            state["height"] = min(100.0, random.lognormvariate(3.6, 0.6))
        return base * random.uniform(0.8, 1.3) + (state["height"] if at_s < state["until"] else 0.0)

    return load


def _daily(random: Random) -> Load:
    base, swing, peak = random.uniform(5, 30), random.uniform(10, 55), random.uniform(8, 20)
    weekend = random.uniform(0.3, 1.0)
    noise = random.uniform(0.05, 0.25)

    def load(at_s: int) -> float:
        hour = at_s % DAY_S / 3600
        wave = max(0.0, math.cos((hour - peak) / 24 * 2 * math.pi))
        factor = weekend if (at_s // DAY_S + 3) % 7 >= 5 else 1.0
        return (base + swing * wave * factor) * random.gauss(1.0, noise)

    return load


def _batch(random: Random) -> Load:
    hour, minutes = random.randrange(24), random.choice((10, 30, 60, 150, 240))
    days = random.choice((range(7), range(5), (random.randrange(7),)))
    height, base = random.uniform(60, 100), random.uniform(2, 20)
    jitter_s = random.choice((0, 300, 1800))

    def load(at_s: int) -> float:
        day = at_s // DAY_S
        late_s = Random(day * 7919 + hour).uniform(-jitter_s, jitter_s) if jitter_s else 0
        begins = hour * 3600 + late_s
        is_on = (day + 3) % 7 in days and begins <= at_s % DAY_S < begins + minutes * 60
        return (height if is_on else base) * random.uniform(0.9, 1.05)

    return load


def _high(random: Random) -> Load:
    level, noise = random.uniform(70, 100), random.uniform(1, 12)
    return lambda at_s: random.gauss(level, noise)


def _restless(random: Random) -> Load:
    pull, step = random.uniform(0.005, 0.08), random.uniform(1, 8)
    centre = random.uniform(15, 70)
    state = {"level": centre}

    def load(at_s: int) -> float:
        state["level"] += pull * (centre - state["level"]) + random.gauss(0, step)
        state["level"] = min(100.0, max(0.0, state["level"]))
        return state["level"]

    return load


def _growing(random: Random) -> Load:
    daily, per_day = _daily(random), random.uniform(0.05, 0.6)
    return lambda at_s: daily(at_s) + per_day * (at_s - START_S) / DAY_S


def _stepping(random: Random) -> Load:
    """Load that moves to another level once in a few weeks: a new tenant, a release, a campaign."""
    state = {"level": random.uniform(5, 50), "next": START_S + random.expovariate(1 / (20 * DAY_S))}
    noise = random.uniform(1, 10)

    def load(at_s: int) -> float:
        if at_s >= state["next"]:
            state["level"] = random.uniform(3, 95)
            state["next"] = at_s + random.expovariate(1 / (20 * DAY_S))
        return random.gauss(state["level"], noise)

    return load


KINDS: tuple[tuple[float, Callable[[Random], Load]], ...] = (
    (0.35, _idle),
    (0.25, _daily),
    (0.12, _batch),
    (0.06, _high),
    (0.10, _restless),
    (0.05, _growing),
    (0.07, _stepping),
)
"""Share of the fleet, and how such a server's load is drawn."""


def fleet(servers: int, days: int, seed: int) -> Iterator[Series]:
    """``servers`` servers over ``days`` days; the same for the same seed."""
    for n in range(servers):
        random = Random(f"{seed}/{n}")
        make = random.choices([make for _, make in KINDS], [share for share, _ in KINDS])[0]
        load = make(random)
        rows: list[Row] = []
        for at_s in range(START_S, START_S + days * DAY_S, TAU_S):
            value = round(min(100.0, max(0.0, load(at_s))), 2)
            rows.append(
                (
                    at_s,
                    {("cpu.user_pct", ""): value, ("cpu.sys_pct", ""): 0.0, ("cpu.softirq_pct", ""): 0.0},
                )
            )
        yield Series(f"{make.__name__[1:]}-{n:03d}", TAU_S, rows, [], ("cpu.user_pct",))
