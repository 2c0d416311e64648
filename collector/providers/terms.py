"""What a provider's file may say: how it is asked, where in the answer the words stand, what they mean to us.

One YAML file a provider in the folder that settings name. Read by ``config.loader``: every fault at once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

from collector.providers.adapter import STATUSES, VM_STATES
from config.loader import ConfigError, Duration, Fault, Size, load, setting

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
Faults = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class SecretHeader:
    """A header whose value lies in a file of its own, so that it stands in no settings and no log."""

    file: Path = setting(help="file that holds the secret, readable by the collector only")
    prefix: str = setting("", help="what stands before it", example="Bearer ", max=64)


@dataclasses.dataclass(frozen=True)
class StatusPlace:
    """Where the provider's status word stands."""

    path: str = setting(help="path in the answer: names and [n], by dots", example="status.indicator")
    words: dict[str, str] = setting(
        help="their word -> ok, maintenance or incident", max=100, example="{none: ok, major: incident}"
    )
    otherwise: str = setting(
        "", help="any other word means this; empty: it is a fault", choices=("", *STATUSES)
    )
    until: str = setting("", help="path of the time at which they expect it repaired; may be absent there")

    def faults(self) -> Faults:
        return [
            ("words", f"{word!r} is none of {', '.join(STATUSES)}")
            for word in self.words.values()
            if word not in STATUSES
        ]


@dataclasses.dataclass(frozen=True)
class EventsPlace:
    """Where the provider's events stand, newest first or last."""

    at: str = setting(help="path of the time within an event (ISO 8601, or seconds or ms since 1970)")
    text: str = setting(help="words of the event; {path} is filled in", example="{name}: {status}")
    list: str = setting(
        "", help="path to the list; empty: the answer itself is the list", example="incidents"
    )
    id: str = setting("", help="path of the event's id; empty: time and words tell it apart")
    host: str = setting("", help="path of the machine it is about; empty: it is about the whole provider")
    only: dict[str, str] = setting({}, help="path -> the word that it must have", max=10)


@dataclasses.dataclass(frozen=True)
class StatesPlace:
    """Where the states of machines stand."""

    state: str = setting(help="path of the state word")
    words: dict[str, str] = setting(help="their word -> running, stopped, paused or unknown", max=100)
    host: str = setting("", help="path of the machine's name within an entry of the list")
    list: str = setting(
        "", help="path to the list of machines; empty: the answer is about one ({machine} in the url)"
    )

    def faults(self) -> Faults:
        found: Faults = [
            ("words", f"{word!r} is none of {', '.join(VM_STATES)}")
            for word in self.words.values()
            if word not in VM_STATES
        ]
        if self.list and not self.host:
            found.append(("host", "is missing: a list of machines needs their names"))
        return found


@dataclasses.dataclass(frozen=True)
class Request:
    """One thing to ask over HTTP, and what to take from its JSON answer."""

    url: str = setting(
        help="https://...; {machine} = once for each of `hosts`", pattern=r"https?://\S{1,1990}"
    )
    method: str = setting("GET", help="GET or POST", choices=("GET", "POST"))
    body: str = setting("", help="body of a POST, JSON", max=10_000)
    headers: dict[str, str] = setting({}, help="headers without secrets", max=20)
    secret_headers: dict[str, SecretHeader] = setting(
        {}, help="headers with secrets, each from a file", max=5
    )
    status: Optional[StatusPlace] = setting(None, help="the status word")
    events: Optional[EventsPlace] = setting(None, help="the events")
    states: Optional[StatesPlace] = setting(None, help="the machines' states")

    def faults(self) -> Faults:
        found: Faults = []
        if not (self.status or self.events or self.states):
            found.append(("url", "is asked for nothing: give status, events or states"))
        if self.secret_headers and self.url.startswith("http://") and not _is_local(self.url):
            found.append(("url", "sends a secret over plain HTTP"))
        if self.states and not self.states.list and "{machine}" not in self.url:
            found.append(("states", "needs a list, or {machine} in the url"))
        return found


@dataclasses.dataclass(frozen=True)
class ProviderTerms:
    """One provider's file."""

    provider: str = setting(help="its id, as in the contracts' topology", pattern=ID_PATTERN, example="alfa")
    kind: str = setting(
        help="http_json asks its interface; file reads what a person writes", choices=("http_json", "file")
    )
    interval: Duration = setting(Duration(60), help="time between two rounds", min=5, max=86_400)
    timeout: Duration = setting(
        Duration(10), help="longest time of one request, body included", min=0.2, max=60
    )
    body_max: Size = setting(Size(1024 * 1024), help="largest answer", min=1024, max=16 * 1024 * 1024)
    failures: int = setting(5, help="so many failed rounds in a row are a ticket of our own", min=1, max=1000)
    requests: list[Request] = setting([], help="http_json: what is asked in a round", max=16)
    hosts: dict[str, str] = setting({}, help="our host -> their machine, where the names differ", max=2000)
    path: Optional[Path] = setting(None, help="file: the file that a person edits")

    def faults(self) -> Faults:
        if self.kind == "http_json" and not self.requests:
            return [("requests", "is missing: say what to ask")]
        if self.kind == "file" and self.path is None:
            return [("path", "is missing: name the file")]
        return []


def load_providers(folder: Path) -> tuple[ProviderTerms, ...]:
    """Every file of the folder, in order of name; a folder that is not there holds none. Raises ConfigError."""
    faults: list[Fault] = []
    found: list[ProviderTerms] = []
    for file in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
        try:
            terms = load(file, ProviderTerms)
        except ConfigError as error:
            faults += error.faults
            continue
        if any(terms.provider == other.provider and terms.kind == other.kind for other in found):
            faults.append(
                Fault(str(file), 0, "provider", f"{terms.provider} has a second file of kind {terms.kind}")
            )
        found.append(terms)
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def _is_local(url: str) -> bool:
    rest = url.partition("://")[2]
    return rest.startswith(("127.", "localhost", "[::1]"))
