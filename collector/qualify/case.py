"""Case: everything that a verdict may be made from, as one value.

It is built from the store by the tick (``collector.tick.cases``) and from a scenario file by ``recorded``; the
evidence rows see nothing else, so a recorded incident and a live one are judged by the same code. Signals carry
the names of the vocabulary (agent/signals/catalogue). What a platform cannot show stands in ``lacks``: its absence
is no evidence, and ``value`` says None for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Number = float

_BOOTS = ("boot.", "host.gap")

SCOPES = ("node", "storage", "rack", "site", "provider")
"""Groups of the topology, the smallest first: the order in which a shared cause is looked for."""

BOOT_BEFORE_MS = 600_000
"""What was told of a boot belongs to a fault that was noticed at most this long after it."""

STALE_AFTER_MS = 60_000
"""What another finding told this long before the newest heartbeat is no longer the present."""

FRESH_FOR_MS = 60_000
"""Vitals older than this say nothing about a sibling's present."""


@dataclasses.dataclass(frozen=True)
class FactView:
    """One related signal of a finding: now, before it began, and usual at this hour."""

    now: Any = None
    before: Any = None
    usual: float | None = None
    as_usual: bool | None = None
    """Whether this hour reaches the value as a rule, by the server's own weekly profile; None where it does not know."""
    first: Any = None
    """What it was when the finding opened, where ``now`` has changed since."""

    @property
    def at_open(self) -> Any:
        """What it was when the finding opened."""
        return self.now if self.first is None else self.first


@dataclasses.dataclass(frozen=True)
class Held:
    """A finding that holds (or held) on a host."""

    host_id: str
    rule: str
    subject: str
    family: str
    severity: str
    at_ms: int
    stream: str = ""
    facts: Mapping[str, FactView] = dataclasses.field(default_factory=dict)
    lines: tuple[str, ...] = ()
    """Log lines of its evidence, oldest first."""
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    changed_at_ms: int = 0
    """When its facts were told last; 0 = only when it opened."""

    @property
    def told_at_ms(self) -> int:
        """How fresh its facts are."""
        return max(self.at_ms, self.changed_at_ms)

    @property
    def is_outside(self) -> bool:
        """Whether the collector saw it from outside, and not the agent from inside."""
        return self.stream.startswith("collector:")


@dataclasses.dataclass(frozen=True)
class HostView:
    """A host as judgement sees it: where it stands, what it last said, what it cannot show."""

    id: str
    contract_id: str = ""
    topology: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """provider, site, rack, node, storage, virt, os, plan, resolver, ntp."""
    life: str = "alive"
    vitals: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    seen_at_ms: int | None = None
    lacks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    families: frozenset[str] = frozenset()
    """Symptom families that have a finding open there."""

    def place(self, kind: str) -> str:
        """The group of that kind it belongs to, or "" when unknown; ``site`` may be written ``dc``.

        On bare metal what is called a node is the rack that the machine stands in.
        """
        value = self.topology.get(kind)
        if kind == "site":
            value = value or self.topology.get("dc")
        elif kind in ("node", "rack") and self.topology.get("virt") == "none":
            value = None if kind == "node" else value or self.topology.get("node")
        return str(value or "")

    @property
    def is_bare_metal(self) -> bool:
        return self.place("virt") == "none"

    @property
    def is_container(self) -> bool:
        return self.place("virt") in ("lxc", "openvz", "docker", "container")

    @property
    def is_silent(self) -> bool:
        return self.life in ("suspect", "silent")

    def cannot_show(self, signal: str) -> bool:
        """Whether the platform lacks the signal, by name or by its whole family (``psi``)."""
        return signal in self.lacks or signal.split(".", 1)[0] in self.lacks


@dataclasses.dataclass(frozen=True)
class Seen:
    """Something that the collector's side saw: a provider's word, a probe from elsewhere, an operator's act."""

    host_id: str
    signal: str
    value: Any
    vantage: str
    at_ms: int


@dataclasses.dataclass(frozen=True)
class Case:
    """One problem on one host at one moment, with all that stands around it."""

    now_ms: int
    host: HostView
    subject: Held
    """The finding that is judged; of several of the same problem the first."""
    beside: tuple[Held, ...] = ()
    """The host's other open findings, oldest first."""
    siblings: tuple[HostView, ...] = ()
    """Other hosts that share a group of the topology with it."""
    ops: tuple[str, ...] = ()
    """Operator actions on record in the 120 s before the beginning."""
    seen: tuple[Seen, ...] = ()
    """What the collector's side saw of the host and its provider lately, oldest first."""

    def seen_now(self, signal: str) -> dict[str, Any]:
        """Vantage -> the newest value that was seen of the host from there."""
        return {s.vantage: s.value for s in self.seen if s.signal == signal and s.host_id == self.host.id}

    def happened(self, signal: str, before_ms: int, after_ms: int) -> tuple[Seen, ...]:
        """What was seen of that signal around the beginning of the fault, of the host or of its provider."""
        began = self.subject.at_ms
        return tuple(
            s for s in self.seen if s.signal == signal and began - before_ms <= s.at_ms <= began + after_ms
        )

    def provider_status(self) -> str:
        """The provider's own word on itself now, "" where nobody reads it."""
        provider = self.host.place("provider")
        said = [s for s in self.seen if s.signal == "prov.status" and s.host_id in (provider, self.host.id)]
        return str(said[-1].value) if said else ""

    def seen_as(self, signal: str, words: frozenset[str]) -> tuple[str, ...]:
        """The vantages (ours is ``collector``) from which the signal stands at one of these words, by name."""
        found = {vantage for vantage, word in self.seen_now(signal).items() if word in words}
        if self.value(signal) in words:
            found.add("")
        return tuple(sorted(vantage or "collector" for vantage in found))

    def done_by_operator(self, matches: Callable[[str], object]) -> str:
        """The first act of an operator on record just before the beginning that matches, or ""."""
        return next((act for act in self.ops if matches(act)), "")

    def held(self) -> Iterator[Held]:
        """The judged finding, then the others of the host."""
        yield self.subject
        yield from self.beside

    def fact(self, signal: str) -> FactView | None:
        """The judged finding's own fact about the signal, else the newest that another one tells; vitals fill in the present.

        A heartbeat that is a while younger than what another finding said says what holds now; what was before, and what is
        usual, stays the finding's.
        """
        vital = self.host.vitals.get(signal)
        for held in (self.subject, *sorted(self.beside, key=lambda h: -h.told_at_ms)):
            found = held.facts.get(signal)
            if found is None or found.now is None:
                continue
            if vital is not None and held is not self.subject and self._is_stale(held):
                return dataclasses.replace(found, now=vital, first=found.at_open)
            return found
        if vital is not None:
            return FactView(now=vital)
        return self._told(signal) if signal.startswith(_BOOTS) else None

    def _is_stale(self, held: Held) -> bool:
        """Whether the host's newest heartbeat is that much younger than what the finding told."""
        seen = self.host.seen_at_ms
        return self.host.life == "alive" and seen is not None and seen - held.told_at_ms > STALE_AFTER_MS

    def _told(self, signal: str) -> FactView | None:
        """What the host told of its newest boot (or gap), where that is this fault's: not an older one's."""
        since_ms = self.subject.at_ms - BOOT_BEFORE_MS
        for seen in reversed(self.seen):
            if seen.signal == signal and seen.host_id == self.host.id and seen.at_ms >= since_ms:
                return FactView(now=seen.value)
        return None

    def value(self, signal: str) -> Any:
        """The signal's present value, None when nobody said it or the platform cannot show it."""
        found = self.fact(signal)
        return found.now if found is not None else None

    def number(self, signal: str) -> float | None:
        """The signal's present value where it is a number."""
        return as_number(self.value(signal))

    def before(self, signal: str) -> float | None:
        """The number that held before the fault began; the usual of the hour where that is all there is."""
        found = self.fact(signal)
        if found is None:
            return None
        earlier = as_number(found.before)
        return earlier if earlier is not None else found.usual

    def ran_above(self, signal: str, floor: float) -> bool:
        number = self.number(signal)
        return number is not None and number > floor

    def own_cpu_pct(self) -> float | None:
        """CPU that the host itself uses: user and system (softirq where it is told)."""
        user, system = self.number("cpu.user_pct"), self.number("cpu.sys_pct")
        if user is None or system is None:
            return None
        return user + system + (self.number("cpu.softirq_pct") or 0.0)

    def has_line(self, matches: Callable[[str], object]) -> str:
        """The first log line of the host's findings that matches, or ""."""
        for held in self.held():
            for line in held.lines:
                if matches(line):
                    return line
        return ""

    def near(self, kind: str) -> tuple[HostView, ...]:
        """Siblings of the same node, storage, ...; none when the host's own place is unknown."""
        mine = self.host.place(kind)
        if not mine:
            return ()
        provider = self.host.place("provider")
        return tuple(s for s in self.siblings if s.place(kind) == mine and s.place("provider") == provider)

    def is_fresh(self, sibling: HostView) -> bool:
        """Whether the sibling's vitals speak about now."""
        return sibling.seen_at_ms is not None and self.now_ms - sibling.seen_at_ms <= FRESH_FOR_MS

    def plan_number(self, key: str) -> float | None:
        """A number of the tariff text: ``plan_number("iops_cap")`` of ``dedicated iops_cap=3000`` is 3000."""
        for word in self.host.place("plan").split():
            name, _, raw = word.partition("=")
            if name == key:
                try:
                    return float(raw.rstrip("%"))
                except ValueError:
                    return None
        return None


def as_number(value: Any) -> float | None:
    """The value where it is a number (truth is not one)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return None


def held_from_body(body: Mapping[str, Any], **columns: Any) -> Held:
    """A finding's row of the store (its JSON ``body`` and its columns) as a Held; what is misshapen is left out.

    The body came from a client's server: an odd value in it must not stop the judging of anything else.
    """
    facts = {str(name): fact_from(raw) for name, raw in _mapping(body.get("facts")).items()}
    evidence = _mapping(body.get("evidence"))
    log = evidence.get("log")
    lines = [str(e.get("text", "")) for e in (log if isinstance(log, list) else ()) if isinstance(e, Mapping)]
    # Of a talkative kernel the last lines that were gathered need not hold the one by which the finding was raised.
    said = facts.get("kmsg")
    own = [text for text in (said.first, said.now) if isinstance(text, str) and text] if said else []
    lines = [*dict.fromkeys(text for text in own if text not in lines), *lines]
    return Held(facts=facts, lines=tuple(lines), notes=_mapping(evidence.get("notes")), **columns)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def fact_from(raw: Any) -> FactView:
    """A fact as the wire writes it (a mapping), or a bare value."""
    if isinstance(raw, Mapping):
        known = raw.get("as_usual")
        as_usual = known if isinstance(known, bool) else None
        return FactView(
            raw.get("now"), raw.get("before"), as_number(raw.get("usual")), as_usual, raw.get("first")
        )
    return FactView(raw)
