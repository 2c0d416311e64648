"""Scenario files: read with every fault at once (``written`` writes them). What they mean on a timeline is ``expand``.

A file holds ``scenarios: [...]`` with its own vocabulary, or one scenario by itself (a recorded incident, as
``collector.qualify.recorded`` writes it). Unknown signals, and signals that no part of the program produces from real
input, are faults: a case that only exists on paper proves nothing. Keys that we do not know are left alone.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.signals.catalogue import BY_NAME, Signal
from collector.qualify.recorded import read_record
from config import loader
from config.loader import ConfigError, Fault

SCHEMA_VERSION = "1.0"
MAX_SCENARIOS = 2_000
MAX_ENTRIES = 20_000
COLLECTOR = "collector"
"""Name of the collector's own vantage in ``from``."""
CLASSES = ("1", "2", "3", "4", "5", "6", "none")
ROLES = ("parent", "child")
FAILOVER = ("none", "request", "auto", "forbidden_auto")
RECORDED_TAIL_S = 600
"""How long a recorded incident is played past its last entry when it does not say."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """From ``t_ms`` on the signal has this value, seen from there; an event happens then."""

    t_ms: int
    host: str
    signal: str
    value: Any
    vantage: str = COLLECTOR
    rx_ms: int | None = None
    """When the collector receives it, where that is later (buffered by the agent)."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A guarded server of the scenario."""

    id: str
    provider: str = ""
    places: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """site, rack, node, storage, virt, os, plan, resolver, ntp: as contracts name them."""
    lacks: tuple[str, ...] = ()
    contract: str = ""

    @property
    def virt(self) -> str:
        return self.places.get("virt", "")

    def cannot_show(self, signal: str) -> bool:
        """Whether the platform lacks the signal, by name or by its whole family (``psi``)."""
        return signal in self.lacks or signal.split(".", 1)[0] in self.lacks


@dataclasses.dataclass(frozen=True)
class Topology:
    """Who is where."""

    hosts: tuple[Host, ...]
    collector: str = "col"
    second_vantage: str = "probe2"
    failover: Mapping[str, Any] | None = None
    """Terms of the failover pair, where the contract has one."""

    @property
    def host_ids(self) -> tuple[str, ...]:
        return tuple(host.id for host in self.hosts)

    @property
    def providers(self) -> frozenset[str]:
        return frozenset(host.provider for host in self.hosts if host.provider)


@dataclasses.dataclass(frozen=True)
class TruthTicket:
    """A ticket that ought to be there."""

    role: str
    class_: str
    scope: str
    affected: tuple[str, ...]
    kind: str = ""
    severity: str = ""
    not_before_s: float = 0.0
    open_by_s: float = float("inf")
    root_cause: str = ""
    """Where parents differ in their cause; else the scenario's own holds for all."""

    @property
    def scope_type(self) -> str:
        """The word before the colon; what a topology calls ``dc`` is our site."""
        word = self.scope.partition(":")[0]
        return "site" if word == "dc" else word


@dataclasses.dataclass(frozen=True)
class Truth:
    """What was really the matter."""

    class_: str
    root_cause: str
    tickets: tuple[TruthTicket, ...] = ()
    failover: str = "none"
    must_not: tuple[str, ...] = ()
    accept: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def parents(self) -> tuple[TruthTicket, ...]:
        return tuple(ticket for ticket in self.tickets if ticket.role == "parent")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One case: who is where, what happened, and (for scoring) what it was."""

    id: str
    title: str
    duration_s: float
    topology: Topology
    timeline: tuple[Entry, ...]
    truth: Truth | None
    baselines: Mapping[str, Any]
    """Signal -> what a healthy host shows: the file's own vocabulary over the catalogue's."""
    tags: tuple[str, ...] = ()
    recorded: Mapping[str, Any] | None = None
    """The file's own values where it is a recorded judgement: it is judged again, not played in time."""


def load(path: Path, *, may_lack_producers: bool = False) -> tuple[Scenario, ...]:
    """The scenarios of a file; raises ConfigError with every fault of it."""
    try:
        text = loader.read_text(path)
    except OSError as error:
        raise ConfigError([Fault(str(path), 0, "", f"cannot be read: {error.strerror or error}")]) from error
    return parse(text, str(path), may_lack_producers=may_lack_producers)


def parse(
    text: str,
    file: str = "(text)",
    *,
    may_lack_producers: bool = False,
    signals: Mapping[str, Signal] = BY_NAME,
) -> tuple[Scenario, ...]:
    """The scenarios of a text over a catalogue of signals; raises ConfigError with every fault."""
    raw = loader.parse(text, Any, file=file)  # type: ignore[arg-type]
    reader = _Reader(file, text, may_lack_producers, signals)
    found = reader.read(raw)
    if reader.faults:
        raise ConfigError(reader.faults)
    return tuple(found)


def baselines_of(vocabulary: Mapping[str, Any]) -> dict[str, Any]:
    """What healthy hosts show: a file's vocabulary (``signal: [unit, baseline, meaning]``) laid over the catalogue."""
    found = {name: signal.baseline for name, signal in BY_NAME.items()}
    for name, row in vocabulary.items():
        if isinstance(row, Sequence) and not isinstance(row, str) and len(row) >= 2:
            found[str(name)] = plain(row[1])
    return found


def plain(value: Any) -> Any:
    """The value with text keys: YAML makes numbers of SMART attribute ids, JSON and the wire do not."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


_PLACES = ("site", "rack", "node", "storage", "virt", "os", "plan", "resolver", "ntp")


class _Reader:
    """Walks the plain values of a file and keeps every fault, with the line of its scenario."""

    def __init__(self, file: str, text: str, may_lack_producers: bool, signals: Mapping[str, Signal]) -> None:
        self.file = file
        self._signals = signals
        self.faults: list[Fault] = []
        self._lines = text.splitlines()
        self._may_lack = may_lack_producers
        self._line = 0
        self._is_recorded = False
        """What was recorded came from real input, whatever makes it today."""

    def read(self, raw: Any) -> list[Scenario]:
        if not isinstance(raw, Mapping):
            self._fault("", "is no scenario file", "a mapping with `scenarios`, or one scenario")
            return []
        many = raw.get("scenarios")
        if many is None:
            many = [raw]
        if not isinstance(many, list):
            self._fault("scenarios", "is no list")
            return []
        version = str(raw.get("schema_version", SCHEMA_VERSION))
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            self._fault("schema_version", f"{version!r} is not understood", SCHEMA_VERSION)
        if len(many) > MAX_SCENARIOS:
            self._fault("scenarios", f"{len(many)} are too many", f"at most {MAX_SCENARIOS}")
            return []
        baselines = baselines_of(self._mapping(raw.get("vocabulary"), "vocabulary"))
        found, ids = [], set()
        for i, one in enumerate(many):
            where = f"scenarios[{i}]" if "scenarios" in raw else ""
            scenario = self._scenario(one, where, baselines)
            if scenario is not None:
                if scenario.id in ids:
                    self._fault(where, f"{scenario.id} stands twice")
                ids.add(scenario.id)
                found.append(scenario)
        return found

    def _scenario(self, raw: Any, where: str, baselines: Mapping[str, Any]) -> Scenario | None:
        before = len(self.faults)
        raw = self._mapping(raw, where)
        is_recorded = bool(raw.get("findings")) and "judged_at_s" in raw
        self._is_recorded = is_recorded
        name = str(raw.get("id", "")) if raw else ""
        self._line = self._line_of(name)
        key = f"{where}({name})" if where and name else where or name
        if not name:
            self._fault(_join(key, "id"), "is missing")
            return None
        topology = self._topology(raw.get("topology"), _join(key, "topology"))
        timeline = self._timeline(raw.get("timeline"), _join(key, "timeline"), topology)
        last_s = max((e.t_ms for e in timeline), default=0) / 1000
        duration = raw.get("duration_s", max(last_s, _number(raw.get("judged_at_s"))) + RECORDED_TAIL_S)
        if not _is_number(duration) or duration <= 0:
            self._fault(_join(key, "duration_s"), f"{duration!r} is no time in seconds")
            duration = 1.0
        truth = self._truth(raw.get("truth"), _join(key, "truth"), topology)
        if is_recorded:
            self._record(raw, key)
        if len(self.faults) > before:
            return None
        return Scenario(
            name,
            str(raw.get("title", "")),
            float(duration),
            topology,
            timeline,
            truth,
            baselines,
            tuple(str(tag) for tag in raw.get("tags") or ()),
            raw if is_recorded else None,
        )

    def _record(self, raw: Mapping[str, Any], key: str) -> None:
        try:
            read_record(raw)
        except ValueError as error:
            self._fault(_join(key, "findings"), str(error))

    def _topology(self, raw: Any, key: str) -> Topology:
        raw = self._mapping(raw, key)
        hosts: list[Host] = []
        for i, one in enumerate(self._list(raw.get("hosts"), _join(key, "hosts"))):
            where = f"{key}.hosts[{i}]"
            host = self._mapping(one, where)
            if not host.get("id"):
                self._fault(f"{where}.id", "is missing")
                continue
            places = {place: str(host[place]) for place in _PLACES if host.get(place) not in (None, "")}
            if "site" not in places and host.get("dc"):
                places["site"] = str(host["dc"])
            lacks = tuple(str(word) for word in self._list(host.get("lacks"), f"{where}.lacks"))
            hosts.append(
                Host(
                    str(host["id"]),
                    str(host.get("provider", "")),
                    places,
                    lacks,
                    str(host.get("contract", "")),
                )
            )
        if not hosts:
            self._fault(_join(key, "hosts"), "has no host")
        seen = [host.id for host in hosts]
        for name in sorted({name for name in seen if seen.count(name) > 1}):
            self._fault(_join(key, "hosts"), f"{name} stands twice")
        collector = self._mapping(raw.get("collector"), _join(key, "collector"))
        second = str(collector.get("second_vantage", "")).split(" ")[0] or "probe2"
        failover = raw.get("contract")
        return Topology(
            tuple(hosts),
            str(collector.get("id", "col")),
            second,
            plain(failover) if isinstance(failover, Mapping) else None,
        )

    def _timeline(self, raw: Any, key: str, topology: Topology) -> tuple[Entry, ...]:
        rows = self._list(raw, key)
        if len(rows) > MAX_ENTRIES:
            self._fault(key, f"{len(rows)} entries are too many", f"at most {MAX_ENTRIES}")
            return ()
        known = {*topology.host_ids, *topology.providers, topology.collector}
        entries = []
        for i, one in enumerate(rows):
            where = f"{key}[{i}]"
            row = self._mapping(one, where)
            missing = [word for word in ("t", "host", "signal", "value") if word not in row]
            if missing:
                self._fault(where, f"lacks {', '.join(missing)}")
                continue
            for word in ("t", "rx"):
                if word in row and not _is_number(row[word]):
                    self._fault(f"{where}.{word}", f"{row[word]!r} is no time in seconds")
            if str(row["host"]) not in known:
                self._fault(
                    f"{where}.host", f"{row['host']!r} is not in the topology", ", ".join(sorted(known))
                )
            self._signal(str(row["signal"]), f"{where}.signal")
            entries.append(
                Entry(
                    round(_number(row["t"]) * 1000),
                    str(row["host"]),
                    str(row["signal"]),
                    plain(row["value"]),
                    str(row.get("from", COLLECTOR)),
                    round(_number(row["rx"]) * 1000) if "rx" in row else None,
                )
            )
        # The order of the file stands among entries of one instant.
        return tuple(sorted(entries, key=lambda entry: entry.t_ms))

    def _signal(self, name: str, key: str) -> None:
        known = self._signals.get(name)
        if known is None:
            near = sorted(n for n in self._signals if n.split(".")[0] == name.split(".")[0])
            self._fault(key, f"{name!r} is no signal of the catalogue", ", ".join(near))
        elif not known.producer and not self._may_lack and not self._is_recorded:
            self._fault(key, f"{name!r} has no producer yet: nothing makes it from real input")

    def _truth(self, raw: Any, key: str, topology: Topology) -> Truth | None:
        if raw is None:
            return None
        raw = self._mapping(raw, key)
        class_ = str(raw.get("class", ""))
        if class_ not in CLASSES:
            self._fault(_join(key, "class"), f"{class_!r} is no class", ", ".join(CLASSES))
        if not raw.get("root_cause"):
            self._fault(_join(key, "root_cause"), "is missing")
        tickets = [
            self._truth_ticket(one, f"{key}.tickets[{i}]", topology)
            for i, one in enumerate(self._list(raw.get("tickets"), _join(key, "tickets")))
        ]
        failover = self._mapping(raw.get("failover"), _join(key, "failover")).get("expected", "none")
        if failover not in FAILOVER:
            self._fault(_join(key, "failover.expected"), f"{failover!r} is not known", ", ".join(FAILOVER))
        accept = {
            str(word): tuple(str(v) for v in self._list(values, f"{key}.accept.{word}"))
            for word, values in self._mapping(raw.get("accept"), _join(key, "accept")).items()
        }
        must_not = tuple(str(word) for word in self._list(raw.get("must_not"), _join(key, "must_not")))
        return Truth(
            class_,
            str(raw.get("root_cause", "")),
            tuple(t for t in tickets if t),
            str(failover),
            must_not,
            accept,
        )

    def _truth_ticket(self, raw: Any, key: str, topology: Topology) -> TruthTicket | None:
        raw = self._mapping(raw, key)
        affected = tuple(sorted(str(h) for h in self._list(raw.get("affected"), _join(key, "affected"))))
        for name in sorted(set(affected) - set(topology.host_ids)):
            self._fault(_join(key, "affected"), f"{name!r} is not in the topology")
        role, class_ = str(raw.get("role", "parent")), str(raw.get("class", ""))
        if role not in ROLES:
            self._fault(_join(key, "role"), f"{role!r} is not known", ", ".join(ROLES))
        if class_ not in CLASSES:
            self._fault(_join(key, "class"), f"{class_!r} is no class", ", ".join(CLASSES))
        return TruthTicket(
            role,
            class_,
            str(raw.get("scope", "")),
            affected,
            str(raw.get("kind", "")),
            str(raw.get("severity", "")),
            _number(raw.get("not_before_s", 0)),
            _number(raw.get("open_by_s"), float("inf")),
            str(raw.get("root_cause", "")),
        )

    def _mapping(self, raw: Any, key: str) -> Mapping[str, Any]:
        if isinstance(raw, Mapping):
            return raw
        if raw is not None:
            self._fault(key, "is no mapping of keys and values")
        return {}

    def _list(self, raw: Any, key: str) -> list[Any]:
        if isinstance(raw, list):
            return raw
        if raw is not None:
            self._fault(key, "is no list")
        return []

    def _fault(self, key: str, message: str, allowed: str = "") -> None:
        self.faults.append(Fault(self.file, self._line, key, message, allowed))

    def _line_of(self, name: str) -> int:
        wanted = re.compile(rf"\"?\bid\"?:\s*[\"']?{re.escape(name)}[\"']?\s*(#.*|[,}}].*)?$")
        return next((n for n, line in enumerate(self._lines, 1) if name and wanted.search(line)), 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _number(value: Any, otherwise: float = 0.0) -> float:
    return float(value) if _is_number(value) else otherwise


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
