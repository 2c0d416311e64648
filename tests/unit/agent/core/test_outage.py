"""The collector is away for a day: what the agent keeps, what it gives up, and in which order it all arrives."""

from __future__ import annotations

import os
import random
from typing import Any, Dict, List, Tuple

from agent.core import AgentCore, Identity, Status
from agent.findings import Now
from agent.signals.sample import Sample
from agent.spool import NAME, Spool
from agent.wire import MAX_FINDINGS, Evidence, Reply
from config.clock import FixedClock
from tests.unit.agent.core.conftest import rules_from

RULES = """
rules:
  - name: fs_full
    family: fs_space
    severity: high
    signal: fs.used_pct
    subjects: parts
    raise: {all: ["fs.used_pct >= 95"], for: 20 s}
    clear: {all: ["fs.used_pct < 90"], for: 30 s}
    worse: {severity: critical, all: ["fs.used_pct >= 99"], for: 20 s}
    facts: [fs.inode_pct]
"""
DAY_S = 86_400
SWEEP_S = 10
STREAM = "day"
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1_000_000)


class Day:
    """An agent without a collector, on simulated time; each change is written down as the core tells of it."""

    def __init__(self, folder: Any, max_bytes: int, evidence_chars: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.clock = FixedClock()
        self.told: List[Any] = []
        self._evidence = Evidence(notes={"lines": "x" * evidence_chars})
        self.start()

    def start(self) -> None:
        """Also after kill -9: nothing is flushed, nothing is said."""
        self.spool = Spool.open(self.folder, new_id=lambda: STREAM, max_bytes=self.max_bytes)
        identity = Identity("1", "boot", "run")
        self.core = AgentCore(
            self.spool, rules_from(RULES), identity, self.now(), gather=lambda change, history: self._evidence
        )

    def now(self) -> Now:
        return Now(self.clock.now_ms(), self.clock.mono_ms(), self.clock.boottime_ms())

    def sweep(self, levels: Dict[str, float]) -> None:
        self.clock.advance(SWEEP_S * 1000)
        mono_ms = self.clock.mono_ms()
        samples = [Sample("fs.used_pct", part, level, mono_ms) for part, level in levels.items()]
        self.told += self.core.take(samples, self.now(), "filesystems")

    def meet(self) -> None:
        """The first answer of a run: until then nothing is sent, since the collector may want another number."""
        self.core.report(self.now(), Status(10.0))
        self.core.replied(Reply(want_n=1), self.now(), stream=STREAM)

    def deliver(self) -> List[Any]:
        """The collector is back: report after report, as the wire allows, until the spool is empty."""
        got: List[Any] = []
        self.meet()
        for _ in range(10_000):
            report = self.core.report(self.now(), Status(10.0))
            if not report.findings:
                break
            assert len(report.findings) <= MAX_FINDINGS
            got += report.findings
            self.core.replied(Reply(want_n=report.findings[-1].n + 1), self.now(), stream=STREAM)
        return got


def _live(day: Day, chance: random.Random, seconds: int, turn: float) -> None:
    """Mounts fill, get worse and are emptied; now and then the agent is killed."""
    levels = {f"/srv/{i}": 50.0 for i in range(8)}
    for _ in range(seconds // SWEEP_S):
        for part in levels:
            if chance.random() < turn:
                levels[part] = chance.choice((50.0, 96.0, 99.5))
        if chance.random() < 0.001:
            day.spool.close()
            day.start()
        day.sweep(levels)
        size = (day.folder / NAME).stat().st_size
        assert size <= 2 * day.max_bytes, "the file outgrew its bound"


def _told(changes: List[Any]) -> List[Tuple[Any, ...]]:
    return [(c.n, c.kind, c.rule, c.subject, c.opening_n, c.at_ms, c.severity) for c in changes]


def test_a_day_without_the_collector_loses_nothing_and_comes_in_order_with_its_own_times(
    tmp_path: Any,
) -> None:
    """The shipped bound of 8 MiB, and findings with 4 KiB of evidence each: some hundred in the day, from eight mounts."""
    print(f"replay: SEED={SEED}")
    day = Day(tmp_path, 8 * 1024 * 1024, 4000)
    day.meet()
    _live(day, random.Random(SEED), DAY_S, 0.006)
    assert len(day.told) > 100
    assert day.spool.dropped == day.spool.refused == day.core.held == day.core.held_dropped == 0
    got = day.deliver()
    assert _told(got) == _told(day.told)
    assert [c.n for c in got] == list(range(1, len(got) + 1))
    assert all(c.facts for c in got), "facts were given up though there was room"
    assert all(c.evidence is not None for c in got if c.kind == "opened")
    assert day.spool.depth == 0


def test_a_bad_day_with_little_room_gives_up_words_and_never_an_opening_or_a_closing(
    tmp_path: Any,
) -> None:
    """Everything flaps, for the smallest spool that the settings allow: the bound holds, and the stream has no gap."""
    print(f"replay: SEED={SEED}")
    day = Day(tmp_path, 64 * 1024, 4000)
    day.meet()
    _live(day, random.Random(SEED), DAY_S // 12, 0.02)
    assert day.spool.dropped > 0, "nothing had to be given up: the day was not bad enough"
    known = {c.n: (c.kind, c.rule, c.subject, c.at_ms) for c in day.told}
    assert day.core.held_dropped == 0
    got = day.deliver()
    day.told += day.core.store_held()
    got += day.deliver()
    assert [c.n for c in got] == list(range(1, len(got) + 1))
    told = {c.n: (c.kind, c.rule, c.subject, c.at_ms) for c in got}
    assert {n: told.get(n) for n in known} == known
    state: Dict[str, int] = {}
    for change in got:
        if change.kind == "opened":
            assert change.subject not in state, f"opened twice: {change}"
            state[change.subject] = change.n
        else:
            assert state.get(change.subject) == change.opening_n, f"belongs to no opening: {change}"
            if change.kind == "closed":
                del state[change.subject]
    assert {c.subject for c in day.core.open_findings()} == set(state)
