"""/proc/PID/{stat,io,status}: one process."""

from __future__ import annotations

from typing import NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import signed, whole


class ProcessStat(NamedTuple):
    """What we keep of /proc/PID/stat; times in clock ticks, memory in pages."""

    pid: int
    comm: str
    state: str
    parent: int
    user_ticks: int
    system_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int


def parse_stat(text: str) -> ProcessStat:
    """The name may hold anything, brackets and newlines too, so the last bracket ends it."""
    head, bracket, rest = text.rpartition(")")
    pid, _, comm = head.partition("(")
    fields = rest.split()
    if not bracket or len(fields) < 22 or len(fields[0]) != 1:
        raise ParseError("expected twenty-two fields behind the name")
    return ProcessStat(
        whole(pid.strip()),
        comm,
        fields[0],
        signed(fields[1]),
        whole(fields[11]),
        whole(fields[12]),
        signed(fields[17]),
        whole(fields[19]),
        signed(fields[21]),
    )


def parse_io(text: str) -> int:
    """/proc/PID/io: octets read from and written to block devices, together."""
    total, seen = 0, 0
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key in ("read_bytes", "write_bytes"):
            total += whole(value.strip())
            seen += 1
    if seen != 2:
        raise ParseError("expected read_bytes and write_bytes")
    return total


def parse_status_uid(text: str) -> int:
    """/proc/PID/status: the effective user's number."""
    for line in text.split("\n"):
        if line.startswith("Uid:"):
            fields = line.split()
            if len(fields) >= 3:
                return whole(fields[2])
    raise ParseError("expected a line that begins with Uid:")
