"""Bounds of a report: what a decoded body may hold. Pure; a fault is a sentence, and a faulty report changes nothing."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from agent.wire import (
    GOODBYES,
    MAX_ACT_CHARS,
    MAX_ACTS,
    MAX_EVIDENCE_BYTES,
    MAX_FINDINGS,
    MAX_TOLD,
    MAX_TOLD_BYTES,
    TOLD,
    WIRE_VERSION,
    Act,
    FindingChange,
    Report,
    Told,
)
from ticketing.model import SEVERITIES

WHOLE_MAX = 2**53
"""Largest whole number that JSON's readers agree on."""

VITALS_MAX = 64
"""More than today's VITALS: a newer agent may send some that this version does not know yet."""

MAP_MAX = 512
FACTS_MAX = 128
KINDS = ("opened", "changed", "closed")

_WORD = re.compile(r"[A-Za-z0-9._:+~-]{1,64}")
_FAMILY = re.compile(r"[a-z_]{1,32}")
_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f]")


def fault_of(report: Report) -> str:
    """Why the report cannot be taken; "" when it can."""
    if report.v != WIRE_VERSION:
        return f"wire version {report.v} is not {WIRE_VERSION}"
    for name, text in (("boot_id", report.boot_id), ("run_id", report.run_id), ("stream", report.stream)):
        if not _WORD.fullmatch(text):
            return f"{name} must be 1 to 64 letters, digits or . _ : + ~ -"
    if report.stream.startswith("collector:"):
        return "stream must not begin with collector:"
    for name, number in (
        ("wall_ms", report.wall_ms),
        ("mono_ms", report.mono_ms),
        ("boottime_ms", report.boottime_ms),
    ):
        if not 0 <= number < WHOLE_MAX:
            return f"{name} is out of bounds"
    if not 0.05 <= report.interval_s <= 86_400:
        return "interval_s must be between 0.05 and 86400"
    if report.goodbye is not None and report.goodbye not in GOODBYES:
        return f"goodbye must be one of {', '.join(GOODBYES)}"
    if not _is_small(report):
        return "vitals, lacks, sweep_age_s or counters are out of bounds"
    if len(report.findings) > MAX_FINDINGS:
        return f"more than {MAX_FINDINGS} findings in one report"
    if report.acts and not _are_acts(report.acts):
        return f"acts must be at most {MAX_ACTS} printable texts of at most {MAX_ACT_CHARS} letters"
    if report.told and not _are_told(report.told):
        return (
            f"told must be at most {MAX_TOLD} signals about boots and gaps of at most {MAX_TOLD_BYTES} bytes"
        )
    return _findings_fault(report.findings) if report.findings else ""


def body_fault(body: bytes, change: FindingChange) -> str:
    """Why a finding's facts and evidence (as the JSON that would be stored) are too much; "" when they are not."""
    if len(body) > 4 * MAX_EVIDENCE_BYTES:
        return f"finding {change.n}: facts and evidence exceed {4 * MAX_EVIDENCE_BYTES} bytes"
    return ""


def _is_small(report: Report) -> bool:
    return (
        len(report.vitals) <= VITALS_MAX
        and len(report.lacks) <= MAP_MAX
        and len(report.found) <= MAP_MAX
        and len(report.sweep_age_s) <= MAP_MAX
        and len(report.agent) <= 32
        and len(report.settings_fault) <= 2000
        and 0 <= report.spool_depth < 2**31
        and 0 <= report.spool_dropped < 2**31
        and 0 <= report.settings_version < 2**31
        and (not report.lacks or max(map(len, report.lacks.values())) <= 400)
        and (not report.found or max(len(k) + len(v) for k, v in report.found.items()) <= 400)
        and report.agent.isprintable()
        and (report.rtt_ms is None or 0 <= report.rtt_ms <= 3_600_000)
    )


def _are_acts(acts: list[Act]) -> bool:
    return len(acts) <= MAX_ACTS and all(
        0 <= act.at_ms < WHOLE_MAX
        and 1 <= len(act.text) <= MAX_ACT_CHARS
        and not _NOT_PRINTED.search(act.text)
        for act in acts
    )


def _are_told(told: list[Told]) -> bool:
    return len(told) <= MAX_TOLD and all(
        0 <= one.at_ms < WHOLE_MAX
        and one.signal in TOLD
        and len(msgspec.json.encode(one.value)) <= MAX_TOLD_BYTES
        for one in told
    )


def _findings_fault(findings: list[FindingChange]) -> str:
    expected = findings[0].n
    for change in findings:
        if change.n != expected:
            return f"findings must be consecutive: {change.n} stands where {expected} belongs"
        expected += 1
        fault = _change_fault(change)
        if fault:
            return f"finding {change.n}: {fault}"
    return ""


def _change_fault(change: FindingChange) -> str:
    checks: tuple[tuple[Any, str], ...] = (
        (1 <= change.n < WHOLE_MAX, "n must be a whole number from 1"),
        (change.kind in KINDS, f"kind must be one of {', '.join(KINDS)}"),
        (1 <= change.opening_n <= change.n, "opening_n must be between 1 and n"),
        (change.kind != "opened" or change.opening_n == change.n, "an opening's opening_n is its own n"),
        (_WORD.fullmatch(change.rule), "rule must be 1 to 64 letters, digits or . _ : + ~ -"),
        (
            len(change.subject) <= 300 and not _NOT_PRINTED.search(change.subject),
            "subject is longer than 300 or unprintable",
        ),
        (_FAMILY.fullmatch(change.family), "family must be 1 to 32 letters"),
        (change.severity in SEVERITIES, f"severity must be one of {', '.join(SEVERITIES)}"),
        (
            0 <= change.at_ms < WHOLE_MAX and 0 <= change.mono_ms < WHOLE_MAX,
            "at_ms or mono_ms is out of bounds",
        ),
        (len(change.facts) <= FACTS_MAX, f"more than {FACTS_MAX} facts"),
        (len(change.boot_id) <= 64 and len(change.reason) <= 64, "boot_id or reason is longer than 64"),
    )
    return next((sentence for is_right, sentence in checks if not is_right), "")
