"""What every adapter of a provider gives, whatever it asks: a status word, events with their times, states of machines.

An adapter asks once and answers with a ``Told``, or raises ``AdapterFault`` with a sentence of our own; it knows no
store, no clock and no cursor. The poller (collector.providers.poller) does the rest once for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

STATUSES = ("ok", "maintenance", "incident")
VM_STATES = ("running", "stopped", "paused", "unknown")
TEXT_MAX = 300
EVENTS_MAX = 500


class AdapterFault(Exception):
    """The provider could not be asked, or its answer not be understood; the text says what, for people."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
        """So long it asked to be left in peace; 0 = it did not say."""


@dataclasses.dataclass(frozen=True)
class ProviderEvent:
    """One entry of a provider's event or action log."""

    id: str
    """Its own id, else a digest of time and text: so that it is taken once."""
    at_ms: int
    text: str
    host_id: str = ""
    """"" where it is said of the whole provider."""


@dataclasses.dataclass(frozen=True)
class Told:
    """One answer. ``None`` and absent = this adapter does not tell it."""

    status: str | None = None
    events: tuple[ProviderEvent, ...] = ()
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Host -> state of its machine."""
    until_ms: int | None = None
    """When it expects its own repair or work to end."""


class Adapter(Protocol):
    """One way to ask one provider."""

    def ask(self) -> Told:
        """Ask once, within the adapter's own time-out; raises AdapterFault."""
        ...


def plain_text(value: object) -> str:
    """A provider's words on one line, without control characters, bounded."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text[:TEXT_MAX]
