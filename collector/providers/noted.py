"""The adapter for what a person enters: a YAML or JSON file with status, events and machines' states.

    status: incident
    until: "2026-11-22 21:00+02:00"
    events:
      - {at: "2026-11-22 19:40+02:00", text: "their hotline: storage node replaced", host: web-1}
    states: {web-1: stopped}

``vartovyi-collector provider note`` writes the same straight into the store, for when somebody is on the telephone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from collector.providers.adapter import STATUSES, VM_STATES, AdapterFault, ProviderEvent, Told, plain_text
from collector.providers.http_json import instant_ms
from config.loader import ConfigError, load, setting


@dataclasses.dataclass(frozen=True)
class NotedEvent:
    """One thing that somebody heard."""

    at: str = setting(help="when, with its zone; UTC without", example="2026-11-22 19:40+02:00")
    text: str = setting(help="what, in words", max=1000)
    host: str = setting("", help="which host; empty: the whole provider", max=64)

    def faults(self) -> list[tuple[str, str]]:
        return [] if instant_ms(self.at) is not None else [("at", f"{self.at!r} is not a time")]


@dataclasses.dataclass(frozen=True)
class NotedFile:
    """The whole file."""

    status: str = setting("", help="how the provider is; empty: not said here", choices=("", *STATUSES))
    until: str = setting("", help="when they expect it to be repaired; empty: not said", max=40)
    events: list[NotedEvent] = setting([], help="what was heard", max=500)
    states: dict[str, str] = setting({}, help="host -> running, stopped, paused, unknown", max=2000)

    def faults(self) -> list[tuple[str, str]]:
        wrong = [state for state in self.states.values() if state not in VM_STATES]
        found = [("states", f"{state!r} is none of {', '.join(VM_STATES)}") for state in wrong]
        if self.until and instant_ms(self.until) is None:
            found.append(("until", f"{self.until!r} is not a time"))
        return found


class PersonFile:
    """Reads the file anew at each round."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self) -> Told:
        """What stands there now; a file half written is a fault, and read again at the next round."""
        try:
            noted = load(self._path, NotedFile)
        except ConfigError as error:
            raise AdapterFault(plain_text(error.faults[0])) from None
        events = []
        for event in noted.events:
            text, at_ms = plain_text(event.text), instant_ms(event.at) or 0
            digest = hashlib.sha256(f"{at_ms} {event.host} {text}".encode()).hexdigest()[:24]
            events.append(ProviderEvent(digest, at_ms, text, event.host))
        return Told(noted.status or None, tuple(events), dict(noted.states), instant_ms(noted.until))
