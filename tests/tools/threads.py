"""Threads that a test's own doing left behind: not those of a test before it, which may end while it counts."""

from __future__ import annotations

import threading
from typing import FrozenSet


def running() -> FrozenSet[threading.Thread]:
    """What runs now; for ``since``."""
    return frozenset(threading.enumerate())


def since(before: FrozenSet[threading.Thread]) -> int:
    """How many run that did not run then."""
    return len(running() - before)
