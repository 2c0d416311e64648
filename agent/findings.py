"""Rule events become finding changes: facts now, before and usual; wall time beside monotonic time. Pure."""

from __future__ import annotations

from typing import Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from agent.history import History
from agent.signals.engine import RuleEvent
from agent.signals.rules import Rule
from agent.wire import Fact, FindingChange, Value

BEFORE_MS = 15 * 60_000
MAX_FACT_CHARS = 400

Usual = Callable[[str, str, Value, int], Tuple[Optional[float], Optional[bool]]]
"""(signal, subject, value, wall ms) -> the level of that hour by the weekly profile, and whether the value is as usual."""


class Now(NamedTuple):
    """One instant on the machine's three clocks, read together."""

    wall_ms: int
    mono_ms: int
    boottime_ms: int

    def wall_of(self, mono_ms: int) -> int:
        """Wall time of a monotonic instant, by the clocks as they stand now."""
        return self.wall_ms - (self.mono_ms - mono_ms)

    def mono_of(self, wall_ms: int) -> int:
        """Monotonic time of a wall instant; negative when it lies before the boot."""
        return self.mono_ms - (self.wall_ms - wall_ms)


def no_usual(signal: str, subject: str, value: Value, wall_ms: int) -> Tuple[Optional[float], Optional[bool]]:
    """No weekly profile: nobody knows what is usual."""
    return None, None


def change_of(
    event: RuleEvent,
    now: Now,
    history: History,
    boot_id: str,
    units: Mapping[str, str],
    usual: Usual = no_usual,
) -> FindingChange:
    """The change as it will go to the collector, with n and opening_n still 0: the spool numbers it."""
    return FindingChange(
        n=0,
        kind=event.kind,
        opening_n=0,
        rule=event.rule.name,
        subject=event.subject,
        family=event.rule.family,
        at_ms=now.wall_of(event.at_ms),
        severity=event.severity,
        boot_id=boot_id,
        mono_ms=event.at_ms,
        facts=facts_of(event.rule, event.subject, event.value, event.at_ms, now, history, units, usual),
        reason=event.reason,
    )


def facts_of(
    rule: Rule,
    subject: str,
    value: Value,
    at_ms: int,
    now: Now,
    history: History,
    units: Mapping[str, str],
    usual: Usual,
) -> Dict[str, Fact]:
    """The main signal and its relatives: of the subject where the signal has that part, else of the host."""
    facts: Dict[str, Fact] = {}
    conditions = sorted(rule.raise_.signals() - {rule.signal})
    for signal in (rule.signal, *conditions, *rule.facts):
        if signal in facts:
            continue
        part = subject if history.newest(signal, subject) is not None else ""
        # Of a level that fell or jumped the level itself is told, not the difference that the rule judged.
        is_difference = rule.fall_ms or (rule.rise_ms and units.get(signal) == "%")
        current = value if signal == rule.signal and not is_difference else history.value(signal, part)
        if current is None:
            continue
        level, as_usual = usual(signal, part, current, now.wall_ms)
        facts[signal] = Fact(
            now=_short(current),
            before=history.median(signal, part, at_ms - BEFORE_MS, at_ms),
            usual=None if level is None else round(level, 4),
            unit=units.get(signal, ""),
            as_usual=as_usual,
        )
    return facts


def _short(value: Value) -> Value:
    """Facts ride in every report: a long list or text is cut, numbers lose digits that nobody reads."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, str):
        return value[:MAX_FACT_CHARS]
    if isinstance(value, list):
        return [str(item)[:80] for item in value[:20]]
    if isinstance(value, dict):
        return {str(key)[:80]: value[key] for key in list(value)[:20]}
    return value
