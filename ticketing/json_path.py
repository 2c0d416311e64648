"""Where something stands in somebody's JSON: names and ``[n]`` by dots. Pure."""

from __future__ import annotations

import re
from typing import Any

MISSING: Any = object()
_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


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
