"""``vartovyi-agent once``: one look at this server, for a person who was just called to it, or as JSON.

Two readings a second apart, every rule judged by what holds right now (durations left aside), one cautious sentence
about whose fault it looks like. Nothing is stored, nothing is sent, and the whole look ends within ``LOOK_S`` and a
little, whatever hangs: the server may be sick. The words for a person are in ``agent.once_page``.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from agent.history import History
from agent.once_page import SEVERITY_RANK, largest, page, sentence
from agent.samplers.base import Errand, Sampler, why
from agent.samplers.registry import make_samplers
from agent.signals.catalogue import BY_NAME, UNITS
from agent.signals.parsers.error import ParseError
from agent.signals.rules import Level, Rule
from agent.signals.sample import Sample, plain
from agent.wire import Value
from config.clock import Clock, SystemClock, perf_seconds

if TYPE_CHECKING:
    from agent.settings import AgentSettings

BETWEEN_S = 1.0
SWEEP_WAIT_S = 5.0
SETTLE_S = 6.0
"""For checks, systemctl and mounts that hang, which have time-outs of their own."""

LOOK_S = 15.0
"""For all samplers together; what is still to be asked then is given ``LAST_WAIT_S`` each."""
LAST_WAIT_S = 0.2


class Found(NamedTuple):
    """A rule whose level holds now (or nearly)."""

    rule: Rule
    subject: str
    value: Value
    severity: str
    ago_s: Optional[float] = None
    """Of an event: how long ago it happened last. None where what holds is the present."""


class Look(NamedTuple):
    """What two readings gave."""

    history: History
    lacks: Dict[str, str]
    failed: Dict[str, str]
    """Sampler -> why it brought nothing."""


def run(
    settings: AgentSettings,
    rules: Sequence[Rule],
    *,
    as_json: bool,
    language: str = "en",
    colour: bool = False,
    root: Path = Path("/"),
    clock: Optional[Clock] = None,
) -> int:
    """Look, judge, print. 0 when the look was made, whatever it showed."""
    clock = clock or SystemClock()
    seen = look(make_samplers(settings, root), clock)
    found, near = judge(rules, seen.history, clock.mono_ms())
    if as_json:
        print(json.dumps(as_document(seen, found, language), ensure_ascii=False, indent=2, sort_keys=True))
        return 0
    for line in page(seen, found, near, language, colour, root, clock, largest(root)):
        print(line)
    return 0


# --- looking -----------------------------------------------------------------------------------------------------


class _Patience:
    """What is left of the time that a whole look may take."""

    def __init__(self, seconds: float) -> None:
        self._ends_s = perf_seconds() + seconds

    def at_most(self, seconds: float) -> float:
        return max(LAST_WAIT_S, min(seconds, self._ends_s - perf_seconds()))


def look(samplers: Sequence[Sampler], clock: Clock, within_s: float = LOOK_S) -> Look:
    """Sweep every sampler twice; one that hangs or fails is named, and the others go on."""
    history = History()
    failed: Dict[str, str] = {}
    patience = _Patience(within_s)
    for sampler in samplers:
        history.record(_sweep(sampler, clock, failed, patience))
    clock.wait(threading.Event(), BETWEEN_S)
    for sampler in samplers:
        if sampler.name in failed:
            continue
        settle: Optional[Callable[[float], None]] = getattr(sampler, "settle", None)
        if settle is not None:
            settle(patience.at_most(SETTLE_S))
        history.record(_sweep(sampler, clock, failed, patience))
    lacks: Dict[str, str] = {}
    for sampler in samplers:
        lacks.update(sampler.lacks())
    return Look(history, lacks, failed)


def _sweep(sampler: Sampler, clock: Clock, failed: Dict[str, str], patience: _Patience) -> List[Sample]:
    errand: Errand[List[Sample]] = Errand(sampler.name, lambda: sampler.sweep(clock.mono_ms()))
    if not errand.wait(patience.at_most(SWEEP_WAIT_S)):
        failed[sampler.name] = "did not answer in time"
        return []
    try:
        return [plain(sample) for sample in errand.answer()]
    except (OSError, ParseError) as error:
        failed[sampler.name] = why(error)
        return []


def judge(
    rules: Sequence[Rule], history: History, now_ms: Optional[int] = None
) -> Tuple[List[Found], List[Found]]:
    """Rules that would open if it stayed so, worst first; and those between their clear and raise levels.

    ``now_ms``, on the clock of the samples: then what the kernel's log tells of has its age.
    """
    found: List[Found] = []
    near: List[Found] = []
    for rule in rules:
        for subject in history.subjects(rule.signal):
            if not rule.takes(subject):
                continue
            value_of = _reader(rule, subject, history)
            value = value_of(rule.signal)
            if rule.raise_.holds(value_of) is True:
                ago_s = _age_s(rule, subject, history, now_ms)
                found.append(Found(rule, subject, value, _severity(rule, value_of), ago_s))
            elif _is_near(rule.raise_, rule.clear, value_of):
                near.append(Found(rule, subject, value, rule.severity))
    found.sort(key=lambda f: -SEVERITY_RANK.get(f.severity, 1))
    return found, near


def _age_s(rule: Rule, subject: str, history: History, now_ms: Optional[int]) -> Optional[float]:
    sample = history.newest(rule.signal, subject)
    if not rule.lasts_ms or now_ms is None or sample is None:
        return None
    return max(0, now_ms - sample.at_ms) / 1000


def _reader(rule: Rule, subject: str, history: History) -> Callable[[str], Value]:
    def value_of(signal: str) -> Value:
        part = subject if history.newest(signal, subject) is not None else ""
        if signal == rule.signal and rule.rise_ms:
            points = history.series(signal, part)
            return points[-1][1] - points[0][1] if points else None
        if signal == rule.signal and rule.fall_ms:
            levels = [value for _, value in history.series(signal, part)]
            return 100.0 * (max(levels) - levels[-1]) / max(levels) if levels and max(levels) > 0 else None
        return history.value(signal, part)

    return value_of


def _severity(rule: Rule, value_of: Callable[[str], Value]) -> str:
    is_worse = rule.worse is not None and rule.worse.holds(value_of) is True
    return rule.worse_severity if is_worse else rule.severity


def _is_near(raise_: Level, clear: Level, value_of: Callable[[str], Value]) -> bool:
    """A level with a number that is neither raised nor clear; words know no nearness."""
    has_number = any(isinstance(c.value, float) for c in clear.all)
    return has_number and raise_.holds(value_of) is False and clear.holds(value_of) is False


# --- for a program -----------------------------------------------------------------------------------------------


def as_document(seen: Look, found: Sequence[Found], language: str) -> Dict[str, Any]:
    """{"signals": {name: {value, unit}}, "lacks": {name: why}, "findings": [...]}."""
    signals: Dict[str, Dict[str, Any]] = {}
    parts: Dict[str, List[Value]] = {}
    for sample in seen.history.all_newest():
        name = f"{sample.signal}{{{sample.subject}}}" if sample.subject else sample.signal
        signals[name] = {"value": sample.value, "unit": UNITS.get(sample.signal, "")}
        if sample.subject:
            parts.setdefault(sample.signal, []).append(sample.value)
    for signal, values in parts.items():
        if signal not in signals:
            signals[signal] = {"value": worst(signal, values), "unit": UNITS.get(signal, "")}
    lacks = {**seen.lacks, **{f"sampler {name}": reason for name, reason in seen.failed.items()}}
    findings = [
        {
            "rule": f.rule.name,
            "family": f.rule.family,
            "severity": f.severity,
            "subject": f.subject,
            "signal": f.rule.signal,
            "value": f.value,
            "unit": UNITS.get(f.rule.signal, ""),
            "after_s": f.rule.raise_.for_ms / 1000,
            "text": sentence(f, language),
            **({} if f.ago_s is None else {"ago_s": round(f.ago_s, 1)}),
        }
        for f in found
    ]
    return {"signals": signals, "lacks": lacks, "findings": findings}


def worst(signal: str, values: Sequence[Value]) -> Value:
    """The value that stands for the host where its sampler gives only parts: the one farthest from the healthy one."""
    row = BY_NAME.get(signal)
    usual = row.baseline if row else None
    numbers = [v for v in values if isinstance(v, (int, float))]
    if numbers and isinstance(usual, (int, float)):
        return max(numbers, key=lambda v: abs(v - usual))
    return next((v for v in values if v != usual), values[0])
