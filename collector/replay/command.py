"""``vartovyi-collector replay``: plays scenario files and says what would have happened, and why.

It is how an admin tries thresholds and contracts before trusting them, as promtool tests rules.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from collector.replay import scenario as files
from collector.replay.played import Played
from collector.replay.player import Options, play
from collector.replay.scenario import Scenario
from collector.replay.score import Came, Score, is_above, score, summary
from collector.replay.show import lines_of, summary_lines
from collector.tick.context import TEXTS_FOLDER
from config.loader import ConfigError, Fault
from ticketing.model import Reason
from ticketing.texts import register, texts

WORKERS_MAX = 4
ALONE = 3
"""So few scenarios are played in this process: a second one costs more to start than it saves."""
BAR = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's arguments; ``--json`` is every subcommand's."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="scenario files or recorded incidents"
    )
    parser.add_argument("--score", action="store_true", help="compare with the truth; exit 1 below the gate")
    parser.add_argument("--noise", type=float, default=0.0, metavar="PCT", help="jitter of measured values")
    parser.add_argument(
        "--shift",
        type=float,
        default=0.0,
        metavar="S",
        help="move each host's times by up to S seconds",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of noise and shifts")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="ROW",
        help="leave an evidence row out; may be repeated",
    )
    parser.add_argument(
        "--gate",
        type=_share,
        default=1.0,
        metavar="X",
        help="least share of scenarios whose class is right, 0 to 1 or in percent",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="ID", help="only this scenario; may be repeated"
    )
    parser.add_argument("--language", choices=("en", "uk"), default="en", help="language of reasons")
    parser.add_argument(
        "--allow-unproduced",
        action="store_true",
        help="play also signals that nothing produces from real input yet",
    )


def run(args: argparse.Namespace) -> int:
    """Play, print, and judge the play by the gate where a score is asked for. Raises ConfigError for faulty files."""
    register(TEXTS_FOLDER)
    scenarios = read(args.files, may_lack_producers=args.allow_unproduced)
    if args.only:
        scenarios = [s for s in scenarios if s.id in args.only]
    check_rows(args.without)
    options = Options(args.noise, args.shift, args.seed, frozenset(args.without))
    played = []
    bar = _Bar(len(scenarios), sys.stderr)
    for one in play_all(scenarios, options):
        played.append(one)
        bar.step()
    bar.end()
    scores = score_all(played) if args.score else {}
    if args.json:
        sys.stdout.write(json.dumps(to_json(played, scores), ensure_ascii=False, indent=1) + "\n")
    else:
        for one in played:
            sys.stdout.write("\n".join(lines_of(one, scores.get(one.scenario.id), args.language)) + "\n")
        if args.score:
            sys.stdout.write("\n".join(summary_lines(summary(scores), args.gate)) + "\n")
    return 0 if not args.score or is_above(summary(scores), args.gate) else 1


def read(paths: Sequence[Path], *, may_lack_producers: bool = False) -> list[Scenario]:
    """All scenarios of all files; raises ConfigError with the faults of all of them together."""
    faults: list[Fault] = []
    found: list[Scenario] = []
    for path in paths:
        try:
            found += files.load(path, may_lack_producers=may_lack_producers)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return found


def check_rows(names: Sequence[str]) -> None:
    """Refuse rows that do not exist: leaving nothing out would prove nothing."""
    from collector.qualify.judge import ROWS

    known = {row.id for row in ROWS}
    wrong = [name for name in names if name not in known]
    if wrong:
        raise ConfigError(
            [Fault("--without", 0, name, "is no evidence row", ", ".join(sorted(known))) for name in wrong]
        )


def play_all(scenarios: Sequence[Scenario], options: Options) -> Iterator[Played]:
    """Play each, in order, on several processors where there are several; the outcome does not depend on it."""
    if len(scenarios) <= ALONE:
        yield from (_play_one(one, options) for one in scenarios)
        return
    import os

    workers = min(WORKERS_MAX, os.cpu_count() or 1, len(scenarios))
    # The longest first, so that no processor is left with it at the end.
    by_cost = sorted(
        range(len(scenarios)), key=lambda i: -scenarios[i].duration_s * len(scenarios[i].topology.hosts)
    )
    with ProcessPoolExecutor(workers) as pool:
        planned = {i: pool.submit(_play_one, scenarios[i], options) for i in by_cost}
        for i in range(len(scenarios)):
            yield planned[i].result()


def _play_one(scenario: Scenario, options: Options) -> Played:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="vartovyi-replay-", dir=memory if memory.is_dir() else None
    ) as folder:
        return play(scenario, options, Path(folder))


def score_all(played: Sequence[Played]) -> dict[str, Score]:
    """The score of every scenario that says what was the matter."""
    return {
        one.scenario.id: score(one.scenario.truth, came_of(one), one.failover.decision)
        for one in played
        if one.scenario.truth is not None
    }


def came_of(played: Played) -> list[Came]:
    """The tickets as scoring looks at them."""
    return [Came(t.role, t.class_, t.root_cause, t.scope, t.affected, t.opened_at_s) for t in played.tickets]


def to_json(played: Sequence[Played], scores: dict[str, Score]) -> dict[str, Any]:
    """The one object of --json."""
    found: dict[str, Any] = {
        "scenarios": [_scenario_json(one, scores.get(one.scenario.id)) for one in played]
    }
    if scores:
        found["summary"] = summary(scores)
    return found


def _scenario_json(played: Played, scored: Score | None) -> dict[str, Any]:
    parents = sorted(
        (t for t in played.tickets if t.role == "parent"), key=lambda t: (-len(t.affected), t.opened_at_s)
    )
    first = parents[0] if parents else None
    return {
        "id": played.scenario.id,
        "class": first.class_ if first else "none",
        "root_cause": first.root_cause if first else None,
        "tickets": [
            {
                "role": t.role,
                "class": t.class_,
                "root_cause": t.root_cause,
                "kind": t.kind,
                "scope": t.scope,
                "affected": list(t.affected),
                "opened_at_s": t.opened_at_s,
                "severity": t.severity,
                "confidence": t.confidence,
                "state": t.state,
                "contract": t.contract,
                "reasons": [_reason_json(reason) for reason in t.reasons],
            }
            for t in played.tickets
        ],
        "failover": {"decision": played.failover.decision, "reason": played.failover.reason},
        "score": scored.to_dict() if scored else None,
    }


def _reason_json(reason: Reason) -> dict[str, Any]:
    return {
        **reason.to_dict(),
        "en": texts("en").reason(reason),
        "uk": texts("uk").reason(reason),
    }


def _share(text: str) -> float:
    number = float(text.rstrip("%"))
    number = number / 100 if number > 1 or text.endswith("%") else number
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: 0 to 1, or 0 % to 100 %")
    return number


class _Bar:
    """Progress on a terminal; silent elsewhere."""

    def __init__(self, of: int, out: TextIO) -> None:
        self._of, self._out, self._done = of, out, 0
        self._is_shown = out.isatty() and of > 1

    def step(self) -> None:
        self._done += 1
        if self._is_shown:
            full = BAR * self._done // self._of
            self._out.write(f"\r[{'#' * full}{'.' * (BAR - full)}] {self._done}/{self._of}")
            self._out.flush()

    def end(self) -> None:
        if self._is_shown:
            self._out.write("\r" + " " * (BAR + 20) + "\r")
            self._out.flush()
