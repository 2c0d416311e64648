"""/proc/pressure/{cpu,memory,io}: the share of time in which tasks waited."""

from __future__ import annotations

from typing import Dict, NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import decimal, whole


class Pressure(NamedTuple):
    """One line: averages in per cent, total in microseconds."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


def parse_pressure(text: str) -> Dict[str, Pressure]:
    """``some`` and, where the kernel prints it, ``full``."""
    lines: Dict[str, Pressure] = {}
    for line in text.split("\n"):
        fields = line.split()
        if not fields:
            continue
        named: Dict[str, str] = {}
        for field in fields[1:]:
            key, _, value = field.partition("=")
            named[key] = value
        try:
            lines[fields[0]] = Pressure(
                decimal(named["avg10"]),
                decimal(named["avg60"]),
                decimal(named["avg300"]),
                whole(named["total"]),
            )
        except KeyError as error:
            raise ParseError(f"expected {error.args[0]}") from error
    if "some" not in lines:
        raise ParseError("expected a line that begins with some")
    return lines
