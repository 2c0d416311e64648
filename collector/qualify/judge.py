"""From a Case to a Verdict: the rows are weighed, the sum is read, and the words are chosen."""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.damping import NOVELTY
from collector.qualify.row import Row
from collector.qualify.rows_clock import CLOCK_ROWS
from collector.qualify.rows_cpu import CPU_ROWS
from collector.qualify.rows_fs import FS_ROWS
from collector.qualify.rows_hardware import HARDWARE_ROWS
from collector.qualify.rows_io import IO_ROWS
from collector.qualify.rows_memory import MEMORY_ROWS
from collector.qualify.rows_network import NETWORK_ROWS
from collector.qualify.rows_said import SAID_ROWS
from collector.qualify.rows_service import APPLICATION_ROWS, SERVICE_ROWS
from collector.qualify.rows_silence import SILENCE_ROWS
from collector.qualify.rows_vantage import VANTAGE_ROWS
from collector.qualify.score import Score, Weighed, score, weigh
from collector.qualify.subjects import ELSEWHERE_RULE, subject_of
from ticketing.model import Reason, Verdict, named_in_line

ROWS: tuple[Row, ...] = (
    *CPU_ROWS,
    *MEMORY_ROWS,
    *IO_ROWS,
    *FS_ROWS,
    *SERVICE_ROWS,
    *APPLICATION_ROWS,
    *SILENCE_ROWS,
    *VANTAGE_ROWS,
    *NETWORK_ROWS,
    *CLOCK_ROWS,
    *HARDWARE_ROWS,
    *SAID_ROWS,
)

DEFAULT_CAUSE = {
    "silence": "unknown",
    "service": "os.service_failed",
    "unit": "os.service_failed",
    "process": "os.service_failed",
    "cpu": "os.cpu_demand",
    "memory": "os.memory_leak",
    "io": "os.io_demand",
    "fs_space": "os.disk_full",
    "fs": "os.fs_error",
    "network": "net.provider_edge",
    "dns": "os.resolver",
    "clock": "os.clock",
    "virt": "virt.pause",
    "hardware": "hw.disk",
    "kernel": "os.kernel_bug",
    "limits": "os.service_failed",
    "tls": "os.cert_expired",
    "agent": "os.agent_down",
}
"""What a symptom family most often is; the cause while no row names another."""

SEVERITY = {
    "os.agent_down": "low",
    "net.transit_path": "low",
    "unknown": "critical",
    "os.userland_hung": "critical",
    "os.boot_failure": "critical",
    "virt.node_failure": "critical",
    "hw.power": "critical",
    "net.dc_outage": "critical",
    "net.provider_outage": "critical",
}
"""Causes whose weight does not depend on what the rule said."""

WOULD_CHANGE = {
    "unknown": ("would.inside_view", "would.provider_word", "would.sibling_falls"),
    "os.agent_down": ("would.host_stops_answering",),
    "os.userland_hung": ("would.storage_siblings", "would.inside_view"),
    "os.boot_failure": ("would.forensics", "would.provider_word"),
    "virt.cpu_contention": ("would.own_demand",),
    "os.cpu_demand": ("would.steal_rises",),
    "os.plan_limit": ("would.plan_changed",),
    "os.memory_leak": ("would.total_falls",),
    "virt.storage_backend": ("would.own_demand",),
    "os.io_demand": ("would.sibling_slow", "would.io_errors"),
    "os.fs_error": ("would.io_errors",),
    "os.service_failed": ("would.resource_short",),
    "os.firewall": ("would.second_vantage",),
    "os.resolver": ("would.sibling_dns",),
    "os.clock": ("would.ntp_siblings",),
}


OF_A_GROUP = frozenset(
    {"hw.power", "virt.node_failure", "net.dc_outage", "net.provider_outage", "virt.storage_lost"}
)
"""Sentences about a rack, node, ...; of a host alone they have one of their own, which names no such thing."""

PATH_GROUP = "path:collector"
"""Scope of trouble on our own way to hosts."""

CERTIFICATE_URGENT_DAYS = 7.0


def qualify(case: Case, without: frozenset[str] = frozenset()) -> Verdict:
    """The verdict on the case. ``without`` leaves rows out by id, to see what a row is worth."""
    weighed = weigh(case, ROWS, without)
    found = score(weighed, _default_cause(case))
    scope = ("" if _is_elsewhere(case) else str(case.value("silence.group") or "")) or f"host:{case.host.id}"
    if found.cause == "net.transit_path" and found.class_ == 1 and scope.startswith("host:"):
        # Whoever else is cut off from us alone shares the broken way, whatever provider it is at.
        scope = PATH_GROUP
    group = scope if not scope.startswith("host:") else ""
    return Verdict(
        class_=found.class_,
        root_cause=found.cause,
        scope=scope,
        subject=group
        or subject_of(case.host.id, case.subject.family, case.subject.subject, case.subject.rule),
        # Seen by silence or by a service that we cannot reach: one way, one problem.
        family="silence" if scope == PATH_GROUP else case.subject.family,
        affected=affected(case),
        began_at_ms=case.subject.at_ms,
        confidence=found.confidence,
        severity=severity(case, found),
        reasons=_reasons(weighed),
        would_change=would_change(found),
        provisional=found.provisional,
        preventive=is_forecast(case, found.cause),
        summary=summary(case, found.cause, scope),
    )


def _default_cause(case: Case) -> str:
    """What it most often is. Traffic or anything that fell to where it never was names nobody: it may be a good day.

    A machine that went down without a word may have had any reason.
    """
    outside = case.number(NOVELTY)
    if outside is not None and (case.subject.family == "network" or outside < 0):
        return "unknown"
    if case.subject.rule == "unclean_boot":
        return "unknown"
    if case.subject.rule == "guest_down":
        return "os.service_failed"  # a guest of ours, on a hypervisor of ours
    return DEFAULT_CAUSE.get(case.subject.family, "os.service_failed")


def affected(case: Case) -> tuple[str, ...]:
    """The hosts that the problem holds: this one, or the members of the group that fell."""
    members = None if _is_elsewhere(case) else case.value("silence.members")
    if isinstance(members, (list, tuple)) and members:
        return tuple(sorted(str(m) for m in members))
    return (case.host.id,)


def _is_elsewhere(case: Case) -> bool:
    """Whether only another vantage is not served: whatever group the host is silent with, this is its own trouble."""
    return case.subject.rule == ELSEWHERE_RULE


def is_forecast(case: Case, cause: str) -> bool:
    """Whether nothing is broken yet: the contract says whether that is worth a ticket."""
    days = case.number("tls.days")
    return cause == "os.cert_expired" and days is not None and days > CERTIFICATE_URGENT_DAYS


def severity(case: Case, found: Score) -> str:
    """The rule's own word, unless the cause has a weight of its own; a level that never was hurts nobody yet."""
    if NOVELTY in case.subject.facts:
        return case.subject.severity
    return SEVERITY.get(found.cause, case.subject.severity)


def would_change(found: Score) -> tuple[Reason, ...]:
    """What would make us judge otherwise; a provisional verdict waits for a second witness in any case."""
    keys = list(WOULD_CHANGE.get(found.cause, ()))
    if found.provisional and "would.inside_view" not in keys:
        keys.append("would.second_witness")
    return tuple(Reason(key) for key in keys)


def summary(case: Case, cause: str, scope: str, hosts: Sequence[str] = ()) -> Reason:
    """The ticket's one line: the cause's own sentence about the host (or all of ``hosts``), its part or its group."""
    hosts = hosts or affected(case)
    params = {
        "host": named_in_line(hosts) or case.host.id,
        "part": _part_of(case, cause) or case.host.id,
        "scope": scope.partition(":")[2],
        "n": len(hosts),
    }
    sentence = _sentence(case, cause)
    if sentence in OF_A_GROUP and scope.startswith("host:"):
        sentence = f"{sentence}.host"
    return Reason(f"summary.{sentence}", params)


def _part_of(case: Case, cause: str) -> str:
    """The part that the sentence names: what fails for want of room is told by the file system that is full."""
    if cause == "os.disk_full" and case.subject.family != "fs_space":
        return next((h.subject for h in case.beside if h.family == "fs_space"), "")
    return case.subject.subject


def _sentence(case: Case, cause: str) -> str:
    """The key of the sentence: the cause's, unless the symptom says more than the cause does."""
    family = case.subject.family
    if cause == "unknown":
        if NOVELTY in case.subject.facts:
            return "unusual"
        return "silence.down" if family == "silence" else "unknown"
    if cause == "virt.storage_backend" and family == "silence":
        return "virt.storage_lost"
    if family == "silence" and cause == "os.service_failed":
        return "silence.service_dead"
    if family == "agent" and cause == "os.agent_down":
        return "agent.fault"
    if family == "limits" and cause == "os.service_failed":
        return "limits"
    return cause


def _reasons(weighed: Sequence[Weighed]) -> tuple[Reason, ...]:
    """What the rows say, strongest first; what two rows of one group say in the same words is said once."""
    found: dict[str, Reason] = {}
    for entry in weighed:
        params = dict(entry.params)
        said = f"{entry.row.key} {entry.row.group} {entry.row.weight > 0} {params!r}"
        found.setdefault(said, Reason(entry.row.key, params, entry.row.weight, entry.row.group))
    return tuple(found.values())
