"""Control groups: which one is ours (/proc/self/cgroup), and how often it was held at its CPU limit (cpu.stat)."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole


class Throttle(NamedTuple):
    """Counters of a group with a CPU limit."""

    periods: int
    throttled: int


def parse_own_groups(text: str) -> Dict[str, str]:
    """Controller -> path of our group; "" is the unified hierarchy (v2)."""
    found: Dict[str, str] = {}
    for line in text.split("\n"):
        if not line:
            continue
        fields = line.split(":", 2)
        if len(fields) != 3 or not fields[2].startswith("/"):
            raise ParseError("expected number, controllers and a path")
        for controller in fields[1].split(","):
            found[controller] = fields[2]
    return found


def parse_throttle(text: str) -> Optional[Throttle]:
    """The counters, the same in v1 and v2; None for a group without a limit of its own (v2's root counts none)."""
    counts: Dict[str, int] = {}
    for line in text.split("\n"):
        if line:
            key, space, value = line.partition(" ")
            if not space:
                raise ParseError("expected a name and a number")
            counts[key] = whole(value)
    if "nr_periods" not in counts or "nr_throttled" not in counts:
        return None
    return Throttle(counts["nr_periods"], counts["nr_throttled"])
