"""/proc/net/route and /proc/net/arp: the default route, and whether a neighbour answers."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole

RTF_UP, RTF_GATEWAY = 0x1, 0x2
ATF_COMPLETE = 0x2


def parse_default_route(text: str) -> Optional[Tuple[str, str]]:
    """(interface, gateway) of the default route with the least metric; None where there is none."""
    best: Optional[Tuple[int, str, str]] = None
    for line in text.split("\n")[1:]:
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 8:
            raise ParseError("expected eight columns")
        flags = _hexadecimal(fields[3])
        if fields[1] != "00000000" or fields[7] != "00000000" or not flags & RTF_UP:
            continue
        metric = whole(fields[6])
        if best is None or metric < best[0]:
            best = (metric, fields[0], _address(fields[2]))
    return (best[1], best[2]) if best else None


def parse_arp(text: str) -> Dict[Tuple[str, str], bool]:
    """(address, interface) -> the entry is complete: the neighbour answered when it was last asked."""
    found: Dict[Tuple[str, str], bool] = {}
    for line in text.split("\n")[1:]:
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 6:
            raise ParseError("expected six columns")
        is_complete = bool(_hexadecimal(fields[2][2:]) & ATF_COMPLETE) and fields[3] != "00:00:00:00:00:00"
        found[fields[0], fields[5]] = is_complete
    return found


def _address(text: str) -> str:
    """/proc/net/route prints addresses in the machine's own order: little-endian on every CentOS we run on."""
    number = _hexadecimal(text)
    return ".".join(str((number >> shift) & 0xFF) for shift in (0, 8, 16, 24))


def _hexadecimal(text: str) -> int:
    if 0 < len(text) <= 8 and all(c in "0123456789abcdefABCDEF" for c in text):
        return int(text, 16)
    raise ParseError("expected a hexadecimal number")
