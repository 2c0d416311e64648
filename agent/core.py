"""The agent without a machine: samples in, findings and reports out. No clock, no thread, no network.

The daemon and the simulation drive the same object: ``take`` for a sweep, ``report`` when something is to be sent,
``replied`` with the collector's answer, ``hole`` after a pause. The spool is the one thing that it writes, and a
change is in the spool before anybody is told of it.

Own state that becomes a finding is fed through the same rules as signals of the machine (``agent.*`` samples).
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from typing import (
    Callable,
    Deque,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
    Union,
)

from agent.findings import Now, change_of, no_usual
from agent.history import History
from agent.outgoing import Outgoing
from agent.signals.engine import RuleEngine, RuleEvent
from agent.signals.rules import Rule
from agent.signals.sample import Sample, plain
from agent.spool import Spool, SpoolFull
from agent.usual import UsualHours
from agent.wire import (
    GOODBYES,
    MAX_ACT_CHARS,
    MAX_ACTS,
    MAX_FINDINGS,
    MAX_TOLD,
    TOLD,
    VITALS,
    WIRE_VERSION,
    Act,
    Adopt,
    Evidence,
    FindingChange,
    Reply,
    Report,
    Told,
)

MAX_HELD = 1_000
"""Changes kept in memory while the disk takes none; past it, changes that are no opening or closing are dropped first."""
MAX_ACTS_KEPT = 200
VITAL_AGE_MS = 180_000
"""A vital older than this is left out: an old number that looks new would be evidence of a lie."""
PRUNE_EVERY_MS = 600_000


class Awaited(Protocol):
    """Evidence that is on its way: the opening waits for it in memory, and all changes behind it with it."""

    @property
    def is_ready(self) -> bool: ...

    def evidence(self) -> Optional[Evidence]: ...


Gather = Callable[[FindingChange, History], Union[Evidence, Awaited, None]]


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who is speaking: constant for one run of the agent."""

    agent: str
    """The agent's version."""
    boot_id: str
    run_id: str
    address: str = ""


@dataclasses.dataclass(frozen=True)
class Status:
    """What the daemon knows of itself and puts into every report."""

    interval_s: float
    lacks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    found: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sweep_age_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    settings_version: int = 0
    settings_fault: str = ""
    rtt_ms: Optional[float] = None


class AgentCore:
    """One host's judge: history, rules, findings, and what the collector still has to be told."""

    def __init__(
        self,
        spool: Spool,
        rules: Sequence[Rule],
        identity: Identity,
        now: Now,
        *,
        units: Optional[Mapping[str, str]] = None,
        gather: Optional[Gather] = None,
        usual: Optional[UsualHours] = None,
    ) -> None:
        self.spool = spool
        self.identity = identity
        self.history = History()
        self.engine = RuleEngine(rules)
        self.held_dropped = 0
        """Changes lost because neither disk nor memory had room."""
        self._units = dict(units or {})
        self._gather = gather
        self.usual = usual
        self._usual = usual.of if usual is not None else no_usual
        self._told_usual: Dict[Tuple[str, str], Optional[bool]] = {}
        """(rule, subject) of open findings -> whether they were told as usual."""
        self._held: Deque[FindingChange] = deque()
        self._awaited: Dict[int, Awaited] = {}
        """id of a held opening -> its evidence on the way."""
        self._pruned_ms = now.mono_ms
        self._told_lacks: Optional[Dict[str, str]] = None
        self._lacks_in_flight: Optional[Dict[str, str]] = None
        self._told_found: Optional[Dict[str, str]] = None
        self._found_in_flight: Optional[Dict[str, str]] = None
        self.acts: Outgoing[Act] = Outgoing(MAX_ACTS_KEPT)
        """Acts of people that no answered report has held yet."""
        self.told: Outgoing[Told] = Outgoing(MAX_ACTS_KEPT)
        """Words about boots and gaps, likewise."""
        self._lag: List[Told] = []
        """The newest lag of replication, until a report that held it has been answered: one at most."""
        self._lag_in_flight: List[Told] = []
        self._resume(now)

    def take(self, samples: Iterable[Sample], now: Now, source: str = "") -> List[FindingChange]:
        """One sweep of one producer: record, judge, and put what changed into the spool. Returns what is in it now."""
        sound = [plain(sample) for sample in samples if _is_sound(sample)]
        self.history.record(sound)
        self._take_acts(sound, now)
        if now.mono_ms - self._pruned_ms >= PRUNE_EVERY_MS:
            self._pruned_ms = now.mono_ms
            self.history.prune(now.mono_ms)
            self.engine.prune(now.mono_ms)
        events = self.engine.judge(sound, now.mono_ms, source)
        if self.usual is not None:
            outside = self.usual.take(sound, now)
            if outside:
                self.history.record(outside)
                events += self.engine.judge(outside, now.mono_ms, "usual")
                events += self._turned_unusual(now, {(e.rule.name, e.subject) for e in events})
        for event in events:
            change = change_of(event, now, self.history, self.identity.boot_id, self._units, self._usual)
            self._note_usual(event, change)
            self._hold(self._with_evidence(change))
        return self.store_held()

    def _note_usual(self, event: RuleEvent, change: FindingChange) -> None:
        key = (event.rule.name, event.subject)
        if event.kind == "closed":
            self._told_usual.pop(key, None)
        elif event.rule.signal in change.facts:
            self._told_usual[key] = change.facts[event.rule.signal].as_usual

    def _turned_unusual(self, now: Now, told: Set[Tuple[str, str]]) -> List[RuleEvent]:
        """What was told as usual and outlasts or outgrows it, or the other way round, has changed: asked with each slot."""
        events = []
        for rule, subject, run in self.engine.open():
            key = (rule.name, subject)
            if key in told or key not in self._told_usual:
                continue
            value = self.history.value(rule.signal, subject)
            _, as_usual = self._usual(rule.signal, subject, value, now.wall_ms)
            if as_usual is not None and as_usual != self._told_usual[key]:
                events.append(RuleEvent("changed", rule, subject, now.mono_ms, run.severity, value))
        return events

    def _take_acts(self, samples: List[Sample], now: Now) -> None:
        """What people do, and how boots and gaps went, is told as it happens: it explains what no rule here ties it to."""
        for sample in samples:
            if sample.signal == "ops.action" and isinstance(sample.value, str):
                text = "".join(c if c.isprintable() else " " for c in sample.value)[:MAX_ACT_CHARS]
                self.acts.append(Act(now.wall_of(sample.at_ms), text or "?"))
            elif sample.signal == "repl.lag_s":
                if not sample.subject:
                    self._lag = [Told(max(0, now.wall_of(sample.at_ms)), sample.signal, sample.value)]
            elif sample.signal in TOLD and sample.value is not None:
                self.told.append(Told(max(0, now.wall_of(sample.at_ms)), sample.signal, sample.value))

    def store_held(self, *, is_last: bool = False) -> List[FindingChange]:
        """Write what the disk did not take, or what waited for its evidence; the changes that are in the spool now, in
        order. ``is_last``: there will be no later, whatever evidence there is goes along."""
        stored: List[FindingChange] = []
        while self._held:
            awaited = self._awaited.get(id(self._held[0]))
            if awaited is not None:
                if not (awaited.is_ready or is_last):
                    break
                del self._awaited[id(self._held[0])]
                self._held[0] = dataclasses.replace(self._held[0], evidence=awaited.evidence())
            try:
                numbered = self.spool.append(self._held[0])
            except (SpoolFull, OSError):
                self.spool.refused += 1
                break
            self._held.popleft()
            if numbered is not None:
                stored.append(numbered)
        return stored

    def hole(self, now: Now) -> None:
        """The agent did not run for a while: no window may claim that time."""
        self.engine.hole()

    def set_rules(self, rules: Sequence[Rule], now: Now) -> List[FindingChange]:
        """Put other rules in force at once; findings of rules that went are closed with that reason."""
        for event in self.engine.replace(rules, now.mono_ms):
            self._hold(change_of(event, now, self.history, self.identity.boot_id, self._units, self._usual))
        return self.store_held()

    def open_findings(self) -> List[FindingChange]:
        """Openings of everything that is open."""
        return self.spool.open_findings()

    @property
    def is_grave(self) -> bool:
        """Whether a finding is open that is worth the black box's attention."""
        return any(finding.severity in ("high", "critical") for finding in self.spool.open_findings())

    @property
    def held(self) -> int:
        """Changes that wait in memory because the disk took none."""
        return 0 if self._held and id(self._held[0]) in self._awaited else len(self._held)

    @property
    def has_news(self) -> bool:
        """Whether there is a finding to deliver that the collector can take now."""
        return self.spool.depth > 0 and self.spool.is_sure

    def report(self, now: Now, status: Status, *, goodbye: Optional[str] = None) -> Report:
        """A heartbeat with vitals, and the oldest undelivered changes within the wire's bounds."""
        assert goodbye is None or goodbye in GOODBYES
        lacks = dict(status.lacks)
        self._lacks_in_flight = lacks
        found = dict(status.found)
        self._found_in_flight = found
        self._lag_in_flight = list(self._lag)
        return Report(
            v=WIRE_VERSION,
            agent=self.identity.agent,
            boot_id=self.identity.boot_id,
            run_id=self.identity.run_id,
            wall_ms=now.wall_ms,
            mono_ms=now.mono_ms,
            boottime_ms=now.boottime_ms,
            interval_s=status.interval_s,
            stream=self.spool.stream,
            vitals=self.vitals(now),
            findings=self.spool.batch(MAX_FINDINGS),
            lacks={} if lacks == self._told_lacks else lacks,
            found={} if found == self._told_found else found,
            sweep_age_s={name: round(age, 1) for name, age in status.sweep_age_s.items()},
            spool_depth=self.spool.depth + len(self._held),
            spool_dropped=self.spool.dropped + self.held_dropped,
            settings_version=status.settings_version,
            settings_fault=status.settings_fault[:500],
            goodbye=goodbye,
            address=self.identity.address,
            rtt_ms=status.rtt_ms,
            acts=self.acts.batch(MAX_ACTS),
            told=[*self._lag_in_flight, *self.told.batch(MAX_TOLD - 1)],
        )

    def goodbye(self, reason: str, now: Now, status: Status) -> Report:
        """The last report of this run."""
        return self.report(now, status, goodbye=reason)

    def replied(self, reply: Reply, now: Now, *, stream: str) -> List[FindingChange]:
        """Take the collector's answer to a report that was sent under ``stream``; the changes that it made.

        An answer about a stream that we have since left says nothing about this one. Raises OSError when a fork of
        the stream could not be written; the next answer will say the same.
        """
        if stream != self.spool.stream:
            return []
        if not reply.error:
            self._told_lacks = self._lacks_in_flight
            self._told_found = self._found_in_flight
            self.acts.answered()
            self.told.answered()
            if self._lag == self._lag_in_flight:
                self._lag = []
        if self.spool.acknowledge(reply.want_n):
            self._told_lacks = None
            self._told_found = None
        for adopt in reply.adopt:
            self._adopt(adopt, now)
        return self.store_held()

    def vitals(self, now: Now) -> Dict[str, Optional[float]]:
        """The fixed list of numbers; what the platform lacks or nobody read lately is left out."""
        vitals: Dict[str, Optional[float]] = {}
        for signal in VITALS:
            sample = self.history.newest(signal)
            if sample is None or now.mono_ms - sample.at_ms > VITAL_AGE_MS:
                continue
            if isinstance(sample.value, (int, float)):
                vitals[signal] = round(float(sample.value), 3)
        return vitals

    def _resume(self, now: Now) -> None:
        """Findings that were open when the last run ended are open now; those of rules that are gone are closed."""
        for opening in self.spool.open_findings():
            began_ms, newest_ms = now.mono_of(opening.at_ms), now.mono_of(self.spool.newest_ms(opening))
            if self.engine.resume(
                opening.rule, opening.subject, began_ms, opening.severity, now.mono_ms, newest_ms=newest_ms
            ):
                continue
            self._hold(
                dataclasses.replace(
                    opening,
                    n=0,
                    kind="closed",
                    at_ms=now.wall_ms,
                    boot_id=self.identity.boot_id,
                    mono_ms=now.mono_ms,
                    facts={},
                    evidence=None,
                    reason="rule_removed",
                )
            )
        self.store_held()

    def _adopt(self, adopt: Adopt, now: Now) -> None:
        """Take over what the collector holds open from a stream that is lost: opened here with the original time."""
        if self.spool.is_open(adopt.rule, adopt.subject) or self._holds(adopt.rule, adopt.subject):
            return
        rule = self.engine.rule(adopt.rule)
        opening = FindingChange(
            n=0,
            kind="opened",
            opening_n=0,
            rule=adopt.rule,
            subject=adopt.subject,
            family=rule.family if rule else "agent",
            at_ms=adopt.at_ms,
            severity=rule.severity if rule else "low",
            boot_id=self.identity.boot_id,
            mono_ms=now.mono_of(adopt.at_ms),
        )
        self._hold(opening)
        if rule is None or not rule.takes(adopt.subject):
            self._hold(
                dataclasses.replace(
                    opening, kind="closed", at_ms=now.wall_ms, mono_ms=now.mono_ms, reason="rule_removed"
                )
            )
            return
        if not self.engine.is_open(adopt.rule, adopt.subject):
            self.engine.resume(
                adopt.rule, adopt.subject, opening.mono_ms, rule.severity, now.mono_ms, is_adopted=True
            )

    def _holds(self, rule: str, subject: str) -> bool:
        return any(change.rule == rule and change.subject == subject for change in self._held)

    def _with_evidence(self, change: FindingChange) -> FindingChange:
        if change.kind != "opened" or self._gather is None:
            return change
        found = self._gather(change, self.history)
        if found is None or isinstance(found, Evidence):
            return dataclasses.replace(change, evidence=found)
        self._awaited[id(change)] = found
        return change

    def _hold(self, change: FindingChange) -> None:
        if len(self._held) >= MAX_HELD:
            for i, held in enumerate(self._held):
                if held.kind == "changed":
                    del self._held[i]
                    break
            else:
                self._awaited.pop(id(self._held.popleft()), None)
            self.held_dropped += 1
        self._held.append(change)


def _is_sound(sample: Sample) -> bool:
    """JSON has no NaN, and a rule has no use for one."""
    return not isinstance(sample.value, float) or math.isfinite(sample.value)
