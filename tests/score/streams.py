"""The two streams of SCORE.md over one server's series: findings of the agent, tickets of the collector after damping.

The agent is the real one: AgentCore with its spool, the shipped rules and its weekly profile, fed with the series at
its own interval. What it reports goes through ``collector.qualify.damping``, as the tick asks it
(``collector.tick.quiet``); ``test_the_tick_opens_the_tickets_that_the_score_counts`` holds the two together.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from agent.core import AgentCore, Identity
from agent.findings import Now
from agent.settings import SHIPPED
from agent.signals.catalogue import UNITS
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.usual import UsualHours
from agent.wire import FindingChange, Reply, change_to_dict
from collector.qualify import damping
from collector.qualify.case import Held, held_from_body
from config import loader

SPOOL_BYTES = 1 << 20
RESOLVE_AFTER_S = 60
"""As ``tick.resolve_after`` ships."""

Row = tuple[int, dict[tuple[str, str], float]]


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the truth says that something was wrong; without an onset it is neutral."""

    start_s: int
    end_s: int
    onset_s: Optional[int]


@dataclasses.dataclass
class Series:
    """One server."""

    server: str
    tau_s: int
    rows: list[Row]
    """(instant in s, {(signal, subject): value}), oldest first."""
    windows: list[Window] = dataclasses.field(default_factory=list)
    signals: tuple[str, ...] = ()
    """What the series is about; for choosing sets."""

    def days(self) -> float:
        return sum(1 for _, values in self.rows if values) * self.tau_s / 86_400


@dataclasses.dataclass(frozen=True)
class Span:
    """A finding or a ticket."""

    server: str
    key: str
    opened_s: float
    closed_s: Optional[float]

    def is_open_at(self, at_s: float) -> bool:
        return self.opened_s < at_s and (self.closed_s is None or self.closed_s > at_s)


@dataclasses.dataclass
class Streams:
    findings: list[Span]
    tickets: list[Span]


def shipped_rules() -> list[Rule]:
    """The rules as they ship; nothing else is loaded."""
    return compile_rules(loader.load(SHIPPED / "rules.yaml", RuleFile))


def changes_of(
    series: Series, rules: Sequence[Rule], folder: Path
) -> Iterable[tuple[int, list[FindingChange]]]:
    """(instant in s, what the agent reports) for each row of the series, oldest first."""
    # Rules whose signal the series never holds would only be walked past, thirteen million times.
    present = {signal for _, values in series.rows[:500] for signal, _ in values} | {"usual.outside"}
    rules = [rule for rule in rules if rule.signal in present]
    ids = (f"{n:016x}" for n in itertools.count(1))
    spool = Spool.open(folder, new_id=lambda: next(ids), max_bytes=SPOOL_BYTES)
    begin = Now(series.rows[0][0] * 1000, 0, 0) if series.rows else Now(0, 0, 0)
    core = AgentCore(spool, rules, Identity("score", "boot", "run"), begin, units=UNITS, usual=UsualHours())
    try:
        for at_s, values in series.rows:
            wall_ms = at_s * 1000
            mono_ms = wall_ms - begin.wall_ms
            samples = [Sample(signal, part, value, mono_ms) for (signal, part), value in values.items()]
            found = core.take(samples, Now(wall_ms, mono_ms, mono_ms), "series")
            if found:
                core.replied(
                    Reply(want_n=found[-1].n + 1), Now(wall_ms, mono_ms, mono_ms), stream=spool.stream
                )
            yield at_s, found
    finally:
        spool.close()


@dataclasses.dataclass
class _Problem:
    course: damping.Course = damping.QUIET
    open: dict[tuple[str, str], tuple[Held, int]] = dataclasses.field(default_factory=dict)
    """(rule, subject) -> the finding that holds, and since when (s)."""
    ticket_s: Optional[float] = None
    quiet_s: Optional[int] = None
    again_s: Optional[int] = None

    def held(self) -> list[Held]:
        return [held for held, _ in self.open.values()]


class Desk:
    """What becomes of one server's findings."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._problems: dict[str, _Problem] = {}
        self.streams = Streams([], [])

    def take(self, at_s: int, changes: Iterable[FindingChange]) -> None:
        touched = set()
        for change in changes:
            problem = self._problems.setdefault(change.family, _Problem())
            touched.add(change.family)
            key = (change.rule, change.subject)
            if change.kind == "closed":
                _, since = problem.open.pop(key, (None, at_s))
                self.streams.findings.append(Span(self._server, " ".join(key), since, at_s))
                continue
            held = _held(self._server, change)
            known = problem.open.get(key)
            if known is not None:
                facts = {**known[0].facts, **held.facts}
                held = dataclasses.replace(held, at_ms=min(known[0].at_ms, held.at_ms), facts=facts)
            problem.open[key] = (held, known[1] if known else at_s)
        for family, problem in self._problems.items():
            if family in touched or (problem.again_s is not None and at_s >= problem.again_s):
                self._decide(problem, at_s)
            self._resolve(family, problem, at_s)

    def _decide(self, problem: _Problem, at_s: int) -> None:
        problem.again_s = None
        if not problem.open:
            problem.quiet_s = at_s
            return
        problem.quiet_s = None
        if problem.ticket_s is not None:
            return
        policy = damping.patience(problem.held())
        if policy is None:
            problem.ticket_s = at_s
            return
        since_ms = min(held.at_ms for held in problem.held())
        usual = damping.is_usual(problem.held())
        problem.course, damped = damping.decide(policy, problem.course, since_ms, at_s * 1000, usual)
        problem.again_s = None if damped.again_at_ms is None else damped.again_at_ms // 1000
        if damped.verb == "open":
            problem.ticket_s = at_s

    def _resolve(self, family: str, problem: _Problem, at_s: int) -> None:
        if problem.ticket_s is None or problem.quiet_s is None or at_s - problem.quiet_s < RESOLVE_AFTER_S:
            return
        self.streams.tickets.append(Span(self._server, family, problem.ticket_s, at_s))
        problem.ticket_s = None

    def end(self) -> Streams:
        """What is open at the end of the series stays open."""
        for family, problem in self._problems.items():
            for (rule, subject), (_, since) in problem.open.items():
                self.streams.findings.append(Span(self._server, f"{rule} {subject}", since, None))
            if problem.ticket_s is not None:
                self.streams.tickets.append(Span(self._server, family, problem.ticket_s, None))
        return self.streams


def _held(server: str, change: FindingChange) -> Held:
    body = change_to_dict(change)
    return held_from_body(
        body,
        host_id=server,
        rule=change.rule,
        subject=change.subject,
        family=change.family,
        severity=change.severity,
        at_ms=change.at_ms,
    )


def simulate(one: Series, rules: Sequence[Rule]) -> Streams:
    """Both streams of one server."""
    desk = Desk(one.server)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="vartovyi-score-", dir=memory if memory.is_dir() else None
    ) as folder:
        for at_s, changes in changes_of(one, rules, Path(folder)):
            desk.take(at_s, changes)
    return desk.end()


@dataclasses.dataclass
class Tally:
    """One line of the metrics table."""

    days: float = 0.0
    false: int = 0
    windows: int = 0
    detected: int = 0
    masked: int = 0
    delays_s: list[float] = dataclasses.field(default_factory=list)
    by_server: dict[str, int] = dataclasses.field(default_factory=dict)

    def per_day(self) -> float:
        return self.false / self.days if self.days else 0.0


def tally(series: Iterable[Series], spans: dict[str, list[Span]], post_s: int) -> Tally:
    """Score one stream by the definitions of SCORE.md; no point-adjust."""
    total = Tally()
    for one in series:
        mine = spans.get(one.server, [])
        total.days += one.days()
        for span in mine:
            if not any(w.start_s <= span.opened_s <= w.end_s + post_s for w in one.windows):
                total.false += 1
                total.by_server[one.server] = total.by_server.get(one.server, 0) + 1
        for window in one.windows:
            if window.onset_s is None:
                continue
            total.windows += 1
            inside = [s.opened_s for s in mine if window.start_s <= s.opened_s <= window.end_s + post_s]
            if inside:
                total.detected += 1
                total.delays_s.append(min(inside) - window.onset_s)
            elif any(span.is_open_at(window.start_s) for span in mine):
                total.masked += 1
    return total
