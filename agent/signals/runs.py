"""One run of one rule for one subject: the step from sample to sample, without any state but the run itself.

The engine keeps runs for a whole host; the collector keeps one beside each outside probe (``Run.to_dict``) and judges
it with ``step``, so that both mean the same by "it held for 15 s".
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from agent.signals.rules import SEVERITIES, Rule
from agent.wire import Value

GAP_MIN_MS = 300_000
"""Two samples further apart than this, or than three periods, leave unmonitored time between them."""
CHANGE_APART_MS = 300_000
"""``changed`` for a moved value at most this often for one finding; a raised severity is told at once."""
CHANGE_RATIO = 1.5
SAME_EVENT_MS = 2_000
"""An event that a restarted agent tells this near to the one that opened the finding is that one, dated anew."""


class Run(NamedTuple):
    """Where one rule stands for one subject. ``began_ms`` is set while the finding is open."""

    raise_since_ms: Optional[int] = None
    clear_since_ms: Optional[int] = None
    worse_since_ms: Optional[int] = None
    last_ms: Optional[int] = None
    """The last sample that said anything; of a rule about events the last event that was told (None: in an earlier run)."""
    began_ms: Optional[int] = None
    severity: str = ""
    told_ms: int = 0
    told_value: Optional[float] = None

    @property
    def is_open(self) -> bool:
        """Whether the finding is open."""
        return self.began_ms is not None

    def to_dict(self) -> Dict[str, Any]:
        """Plain JSON values, for a caller that keeps runs between processes."""
        return self._asdict()

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Run:
        """The run back from ``to_dict``; unknown keys are ignored, missing ones are quiet."""
        return Run(**{k: raw[k] for k in Run._fields if k in raw})


QUIET = Run()


class RuleEvent(NamedTuple):
    """A rule began to hold for a subject, its value or severity moved, or it ceased to hold."""

    kind: str
    """opened, changed or closed."""
    rule: Rule
    subject: str
    at_ms: int
    """First sample of the run that opened or closed it, in the time base of the samples."""
    severity: str
    value: Value = None
    reason: str = ""
    """For closed: cleared, adopted_cleared, subject_gone or rule_removed."""


def step(
    rule: Rule, run: Run, subject: str, value_of: Callable[[str], Value], at_ms: int, gap_ms: int = GAP_MIN_MS
) -> Tuple[Run, Optional[RuleEvent]]:
    """One sample's worth of judging: the new run and at most one event. A sample older than the last is ignored."""
    if run.last_ms is not None and at_ms <= run.last_ms:
        return run, None
    if run.last_ms is not None and at_ms - run.last_ms > gap_ms:
        run = run._replace(raise_since_ms=None, clear_since_ms=None, worse_since_ms=None)
    if run.is_open:
        return _step_open(rule, run, subject, value_of, at_ms)
    raised = rule.raise_.holds(value_of)
    if raised is None:
        return run, None
    if not raised:
        return QUIET, None
    since = at_ms if run.raise_since_ms is None else run.raise_since_ms
    run = run._replace(raise_since_ms=since, last_ms=at_ms)
    if at_ms - since < rule.raise_.for_ms:
        return run, None
    value = value_of(rule.signal)
    run = Run(
        last_ms=at_ms, began_ms=since, severity=rule.severity, told_ms=at_ms, told_value=number_of(value)
    )
    return run, RuleEvent("opened", rule, subject, since, rule.severity, value)


def _step_open(
    rule: Rule, run: Run, subject: str, value_of: Callable[[str], Value], at_ms: int
) -> Tuple[Run, Optional[RuleEvent]]:
    cleared = rule.clear.holds(value_of)
    worse = rule.worse.holds(value_of) if rule.worse is not None else None
    if cleared is None and worse is None:
        return run, None
    run = run._replace(last_ms=at_ms)
    if cleared is not None:
        since = None
        if cleared:
            since = at_ms if run.clear_since_ms is None else run.clear_since_ms
            if at_ms - since >= rule.clear.for_ms:
                return QUIET, RuleEvent(
                    "closed", rule, subject, since, run.severity, value_of(rule.signal), "cleared"
                )
        run = run._replace(clear_since_ms=since)
    return _step_worse(rule, run, subject, value_of(rule.signal), worse, at_ms)


def _step_worse(
    rule: Rule, run: Run, subject: str, value: Value, worse: Optional[bool], at_ms: int
) -> Tuple[Run, Optional[RuleEvent]]:
    """Severity only rises while a finding is open: what was critical an hour ago is what the ticket is about."""
    number = number_of(value)
    if worse is not None:
        since = (at_ms if run.worse_since_ms is None else run.worse_since_ms) if worse else None
        run = run._replace(worse_since_ms=since)
        rises = SEVERITIES.index(rule.worse_severity) > SEVERITIES.index(run.severity or rule.severity)
        if since is not None and rule.worse is not None and rises and at_ms - since >= rule.worse.for_ms:
            run = run._replace(severity=rule.worse_severity, told_ms=at_ms, told_value=number)
            return run, RuleEvent("changed", rule, subject, since, run.severity, value)
    if number is None:
        return run, None
    if run.told_value is None:
        return run._replace(told_value=number), None
    if at_ms - run.told_ms >= CHANGE_APART_MS and _moved(run.told_value, number):
        run = run._replace(told_ms=at_ms, told_value=number)
        return run, RuleEvent("changed", rule, subject, at_ms, run.severity, value)
    return run, None


def step_mark(
    rule: Rule, run: Run, subject: str, value: Value, at_ms: int
) -> Tuple[Run, Optional[RuleEvent]]:
    """One event more about which a finding is open already: ``changed``, so that the newest one stands in it.

    The first after a restart is told at once (a second loss of power is news, however soon it comes), a burst at most
    once in CHANGE_APART_MS. The finding keeps its beginning.
    """
    told_ms, apart_ms = run.last_ms, CHANGE_APART_MS
    if told_ms is None:
        told_ms, apart_ms = run.began_ms or 0, SAME_EVENT_MS
    if at_ms - told_ms < apart_ms:
        return run, None
    return run._replace(last_ms=at_ms), RuleEvent("changed", rule, subject, at_ms, run.severity, value)


def _moved(told: float, number: float) -> bool:
    low, high = sorted((abs(told), abs(number)))
    return high - low >= 1.0 and high >= CHANGE_RATIO * low


def number_of(value: Value) -> Optional[float]:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
