"""Numbers out of text, where everything else is a ParseError.

int() alone would take ``1_000``, Arabic digits and numbers of any length; float() would take ``nan``.
"""

from __future__ import annotations

import math
from typing import List

from agent.signals.parsers.error import ParseError

MAX_DIGITS = 20
"""Enough for any 64-bit counter."""

MAX_CPUS = 65_536


def whole(text: str) -> int:
    """An unsigned whole number of at most 20 digits."""
    if text.isdigit() and len(text) <= MAX_DIGITS and text.isascii():
        return int(text)
    raise ParseError("expected a whole number")


def signed(text: str) -> int:
    """A whole number that may be negative."""
    return -whole(text[1:]) if text.startswith("-") else whole(text)


def decimal(text: str) -> float:
    """A finite decimal number."""
    if len(text) <= 2 * MAX_DIGITS and text.isascii():
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise ParseError("expected a number")


def parse_whole(text: str) -> int:
    """A file that holds one whole number, e.g. /proc/sys/kernel/pid_max."""
    return signed(text.strip())


def parse_file_nr(text: str) -> tuple[int, int]:
    """/proc/sys/fs/file-nr: (in use, limit)."""
    fields = text.split()
    if len(fields) != 3:
        raise ParseError("expected three numbers in file-nr")
    allocated, free, limit = (whole(field) for field in fields)
    return max(0, allocated - free), limit


def parse_port_range(text: str) -> tuple[int, int]:
    """/proc/sys/net/ipv4/ip_local_port_range: (first, last)."""
    fields = text.split()
    if len(fields) != 2:
        raise ParseError("expected two ports")
    return whole(fields[0]), whole(fields[1])


def parse_cpu_list(text: str) -> List[int]:
    """A list of CPUs such as ``0-3,5``: /sys/devices/system/cpu/online."""
    cpus: List[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low = whole(first)
        high = whole(last) if dash else low
        if high < low or high - low > MAX_CPUS or len(cpus) > MAX_CPUS:
            raise ParseError("expected a list of CPUs")
        cpus.extend(range(low, high + 1))
    return cpus


def parse_loadavg(text: str) -> tuple[float, float, float, int, int]:
    """/proc/loadavg: load of 1, 5, 15 minutes, runnable and all scheduling entities."""
    fields = text.split()
    if len(fields) < 4 or "/" not in fields[3]:
        raise ParseError("expected three loads and a pair")
    running, _, total = fields[3].partition("/")
    return decimal(fields[0]), decimal(fields[1]), decimal(fields[2]), whole(running), whole(total)


def parse_statm(text: str) -> int:
    """/proc/PID/statm: resident pages."""
    fields = text.split()
    if len(fields) < 2:
        raise ParseError("expected at least two numbers of pages")
    return whole(fields[1])
