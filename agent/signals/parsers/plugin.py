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
    "us": (1e-6, "s"), "ms": (1e-3, "s"), "s": (1.0, "s"), "B": (1.0, "B"), "KB": (1e3, "B"), "MB": (1e6, "B"),
    "GB": (1e9, "B"), "TB": (1e12, "B"), "KiB": (2.0**10, "B"), "MiB": (2.0**20, "B"), "GiB": (2.0**30, "B"),
    "TiB": (2.0**40, "B"), "c": (1.0, "c"), "%": (1.0, "%"), "": (1.0, ""),
}  # fmt: skip
"""To base units, as Prometheus has them: seconds and octets. A unit that is not here stays as it was printed."""


class PluginSaid(NamedTuple):
    """One run's output."""

    line: str
    """The first line, without its numbers and without anything that is not printable."""
    numbers: Dict[str, float]
    units: Dict[str, str]
    """Label -> its base unit: s, B (octets), %, c (a counter), "" where none was printed, else as it was printed."""


def parse_plugin(text: str) -> PluginSaid:
    """The sentence and the numbers; at most MAX_NUMBERS of them."""
    lines = text.split("\n")
    first, _, perf = lines[0].partition("|")
    rest = "\n".join(lines[1:])
    if "|" in rest:
        perf += " " + rest.partition("|")[2]
    numbers: Dict[str, float] = {}
    units: Dict[str, str] = {}
    for quoted, bare, value, unit in _PAIR.findall(perf[:8192]):
        label = _clean(quoted.replace("''", "'") or bare)[:MAX_LABEL]
        scale, base = _UNITS.get(unit, (1.0, unit[:8]))
        number = float(value.replace(",", ".")) * scale
        if label and label not in numbers and math.isfinite(number) and len(numbers) < MAX_NUMBERS:
            numbers[label], units[label] = number, base
    return PluginSaid(_clean(first).strip(), numbers, units)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() and c not in '{}"' else " " for c in text)
