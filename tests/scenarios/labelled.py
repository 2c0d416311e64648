"""The labelled scenarios beside this file and those of the public set, and which of ours are not judged right yet.

``known_failures.txt`` names each scenario that misses something, what it misses and why; a test fails as soon as a
scenario misses more, less or something else than the list says, so the list cannot rot.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from functools import cache
from pathlib import Path

from collector.replay import scenario as files
from collector.replay.command import came_of
from collector.replay.played import Played
from collector.replay.player import Options, play
from collector.replay.scenario import Scenario
from collector.replay.score import Score, score

HERE = Path(__file__).parent
KNOWN_FAILURES = HERE / "known_failures.txt"
PUBLIC = Path(
    os.environ.get("VARTOVYI_SCENARIOS") or HERE.parents[2] / "shared" / "scenarios" / "public.yaml"
)
NO_PUBLIC = "needs data beside the checkout: the labelled scenarios (or VARTOVYI_SCENARIOS)"
RESPECTS = ("class", "root_cause", "tickets", "time", "failover", "hard_fails")
"""What a scenario can miss, in the words of ``replay --score``."""


@dataclasses.dataclass(frozen=True)
class KnownFailure:
    """What a scenario misses for now, and why."""

    misses: tuple[str, ...]
    why: str


@cache
def own() -> dict[str, Scenario]:
    """Our own scenarios by id, of all files beside this one."""
    found: dict[str, Scenario] = {}
    for path in sorted(HERE.glob("*.yaml")):
        for scenario in files.load(path, may_lack_producers=True):
            assert scenario.id not in found, f"{scenario.id} stands in two files"
            found[scenario.id] = scenario
    return found


@cache
def public() -> dict[str, Scenario]:
    """The public set by id; empty where it is not beside the checkout."""
    if not PUBLIC.is_file():
        return {}
    return {one.id: one for one in files.load(PUBLIC, may_lack_producers=True)}


def known_failures() -> dict[str, KnownFailure]:
    """The list, by scenario id: a line holds the id, what it misses (with commas, no spaces) and why."""
    found: dict[str, KnownFailure] = {}
    for line in KNOWN_FAILURES.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, missed, why = line.split(maxsplit=2)
        assert name not in found, f"{name} stands twice in {KNOWN_FAILURES.name}"
        found[name] = KnownFailure(tuple(missed.split(",")), why)
    return found


def played(scenario: Scenario, options: Options | None = None) -> Played:
    """The scenario played in memory."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="vartovyi-scenario-", dir=memory if memory.is_dir() else None
    ) as folder:
        return play(scenario, options or Options(), Path(folder))


def scored(one: Played) -> Score:
    """Its score; the scenario must say what was the matter."""
    assert one.scenario.truth is not None
    return score(one.scenario.truth, came_of(one), one.failover.decision)


def misses(found: Score) -> tuple[str, ...]:
    """In which respects the score is not full, in the order of RESPECTS."""
    words = found.to_dict()
    return tuple(
        word for word in RESPECTS if (bool(words[word]) if word == "hard_fails" else not words[word])
    )


def tickets_in_words(one: Played) -> str:
    """What came out, one ticket a line, for a person who reads a failed test."""
    return "\n".join(
        f"  {t.role} class {t.class_} {t.root_cause} {t.scope} {', '.join(t.affected)} at {t.opened_at_s:g} s"
        for t in one.tickets
    )
