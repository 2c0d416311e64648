"""What each evidence row is worth: a scenario that cites it, and whether its verdict changes when the row is left out.

``row_witnesses.txt`` holds one line a row: the row, a scenario of the public set or our own, and ``decides`` (class, cause,
scope, hosts, time or confidence change without the row) or ``supports`` (it is cited, and others carry the verdict).
By hand, to write the list anew: ``python -m tests.scenarios.row_worth --find``; it plays everything several times,
unless ``--played`` brings what ``replay --json`` has said of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from collector.qualify.judge import ROWS
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


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A play as far as rows are concerned."""

    verdicts: tuple[tuple[object, ...], ...]
    """What a row may change: everything about the tickets but their reasons."""
    cited: Mapping[str, int]
    """Row -> how many reasons stand beside it on the ticket where it has the fewest."""


def outcome(scenario: Mapping[str, Any]) -> Outcome:
    """The outcome in a scenario of ``replay --json``."""
    rows = {row.key: row.id for row in ROWS}
    verdicts, cited = [], {}
    for ticket in scenario["tickets"]:
        verdicts.append(
            tuple(
                str(ticket[word])
                for word in ("role", "class", "root_cause", "scope", "affected", "opened_at_s", "confidence")
            )
        )
        mine = [rows[reason["key"]] for reason in ticket["reasons"] if reason["key"] in rows]
        for row in mine:
            cited[row] = min(len(mine), cited.get(row, len(mine)))
    return Outcome(tuple(sorted(verdicts)), cited)


def outcome_of(scenario: str, without: str = "") -> Outcome:
    """The outcome of the scenario played, without a row if one is named."""
    options = Options(without=frozenset({without} if without else ()))
    played = labelled.played(scenarios()[scenario], options)
    tickets = [
        {
            **dataclasses.asdict(ticket),
            "class": ticket.class_,
            "affected": list(ticket.affected),
            "reasons": [{"key": reason.key} for reason in ticket.reasons],
        }
        for ticket in played.tickets
    ]
    return outcome({"tickets": tickets})


def scenarios() -> Mapping[str, Scenario]:
    """The public set and our own."""
    return {**labelled.public(), **labelled.own()}


def worth(row: str, scenario: str) -> str:
    """``decides``, ``supports``, or nothing where the scenario does not cite the row."""
    whole = outcome_of(scenario)
    return _worth(row, scenario, whole) if row in whole.cited else ""


def _worth(row: str, scenario: str, whole: Outcome) -> str:
    return SUPPORTS if outcome_of(scenario, row).verdicts == whole.verdicts else DECIDES


def find(workers: int, known: Mapping[str, Outcome]) -> list[Witness | str]:
    """For each row its witness, or its bare id where no scenario cites it; ``known`` need not be played."""
    ours = labelled.own()
    cost = {one.id: one.duration_s * len(one.topology.hosts) for one in scenarios().values()}
    with ProcessPoolExecutor(workers) as pool:
        names = [name for name in cost if name not in known]
        whole = {**known, **dict(zip(names, _watched(pool.map(outcome_of, names), len(names)), strict=True))}
        rows = [row.id for row in ROWS]
        candidates = []
        for row in rows:
            citing = [name for name in cost if name in whole and row in whole[name].cited]
            # Our own first: they are always there. Then where it stands most alone, then the cheap ones.
            citing.sort(key=lambda name: (name not in ours, whole[name].cited[row], cost[name]))
            candidates.append([(name, whole[name]) for name in citing[:CANDIDATES_MAX]])
        return list(_watched(pool.map(_best_witness, rows, candidates), len(rows)))


def _watched(found: Iterable[Any], of: int) -> Iterator[Any]:
    for done, one in enumerate(found, 1):
        yield one
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done}/{of} ")


def _best_witness(row: str, candidates: Sequence[tuple[str, Outcome]]) -> Witness | str:
    for name, whole in candidates:
        if _worth(row, name, whole) == DECIDES:
            return Witness(row, name, DECIDES)
    return Witness(row, candidates[0][0], SUPPORTS) if candidates else row


def main(words: Sequence[str]) -> int:
    """Write the list anew; 1 where rows are left that nothing exercises."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.row_worth", description=__doc__)
    parser.add_argument("--find", action="store_true", required=True, help="write row_witnesses.txt anew")
    parser.add_argument(
        "--played", type=Path, action="append", default=[], metavar="FILE", help="output of replay --json"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    args = parser.parse_args(words)
    known = {
        one["id"]: outcome(one)
        for path in args.played
        for one in json.loads(path.read_text(encoding="utf-8"))["scenarios"]
    }
    found = find(args.workers, known)
    lines = [f"{one.row} {one.scenario} {one.worth}" for one in found if isinstance(one, Witness)]
    WITNESSES.write_text(HEADING + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    dead = sorted(one for one in found if isinstance(one, str))
    for row in dead:
        sys.stdout.write(f"{row}: no scenario cites it\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
