"""Planned windows from contracts and from calendar feeds, as ``ops.window`` of every host that they cover.

A feed is an iCalendar by file or address, said to be about a contract, a provider, or named hosts; an event whose
CATEGORIES name hosts is about those of them alone. Recurrence, time zones, exceptions and moved instances are the
calendar's own art: icalendar and recurring-ical-events read it (ADR 16), we keep the bounds. Parsing is pure.

A window holds to its last instant and not a moment longer. An instant is when it began or ended, not when we looked.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events
from sqlalchemy import Connection

from collector.feed_settings import FeedSettings
from collector.observed import newest, observe
from ticketing.contracts import Book

SIGNAL = "ops.window"
SOURCE = "windows"
BYTES_MAX = 1024 * 1024
EVENTS_MAX = 2_000
AHEAD_MS, BEHIND_MS = 2 * 86_400_000, 86_400_000
TITLE_MAX = 200

_TOO_OFTEN = re.compile(r"^RRULE[^\n]*FREQ=(?:SECONDLY|MINUTELY)", re.MULTILINE | re.IGNORECASE)


class FeedFault(Exception):
    """The calendar cannot be taken; the text says why."""


@dataclasses.dataclass(frozen=True)
class Planned:
    """One window: hosts, from when to when."""

    from_ms: int
    to_ms: int
    title: str
    host_ids: frozenset[str]


def read_feed(
    octets: bytes, zone: str, from_ms: int, to_ms: int
) -> list[tuple[int, int, str, frozenset[str]]]:
    """Pure: (start, end, title, named hosts) of what the calendar holds in that span; raises FeedFault."""
    if len(octets) > BYTES_MAX:
        raise FeedFault(f"the calendar is larger than {BYTES_MAX} bytes")
    text = octets.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\n ", "")
    if _TOO_OFTEN.search(text):
        raise FeedFault("the calendar repeats by the minute or second: no planned work does")
    local = ZoneInfo(zone)
    try:
        calendar = icalendar.Calendar.from_ical(octets)
        query = recurring_ical_events.of(calendar, components=["VEVENT"], skip_bad_series=True)
        span = query.between(_moment(from_ms, local), _moment(to_ms, local))
        found = [_window(event, local) for event in itertools.islice(span, EVENTS_MAX + 1)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        # What a stranger's calendar can break these two parsers with is one of these; the old windows stay.
        raise FeedFault(f"not an iCalendar that can be read ({type(error).__name__})") from None
    if len(found) > EVENTS_MAX:
        raise FeedFault(f"the calendar holds more than {EVENTS_MAX} windows in three days")
    return sorted(window for window in found if window is not None)


def _window(event: Any, local: ZoneInfo) -> tuple[int, int, str, frozenset[str]] | None:
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return None
    start, end = _ms(event.start, local), _ms(event.end, local)
    title = " ".join(str(event.get("SUMMARY", "")).split())[:TITLE_MAX]
    named = event.get("CATEGORIES")
    groups = named if isinstance(named, list) else [named] if named is not None else []
    hosts = frozenset(str(name) for group in groups for name in getattr(group, "cats", ()))
    return (start, end, title, hosts) if end > start else None


def _ms(moment: dt.date | dt.datetime, local: ZoneInfo) -> int:
    """A whole day begins at the local midnight; a time without a zone is local."""
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime.combine(moment, dt.time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local)
    return round(moment.timestamp() * 1000)


def _moment(at_ms: int, local: ZoneInfo) -> dt.datetime:
    return dt.datetime.fromtimestamp(at_ms / 1000, local)


def planned_of(feed: FeedSettings, octets: bytes, book: Book, now_ms: int) -> list[Planned]:
    """The feed's windows around now, with the hosts that they cover."""
    scope = frozenset(hosts_of(feed, book))
    return [
        Planned(start, end, title, scope & named if named & scope else scope)
        for start, end, title, named in read_feed(octets, feed.zone, now_ms - BEHIND_MS, now_ms + AHEAD_MS)
    ]


def hosts_of(feed: FeedSettings, book: Book) -> Iterable[str]:
    """Hosts that a feed is about."""
    if feed.hosts:
        return feed.hosts
    if feed.contract:
        contract = book.contracts.get(feed.contract)
        return [host.id for host in contract.hosts] if contract else []
    return [host_id for host_id, terms in book.hosts.items() if terms.topology.provider == feed.provider]


def planned_in(book: Book, now_ms: int) -> list[Planned]:
    """The contracts' own windows around now."""
    found: list[Planned] = []
    for contract in book.contracts.values():
        for window in contract.windows:
            start, end = window.span_ms(contract.calendar.zone)
            if end > now_ms - BEHIND_MS and start < now_ms + AHEAD_MS:
                hosts = frozenset(window.hosts or (host.id for host in contract.hosts))
                found.append(Planned(start, end, window.title, hosts))
    return found


def window_at(planned: Sequence[Planned], host_id: str, at_ms: int) -> Planned | None:
    """The window that covers this host at this instant."""
    return next((p for p in planned if p.from_ms <= at_ms < p.to_ms and host_id in p.host_ids), None)


def changes(planned: Sequence[Planned], held: Mapping[str, bool], now_ms: int) -> list[tuple[str, bool, int]]:
    """Pure: (host, in a window, since when) where that is not what is held; ends before we looked are dated back."""
    covering: dict[str, int] = {}
    ended: dict[str, int] = {}
    for window in planned:
        for host_id in window.host_ids:
            if window.from_ms <= now_ms < window.to_ms:
                covering[host_id] = min(window.from_ms, covering.get(host_id, window.from_ms))
            elif window.to_ms <= now_ms:
                ended[host_id] = max(window.to_ms, ended.get(host_id, 0))
    found = [(host_id, True, since) for host_id, since in covering.items() if not held.get(host_id)]
    found += [
        (host_id, False, ended.get(host_id, now_ms))
        for host_id, is_held in held.items()
        if is_held and host_id not in covering
    ]
    return sorted(found)


def write_windows(tx: Connection, planned: Sequence[Planned], book: Book, now_ms: int) -> int:
    """Bring ``ops.window`` to what is planned now; how many hosts changed."""
    ids = set(book.hosts) | {host_id for window in planned for host_id in window.host_ids}
    seen = newest(tx, ids, SIGNAL)
    held = {host_id: bool(o.value) for (host_id, vantage), o in seen.items() if not vantage}
    last_ms = {host_id: o.at_ms for (host_id, vantage), o in seen.items() if not vantage}
    done = 0
    for host_id, is_open, since_ms in changes(planned, held, now_ms):
        # Never before what stands there already: the newest by time is what holds.
        at_ms = max(since_ms, last_ms.get(host_id, 0) + 1)
        done += observe(tx, host_id, SIGNAL, is_open, min(at_ms, now_ms), SOURCE, received_at_ms=now_ms)
    return done
