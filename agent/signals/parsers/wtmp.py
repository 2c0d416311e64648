"""The binary log of boots and shutdowns (/var/log/wtmp), as glibc writes it on 64-bit Linux: 384 octets a record.

Only boots, shutdowns and run levels are looked at; who logged in from where is nobody's business here.
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Optional, Tuple

from agent.signals.parsers.error import ParseError

_RECORD = struct.Struct("<h2xi32s4s32s256s2hi2i4i20s")
RECORD_BYTES = _RECORD.size
RUN_LEVEL, BOOT_TIME = 1, 2
_TYPES = range(10)
MAX_BYTES = 64 * 1024 * 1024


class Mark(NamedTuple):
    """A boot or a shutdown."""

    kind: str
    """boot or shutdown."""
    at_s: int
    kernel: str
    """The kernel that the record names (its host field)."""


def parse_wtmp(octets: bytes) -> List[Mark]:
    """Boots and shutdowns, in the file's order. ParseError where the octets are no such records.

    A torn record at the end (the power went while it was written) is passed over.
    """
    if len(octets) > MAX_BYTES:
        raise ParseError("expected a smaller file")
    marks: List[Mark] = []
    for at in range(0, len(octets) - RECORD_BYTES + 1, RECORD_BYTES):
        fields = _RECORD.unpack_from(octets, at)
        kind, line, user, host, at_s = fields[0], fields[2], _text(fields[4]), _text(fields[5]), fields[9]
        if kind not in _TYPES:
            raise ParseError("expected records of 384 octets with a known type")
        if _text(line) not in ("~", "system boot") or at_s <= 0:
            continue
        if kind == BOOT_TIME:
            marks.append(Mark("boot", at_s, host))
        elif kind == RUN_LEVEL and user == "shutdown":
            marks.append(Mark("shutdown", at_s, host))
    return marks


def last_boot(marks: List[Mark]) -> Tuple[Optional[Mark], Optional[bool]]:
    """The newest boot record, and whether a shutdown stands between it and the boot before.

    None instead of the answer where the file does not reach back to an earlier boot: it was rotated, or is new.
    """
    boots = [index for index, mark in enumerate(marks) if mark.kind == "boot"]
    if not boots:
        return None, None
    newest = boots[-1]
    earlier = boots[-2] if len(boots) > 1 else -1
    is_shut = any(mark.kind == "shutdown" for mark in marks[earlier + 1 : newest])
    if earlier < 0 and not is_shut:
        return marks[newest], None
    return marks[newest], is_shut


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii", "replace")
