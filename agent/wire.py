"""The contract between agent and collector: Report up, Reply down. JSON over HTTPS, POST /api/v1/reports.

The agent encodes with the standard library (``to_json``); the collector decodes the same dataclasses with
msgspec. Both ignore fields that they do not know; ``v`` changes only when a field's meaning does.

Findings are a persisted, ordered stream (host, stream, n): the collector takes only the n it wants, answers the
next n it wants, and the agent deletes nothing before. Heartbeats are unnumbered; the newest wins by
(boot_id, run_id, mono_ms). Identity comes from the token, never from the body.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Dict, List, Optional, Union

WIRE_VERSION = 1

MAX_REPORT_BYTES = 1024 * 1024
"""Largest body the collector reads. An agent splits its backlog to stay below it."""

MAX_FINDINGS = 64
"""Most finding changes in one report."""

MAX_EVIDENCE_BYTES = 16 * 1024

REPORT_PATH = "/api/v1/reports"

Value = Union[float, int, bool, str, List[str], Dict[str, Any], None]
"""What a signal may hold: numbers, truth, a word, a list (svc.failed) or a map (hw.smart)."""

VITALS = (
    "cpu.user_pct",
    "cpu.sys_pct",
    "cpu.iowait_pct",
    "cpu.steal_pct",
    "cpu.online",
    "cpu.spin_score",
    "agent.cpu_ms",
    "load.per_cpu",
    "sched.runq_per_cpu",
    "psi.cpu_some60",
    "psi.mem_full60",
    "psi.io_full60",
    "mem.total_mb",
    "mem.avail_pct",
    "swap.out_mbps",
    "disk.await_ms",
    "disk.iops",
    "disk.qdepth",
    "disk.probe_ms",
    "fs.used_pct",
    "net.in_mbps",
    "net.in_kpps",
    "net.ladder",
    "clk.ntp_offset_ms",
)
"""The fixed list of numbers in every heartbeat: at most 24, since a sibling that does not move is evidence.

``net.ladder`` packs the network ladder: bit 0 link, 1 gateway, 2 hop 2, 3 collector, 4 resolver, bits 5-6 anchors.
"""

GOODBYES = ("host_shutdown", "service_stop", "roll_out")

TOLD = (
    "boot.wtmp_shutdown",
    "boot.pstore",
    "boot.fs_recovery",
    "boot.restart_cause",
    "boot.kernel",
    "host.gap",
    "repl.lag_s",
)
"""Signals that a report tells as they are, finding or not: how boots and gaps went explains what others see, and how far
a backup was behind is asked when its primary is gone. Of repl.lag_s only the newest is told and kept."""
MAX_TOLD = 20
MAX_TOLD_BYTES = 4096
"""Largest value of one of them, as JSON."""

MAX_ACTS = 20
MAX_ACT_CHARS = 300


@dataclasses.dataclass(frozen=True)
class Fact:
    """One related signal at the moment a finding changed."""

    now: Value = None
    before: Value = None
    """The value held before the change began (median of the quarter of an hour before, for numbers)."""
    usual: Optional[float] = None
    """The weekly profile's level of this hour, where there is one."""
    unit: str = ""
    as_usual: Optional[bool] = None
    """Whether this hour of the week reaches ``now`` as a rule ("same as every night"); None where nobody knows yet."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What an engineer asks first: at most MAX_EVIDENCE_BYTES as JSON, redacted before it leaves the server."""

    top: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    """Top processes: {"by": "cpu|memory|io", "pid", "name", "user", "cpu_pct", "rss_mb", "io_mbps"}. No arguments."""
    log: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    """Last lines: {"at_ms", "source": "kernel|unit name", "text"}."""
    series: Dict[str, List[List[float]]] = dataclasses.field(default_factory=dict)
    """Signal -> [[at_ms, value], ...] around the moment, oldest first."""
    notes: Dict[str, Any] = dataclasses.field(default_factory=dict)
    """Small extras: sockets by state, a check's last answer, the mount's device."""


@dataclasses.dataclass(frozen=True)
class FindingChange:
    """One entry of the finding stream: a rule began to hold for a subject, its facts changed, or it ceased to."""

    n: int
    """Place in the stream, from 1, without gaps."""
    kind: str
    """opened, changed or closed."""
    opening_n: int
    """n of the opening that this entry belongs to; equals n for an opening."""
    rule: str
    subject: str
    """What on the host it is about: "" for the host itself, "/var" for a mount, "nginx.service" for a unit."""
    family: str
    """Symptom family (ticketing.model.FAMILIES): half of the problem key."""
    at_ms: int
    """When the rule began to hold (opened), changed, or began to be clear (closed): agent's wall clock, a claim."""
    severity: str = "medium"
    boot_id: str = ""
    mono_ms: int = 0
    facts: Dict[str, Fact] = dataclasses.field(default_factory=dict)
    evidence: Optional[Evidence] = None
    reason: str = ""
    """For closed: what proved it (cleared, adopted_cleared, subject_gone, rule_removed)."""


@dataclasses.dataclass(frozen=True)
class Act:
    """Something that a person did on the host (``ops.action``): said once, since no act is evidence as well."""

    at_ms: int
    """Agent's wall clock, a claim."""
    text: str
    """As people say it: ``iptables -P INPUT DROP (sudo, user ivan)``; redacted before it leaves the server."""


@dataclasses.dataclass(frozen=True)
class Told:
    """A signal of ``TOLD`` as it was seen on the host."""

    at_ms: int
    """Agent's wall clock, a claim; of boot.* the boot itself."""
    signal: str
    value: Value = None


@dataclasses.dataclass(frozen=True)
class Report:
    """One message of an agent: a heartbeat, or a heartbeat with findings. Bounds: MAX_REPORT_BYTES, MAX_FINDINGS."""

    v: int
    agent: str
    """The agent's version."""
    boot_id: str
    run_id: str
    """Random, new with every start of the agent."""
    wall_ms: int
    mono_ms: int
    boottime_ms: int
    interval_s: float
    stream: str
    """Random id of this spool; a new one announces that the old spool is gone."""
    vitals: Dict[str, Optional[float]] = dataclasses.field(default_factory=dict)
    findings: List[FindingChange] = dataclasses.field(default_factory=list)
    lacks: Dict[str, str] = dataclasses.field(default_factory=dict)
    """Signal -> why this platform cannot show it. Sent on start and when it changes; {} = unchanged."""
    found: Dict[str, str] = dataclasses.field(default_factory=dict)
    """What this server is (agent.inventory). Sent when first known and when it changes; {} = unchanged."""
    sweep_age_s: Dict[str, float] = dataclasses.field(default_factory=dict)
    """Sampler -> seconds since its last full sweep."""
    spool_depth: int = 0
    spool_dropped: int = 0
    """Changes folded or dropped since the stream began, for want of room."""
    settings_version: int = 0
    settings_fault: str = ""
    goodbye: Optional[str] = None
    """One of GOODBYES on SIGTERM; None while running."""
    address: str = ""
    """The address this host sees itself at; a claim, shown to people only."""
    rtt_ms: Optional[float] = None
    """How long the last report took to be answered; None before the first answer."""
    acts: List[Act] = dataclasses.field(default_factory=list)
    """Acts of people, at most MAX_ACTS; told again until a report that held them is answered."""
    told: List[Told] = dataclasses.field(default_factory=list)
    """How boots and gaps went, at most MAX_TOLD; told again likewise."""


@dataclasses.dataclass(frozen=True)
class Adopt:
    """A finding that the collector holds open from a lost stream: the agent takes it over and closes it with proof."""

    rule: str
    subject: str
    at_ms: int


@dataclasses.dataclass(frozen=True)
class Reply:
    """What the collector answers to a report that it took (or to one out of order, with status 409)."""

    v: int = WIRE_VERSION
    want_n: int = 1
    """The next n it wants on the report's stream; everything below is durable."""
    interval_s: Optional[float] = None
    settings_version: int = 0
    settings: Optional[Dict[str, Any]] = None
    """New settings when the report's version was older: rules' thresholds and check parameters, never a command."""
    adopt: List[Adopt] = dataclasses.field(default_factory=list)
    error: str = ""
    detail: str = ""


def to_json(value: Union[Report, Reply]) -> bytes:
    """Compact UTF-8 JSON; NaN and infinities are refused (ValueError), since JSON has none."""
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", errors="replace")


def reply_from_json(body: bytes) -> Reply:
    """A Reply from the collector's JSON; unknown fields are ignored. Raises ValueError when it is not one."""
    raw = json.loads(body)
    if not isinstance(raw, dict):
        raise ValueError("a reply is a JSON object")
    known = {f.name for f in dataclasses.fields(Reply)}
    values = {k: v for k, v in raw.items() if k in known}
    adopt = values.pop("adopt", None) or []
    reply = Reply(**values, adopt=[Adopt(str(a["rule"]), str(a["subject"]), int(a["at_ms"])) for a in adopt])
    if not isinstance(reply.want_n, int) or reply.want_n < 1:
        raise ValueError("want_n must be a whole number from 1")
    return reply


def change_from_dict(raw: Dict[str, Any]) -> FindingChange:
    """A FindingChange from its JSON object (the spool's records); unknown fields are ignored. ValueError if none."""
    try:
        known = {f.name for f in dataclasses.fields(FindingChange)}
        values = {k: v for k, v in raw.items() if k in known}
        values["facts"] = {k: Fact(**v) for k, v in (values.get("facts") or {}).items()}
        if values.get("evidence") is not None:
            values["evidence"] = Evidence(**values["evidence"])
        return FindingChange(**values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a finding change: {error}") from error


def change_to_dict(change: FindingChange) -> Dict[str, Any]:
    """The change as plain JSON values."""
    return _plain(change)


def _plain(value: Any) -> Any:
    """Dataclasses to dicts without copying leaves (dataclasses.asdict deep-copies, at ten times the cost)."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
