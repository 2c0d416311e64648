"""Records of /dev/kmsg and lines of ``journalctl --output=short-iso``."""

from __future__ import annotations

import re
from datetime import datetime
from typing import List, NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_CURSOR = "-- cursor: "
_CURSOR_WORDS = re.compile(r"[A-Za-z0-9=;_-]{1,300}")
_JOURNAL = re.compile(
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[+-][0-9]{2}:?[0-9]{2}|Z)) \S+ (.*)$"
)


class LogLine(NamedTuple):
    """One line."""

    sequence: int
    """The kernel's number of the record; 0 for the journal."""
    at_us: int
    """kmsg: microseconds of the kernel's clock since boot; journal: since the epoch."""
    level: int
    """0 (emergency) to 7 (debug); 6 where the source does not say."""
    text: str


def parse_kmsg(record: str) -> LogLine:
    """One record as read(2) gives it: ``prefix,sequence,stamp,flags[,more];text``, then indented dictionary lines."""
    head, semicolon, rest = record.partition(";")
    fields = head.split(",")
    if not semicolon or len(fields) < 4:
        raise ParseError("expected four fields and a semicolon")
    text = rest.split("\n", 1)[0]
    if "\\x" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text)
    return LogLine(whole(fields[1]), whole(fields[2]), whole(fields[0]) & 7, text)


def parse_journal(text: str) -> List[LogLine]:
    """Lines with a stamp; what continues a line of several is joined to it, other lines (``-- No entries --``) are not."""
    lines: List[LogLine] = []
    for line in text.split("\n"):
        match = _JOURNAL.match(line)
        if match:
            lines.append(LogLine(0, _instant_us(match.group(1)), 6, match.group(2)))
        elif lines and line.startswith(" "):
            lines[-1] = lines[-1]._replace(text=f"{lines[-1].text} {line.strip()}"[:2000])
    return lines


def parse_cursor(text: str) -> str:
    """The place that ``--show-cursor`` prints as the last line; "" where it is none that we would give back."""
    last = text.rstrip().rsplit("\n", 1)[-1]
    cursor = last[len(_CURSOR) :] if last.startswith(_CURSOR) else ""
    return cursor if _CURSOR_WORDS.fullmatch(cursor) else ""


def _instant_us(stamp: str) -> int:
    """Microseconds since the epoch of an ISO stamp with its zone; systemd 219 prints the zone without a colon."""
    try:
        return int(datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S%z").timestamp()) * 1_000_000
    except (ValueError, OverflowError) as error:
        raise ParseError("expected an instant") from error
