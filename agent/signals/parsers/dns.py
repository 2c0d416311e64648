"""DNS messages: one question as octets, and what an answer says. RFC 1035; no library, since a query is forty octets.

Pure. Refuses what is no answer to the question that was asked: another number, another name, a truncated header.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import List, NamedTuple, Tuple

from agent.signals.parsers.error import ParseError

RECORDS = {"A": 1, "NS": 2, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
MAX_NAME = 253
MAX_RECORDS = 100
_HEADER = struct.Struct(">HHHHHH")
_IS_ANSWER, _WANTS_RECURSION, _IS_TRUNCATED = 0x8000, 0x0100, 0x0200


class DnsReply(NamedTuple):
    """What a server answered."""

    rcode: str
    is_truncated: bool
    records: Tuple[str, ...]
    """Answers of the kind that was asked: addresses as text, names, texts."""

    @property
    def is_resolved(self) -> bool:
        """The resolver did its work: it found the name, or found out that there is none."""
        return self.rcode in ("NOERROR", "NXDOMAIN")


def question(number: int, name: str, record: str = "A") -> bytes:
    """A query that asks for recursion. Raises ValueError for a name that DNS cannot hold."""
    return _HEADER.pack(number, _WANTS_RECURSION, 1, 0, 0, 0) + _asked(name, record)


def _asked(name: str, record: str) -> bytes:
    octets = b""
    text = name.rstrip(".")
    if len(text) > MAX_NAME:
        raise ValueError("the name is too long")
    for label in text.split(".") if text else []:
        raw = label.encode("idna") if not label.isascii() else label.encode("ascii")
        if not 1 <= len(raw) <= 63:
            raise ValueError("a part of the name is empty or too long")
        octets += bytes([len(raw)]) + raw
    return octets + b"\0" + struct.pack(">HH", RECORDS[record], 1)


def parse_reply(octets: bytes, number: int, name: str, record: str = "A") -> DnsReply:
    """The answer to ``question(number, name, record)``; raises ParseError where it is none."""
    asked = _asked(name, record)
    if len(octets) < _HEADER.size:
        raise ParseError("expected a DNS header")
    told, flags, questions, answers, _, _ = _HEADER.unpack_from(octets)
    if told != number or not flags & _IS_ANSWER:
        raise ParseError("expected the answer to our question")
    rcode = RCODES.get(flags & 0x0F, f"RCODE{flags & 0x0F}")
    at = _HEADER.size
    if questions:
        # Some servers answer a refusal without repeating the question; one that repeats another one is not ours.
        if octets[at : at + len(asked)].lower() != asked.lower():
            raise ParseError("expected the answer to our question")
        at += len(asked)
    return DnsReply(
        rcode, bool(flags & _IS_TRUNCATED), tuple(_records(octets, at, min(answers, MAX_RECORDS), record))
    )


def _records(octets: bytes, at: int, count: int, record: str) -> List[str]:
    """Answers of the kind asked for; a truncated message gives those that are whole."""
    found: List[str] = []
    for _ in range(count):
        at = _skip_name(octets, at)
        if at + 10 > len(octets):
            break
        kind, _, _, length = struct.unpack_from(">HHIH", octets, at)
        at += 10
        if at + length > len(octets):
            break
        if kind == RECORDS[record]:
            found.append(_value(octets, at, length, record))
        at += length
    return found


def _skip_name(octets: bytes, at: int) -> int:
    """Behind the name that begins at ``at``; past the end where it is torn."""
    while at < len(octets):
        length = octets[at]
        if length >= 0xC0:
            return at + 2
        at += 1 + length
        if length == 0:
            return at
    return len(octets)


def _value(octets: bytes, at: int, length: int, record: str) -> str:
    raw = octets[at : at + length]
    if record in ("A", "AAAA"):
        if length not in (4, 16):
            raise ParseError("expected an address")
        return str(ipaddress.ip_address(raw))
    if record == "TXT":
        return raw[1 : 1 + raw[0]].decode("utf-8", "replace") if raw else ""
    return _name(octets, at + 2 if record == "MX" else at)


def _name(octets: bytes, at: int) -> str:
    """A name with its compression followed; a loop in it ends after as many parts as a name can have."""
    parts: List[str] = []
    for _ in range(128):
        if at >= len(octets):
            break
        length = octets[at]
        if length == 0:
            break
        if length >= 0xC0:
            if at + 1 >= len(octets):
                break
            at = (length & 0x3F) << 8 | octets[at + 1]
            continue
        parts.append(octets[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(parts)[:MAX_NAME]
