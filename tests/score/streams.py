"""The two streams of SCORE.md over one server's series: findings of the agent's own engine, tickets after damping.

The very code that runs on a server and in the collector is fed with the series at its own interval: RuleEngine with
the shipped rules, Profile for what is usual, collector.qualify.damping for what becomes a ticket.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Optional

from agent.signals.engine import RuleEngine
from agent.signals.profile import WARM_DAYS, Profile
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from collector.qualify import damping
from config import loader

PROPOSED = Path(__file__).with_name("proposed_rules.yaml")
USUAL_SHARE = 0.9
"""As high as nine tenths of what this hour reaches as a rule is as usual."""

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
    profile: tuple[str, ...] = ()
    """Signals whose history is kept."""

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
    """The shipped rules, and the proposed ones that are not among them yet."""
    shipped = loader.load(Path(str(files("config") / "shipped" / "rules.yaml")), RuleFile)
    proposed = loader.load(PROPOSED, RuleFile)
    names = {spec.name for spec in shipped.rules}
    rules = compile_rules(shipped)
    return rules + [rule for rule in compile_rules(proposed) if rule.name not in names]


@dataclasses.dataclass
class _Problem:
    course: damping.Course = damping.QUIET
    open: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    """Open findings (rule, subject) -> severity."""
    ticket_s: Optional[float] = None


class Simulated:
    """One server's agent and its desk."""

    def __init__(self, series: Series, rules: Sequence[Rule]) -> None:
        self._series = series
        # Rules whose signal the series never holds would only be walked past.
        present = {signal for _, values in series.rows[:500] for signal, _ in values} | {"usual.outside"}
        self._engine = RuleEngine([rule for rule in rules if rule.signal in present])
        self._profile = Profile(series.profile or ("",))
        self._problems: dict[str, _Problem] = {}
        self._open: dict[tuple[str, str], float] = {}
        self.streams = Streams([], [])

    def run(self) -> Streams:
        last_s = 0
        for at_s, values in self._series.rows:
            self._step(at_s, values)
            last_s = at_s
        for (rule, subject), since in self._open.items():
            self.streams.findings.append(Span(self._series.server, f"{rule} {subject}", since, None))
        for family, problem in self._problems.items():
            if problem.ticket_s is not None:
                self.streams.tickets.append(Span(self._series.server, family, problem.ticket_s, None))
        assert last_s or not self._series.rows
        return self.streams

    def _step(self, at_s: int, values: dict[tuple[str, str], float]) -> None:
        now_ms = at_s * 1000
        samples = [Sample(signal, subject, value, now_ms) for (signal, subject), value in values.items()]
        for signal in self._series.profile:
            value = values.get((signal, ""))
            outside = None if value is None else self._profile.observe(signal, value, now_ms)
            if outside is not None:
                samples.append(Sample("usual.outside", signal, outside, now_ms))
        for event in self._engine.judge(samples, now_ms, "series"):
            key = (event.rule.name, event.subject)
            problem = self._problems.setdefault(event.rule.family, _Problem())
            if event.kind == "closed":
                since = self._open.pop(key, at_s)
                self.streams.findings.append(Span(self._series.server, " ".join(key), since, at_s))
                problem.open.pop(key, None)
                if not problem.open:
                    problem.course = damping.closed(problem.course, now_ms)
                continue
            if event.kind == "opened":
                self._open[key] = at_s
                problem.course = damping.opened(problem.course, event.at_ms)
            problem.open[key] = event.severity
        for family, problem in self._problems.items():
            self._decide(family, problem, values, at_s)

    def _decide(
        self, family: str, problem: _Problem, values: dict[tuple[str, str], float], at_s: int
    ) -> None:
        if problem.course == damping.QUIET:
            return
        unusual = any(rule.startswith("unusual_") for rule, _ in problem.open)
        policy = damping.POLICIES.get(family, damping.AT_ONCE)
        if unusual:
            policy = damping.UNUSUAL
        severity = max(problem.open.values(), key=damping.SEVERITIES.index, default="low")
        usual = not unusual and self._is_usual(problem, values, at_s)
        problem.course, damped = damping.decide(
            policy,
            problem.course,
            at_s * 1000,
            severity=severity,
            is_usual=usual,
            is_young=self._is_young(problem),
        )
        if damped.verb == "open":
            problem.ticket_s = at_s
        elif damped.verb == "close" and problem.ticket_s is not None:
            self.streams.tickets.append(Span(self._series.server, family, problem.ticket_s, at_s))
            problem.ticket_s = None

    def _is_young(self, problem: _Problem) -> bool:
        """Whether the profile of what the open findings are about says nothing yet."""
        rules = [self._engine.rule(rule) for rule, _ in problem.open]
        followed = {rule.signal for rule in rules if rule is not None} & set(self._series.profile)
        return any(self._profile.days(signal) < WARM_DAYS for signal in followed)

    def _is_usual(self, problem: _Problem, values: dict[tuple[str, str], float], at_s: int) -> bool:
        rules = [self._engine.rule(rule) for rule, _ in problem.open]
        told = {rule.signal for rule in rules if rule is not None and (rule.signal, "") in values}
        if not told:
            return False
        for signal in told:
            high = self._profile.usual_high(signal, at_s * 1000)
            if high is None or high < USUAL_SHARE * values[signal, ""]:
                return False
        return True


def simulate(series: Series, rules: Sequence[Rule]) -> Streams:
    return Simulated(series, rules).run()


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
