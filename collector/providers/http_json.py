"""The generic adapter: any provider that answers HTTP with JSON, described by a template instead of by code.

The reading is pure (``read_answer``): JSON and template in, ``Told`` out. A path is names and ``[n]`` by dots. What
the template does not know (a new word, a missing field) is a fault with the path in it, never a guess.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from collector.providers.adapter import EVENTS_MAX, AdapterFault, ProviderEvent, Told, plain_text
from collector.providers.fetch import fetch
from collector.providers.terms import EventsPlace, ProviderTerms, Request, StatesPlace, StatusPlace
from ticketing.json_path import MISSING, at_path, read_json

MACHINES_MAX = 200
"""Most requests for single machines in one round."""

_SLOT = re.compile(r"\{([^{}]+)\}")


class HttpJson:
    """Asks one provider as its template says."""

    def __init__(self, terms: ProviderTerms) -> None:
        self._terms = terms

    def ask(self) -> Told:
        """One round over all requests of the template; what one of them tells later stands above the earlier."""
        status: str | None = None
        events: list[ProviderEvent] = []
        states: dict[str, str] = {}
        until_ms: int | None = None
        for request in self._terms.requests:
            for machine_host, url in self._urls(request):
                told = read_answer(self._fetched(request, url), request, self._terms.hosts, machine_host)
                status = told.status if told.status is not None else status
                events += told.events
                states |= told.states
                until_ms = told.until_ms if told.until_ms is not None else until_ms
        return Told(status, tuple(events[:EVENTS_MAX]), states, until_ms)

    def _urls(self, request: Request) -> list[tuple[str, str]]:
        if "{machine}" not in request.url:
            return [("", request.url)]
        machines = list(self._terms.hosts.items())[:MACHINES_MAX]
        return [
            (host, request.url.replace("{machine}", urllib.parse.quote(name, safe="")))
            for host, name in machines
        ]

    def _fetched(self, request: Request, url: str) -> Any:
        headers = {"Accept": "application/json", **request.headers}
        for name, secret in request.secret_headers.items():
            try:
                headers[name] = secret.prefix + secret.file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeError) as error:
                raise AdapterFault(f"the secret of {name} cannot be read: {type(error).__name__}") from None
        terms = self._terms
        raw = fetch(
            url,
            timeout_s=terms.timeout,
            body_max=terms.body_max,
            method=request.method,
            headers=headers,
            body=request.body,
        )
        try:
            return read_json(raw)
        except ValueError:
            raise AdapterFault(f"{url.partition('?')[0]} answers with something that is not JSON") from None


def read_answer(answer: Any, request: Request, hosts: Mapping[str, str], machine_host: str = "") -> Told:
    """Pure: what one answer says by its template. ``machine_host`` = the host that was asked about, if it was one."""
    ours = {theirs: host for host, theirs in hosts.items()}
    status = _status(answer, request.status) if request.status else None
    events = _events(answer, request.events, ours, machine_host) if request.events else ()
    states = _states(answer, request.states, ours, machine_host) if request.states else {}
    return Told(status, events, states, _until_ms(answer, request.status))


def _until_ms(answer: Any, place: StatusPlace | None) -> int | None:
    """When they expect it repaired: nobody says it at every moment."""
    if place is None or not place.until:
        return None
    return instant_ms(at_path(answer, place.until))


def _status(answer: Any, place: StatusPlace) -> str:
    word = at_path(answer, place.path)
    if word is MISSING:
        raise AdapterFault(f"no status stands at {place.path}")
    status = place.words.get(_word(word)) or place.otherwise
    if not status:
        raise AdapterFault(f"the status word {plain_text(word)[:60]!r} is not in the template")
    return status


def _events(
    answer: Any, place: EventsPlace, ours: Mapping[str, str], machine_host: str
) -> tuple[ProviderEvent, ...]:
    found: list[ProviderEvent] = []
    for entry in _list(answer, place.list)[:EVENTS_MAX]:
        if any(_word(at_path(entry, path)) != word for path, word in place.only.items()):
            continue
        at_ms = instant_ms(at_path(entry, place.at))
        if at_ms is None:
            raise AdapterFault(f"an event has no time at {place.at}")
        text = plain_text(_filled(place.text, entry))
        named = at_path(entry, place.id) if place.id else MISSING
        host = machine_host
        if place.host:
            theirs = _word(at_path(entry, place.host))
            host = ours.get(theirs, theirs)
        found.append(ProviderEvent(_event_id(named, at_ms, text), at_ms, text, host[:64]))
    return tuple(found)


def _states(answer: Any, place: StatesPlace, ours: Mapping[str, str], machine_host: str) -> dict[str, str]:
    if not place.list and machine_host:
        return {machine_host: _state(answer, place)}
    found: dict[str, str] = {}
    for entry in _list(answer, place.list)[: 10 * EVENTS_MAX]:
        theirs = _word(at_path(entry, place.host))
        if theirs:
            found[ours.get(theirs, theirs)] = _state(entry, place)
    return found


def _state(entry: Any, place: StatesPlace) -> str:
    # A word that the template does not know is a machine of which we do not know: no evidence either way.
    return place.words.get(_word(at_path(entry, place.state)), "unknown")


def _list(answer: Any, path: str) -> list[Any]:
    found = at_path(answer, path) if path else answer
    if not isinstance(found, list):
        raise AdapterFault(f"no list stands at {path or 'the top'}")
    return found


def _filled(template: str, entry: Any) -> str:
    return _SLOT.sub(lambda slot: _word(at_path(entry, slot[1])), template)


def _word(value: Any) -> str:
    if value is MISSING or value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int, float)) else ""


def _event_id(named: Any, at_ms: int, text: str) -> str:
    own = _word(named)
    return own[:100] if own else hashlib.sha256(f"{at_ms} {text}".encode()).hexdigest()[:24]


def instant_ms(value: Any) -> int | None:
    """A time as providers write it: ISO 8601 (UTC where no zone is said), or seconds or milliseconds since 1970."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or not 0 < value < 1e14:
            return None
        return round(value if value > 1e11 else value * 1000)
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"\d{9,13}", value):
        return instant_ms(int(value))
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        at_ms = round(moment.timestamp() * 1000)
        return at_ms if at_ms > 0 else None
    except (ValueError, OverflowError):
        return None
