"""The engine of the rules: when a signal's values become a finding, and when the finding ends.

Theory of operation. A rule has a *raise* level and a separate *clear* level, each with a duration. For every
subject (the host, a file system, a unit, ...) a rule has a ``Run``, which is quiet, raising, open or clearing:

    quiet --raise holds--> raising --held for `for`--> open --clear holds--> clearing --held for `for`--> quiet
            <--raise fails--                                 <--clear fails--

A level is true, false or *unknown*: a sample that is missing is neither, and changes nothing. Two samples further
apart than max(3 periods, 300 s) leave unmonitored time between them: what was raising or clearing starts again.
The same after a hole in our own running (``RuleEngine.hole``): after a pause no window may claim the time between.
An event is dated by the first sample of its run, never by the sweep that noticed. A finding ends by its clear
level; one about events (a rule with `lasts`) when none came for that long (one more while it is open is told as
``changed``); or because its subject is surely gone
(absent from three sweeps of its producer and two minutes); or because its rule is gone. Silence of the producer ends
nothing else.

Pure: values in, events out; no clock, no log, no agent. The step of one run stands in ``agent.signals.runs``; what
a rule is, and how YAML writes it, stands in ``agent.signals.rules``.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from agent.signals.rules import Rule
from agent.signals.runs import GAP_MIN_MS, QUIET, RuleEvent, Run, number_of, step, step_mark
from agent.signals.sample import Sample
from agent.wire import Value

GAP_PERIODS = 3
GONE_AFTER_MS = 120_000
GONE_SWEEPS = 3
FORGOTTEN_AFTER_MS = 300_000
"""A finding resumed after a restart whose signal nobody produces any more (its check was removed) ends after this."""
RESUME_MS = 60_000
"""How long a finding about events that was over by its age waits, after a restart, for the kernel's log to be read."""
MAX_SUBJECTS = 512
"""Subjects that one engine follows at once (raising or open), over all rules."""
FORGET_MS = 3_600_000
"""A sample that nobody renewed for so long, and is stale besides, is dropped with its history of counts."""


@dataclasses.dataclass
class _Beat:
    """How often a signal is sampled, learned from its samples, and how many sweeps looked for it."""

    last_ms: int
    period_ms: int = 0
    sweeps: int = 0
    gap_ms: int = GAP_MIN_MS
    """Longer than this before the newest sample was unmonitored time: by the period as it was known until then."""

    def saw(self, at_ms: int) -> None:
        spacing = at_ms - self.last_ms
        if spacing <= 0:
            return
        self.gap_ms = self.fresh_ms
        # The lesser of the newest spacing and twice the old one: one long gap is not a new period.
        self.period_ms = min(spacing, 2 * self.period_ms) if self.period_ms else spacing
        self.last_ms = at_ms

    @property
    def fresh_ms(self) -> int:
        """A value older than this says nothing about now."""
        return max(GAP_PERIODS * self.period_ms, GAP_MIN_MS)


@dataclasses.dataclass
class _Followed:
    """A subject that is raising or open, and when its part of the machine was last seen to exist."""

    run: Run
    seen_ms: int
    seen_sweep: int
    is_adopted: bool = False


class RuleEngine:
    """All rules over all subjects of one host. Time is that of the samples; nothing here asks a clock."""

    def __init__(self, rules: Sequence[Rule], *, max_subjects: int = MAX_SUBJECTS) -> None:
        self.max_subjects = max_subjects
        self.refused = 0
        """Subjects not followed because max_subjects were."""
        self._newest: Dict[Tuple[str, str], Sample] = {}
        self._beats: Dict[str, _Beat] = {}
        self._sweeps: Dict[str, int] = {}
        self._source_of: Dict[str, str] = {}
        self._followed: Dict[str, Dict[str, _Followed]] = {}
        self._counted: Dict[Tuple[str, str], List[Tuple[int, float]]] = {}
        """Where the counter of a `rise_over` rule moved: (rule, subject) -> [(when, value), ...], the window's worth."""
        self._marks: Dict[Tuple[str, str], List[int]] = {}
        """The last raising samples of rules about events: (rule, subject) -> instants, as many as open it."""
        self._lasting: List[Rule] = []
        self._rules: Dict[str, Rule] = {}
        self._by_signal: Dict[str, List[Rule]] = {}
        self._wanted: Set[str] = set()
        self._set_rules(rules)

    def replace(self, rules: Sequence[Rule], now_ms: int) -> List[RuleEvent]:
        """Swap the rules at once. Open findings of rules that stay go on; those of rules that went are closed."""
        old = self._rules
        self._set_rules(rules)
        events = []
        for name in [name for name in self._followed if name not in self._rules]:
            for subject, followed in self._followed.pop(name).items():
                if followed.run.is_open:
                    events.append(
                        RuleEvent(
                            "closed", old[name], subject, now_ms, followed.run.severity, None, "rule_removed"
                        )
                    )
        return events

    def resume(
        self,
        name: str,
        subject: str,
        began_ms: int,
        severity: str,
        now_ms: int,
        *,
        newest_ms: Optional[int] = None,
        is_adopted: bool = False,
    ) -> bool:
        """Take a finding over as open (from the spool, or adopted from the collector); False when no rule is so named.

        ``newest_ms``: when something was told of it last. One about events goes on to age from there (a restart is no
        event), and has a moment for the samplers to tell what came while nobody ran.
        """
        rule = self._rules.get(name)
        if rule is None:
            return False
        seen_ms = now_ms
        if rule.lasts_ms and newest_ms is not None:
            seen_ms = min(now_ms, max(newest_ms, now_ms - rule.lasts_ms + min(RESUME_MS, rule.lasts_ms)))
        run = Run(began_ms=began_ms, severity=severity or rule.severity, told_ms=now_ms)
        self._followed.setdefault(name, {})[subject] = _Followed(run, seen_ms, 0, is_adopted)
        return True

    def prune(self, now_ms: int) -> None:
        """Forget what no rule may read any more: mounts, units and disks that came and went under names of their own."""
        for key, sample in list(self._newest.items()):
            if now_ms - sample.at_ms > max(FORGET_MS, self._beats[sample.signal].fresh_ms):
                del self._newest[key]
        for name, subject in list(self._counted):
            rule = self._rules.get(name)
            if rule is None or not self._is_there(rule.signal, subject):
                del self._counted[name, subject]

    def _is_there(self, signal: str, subject: str) -> bool:
        """Whether a sample speaks of the part: one of its own, or a map (a drive's counters) that has it as a key."""
        if (signal, subject) in self._newest:
            return True
        maps = (sample.value for (name, _), sample in self._newest.items() if name == signal)
        return any(isinstance(value, dict) and subject in value for value in maps)

    def hole(self) -> None:
        """We did not run for a while: every window starts again, open findings stay open."""
        for subjects in self._followed.values():
            for followed in subjects.values():
                followed.run = followed.run._replace(
                    raise_since_ms=None, clear_since_ms=None, worse_since_ms=None
                )
        self._drop_quiet()

    def open(self) -> List[Tuple[Rule, str, Run]]:
        """Every open finding."""
        return [
            (self._rules[name], subject, followed.run)
            for name, subjects in self._followed.items()
            for subject, followed in subjects.items()
            if followed.run.is_open
        ]

    def is_open(self, name: str, subject: str) -> bool:
        """Whether this finding is open."""
        followed = self._followed.get(name, {}).get(subject)
        return followed is not None and followed.run.is_open

    def rule(self, name: str) -> Optional[Rule]:
        """The rule of that name, if it is in force."""
        return self._rules.get(name)

    def judge(self, samples: Iterable[Sample], now_ms: int, source: str = "") -> List[RuleEvent]:
        """Take one sweep of one producer; the events that it made, in the rules' order.

        A sample whose value is None says "it exists, and could not be read": presence without a value.
        """
        by_signal: Dict[str, List[Sample]] = {}
        subjects: Set[str] = set()
        for sample in samples:
            subjects.add(sample.subject)
            if sample.signal in self._wanted:
                by_signal.setdefault(sample.signal, []).append(sample)
                self._note(sample, source)
        if source:
            self._sweeps[source] = self._sweeps.get(source, 0) + 1
        swept = set(by_signal)
        if source:
            swept.update(signal for signal, producer in self._source_of.items() if producer == source)
        events: List[RuleEvent] = []
        for signal in swept:
            beat = self._beats.get(signal)
            if beat is not None:
                beat.sweeps += 1
            for rule in self._by_signal.get(signal, ()):
                if rule.lasts_ms:
                    events.extend(self._judge_marks(rule, by_signal.get(signal, ())))
                    continue
                parts = _parts(rule, by_signal.get(signal, ()), self._followed.get(rule.name, {}))
                events.extend(self._judge_rule(rule, parts))
                events.extend(self._gone(rule, parts, subjects, now_ms))
        events.extend(self._forgotten(now_ms))
        events.extend(self._over(now_ms))
        return events

    def _judge_marks(self, rule: Rule, samples: Iterable[Sample]) -> List[RuleEvent]:
        """A rule about events: every sample is looked at, enough that raise within ``lasts`` open the finding."""
        events: List[RuleEvent] = []
        followed = self._followed.setdefault(rule.name, {})
        for sample in samples:
            for subject, (value, at_ms) in _parts(rule, [sample], {}).items():
                if value is None or rule.raise_.holds(self._view(rule, subject, value, at_ms)) is not True:
                    continue
                marks = self._marks.setdefault((rule.name, subject), [])
                marks.append(at_ms)
                del marks[: -rule.times]
                known = followed.get(subject)
                if known is not None:
                    known.seen_ms = max(known.seen_ms, at_ms)
                    known.run, event = step_mark(rule, known.run, subject, value, at_ms)
                    events += [event] if event is not None else []
                    continue
                if len(marks) < rule.times or at_ms - marks[0] > rule.lasts_ms:
                    continue
                if sum(map(len, self._followed.values())) >= self.max_subjects:
                    self.refused += 1
                    continue
                run = Run(last_ms=at_ms, began_ms=marks[0], severity=rule.severity, told_ms=at_ms)
                followed[subject] = _Followed(run, at_ms, 0)
                events.append(RuleEvent("opened", rule, subject, marks[0], rule.severity, value))
        return events

    def _over(self, now_ms: int) -> List[RuleEvent]:
        """Close findings about events when none came for as long as the rule lasts; they ended with the last one."""
        events: List[RuleEvent] = []
        for rule in self._lasting:
            subjects = self._followed.get(rule.name)
            if not subjects:
                continue
            for subject in [s for s, k in subjects.items() if now_ms - k.seen_ms >= rule.lasts_ms]:
                known = subjects.pop(subject)
                self._marks.pop((rule.name, subject), None)
                severity = known.run.severity or rule.severity
                events.append(
                    RuleEvent("closed", rule, subject, known.seen_ms, severity, None, "quiet_since")
                )
        return events

    def _set_rules(self, rules: Sequence[Rule]) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._by_signal = {}
        self._wanted = set()
        self._lasting = [rule for rule in rules if rule.lasts_ms]
        for rule in rules:
            self._by_signal.setdefault(rule.signal, []).append(rule)
            self._wanted |= rule.signals()

    def _note(self, sample: Sample, source: str) -> None:
        beat = self._beats.get(sample.signal)
        if beat is None:
            beat = self._beats[sample.signal] = _Beat(sample.at_ms)
        if sample.value is not None:  # a sample without a value leaves the time unmonitored
            beat.saw(sample.at_ms)
        if source:
            self._source_of[sample.signal] = source
        key = (sample.signal, sample.subject)
        if key not in self._newest and len(self._newest) >= 8 * self.max_subjects:
            # Mounts and units that came and went: the one unseen for longest makes room.
            del self._newest[min(self._newest, key=lambda k: self._newest[k].at_ms)]
        self._newest[key] = sample

    def _judge_rule(self, rule: Rule, parts: Mapping[str, Tuple[Value, int]]) -> List[RuleEvent]:
        events = []
        followed = self._followed.setdefault(rule.name, {})
        gap_ms = self._beats[rule.signal].gap_ms if rule.signal in self._beats else GAP_MIN_MS
        for subject, (value, at_ms) in parts.items():
            known = followed.get(subject)
            if rule.rise_ms and value is not None:
                value = self._rise(rule, subject, value, at_ms)
            if rule.fall_ms and value is not None:
                value = self._fall(rule, subject, value, at_ms)
            if value is not None:
                run, event = step(
                    rule,
                    known.run if known else QUIET,
                    subject,
                    self._view(rule, subject, value, at_ms),
                    at_ms,
                    gap_ms,
                )
                if event is not None:
                    if event.kind == "closed" and known is not None and known.is_adopted:
                        event = event._replace(reason="adopted_cleared")
                    events.append(event)
                if run.raise_since_ms is None and not run.is_open:
                    followed.pop(subject, None)
                    continue
                if known is None:
                    if sum(map(len, self._followed.values())) >= self.max_subjects:
                        self.refused += 1
                        if event is not None:
                            events.pop()
                        continue
                    known = followed[subject] = _Followed(run, at_ms, 0)
                known.run = run
            if known is not None:
                known.seen_ms = at_ms
                known.seen_sweep = self._beats[rule.signal].sweeps
        return events

    def _rise(self, rule: Rule, subject: str, value: Value, at_ms: int) -> Optional[float]:
        """How much the counter rose within the rule's window. A counter that falls was reset: counting starts again."""
        number = number_of(value)
        if number is None:
            return None
        moves = self._counted.setdefault((rule.name, subject), [])
        if moves and number < moves[-1][1]:
            moves.clear()
        if not moves or number > moves[-1][1]:
            moves.append((at_ms, number))
        while len(moves) > 1 and moves[1][0] <= at_ms - rule.rise_ms:
            del moves[0]
        # The first entry is the level at the window's start; many moves in one window are thinned to their newest.
        del moves[1:-64]
        return number - moves[0][1]

    def _fall(self, rule: Rule, subject: str, value: Value, at_ms: int) -> Optional[float]:
        """By how many percent the signal is below its highest within the rule's window."""
        number = number_of(value)
        if number is None:
            return None
        levels = self._counted.setdefault((rule.name, subject), [])
        if not levels or number != levels[-1][1]:
            levels.append((at_ms, number))
        while len(levels) > 1 and levels[1][0] <= at_ms - rule.fall_ms:
            del levels[0]
        del levels[1:-64]
        highest = max(level for _, level in levels)
        return 100.0 * (highest - number) / highest if highest > 0 else 0.0

    def _view(self, rule: Rule, subject: str, value: Value, at_ms: int) -> Callable[[str], Value]:
        """Values as this subject sees them: its own part of a signal, else the host's, unless it is stale."""

        def value_of(signal: str) -> Value:
            if signal == rule.signal:
                return value
            sample = self._newest.get((signal, subject)) or self._newest.get((signal, ""))
            if sample is None or abs(at_ms - sample.at_ms) > self._beats[signal].fresh_ms:
                return None
            return sample.value

        return value_of

    def _gone(
        self, rule: Rule, parts: Mapping[str, Tuple[Value, int]], subjects: Set[str], now_ms: int
    ) -> List[RuleEvent]:
        """Close what its producer looked for three times in vain. Only parts can go; a host does not."""
        followed = self._followed.get(rule.name)
        if not rule.of_parts or not followed:
            return []
        beat = self._beats.get(rule.signal)
        events = []
        for subject in [s for s in followed if s not in parts]:
            known = followed[subject]
            if not rule.takes(subject):  # the rule no longer speaks of it: nothing will ever clear it
                del followed[subject]
                if known.run.is_open:
                    severity = known.run.severity
                    events.append(RuleEvent("closed", rule, subject, now_ms, severity, None, "rule_removed"))
                continue
            if (
                subject in subjects
            ):  # the same sweep speaks of it by another signal: it is there, only not measured
                known.seen_ms, known.seen_sweep = now_ms, beat.sweeps if beat else 0
                continue
            sweeps = (beat.sweeps if beat else 0) - known.seen_sweep
            if sweeps < GONE_SWEEPS or now_ms - known.seen_ms < GONE_AFTER_MS:
                continue
            del followed[subject]
            if known.run.is_open:
                events.append(
                    RuleEvent(
                        "closed", rule, subject, known.seen_ms, known.run.severity, None, "subject_gone"
                    )
                )
        return events

    def _forgotten(self, now_ms: int) -> List[RuleEvent]:
        """Close resumed findings about parts whose signal nobody produces: all producers swept thrice without it."""
        if not self._sweeps or min(self._sweeps.values()) < GONE_SWEEPS:
            return []
        events = []
        for name, subjects in self._followed.items():
            rule = self._rules[name]
            # Events have an age of their own: that nobody tells of one since the restart is no sign of anything.
            if not rule.of_parts or rule.lasts_ms or rule.signal in self._beats:
                continue
            for subject in [s for s, k in subjects.items() if now_ms - k.seen_ms >= FORGOTTEN_AFTER_MS]:
                known = subjects.pop(subject)
                events.append(
                    RuleEvent(
                        "closed", rule, subject, known.seen_ms, known.run.severity, None, "subject_gone"
                    )
                )
        return events

    def _drop_quiet(self) -> None:
        for subjects in self._followed.values():
            for subject in [s for s, k in subjects.items() if not k.run.is_open]:
                del subjects[subject]


def _parts(
    rule: Rule, samples: Iterable[Sample], followed: Mapping[str, _Followed]
) -> Dict[str, Tuple[Value, int]]:
    """Subject -> (value, when). A list is a part for each entry (true; what left the list is false), a map one a key."""
    parts: Dict[str, Tuple[Value, int]] = {}
    for sample in samples:
        value, at_ms = sample.value, sample.at_ms
        if rule.of_parts and isinstance(value, list):
            parts.update({subject: (False, at_ms) for subject in followed if subject not in parts})
            parts.update({str(item): (True, at_ms) for item in value if rule.takes(str(item))})
        elif rule.of_parts and isinstance(value, dict):
            parts.update({str(key): (part, at_ms) for key, part in value.items() if rule.takes(str(key))})
        elif rule.takes(sample.subject):
            parts[sample.subject] = (value, at_ms)
    return parts
