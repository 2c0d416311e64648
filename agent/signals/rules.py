"""Rules as values, and how YAML writes them: conditions, levels, rules; every fault at once, with its line.

A rule has a *raise* level and a separate *clear* level, each with a duration. A level is true, false or *unknown*:
a sample that is missing is neither. ``agent.signals.engine`` judges by them.

``RuleFile`` is a rules file; ``RuleChange`` is what settings (the server's own, or the collector's) may lay over a
rule that exists; ``compile_rules`` makes of both the rules in force. Signal names are checked against the catalogue.
Pure, and free of the agent: the collector judges outside probes by the same rules.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from agent.signals.catalogue import BY_NAME
from agent.wire import Value
from config.loader import Duration, setting

FAMILIES = (
    "silence", "service", "unit", "cpu", "memory", "io", "fs_space", "fs", "network", "dns", "clock", "virt",
    "hardware", "kernel", "limits", "process", "tls", "agent",
)  # fmt: skip
"""Those of ticketing.model.FAMILIES that a machine can find; a test keeps the two lists together."""
NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"
SEVERITIES = ("low", "medium", "high", "critical")

SIGNAL_PATTERN = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*"
_CONDITION = re.compile(
    rf"^\s*({SIGNAL_PATTERN}(?:\s*\+\s*{SIGNAL_PATTERN})*)\s*(>=|<=|==|!=|!~|>|<|~|not in|in)\s+(\S.*?)\s*$"
)

_COMPARE: Dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "~": lambda a, b: re.search(b, a) is not None,
    "!~": lambda a, b: re.search(b, a) is None,
}
_MATCHES = ("~", "!~")
UNKNOWN = "unknown"
"""A word that says "we could not ask": neither true nor false, like a sample that is missing."""


class Condition(NamedTuple):
    """``signals`` summed, compared with ``value``."""

    signals: Tuple[str, ...]
    op: str
    value: Value

    def holds(self, value_of: Callable[[str], Value]) -> Optional[bool]:
        """True or false; None when a value is missing or of another kind."""
        if len(self.signals) == 1:
            value = value_of(self.signals[0])
        else:
            parts = [value_of(signal) for signal in self.signals]
            numbers = [part for part in parts if is_number(part)]
            value = sum(numbers) if len(numbers) == len(parts) else None  # type: ignore[arg-type]
        if value is None or value == UNKNOWN:
            return None
        if self.op in _MATCHES:
            return _COMPARE[self.op](value, self.value) if isinstance(value, str) else None
        if isinstance(self.value, list):
            return _COMPARE[self.op](value, self.value) if isinstance(value, str) else None
        if isinstance(self.value, bool) or isinstance(value, bool):
            # 1 and true are the same word for "it is so": a parser may give either.
            if not isinstance(value, (bool, int, float)) or not isinstance(self.value, (bool, int, float)):
                return None
            return _COMPARE[self.op](float(value), float(self.value))
        if is_number(self.value) != is_number(value) or not isinstance(value, (int, float, str)):
            return None
        return _COMPARE[self.op](value, self.value)


def parse_condition(text: str) -> Condition:
    """``"disk.await_ms > 100"``, ``"cpu.user_pct + cpu.sys_pct >= 90"``, ``"kmsg ~ Oops:"``; ValueError if it is none."""
    match = _CONDITION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a condition such as 'fs.used_pct >= 95'")
    signals = tuple(part.strip() for part in match.group(1).split("+"))
    op, word = match.group(2), match.group(3)
    value: Value
    if op in _MATCHES:
        try:
            re.compile(word)
        except re.error as error:
            raise ValueError(f"{word!r} is no regular expression: {error}") from error
        if len(signals) > 1:
            raise ValueError(f"{text!r} looks for a pattern in a sum")
        return Condition(signals, op, word)
    if op in ("in", "not in"):
        if len(signals) > 1:
            raise ValueError(f"{text!r} looks for a sum among words")
        return Condition(signals, op, word.replace(",", " ").split())
    if word in ("true", "false"):
        value = word == "true"
    else:
        try:
            value = float(word)
        except ValueError:
            value = word.strip("'\"")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"{text!r} compares with {word}, which no sample can hold")
    if not isinstance(value, float) and op not in ("==", "!="):
        raise ValueError(f"{text!r} orders a word; only == and != make sense")
    if not isinstance(value, float) and len(signals) > 1:
        raise ValueError(f"{text!r} compares a sum with a word")
    return Condition(signals, op, value)


class Level(NamedTuple):
    """Conditions of which all must hold, and conditions of which at least one must; for so long."""

    all: Tuple[Condition, ...]
    any: Tuple[Condition, ...]
    for_ms: int

    def holds(self, value_of: Callable[[str], Value]) -> Optional[bool]:
        """Three-valued: one false makes `all` false even where others are unknown; one true makes `any` true."""
        unknown = False
        for condition in self.all:
            answer = condition.holds(value_of)
            if answer is False:
                return False
            unknown = unknown or answer is None
        if self.any:
            answers = [condition.holds(value_of) for condition in self.any]
            if True not in answers:
                if None not in answers:
                    return False
                unknown = True
        return None if unknown else True

    def signals(self) -> Set[str]:
        """Every signal that the level looks at."""
        return {signal for condition in self.all + self.any for signal in condition.signals}


class Rule(NamedTuple):
    """A rule compiled."""

    name: str
    family: str
    severity: str
    signal: str
    raise_: Level
    clear: Level
    worse: Optional[Level] = None
    worse_severity: str = ""
    of_parts: bool = False
    rise_ms: int = 0
    fall_ms: int = 0
    lasts_ms: int = 0
    times: int = 1
    only: Tuple[str, ...] = ()
    except_: Tuple[str, ...] = ()
    facts: Tuple[str, ...] = ()

    def takes(self, subject: str) -> bool:
        """Whether the rule judges this subject at all."""
        if self.of_parts == (subject == ""):
            return False
        if self.only and not any(fnmatch.fnmatchcase(subject, glob) for glob in self.only):
            return False
        return not any(fnmatch.fnmatchcase(subject, glob) for glob in self.except_)

    def signals(self) -> Set[str]:
        """Every signal that the rule looks at or carries along."""
        worse = self.worse.signals() if self.worse else set()
        return {self.signal, *self.facts} | self.raise_.signals() | self.clear.signals() | worse


def is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class LevelSpec:
    """A level as YAML writes it."""

    all: List[str] = setting([], help="conditions that must all hold, e.g. 'fs.used_pct >= 95'", max=12)
    any: List[str] = setting([], help="conditions of which at least one must hold", max=12)
    for_: Duration = setting(0.0, help="how long it must hold without a break", min=0, max=86400)

    def faults(self) -> List[Tuple[str, str]]:
        found = (
            [("all", "needs at least one condition here or in 'any'")]
            if not self.all and not self.any
            else []
        )
        for key, texts in (("all", self.all), ("any", self.any)):
            for text in texts:
                found.extend((key, fault) for fault in _condition_faults(text))
        return found

    def level(self) -> Level:
        """The level compiled."""
        return Level(
            tuple(parse_condition(text) for text in self.all),
            tuple(parse_condition(text) for text in self.any),
            int(self.for_ * 1000),
        )


@dataclasses.dataclass(frozen=True)
class WorseSpec:
    """A further level at which an open finding becomes more severe."""

    severity: str = setting(help="severity from there on", choices=SEVERITIES)
    all: List[str] = setting([], help="conditions that must all hold", max=12)
    any: List[str] = setting([], help="conditions of which at least one must hold", max=12)
    for_: Duration = setting(0.0, help="how long it must hold", min=0, max=86400)

    def faults(self) -> List[Tuple[str, str]]:
        return LevelSpec(self.all, self.any, self.for_).faults()


@dataclasses.dataclass(frozen=True)
class RuleSpec:
    """A rule as YAML writes it."""

    name: str = setting(
        help="the rule's name, part of every finding", pattern=NAME_PATTERN, example="fs_full"
    )
    family: str = setting(help="symptom family: half of the ticket's problem key", choices=FAMILIES)
    signal: str = setting(
        help="main signal: each of its samples makes the rule judge",
        pattern=SIGNAL_PATTERN,
        example="fs.used_pct",
    )
    raise_: LevelSpec = setting(help="when the finding opens")
    clear: Optional[LevelSpec] = setting(
        None, help="when it closes; keep it apart from the raise level (not with `lasts`)"
    )
    severity: str = setting("medium", help="severity of the finding", choices=SEVERITIES)
    worse: Optional[WorseSpec] = setting(None, help="when an open finding becomes more severe")
    subjects: str = setting(
        "host",
        help="host: the signal about the host itself; parts: every part (file system, disk, unit, check) by itself",
        choices=("host", "parts"),
    )
    rise_over: Duration = setting(
        0.0,
        help="judge how much the main signal, a counter, rose in this time, not the counter itself",
        min=0,
        max=86400,
    )
    fall_over: Duration = setting(
        0.0,
        help="judge by how many percent the main signal fell below its highest in this time, not the signal itself",
        min=0,
        max=86400,
    )
    lasts: Duration = setting(
        0.0,
        help="for events: open at a sample that raises, closed when none did for so long",
        min=0,
        max=86400,
    )
    times: int = setting(
        1, help="with `lasts`: so many raising samples within that time open it", min=1, max=1000
    )
    only: List[str] = setting([], help="judge only these subjects (globs)", max=100)
    except_: List[str] = setting([], help="never these subjects (globs)", max=100)
    facts: List[str] = setting([], help="related signals that a finding carries with it", max=16)
    enabled: bool = setting(True, help="false: the rule stands here and is not used")

    def faults(self) -> List[Tuple[str, str]]:
        found = [("signal", fault) for fault in _signal_faults(self.signal)]
        for fact in self.facts:
            found.extend(("facts", fault) for fault in _signal_faults(fact))
        if self.raise_ is not None and not any(
            self.signal in text for text in self.raise_.all + self.raise_.any
        ):
            found.append(("raise", f"never looks at the rule's own signal {self.signal}"))
        if self.clear is None and not self.lasts:
            found.append(("clear", "is missing: when does the finding close?"))
        if self.lasts and (self.clear is not None or self.rise_over or self.fall_over):
            found.append(("lasts", "closes by itself: no `clear`, `rise_over` or `fall_over` beside it"))
        if self.times > 1 and not self.lasts:
            found.append(("times", "counts events: it needs `lasts`"))
        return found


@dataclasses.dataclass(frozen=True)
class RuleFile:
    """A rules file."""

    rules: List[RuleSpec] = setting([], help="the rules", max=500)

    def faults(self) -> List[Tuple[str, str]]:
        names: Set[str] = set()
        found = []
        for rule in self.rules:
            if rule is None:
                continue
            if rule.name in names:
                found.append(("rules", f"{rule.name} stands twice"))
            names.add(rule.name)
        return found


@dataclasses.dataclass(frozen=True)
class RuleChange:
    """What settings may change of a rule that exists: everything that is a threshold, nothing that is its meaning."""

    enabled: Optional[bool] = setting(None, help="false switches the rule off")
    severity: Optional[str] = setting(None, help="severity of the finding", choices=SEVERITIES)
    raise_: Optional[LevelSpec] = setting(None, help="when the finding opens")
    clear: Optional[LevelSpec] = setting(None, help="when it closes")
    worse: Optional[WorseSpec] = setting(None, help="when it becomes more severe")
    only: Optional[List[str]] = setting(None, help="judge only these subjects (globs)", max=100)
    except_: Optional[List[str]] = setting(None, help="never these subjects (globs)", max=100)


def compile_rules(file: RuleFile, changes: Optional[Mapping[str, RuleChange]] = None) -> List[Rule]:
    """The rules in force: those of the file with ``changes`` by name laid over them; ValueError for an unknown name."""
    changes = changes or {}
    unknown = sorted(set(changes) - {spec.name for spec in file.rules})
    if unknown:
        raise ValueError(f"no such rule: {', '.join(unknown)}")
    rules = []
    for spec in file.rules:
        change = changes.get(spec.name)
        if change is not None:
            laid = {f.name: getattr(change, f.name) for f in dataclasses.fields(change)}
            spec = dataclasses.replace(spec, **{k: v for k, v in laid.items() if v is not None})
        if spec.enabled:
            rules.append(_compile(spec))
    return rules


def _compile(spec: RuleSpec) -> Rule:
    worse = spec.worse
    return Rule(
        name=spec.name,
        family=spec.family,
        severity=spec.severity,
        signal=spec.signal,
        raise_=spec.raise_.level(),
        clear=spec.clear.level() if spec.clear else Level((), (), 0),
        worse=LevelSpec(worse.all, worse.any, worse.for_).level() if worse else None,
        worse_severity=worse.severity if worse else "",
        of_parts=spec.subjects == "parts",
        rise_ms=int(spec.rise_over * 1000),
        fall_ms=int(spec.fall_over * 1000),
        lasts_ms=int(spec.lasts * 1000),
        times=spec.times,
        only=tuple(spec.only),
        except_=tuple(spec.except_),
        facts=tuple(spec.facts),
    )


def _condition_faults(text: str) -> List[str]:
    try:
        condition = parse_condition(text)
    except ValueError as error:
        return [str(error)]
    return [fault for signal in condition.signals for fault in _signal_faults(signal)]


def _signal_faults(signal: str) -> List[str]:
    if signal in BY_NAME:
        return []
    near = sorted(name for name in BY_NAME if name.split(".")[0] == signal.split(".")[0])
    return [f"{signal} is no signal of the catalogue" + (f" (there are {', '.join(near)})" if near else "")]
