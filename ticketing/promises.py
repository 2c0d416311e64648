"""What a contract promises, and when: calendar, times by class, and the steps by which a ticket climbs the lines.

Typed settings like all of ``ticketing.terms``, which composes them; apart from it so that both stay readable.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from typing import Optional
from zoneinfo import ZoneInfo

from config.loader import Duration, setting
from ticketing.calendar import DAYS, Calendar, Span, parse_hours
from ticketing.model import CLASSES

Faults = list[tuple[str, str]]

CLASS_KEYS = tuple(str(class_) for class_ in CLASSES)


@dataclasses.dataclass(frozen=True)
class CalendarTerms:
    """When the contract's clocks run."""

    zone: str = setting("Europe/Kyiv", help="IANA time zone", example="Europe/Kyiv")
    hours: dict[str, list[str]] = setting(
        {}, help='working hours by weekday ("mon": ["09:00-18:00"]); empty = around the clock', max=7
    )
    holidays: list[str] = setting([], help="days off, YYYY-MM-DD", max=1000)
    working_days: dict[str, list[str]] = setting(
        {},
        help='transferred or shortened working days: date -> hours ("2026-12-26": ["09:00-18:00"])',
        max=1000,
    )

    def faults(self) -> Faults:
        found: Faults = []
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):  # unknown name; malformed name; a folder's name
            found.append(("zone", f"{self.zone!r} is not a time zone"))
        for day, hours in self.hours.items():
            if day not in DAYS:
                found.append(("hours", f"{day!r} is not a weekday ({', '.join(DAYS)})"))
            found.extend(("hours", fault) for fault in hours_faults(hours))
        found.extend(
            ("holidays", f"{day!r} is not a date YYYY-MM-DD") for day in self.holidays if not _is_date(day)
        )
        for day, hours in self.working_days.items():
            if not _is_date(day):
                found.append(("working_days", f"{day!r} is not a date YYYY-MM-DD"))
            found.extend(("working_days", fault) for fault in hours_faults(hours))
        return found

    @functools.cached_property
    def calendar(self) -> Calendar:
        """The calendar as the clocks use it."""
        week = [self._spans(self.hours.get(day, [])) for day in DAYS] if self.hours else None
        working = {dt.date.fromisoformat(day): self._spans(hours) for day, hours in self.working_days.items()}
        return Calendar(self.zone, week, [dt.date.fromisoformat(day) for day in self.holidays], working)

    @staticmethod
    def _spans(hours: list[str]) -> list[Span]:
        return [parse_hours(text) for text in hours]


@dataclasses.dataclass(frozen=True)
class SlaTimes:
    """What is promised for one class, in the calendar's working time."""

    reaction: Duration = setting(help="until somebody reacts", min=60, max=366 * 86400, example="15 min")
    resolution: Duration = setting(help="until it is resolved", min=60, max=366 * 86400, example="4 h")

    def faults(self) -> Faults:
        if self.reaction > self.resolution:
            return [("reaction", "is longer than the resolution time")]
        return []


DEFAULT_SLA = {
    "1": SlaTimes(Duration(900), Duration(4 * 3600)),
    "2": SlaTimes(Duration(900), Duration(4 * 3600)),
    "3": SlaTimes(Duration(1800), Duration(8 * 3600)),
    "4": SlaTimes(Duration(1800), Duration(8 * 3600)),
    "5": SlaTimes(Duration(3600), Duration(24 * 3600)),
    "6": SlaTimes(Duration(4 * 3600), Duration(40 * 3600)),
}


@dataclasses.dataclass(frozen=True)
class ClassSteps:
    """What differs for one class; what is left out is as for all."""

    first_line: Optional[int] = setting(None, help="this line takes it first", min=1, max=4)
    at_reaction_breach: Optional[bool] = setting(
        None, help="to the next line when the reaction time is breached"
    )
    at_resolution_pct: Optional[list[int]] = setting(
        None, help="to the next line at these percents of the resolution time; [] = never by time", max=8
    )
    remind: Optional[Duration] = setting(None, help="look at the ticket again", min=300, max=7 * 86400)

    def faults(self) -> Faults:
        return _percent_faults(self.at_resolution_pct or [])


@dataclasses.dataclass(frozen=True)
class Escalation:
    """When a ticket goes on to the next line by itself."""

    at_reaction_breach: bool = setting(True, help="to the next line when the reaction time is breached")
    at_resolution_pct: list[int] = setting(
        [75, 100], help="to the next line at these percents of the resolution time", max=8
    )
    remind: Duration = setting(
        Duration(4 * 3600),
        help="with no further line, or while paused: look at the ticket again",
        min=300,
        max=7 * 86400,
    )
    call_again: Duration = setting(
        Duration(0),
        help="a call that nobody answers is repeated after so long; 0 = a third of the class's reaction time",
        min=0,
        max=86400,
    )
    by_class: dict[str, ClassSteps] = setting({}, help="what differs for a class", max=6)

    def faults(self) -> Faults:
        found: Faults = [
            ("by_class", f"class {c!r} is not 1 to 6") for c in self.by_class if c not in CLASS_KEYS
        ]
        return found + _percent_faults(self.at_resolution_pct)

    def of(self, class_: int) -> Escalation:
        """The steps that hold for a class."""
        own = self.by_class.get(str(class_))
        if own is None:
            return self
        given = {
            name: value
            for name in ("at_reaction_breach", "at_resolution_pct", "remind")
            if (value := getattr(own, name)) is not None
        }
        return dataclasses.replace(self, **given)

    def first_line(self, class_: int) -> int | None:
        """The line that takes this class first; None where the contract leaves it to the cause."""
        own = self.by_class.get(str(class_))
        return None if own is None else own.first_line


def _percent_faults(percents: list[int]) -> Faults:
    found: Faults = [
        ("at_resolution_pct", f"{pct} is out of bounds (1 to 1000)")
        for pct in percents
        if not 1 <= pct <= 1000
    ]
    if sorted(set(percents)) != percents:
        found.append(("at_resolution_pct", "must rise, each percent once"))
    return found


def hours_faults(hours: list[str]) -> list[str]:
    found: list[str] = []
    spans: list[Span] = []
    for text in hours:
        try:
            spans.append(parse_hours(text))
        except ValueError as error:
            found.append(str(error))
    spans.sort()
    if any(later[0] < earlier[1] for earlier, later in zip(spans, spans[1:], strict=False)):
        found.append(f"{', '.join(hours)} overlap")
    return found


def _is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10
