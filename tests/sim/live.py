"""Live a simulated month, or a part of it: fine (twenty hosts, every ten seconds) or driven by events (a thousand)."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.sim.drowsy import FLEET, Drowsy
from tests.sim.month import SIZE, Life, judged
from tests.sim.verdict import Verdict
from tests.sim.world import LawBroken, Size


def live(
    seed: int,
    days: int,
    faults: int,
    size: Size = SIZE,
    told: Callable[[int], None] | None = None,
    kind: type[Life] = Life,
) -> Verdict:
    """One month, or a part of it; raises LawBroken. The spools live in memory where the machine has such a folder."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="vartovyi-month-", dir=shm if shm.is_dir() else None) as folder:
        life = kind(seed, Path(folder), days, faults, size)
        if told is not None:
            life.told = told
        try:
            life.run(24.0 * days)
            return judged(life)
        finally:
            life.close()


def main() -> int:
    """``make sim-month``."""
    parser = argparse.ArgumentParser(description="A simulated month: quiet, or with faults of known cause.")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--days", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--faults", type=int, default=0, help="0 is a quiet month (default)")
    parser.add_argument("--hosts", type=int, default=None, help="default: 20; 1000 with --events")
    parser.add_argument(
        "--events", action="store_true", help="hosts cost something only while something happens to them"
    )
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else Random().randrange(1_000_000)
    size = FLEET if given.events else SIZE
    if given.hosts:
        size = dataclasses.replace(size, hosts=given.hosts)
    began = time.monotonic()

    def told(day: int) -> None:
        spent = time.monotonic() - began
        print(f"seed {seed}: day {day + 1} of {given.days}, {spent:.0f} s", file=sys.stderr, flush=True)

    try:
        verdict = live(seed, given.days, given.faults, size, told, Drowsy if given.events else Life)
    except LawBroken as broken:
        print(f"\nA law does not hold: {broken}", file=sys.stderr)
        return 1
    print("\n".join(verdict.lines()))
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
