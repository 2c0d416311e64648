"""Random histories of the pure engine by the thousand: ``make failover-random`` (N=100000). A broken law prints its seed.

Each history is a run over a world that fails by the dice (``worlds.Story``): lost answers, crashes between any two lines,
stolen leases, fences that lie. After each the laws are asked for; ``--planted`` plants a bug that must be found.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from random import Random

from collector.failover import journal
from collector.failover.states import State
from tests.unit.collector.failover.worlds import Story

TROUBLES = (0.0, 0.1, 0.3, 0.6, 0.9)
ENDS = frozenset({State.HOLD_DOWN, State.STUCK, State.ABORTED, State.FAILBACK_READY})
PLANTED = ("no term check", "intent after act")


def faults_of(seed: int, planted: str = "") -> tuple[list[str], str]:
    """(what was broken in the history of this seed, where it ended)."""
    dice = Random(seed)
    story = Story(dice, dice.choice(TROUBLES), planted=planted)
    run = story.play()
    found = list(story.faults)
    if run.state not in ENDS:
        found.append(f"no end: {run.state.value}")
    if journal.broken_at(story.entries) is not None:
        found.append("the chain is broken")
    if run.state is State.HOLD_DOWN and (story.world.primary_on or not story.world.backup_is_primary):
        found.append("it says that the backup serves, and it does not")
    if story.world.promotions > 1:
        found.append("promoted twice")
    return found, run.state.value


def _part(seeds: range) -> tuple[Counter[str], list[tuple[int, list[str]]]]:
    ends: Counter[str] = Counter()
    broken = []
    for seed in seeds:
        found, end = faults_of(seed)
        ends[end] += 1
        if found:
            broken.append((seed, found))
    return ends, broken


def main(argv: list[str] | None = None) -> int:
    """Play; 1 where a law was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--n", type=int, default=100_000, help="histories")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the others follow")
    args = parser.parse_args(argv)
    began_s, ends, broken = time.monotonic(), Counter(), []
    size = max(1, min(1_000, args.n // 20))
    parts = [range(a, min(a + size, args.seed + args.n)) for a in range(args.seed, args.seed + args.n, size)]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for n, (some, wrong) in enumerate(pool.imap_unordered(_part, parts), 1):
            ends.update(some)
            broken += wrong
            print(
                f"\r{sum(ends.values())} of {args.n}, {len(broken)} broken",
                end="",
                file=sys.stderr,
                flush=True,
            )
            if len(broken) > 20 or n == len(parts):
                break
    print(file=sys.stderr)
    for seed, found in broken[:20]:
        print(f"seed {seed}: {'; '.join(sorted(set(found)))}")
    told = ", ".join(f"{end} {count}" for end, count in ends.most_common())
    print(
        f"{sum(ends.values())} histories in {time.monotonic() - began_s:.0f} s: {told}; {len(broken)} with a broken law"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
