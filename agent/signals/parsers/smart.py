"""What ``smartctl --json`` says of a drive: its own verdict, and the counters beside it.

The verdict is the drive's and smartctl's, never ours: FAILED where the drive says so, where an attribute of the kind
that announces failure is below its threshold *now*, or where NVMe raises a critical warning. A counter above zero
alone is a note: many healthy drives have one (signals.md, H1).
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, NamedTuple, Optional

from agent.signals.parsers.error import ParseError

MAX_TEXT = 4_000_000
FIVE = (5, 187, 188, 197, 198)
"""Attributes whose growth announces failure; their raw values are the signal ``hw.smart``."""
BIT_NO_ANSWER, BIT_COMMAND_FAILED, BIT_FAILING, BIT_PREFAIL_NOW = 1, 2, 3, 4


class Drive(NamedTuple):
    """One drive."""

    name: str
    model: str
    serial: str
    verdict: str
    """PASSED, FAILED, or na where the drive told nothing (standby, RAID controller, no SMART)."""
    reasons: List[str]
    """What made it FAILED, in a word each."""
    raw: Dict[str, int]
    """Raw counters of ``FIVE``, as far as the drive has them."""
    critical_warning: Optional[int]
    spare_pct: Optional[int]
    spare_least_pct: Optional[int]
    wear_pct: Optional[int]
    media_errors: Optional[int]
    exit_bits: List[int]
    """smartctl's own exit status, as bits."""
    notes: List[str]
    """What an engineer reads beside the verdict: counters above zero, past trouble in the drive's logs."""
    is_asleep: bool = False
    """It was left to sleep (``-n standby``), so nothing below its name was read."""


def parse_smartctl(text: str) -> Drive:
    """One JSON document of ``smartctl --json --all``."""
    if len(text) > MAX_TEXT:
        raise ParseError("expected a shorter document")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError("expected JSON") from error
    if not isinstance(document, dict):
        raise ParseError("expected a JSON object")
    return drive_of(document)


def drive_of(document: Dict[str, Any]) -> Drive:
    """The same from the decoded document. Fields of another type than smartctl's count as missing."""
    attributes = [
        a for a in _list(_dict(document.get("ata_smart_attributes")).get("table")) if isinstance(a, dict)
    ]
    nvme = _dict(document.get("nvme_smart_health_information_log"))
    passed = _dict(document.get("smart_status")).get("passed")
    warning = _int(nvme.get("critical_warning"))
    reasons: List[str] = []
    if passed is False:
        reasons.append("self_assessment")
    for attribute in attributes:
        if attribute.get("when_failed") == "now" and _dict(attribute.get("flags")).get("prefailure") is True:
            reasons.append(f"attribute_{_int(attribute.get('id')) or 0}_below_threshold")
    if warning:
        reasons.append("critical_warning")
    raw = {
        str(attribute["id"]): value
        for attribute in attributes
        if attribute.get("id") in FIVE
        for value in [_int(_dict(attribute.get("raw")).get("value"))]
        if value is not None
    }
    spare, least = _int(nvme.get("available_spare")), _int(nvme.get("available_spare_threshold"))
    status = _int(_dict(document.get("smartctl")).get("exit_status")) or 0
    verdict = "FAILED" if reasons else ("PASSED" if passed is True else "na")
    return Drive(
        name=_text(_dict(document.get("device")).get("name")),
        model=_text(document.get("model_name")) or _text(document.get("scsi_model_name")),
        serial=_text(document.get("serial_number")),
        verdict=verdict,
        reasons=reasons,
        raw=raw,
        critical_warning=warning,
        spare_pct=spare,
        spare_least_pct=least,
        wear_pct=_int(nvme.get("percentage_used")),
        media_errors=_int(nvme.get("media_errors")),
        exit_bits=[bit for bit in range(8) if status >> bit & 1],
        notes=_notes(document, attributes, raw, nvme),
        is_asleep=verdict == "na" and bool(status >> BIT_NO_ANSWER & 1) and _says_asleep(document),
    )


def _says_asleep(document: Dict[str, Any]) -> bool:
    """smartctl 7.x writes it as a message; newer ones give the power mode as a field as well."""
    if isinstance(document.get("power_mode"), dict):
        return True
    messages = [_dict(one).get("string") for one in _list(_dict(document.get("smartctl")).get("messages"))]
    said = " ".join(text for text in messages if isinstance(text, str)).upper()
    return "STANDBY" in said or "SLEEP" in said


def _notes(
    document: Dict[str, Any], attributes: List[Dict[str, Any]], raw: Dict[str, int], nvme: Dict[str, Any]
) -> List[str]:
    notes = [f"attribute_{number}={value}" for number, value in raw.items() if value]
    notes += [
        f"attribute_{_int(a.get('id')) or 0}_was_below_threshold"
        for a in attributes
        if a.get("when_failed") == "past"
    ]
    if _int(nvme.get("media_errors")):
        notes.append(f"media_errors={_int(nvme.get('media_errors'))}")
    grown = _int(document.get("scsi_grown_defect_list"))
    if grown:
        notes.append(f"grown_defects={grown}")
    log = _dict(document.get("ata_smart_error_log"))
    for kind in ("summary", "extended"):
        errors = _int(_dict(log.get(kind)).get("count"))
        if errors:
            notes.append(f"logged_errors={errors}")
            break
    return notes


def _dict(value: Any) -> Dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> List[Any]:
    return value if isinstance(value, list) else []


def _int(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    return value[:100] if isinstance(value, str) else ""
