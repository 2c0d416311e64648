"""What each evidence row is worth: a scenario that cites it, and whether its verdict changes when the row is left out.

``row_witnesses.txt`` holds one line a row: the row, a scenario of the public set or our own, and ``decides`` (class, cause,
scope, hosts, time or confidence change without the row) or ``supports`` (it is cited, and others carry the verdict).
By hand, to write the list anew: ``python -m tests.scenarios.row_worth --find``; it plays everything several times.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from collector.qualify.judge import ROWS
from collector.replay.played import Played
from collector.replay.player import Options
from collector.replay.scenario import Scenario
from tests.scenarios import labelled

WITNESSES = Path(__file__).parent / "row_witnesses.txt"
DECIDES, SUPPORTS = "decides", "supports"
CANDIDATES_MAX = 6
"""How many scenarios that cite a row are played without it before it counts as support only."""
HEADING = """\
# Evidence row, the scenario that exercises it, and what the row is worth there (tests/scenarios/row_worth.py).
# decides: without the row the verdict changes; supports: cited there, and others carry the verdict.
"""


@dataclasses.dataclass(frozen=True)
class Witness:
    """A scenario that exercises a row."""

    row: str
    scenario: str
    worth: str


def witnesses() -> tuple[Witness, ...]:
    """The list as it stands."""
    lines = WITNESSES.read_text(encoding="utf-8").splitlines()
    return tuple(Witness(*line.split()) for line in lines if line.strip() and not line.startswith("#"))


def cited(played: Played) -> frozenset[str]:
    """The rows whose reasons stand on any ticket that came out."""
    keys = {reason.key for ticket in played.tickets for reason in ticket.reasons}
    return frozenset(row.id for row in ROWS if row.key in keys)


def verdicts(played: Played) -> list[tuple[object, ...]]:
    """What a row may change: everything about the tickets but their reasons."""
    return sorted(
        (t.role, t.class_, t.root_cause, t.scope, t.affected, t.opened_at_s, t.confidence, t.first_class)
        for t in played.tickets
    )


def scenarios() -> Mapping[str, Scenario]:
    """The public set and our own."""
    return {**labelled.public(), **labelled.own()}


def worth(row: str, scenario: str) -> str:
    """``decides``, ``supports``, or nothing where the scenario does not cite the row."""
    with_it = labelled.played(scenarios()[scenario])
    return _worth(row, scenario, verdicts(with_it)) if row in cited(with_it) else ""


def _worth(row: str, scenario: str, with_it: list[tuple[object, ...]]) -> str:
    without = labelled.played(scenarios()[scenario], Options(without=frozenset({row})))
    return SUPPORTS if verdicts(without) == with_it else DECIDES


def find(workers: int) -> list[Witness | str]:
    """For each row its witness, or its bare id where no scenario cites it."""
    # Our own first: they are always there. Then the cheap ones.
    ours = labelled.own()
    by_cost = sorted(
        scenarios().values(), key=lambda one: (one.id not in ours, one.duration_s * len(one.topology.hosts))
    )
    names = [one.id for one in by_cost]
    found: list[Witness | str] = []
    with ProcessPoolExecutor(workers) as pool:
        whole = dict(zip(names, _watched(pool.map(_with_it, names), len(names)), strict=True))
        rows = [row.id for row in ROWS]
        candidates = [
            [(name, whole[name][1]) for name in names if row in whole[name][0]][:CANDIDATES_MAX]
            for row in rows
        ]
        found.extend(_watched(pool.map(_best_witness, rows, candidates), len(rows)))
    return found


def _watched(found: Iterable[Any], of: int) -> Iterator[Any]:
    for done, one in enumerate(found, 1):
        yield one
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done}/{of} ")


def _with_it(name: str) -> tuple[frozenset[str], list[tuple[object, ...]]]:
    played = labelled.played(scenarios()[name])
    return cited(played), verdicts(played)


def _best_witness(row: str, candidates: Sequence[tuple[str, list[tuple[object, ...]]]]) -> Witness | str:
    for name, with_it in candidates:
        if _worth(row, name, with_it) == DECIDES:
            return Witness(row, name, DECIDES)
    return Witness(row, candidates[0][0], SUPPORTS) if candidates else row


def main(words: Sequence[str]) -> int:
    """Write the list anew; 1 where rows are left that nothing exercises."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.row_worth", description=__doc__)
    parser.add_argument("--find", action="store_true", required=True, help="write row_witnesses.txt anew")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    args = parser.parse_args(words)
    found = find(args.workers)
    lines = [f"{one.row} {one.scenario} {one.worth}" for one in found if isinstance(one, Witness)]
    WITNESSES.write_text(HEADING + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    dead = sorted(one for one in found if isinstance(one, str))
    for row in dead:
        sys.stdout.write(f"{row}: no scenario cites it\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
