"""What a Nagios plugin prints: one line for people, and behind a bar its numbers. Monitoring Plugins guidelines, 2.6.

``DISK OK - free: 3 GB | /=2643MB;5948;5958;0;5968`` and, in long output, a second bar with more numbers. Pure; nothing
in it raises: an unreadable number is left out, since the state is told by the exit status.
"""

from __future__ import annotations

import math
import re
from typing import Dict, NamedTuple

MAX_NUMBERS = 40
MAX_LABEL = 60
_PAIR = re.compile(
    r"(?:'((?:[^']|'')*)'|([^\s'=|]+))=(-?[0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?)([a-zA-Z%]*)[^\s]*"
)
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2.0**10,
    "MiB": 2.0**20, "GiB": 2.0**30, "c": 1.0, "%": 1.0, "": 1.0,
}  # fmt: skip
"""To base units, as Prometheus has them: seconds and octets."""


class PluginSaid(NamedTuple):
    """One run's output."""

    line: str
    """The first line, without its numbers and without anything that is not printable."""
    numbers: Dict[str, float]


def parse_plugin(text: str) -> PluginSaid:
    """The sentence and the numbers; at most MAX_NUMBERS of them."""
    lines = text.split("\n")
    first, _, perf = lines[0].partition("|")
    rest = "\n".join(lines[1:])
    if "|" in rest:
        perf += " " + rest.partition("|")[2]
    numbers: Dict[str, float] = {}
    for quoted, bare, value, unit in _PAIR.findall(perf[:8192]):
        label = _clean(quoted.replace("''", "'") or bare)[:MAX_LABEL]
        number = float(value.replace(",", ".")) * _UNITS.get(unit, 1.0)
        if label and math.isfinite(number) and len(numbers) < MAX_NUMBERS:
            numbers.setdefault(label, number)
    return PluginSaid(_clean(first).strip(), numbers)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '{}"' else " " for c in text)
