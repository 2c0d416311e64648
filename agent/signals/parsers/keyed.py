"""Files of keys and numbers: meminfo, vmstat, snmp6, and the paired lines of snmp and netstat."""

from __future__ import annotations

from typing import Dict, Iterable

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import signed, whole


def parse_meminfo(text: str) -> Dict[str, int]:
    """/proc/meminfo: key -> bytes (or a bare count, for HugePages_*). MemTotal must be there."""
    values: Dict[str, int] = {}
    for line in text.split("\n"):
        key, colon, rest = line.partition(":")
        fields = rest.split()
        if not colon or not fields:
            continue
        values[key] = whole(fields[0]) * (1024 if fields[1:2] == ["kB"] else 1)
    if "MemTotal" not in values:
        raise ParseError("expected MemTotal")
    return values


def parse_counters(text: str) -> Dict[str, int]:
    """Lines ``key number``: /proc/vmstat, /proc/net/snmp6, memory.stat."""
    values: Dict[str, int] = {}
    for line in text.split("\n"):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise ParseError("expected a key and a number on each line")
        values[fields[0]] = signed(fields[1])
    if not values:
        raise ParseError("expected at least one counter")
    return values


def parse_chosen(text: str, names: Iterable[str]) -> Dict[str, int]:
    """Those of ``names`` that stand in a text of lines ``key number``; /proc/vmstat has 180, of which we want five.

    Raises ParseError where a number is none, or where no line looks like one.
    """
    values: Dict[str, int] = {}
    text = "\n" + text
    if " " not in text.strip():
        raise ParseError("expected at least one counter")
    for name in names:
        start = text.find(f"\n{name} ")
        if start >= 0:
            start += len(name) + 2
            end = text.find("\n", start)
            values[name] = signed(text[start : end if end >= 0 else len(text)].strip())
    return values


def parse_paired(text: str) -> Dict[str, Dict[str, int]]:
    """/proc/net/snmp and /proc/net/netstat: protocol -> name -> number, from lines of names and lines of numbers."""
    protocols: Dict[str, Dict[str, int]] = {}
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) % 2 or not lines:
        raise ParseError("expected pairs of lines")
    for names_line, numbers_line in zip(lines[::2], lines[1::2]):
        protocol, _, names = names_line.partition(":")
        same, _, numbers = numbers_line.partition(":")
        keys, values = names.split(), numbers.split()
        if protocol != same or len(keys) != len(values):
            raise ParseError("expected as many numbers as names")
        protocols[protocol] = {key: signed(value) for key, value in zip(keys, values)}
    return protocols


def parse_sockstat(text: str) -> Dict[str, Dict[str, int]]:
    """/proc/net/sockstat and sockstat6: protocol -> name -> number."""
    protocols: Dict[str, Dict[str, int]] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        protocol, colon, rest = line.partition(":")
        fields = rest.split()
        if not colon or len(fields) % 2:
            raise ParseError("expected names and numbers in turn")
        protocols[protocol] = {key: signed(value) for key, value in zip(fields[::2], fields[1::2])}
    if not protocols:
        raise ParseError("expected at least one protocol")
    return protocols


def parse_softnet(text: str) -> tuple[int, int]:
    """/proc/net/softnet_stat: packets dropped and times squeezed, summed over the CPUs (hexadecimal columns)."""
    dropped = squeezed = 0
    for line in text.split("\n"):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 3:
            raise ParseError("expected at least three columns")
        dropped += _hexadecimal(fields[1])
        squeezed += _hexadecimal(fields[2])
    return dropped, squeezed


def _hexadecimal(text: str) -> int:
    try:
        if len(text) <= 16 and "_" not in text and text[:1] not in "+-":
            return int(text, 16)
    except ValueError:
        pass  # said below, in the one way that parsers speak
    raise ParseError("expected a hexadecimal number")
