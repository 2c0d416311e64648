"""What a server's management controller says through ipmitool: its event log, and why the server last started."""

from __future__ import annotations

import re
from typing import List, NamedTuple

from agent.signals.parsers.error import ParseError

MAX_RECORDS = 20_000
MAX_TEXT = 300
_RECORD = re.compile(r"\s*([0-9a-f]{1,4})\s*\|", re.IGNORECASE)
_DAY = re.compile(r"\d\d/\d\d/\d\d(?:\d\d)?|\s*Pre-Init.*", re.IGNORECASE)
_CAUSE = re.compile(r"^System restart cause\s*:\s*(.+?)\s*$", re.MULTILINE)


class SelRecord(NamedTuple):
    """One entry of the System Event Log."""

    record: int
    """The controller's own number; it begins anew when the log is cleared."""
    text: str
    """Sensor, event, direction and, at the end, the controller's own stamp: its clock is often not the server's."""


def parse_sel(text: str) -> List[SelRecord]:
    """``ipmitool sel elist``, in its order; an empty log is an empty list.

    Lines as they come from the field: ``9 | 09/08/2021 | 06:34:16 | Power Supply #0x3b | Power Supply AC lost |
    Asserted``, with two-digit years, with a zone behind the time, or ``e |  Pre-Init  |0000000093| ...``.
    """
    if "SEL has no entries" in text or not text.strip():
        return []
    records: List[SelRecord] = []
    for line in text.split("\n"):
        match = _RECORD.match(line)
        if not match or len(records) >= MAX_RECORDS:
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 4 or not _DAY.fullmatch(fields[1]):
            continue
        said = " | ".join(field for field in fields[3:] if field)
        stamp = f"{fields[1]} {fields[2]}".strip()
        records.append(SelRecord(int(match.group(1), 16), f"{said} | {stamp}"[:MAX_TEXT]))
    if not records:
        raise ParseError("expected lines of the form: record | day | time | sensor | event")
    return records


def parse_restart_cause(text: str) -> str:
    """``ipmitool chassis restart_cause``: the cause in ipmitool's words, e.g. ``power-up via pushbutton``."""
    match = _CAUSE.search(text)
    if not match:
        raise ParseError("expected 'System restart cause: ...'")
    return match.group(1)[:MAX_TEXT]
