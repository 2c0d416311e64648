"""Sample: one value of one signal about one subject at one instant."""

from __future__ import annotations

from typing import NamedTuple

from agent.wire import Value


class Sample(NamedTuple):
    """A NamedTuple and not a dataclass: the agent makes a few hundred of them in every sweep."""

    signal: str
    """Name in the catalogue, e.g. ``fs.used_pct``."""
    subject: str
    """"" for the host itself (or the worst of its parts), else the part: "/var", "eth0", "nginx.service"."""
    value: Value
    at_ms: int
    """When it was read: monotonic milliseconds on the agent; wall milliseconds once it leaves the host."""
