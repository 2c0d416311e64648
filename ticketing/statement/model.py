"""What a statement is made from and what it says: plain values. Durations are milliseconds, instants epoch ms."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from ticketing.model import Reason
from ticketing.statement.spans import Span


@dataclasses.dataclass(frozen=True)
class Period:
    """A calendar month of the contract's zone, as instants [from, to)."""

    label: str
    """2026-10"""
    from_ms: int
    to_ms: int
    zone: str

    @staticmethod
    def month(label: str, zone: str) -> Period:
        """The month of a label such as 2026-10; ValueError says what is wrong with it."""
        found = re.fullmatch(r"(\d{4})-(\d{2})", label)
        if not found or not (1 <= int(found[2]) <= 12 and 2000 <= int(found[1]) <= 2200):
            raise ValueError(f"{label!r} is not a month such as 2026-10")
        year, month = int(found[1]), int(found[2])
        first = dt.datetime(year, month, 1, tzinfo=ZoneInfo(zone))
        following = dt.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone))
        return Period(label, _ms(first), _ms(following), zone)

    def days(self, until_ms: int) -> list[tuple[int, Span]]:
        """(day of the month, its instants) up to ``until_ms``; a day may last 23 or 25 hours."""
        zone = ZoneInfo(self.zone)
        first = dt.datetime.fromtimestamp(self.from_ms / 1000, zone).date()
        found: list[tuple[int, Span]] = []
        for number in range(31):
            begin, end = (_ms(_midnight(first + dt.timedelta(days=number + more), zone)) for more in (0, 1))
            if begin >= min(self.to_ms, until_ms):
                break
            found.append((number + 1, (begin, min(end, until_ms))))
        return found


def _midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=zone)


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)


@dataclasses.dataclass(frozen=True)
class Told:
    """One event of a ticket."""

    at_ms: int
    actor: str
    kind: str
    body: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class History:
    """A ticket with its events in order."""

    id: int
    class_: int
    root_cause: str
    family: str
    subject: str
    """The problem's subject: a host, or a part of it."""
    origin: str
    affected: tuple[str, ...]
    title: str
    summary: Reason | None
    began_at_ms: int
    created_at_ms: int
    events: Sequence[Told] = ()


@dataclasses.dataclass(frozen=True)
class Outage:
    """A stretch in which a host or one of its services was down."""

    host_id: str
    service: str
    """"" = the host itself."""
    span: Span
    ticket_id: int | None = None
    """None = seen by outside probes only."""


@dataclasses.dataclass(frozen=True)
class Failover:
    """One switch between a pair's servers."""

    at_ms: int
    ended_at_ms: int | None
    kind: str
    """failover, switchover, failback, rehearsal, drill"""
    pair: str
    state: str
    ticket_id: int | None = None
    rto_s: float | None = None
    """From the outage's beginning to verified; None = it was not brought to an end, or only rehearsed."""
    rto_limit_s: float | None = None
    rpo_s: float | None = None
    """So much written data was lost at most; None = nobody could tell."""
    rpo_limit_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Refused:
    """A request that the contract does not hold."""

    at_ms: int
    title: str
    reason: Reason


@dataclasses.dataclass(frozen=True)
class Availability:
    """How long one host or service was down."""

    host_id: str
    service: str
    whole_ms: int
    down_ms: int
    """Outside planned windows."""
    planned_ms: int
    """Down inside planned windows; no part of ``down_ms``."""
    outages: int
    """Separate stretches of ``down_ms``."""

    @property
    def pct(self) -> float:
        """Percent of the time that it was not down unplanned; 100 for no time at all."""
        return 100.0 if self.whole_ms <= 0 else 100.0 * (self.whole_ms - self.down_ms) / self.whole_ms


@dataclasses.dataclass(frozen=True)
class Minutes:
    """The open time of tickets in the period, each millisecond once."""

    ours_ms: int = 0
    client_ms: int = 0
    """The ticket waited for the client."""
    provider_ms: int = 0
    """The provider owed an answer (line 4); the client's clock ran on."""
    other_ms: int = 0
    """Paused for another agreed reason."""
    outside_ms: int = 0
    """Outside the contract's hours."""

    @property
    def whole_ms(self) -> int:
        return self.ours_ms + self.client_ms + self.provider_ms + self.other_ms + self.outside_ms

    def plus(self, other: Minutes) -> Minutes:
        names = (field.name for field in dataclasses.fields(self))
        return Minutes(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclasses.dataclass(frozen=True)
class Pause:
    """A stretch in which a resolution clock stood, with why."""

    ticket_id: int
    from_ms: int
    to_ms: int | None
    """None = it stood still when the statement was made."""
    why: str
    """Text key after ``pause.``."""
    working_ms: int
    """Of the contract's hours, within the period."""
    actor: str
    text: str
    """What was asked or said when it began."""


@dataclasses.dataclass(frozen=True)
class Promise:
    """One clock of a ticket as it stood at the end of the period."""

    target_ms: int
    spent_ms: int
    outcome: str
    """kept, breached, moot, running, paused"""
    is_counted: bool
    """It ended, or was broken, within the period."""


@dataclasses.dataclass(frozen=True)
class TicketPart:
    """One ticket of the statement."""

    id: int
    class_: int
    root_cause: str
    origin: str
    title: str
    summary: Reason | None
    created_at_ms: int
    resolved_at_ms: int | None
    """As of the end of the period."""
    is_carried: bool
    """It was open when the period began."""
    is_open: bool
    """It was open when the period ended."""
    is_opened_within: bool
    is_resolved_within: bool
    reopened: int
    reaction: Promise | None
    resolution: Promise | None
    provider: Promise | None
    minutes: Minutes
    pauses: tuple[Pause, ...]


@dataclasses.dataclass(frozen=True)
class ClassPart:
    """The tickets of one class together."""

    class_: int
    carried: int
    opened: int
    resolved: int
    left_open: int
    reaction_kept: int
    reaction_breached: int
    resolution_kept: int
    resolution_breached: int
    resolution_median_ms: int | None
    """Working time of those that were resolved within the period."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """Everything, ready to be shown."""

    contract_id: str
    title: str
    period: Period
    until_ms: int
    """The end of the period, or the moment of making for a month that is not over."""
    made_at_ms: int
    hosts: tuple[Availability, ...]
    services: tuple[Availability, ...]
    outages: tuple[Outage, ...]
    down_by_day: tuple[tuple[int, int, int], ...]
    """(day, unplanned ms, planned ms) over all hosts and services."""
    classes: tuple[ClassPart, ...]
    tickets: tuple[TicketPart, ...]
    minutes: Minutes
    pauses: tuple[Pause, ...]
    failovers: tuple[Failover, ...]
    refused: tuple[Refused, ...]
    is_cut: bool = False
    """More tickets than one statement may hold; the newest are missing."""
