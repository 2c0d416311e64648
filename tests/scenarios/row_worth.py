"""What each evidence row is worth: a scenario that cites it, and whether its verdict changes when the row is left out.

``row_witnesses.txt`` holds one line a row: the row, a scenario of the public set or our own, and ``decides`` (class, cause,
scope, hosts, time or confidence change without the row) or ``supports`` (it holds, and others carry the verdict).
By hand: ``python -m tests.scenarios.row_worth --find`` writes the list anew, ``--check`` holds it against today's engine.
The search plays everything once and notes which rows held in any case on the way, then some of those scenarios without the
row; ``--kept FILE`` keeps the first half.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from collector.qualify import judge
from collector.qualify.case import Case
from collector.qualify.judge import ROWS
from collector.qualify.row import Params, Row
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
# decides: without the row the verdict changes; supports: it holds there, and others carry the verdict.
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

    verdicts: tuple[tuple[str, ...], ...]
    """What a row may change: everything about the tickets but their reasons."""
    cited: Mapping[str, int]
    """Row -> how many reasons stand beside it on the ticket where it has the fewest."""
    held: tuple[str, ...] = ()
    """Rows that held in any case on the way, where somebody listened."""


def outcome(played: Played) -> Outcome:
    """What came of a play. Rows that share a sentence, weight and group cannot be told apart: each counts as cited."""
    verdicts: list[tuple[str, ...]] = []
    cited: dict[str, int] = {}
    for ticket in played.tickets:
        verdicts.append((
            ticket.role, ticket.class_, ticket.root_cause, ticket.scope, ",".join(ticket.affected),
            f"{ticket.opened_at_s:g}", ticket.confidence,
        ))  # fmt: skip
        said = {(reason.key, reason.weight, reason.group) for reason in ticket.reasons}
        for row in ROWS:
            if (row.key, row.weight, row.group) in said:
                cited[row.id] = min(len(said), cited.get(row.id, len(said)))
    return Outcome(tuple(sorted(verdicts)), cited)


@functools.lru_cache(maxsize=256)
def outcome_of(scenario: str, without: str = "") -> Outcome:
    """The outcome of the scenario played, without a row if one is named."""
    options = Options(without=frozenset({without} if without else ()))
    return outcome(labelled.played(scenarios()[scenario], options))


@functools.lru_cache(maxsize=256)
def listened(scenario: str) -> Outcome:
    """The outcome, and which rows held on the way, by listening rows in judgement.

    A ticket shows what speaks at its end: what opened it, and was said better later, held all the same.
    """
    held: set[str] = set()
    was = judge.ROWS
    judge.ROWS = tuple(_listening(row, held) for row in was)
    try:
        found = outcome(labelled.played(scenarios()[scenario]))
    finally:
        judge.ROWS = was
    return dataclasses.replace(found, held=tuple(sorted(held)))


def _listening(row: Row, held: set[str]) -> Row:
    def when(case: Case) -> Params | None:
        params = row.when(case)
        if params is not None:
            held.add(row.id)
        return params

    return dataclasses.replace(row, when=when)


def scenarios() -> Mapping[str, Scenario]:
    """The public set and our own."""
    return {**labelled.public(), **labelled.own()}


def worth(row: str, scenario: str) -> str:
    """``decides``, ``supports``, or nothing where the scenario neither changes without the row nor lets it hold."""
    whole = listened(scenario)
    if outcome_of(scenario, row).verdicts != whole.verdicts:
        return DECIDES
    return SUPPORTS if row in whole.held else ""


def find(workers: int, kept: Path | None, only: Sequence[str] = ()) -> list[Witness | str]:
    """For each row (or those named) its witness, or its bare id where no scenario exercises it."""
    ours = labelled.own()
    cost = {one.id: one.duration_s * len(one.topology.hosts) for one in scenarios().values()}
    known = _read(kept)
    with ProcessPoolExecutor(workers) as pool:
        names = [name for name in cost if name not in known]
        for name, one in zip(names, _watched(pool.map(listened, names), len(names)), strict=True):
            known[name] = one
        _keep(kept, known)
        candidates = []
        rows = [row for row in ROWS if row.id in only or not only]
        for row in rows:
            holding = [name for name in cost if row.id in known[name].held]
            # Our own first: they are always there. Then where it stands most alone; of those the cheap ones, since every
            # run of the slow tests plays them all.
            holding.sort(key=lambda name: (name not in ours, known[name].cited.get(row.id, 99), cost[name]))
            likely = sorted(holding[:CANDIDATES_MAX], key=lambda name: (name not in ours, cost[name]))
            candidates.append([(name, known[name]) for name in likely])
        found = pool.map(_best_witness, [row.id for row in rows], candidates)
        return list(_watched(found, len(rows)))


def _read(kept: Path | None) -> dict[str, Outcome]:
    if kept is None or not kept.is_file():
        return {}
    raw = json.loads(kept.read_text(encoding="utf-8"))
    return {
        name: Outcome(tuple(tuple(v) for v in one["verdicts"]), one["cited"], tuple(one["held"]))
        for name, one in raw.items()
    }


def _keep(kept: Path | None, known: Mapping[str, Outcome]) -> None:
    if kept is not None:
        kept.write_text(json.dumps({name: dataclasses.asdict(one) for name, one in known.items()}))


def _watched(found: Iterable[Any], of: int) -> Iterator[Any]:
    for done, one in enumerate(found, 1):
        yield one
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done}/{of} ")


def _best_witness(row: str, candidates: Sequence[tuple[str, Outcome]]) -> Witness | str:
    for name, whole in candidates:
        if outcome_of(name, row).verdicts != whole.verdicts:
            return Witness(row, name, DECIDES)
    citing = [name for name, whole in candidates if row in whole.cited]
    held = [*citing, *(name for name, _ in candidates)]
    return Witness(row, held[0], SUPPORTS) if held else row


def check(listed: Sequence[Witness]) -> int:
    """Play each row's scenario with and without it; 1 where the list does not say what came."""
    wrong = 0
    for one in _watched(listed, len(listed)):
        found = worth(one.row, one.scenario)
        if found != one.worth:
            wrong += 1
            sys.stdout.write(f"{one.row} in {one.scenario}: {found or 'nothing'} instead of {one.worth}\n")
            sys.stdout.flush()
    return 1 if wrong else 0


def main(words: Sequence[str]) -> int:
    """Write the list anew (1 where rows are left that nothing exercises), or check it."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.row_worth", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--find", action="store_true", help="write row_witnesses.txt anew")
    what.add_argument(
        "--check", action="store_true", help="play each row's scenario and hold it against the list"
    )
    parser.add_argument(
        "--kept", type=Path, metavar="FILE", help="which rows held where; read if it is there, else written"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="ROW", choices=sorted(row.id for row in ROWS),
        help="look for this row alone, and leave the others as the list says",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    args = parser.parse_args(words)
    if args.check:
        return check([one for one in witnesses() if not args.only or one.row in args.only])
    found = find(args.workers, args.kept, args.only)
    found += [one for one in witnesses() if args.only and one.row not in args.only]
    lines = [f"{one.row} {one.scenario} {one.worth}" for one in found if isinstance(one, Witness)]
    WITNESSES.write_text(HEADING + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    dead = sorted(one for one in found if isinstance(one, str))
    for row in dead:
        sys.stdout.write(f"{row}: no scenario exercises it\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
