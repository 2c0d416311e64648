"""Which source a clock follows: chrony's answer to `tracking`, and ntpd's to `read variables` (mode 6).

Pure; the two questions stand beside their answers, since the daemons' own tools would cost a process each time.
Layouts: candm.h of chrony (protocol 6: chrony 2 to 4), RFC 9327 for mode 6.
"""

from __future__ import annotations

import ipaddress
import re
import struct

from agent.signals.parsers.error import ParseError

UNSYNCED = "none"
CHRONY_TRACKING = struct.pack(">BBBBHHI", 6, 1, 0, 0, 33, 0, 0x56415254).ljust(104, b"\0")
"""As long as its answer: chrony answers nothing that is longer than the question."""
NTP_VARIABLES = struct.pack(">BBHHHHH", 0x16, 2, 1, 0, 0, 0, 0)
_CHRONY_HEADER = struct.Struct(">BBBBHHHHHHI8x")
_INET4, _INET6, _ID = 1, 2, 3
_REFID = re.compile(r"\brefid=\"?([\w.:-]{1,80})")
_LEAP = re.compile(r"\bleap(?:_indicator)?=\"?(\d+)")


def parse_chrony(octets: bytes) -> str:
    """The selected source's address, the name of a reference clock (``PPS``), or ``none``."""
    if len(octets) < _CHRONY_HEADER.size + 28:
        raise ParseError("expected chrony's answer")
    version, kind, _, _, command, reply, status, *_ = _CHRONY_HEADER.unpack_from(octets)
    if (version, kind, command, reply) != (6, 2, 33, 5):
        raise ParseError("expected chrony's answer to tracking")
    if status:
        raise ParseError("expected an answer that is no refusal")
    at = _CHRONY_HEADER.size
    (number,) = struct.unpack_from(">I", octets, at)
    address, (family,) = octets[at + 4 : at + 20], struct.unpack_from(">H", octets, at + 20)
    stratum, leap = struct.unpack_from(">HH", octets, at + 24)
    if leap == 3 or not number:
        return UNSYNCED
    if family == _INET4:
        return str(ipaddress.ip_address(address[:4]))
    if family == _INET6:
        return str(ipaddress.ip_address(address))
    return _refid(struct.pack(">I", number), stratum)


def parse_ntp_variables(octets: bytes) -> str:
    """The same from ntpd's system variables."""
    if len(octets) < 12:
        raise ParseError("expected an answer of mode 6")
    _, operation, _, _, _, _, count = struct.unpack_from(">BBHHHHH", octets)
    if (
        operation & 0xDF != 0x82
    ):  # an answer to `read variables`, without the error bit, whole or its first part
        raise ParseError("expected an answer to read variables")
    text = octets[12 : 12 + count].decode("ascii", "replace")
    leap, refid = _LEAP.search(text), _REFID.search(text)
    if refid is None:
        raise ParseError("expected refid")
    is_unsynced = (leap is not None and leap.group(1) in ("3", "11")) or refid.group(1) in ("INIT", "STEP")
    return UNSYNCED if is_unsynced else refid.group(1)


def _refid(raw: bytes, stratum: int) -> str:
    """Of a reference clock (it has no address) the refid is its name in letters."""
    if raw == bytes([127, 127, 1, 1]):
        return "local"  # nobody outside is asked: the own clock stands for the source
    text = raw.rstrip(b"\0").decode("ascii", "replace")
    return text if text.isalnum() and stratum <= 1 else raw.hex()
