"""Somebody else's JSON: read within bounds, and where something stands in it, by names and ``[n]`` with dots. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

MISSING: Any = object()
DEPTH_MAX = 100
"""Lists and objects within one another: no interface we know goes below ten, and Python's own stack ends near 1,000."""

_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")
# A string as a whole, also one that does not end, so that it is passed over in one go; or a bracket.
_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)


def read_json(raw: bytes) -> Any:
    """What stands there; ``ValueError`` where it is no JSON, or so deep that reading it would use up our stack."""
    depth = 0
    for found in _BRACKET.finditer(raw):
        first = found[0][:1]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError(f"more than {DEPTH_MAX} lists and objects within one another")
        elif first in b"]}":
            depth -= 1
    return json.loads(raw, parse_constant=_refused)


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def at_path(value: Any, path: str) -> Any:
    """What stands there; ``MISSING`` where nothing does."""
    for name, index in _STEP.findall(path):
        if index:
            number = int(index)
            if not isinstance(value, list) or not -len(value) <= number < len(value):
                return MISSING
            value = value[number]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return MISSING
    return value
