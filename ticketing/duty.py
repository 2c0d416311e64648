"""Who works at the desk and who is on call: people, rotas and absences as typed settings of ``people.yaml``.

A rota is a line's: its people take turns of whole days, handed over at one local time, so that a change of summer time
moves nothing. Who is on call at an instant is asked of ``ticketing.rota``; how somebody is reached and when they are left
in peace, of ``ticketing.reach``. Nothing here touches the store.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections import Counter
from typing import Optional
from zoneinfo import ZoneInfo

from config.loader import setting
from ticketing.calendar import DAYS, Calendar
from ticketing.promises import CalendarTerms, Faults

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


WAY_TYPES = ("mail", "webhook", "chat")
CALL, REMINDER = "call", "reminder"
"""What reaches somebody: a call wants an answer, a reminder or a colleague's word can wait for the morning."""


@dataclasses.dataclass(frozen=True)
class Way:
    """One way in which a person is reached."""

    type: str = setting(help="kind of way", choices=WAY_TYPES, example="chat")
    to: str = setting("", help="mail: address; empty = the person's `email`")
    url: str = setting("", help="webhook: address")
    secret_file: str = setting("", help="webhook: file with the signing secret (whsec_...)")
    format: str = setting(
        "binary",
        help="webhook: CloudEvents in headers (binary) or around the body (structured)",
        choices=("binary", "structured"),
    )
    url_file: str = setting("", help="chat: file with one Apprise address, such as tgram://TOKEN/CHAT")
    on: list[str] = setting([CALL, REMINDER], help="for what", choices=(CALL, REMINDER), max=2)

    def faults(self) -> Faults:
        if self.type == "mail":
            wrong = bool(self.to) and not is_mail(self.to)
            return [("to", f"{self.to!r} is not a mail address")] if wrong else []
        return place_faults(self.type, self.url, self.secret_file, self.url_file)


@dataclasses.dataclass(frozen=True)
class Quiet:
    """When nothing may ring that can wait."""

    hours: list[str] = setting(
        [], help='every day, local time ("22:00-07:00"); calls of who is on call ring all the same', max=8
    )
    zone: str = setting("Europe/Kyiv", help="IANA time zone", example="Europe/Kyiv")

    def faults(self) -> Faults:
        return CalendarTerms(zone=self.zone, hours=dict.fromkeys(DAYS, self.hours)).faults()[:1]

    @functools.cached_property
    def calendar(self) -> Calendar:
        """Its hours as a calendar's working time."""
        return CalendarTerms(zone=self.zone, hours=dict.fromkeys(DAYS, self.hours)).calendar


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who may log in; passwords and tokens are set by command, never in a file."""

    id: str = setting(help="log-in name", pattern=ID_PATTERN, example="olena")
    role: str = setting(help="what they may do", choices=("client", "engineer", "lead", "admin"))
    name: str = setting("", help="as others call them")
    email: str = setting("", help="mail address")
    profiles: list[str] = setting([], help="what they know best (linux, network, storage, ...)", max=32)
    line: Optional[int] = setting(None, help="their support line", min=1, max=4)
    language: str = setting("uk", help="language of pages and mail", choices=("uk", "en"))
    contract: Optional[str] = setting(
        None, help="a client's user sees this contract only", pattern=ID_PATTERN
    )
    disabled: bool = setting(False, help="may not log in any more")
    ways: list[Way] = setting([], help="how they are called and reminded; none = a mail to `email`", max=8)
    quiet: Quiet = setting(Quiet, help="when reminders wait")

    def faults(self) -> Faults:
        found: Faults = []
        if not self.email and any(way.type == "mail" and not way.to for way in self.ways):
            found.append(("ways", "a mail way needs `to`, or the person an `email`"))
        if self.role == "client" and not self.contract:
            found.append(("contract", "is missing: a client's user belongs to a contract"))
        if self.role != "client" and self.contract:
            found.append(("contract", "is only for the role client"))
        if self.email and not is_mail(self.email):
            found.append(("email", f"{self.email!r} is not a mail address"))
        return found


@dataclasses.dataclass(frozen=True)
class Rota:
    """Who of a line is on call when: its people take turns in the order in which they stand."""

    line: int = setting(help="support line", min=1, max=4, example="2")
    people: list[str] = setting(help="log-in names, in the order of their turns", max=100)
    starts: str = setting(
        "2026-01-05 09:00",
        help="when the first one's turn began; turns change at this time of day",
        example="2026-11-02 09:00",
    )
    turn_days: int = setting(7, help="days of one turn", min=1, max=366)
    zone: str = setting("Europe/Kyiv", help="IANA time zone", example="Europe/Kyiv")
    hours: dict[str, list[str]] = setting(
        {}, help='hours on call by weekday ("mon": ["09:00-18:00"]); empty = around the clock', max=7
    )
    lead: str = setting("", help="who is told where nobody is on call; empty = the line's lead")

    def faults(self) -> Faults:
        found: Faults = []
        if not self.people:
            found.append(("people", "is empty: a rota needs somebody who is on call"))
        found.extend(("people", f"{p} stands twice") for p, n in Counter(self.people).items() if n > 1)
        found.extend(CalendarTerms(zone=self.zone, hours=self.hours).faults())
        if not _is_moment(self.starts):
            found.append(("starts", f"{self.starts!r} is not a local time such as 2026-11-02 09:00"))
        return found

    @functools.cached_property
    def calendar(self) -> Calendar:
        """When somebody is on call."""
        return CalendarTerms(zone=self.zone, hours=self.hours).calendar

    @property
    def named(self) -> list[str]:
        """Everybody whom it names."""
        return [*self.people, *([self.lead] if self.lead else [])]


@dataclasses.dataclass(frozen=True)
class Absence:
    """Somebody is away: their turns fall to the one who stands in, else to the next of the rota."""

    person: str = setting(help="log-in name", pattern=ID_PATTERN)
    from_: str = setting(help="first moment away, local time of `zone`", example="2026-12-01 09:00")
    to: str = setting(help="back from then on", example="2026-12-08 09:00")
    zone: str = setting("Europe/Kyiv", help="IANA time zone", example="Europe/Kyiv")
    instead: str = setting("", help="who takes their turns")
    why: str = setting("", help="vacation, illness, ...", max=200)

    def faults(self) -> Faults:
        found: Faults = [
            ("zone", text) for key, text in CalendarTerms(zone=self.zone).faults() if key == "zone"
        ]
        found += [
            (key, f"{text!r} is not a local time such as 2026-12-01 09:00")
            for key, text in (("from", self.from_), ("to", self.to))
            if not _is_moment(text)
        ]
        if not found and dt.datetime.fromisoformat(self.from_) >= dt.datetime.fromisoformat(self.to):
            found.append(("to", "is not after `from`"))
        if self.instead == self.person:
            found.append(("instead", "nobody stands in for themselves"))
        return found

    def holds_at(self, at_ms: int) -> bool:
        """Whether the person is away at this instant."""
        return local_ms(self.from_, self.zone) <= at_ms < local_ms(self.to, self.zone)


@dataclasses.dataclass(frozen=True)
class Roster:
    """The house's rotas and absences: what people.yaml says beside the people."""

    rota: list[Rota] = setting([], help="who is on call, by line", max=200)
    absences: list[Absence] = setting([], help="who is away", max=5000)


def place_faults(kind: str, url: str, secret_file: str, url_file: str) -> Faults:
    """What is wrong with a chat or webhook that somebody is told by."""
    if kind == "chat":
        said = "is missing: an Apprise address holds a secret, so it lies in a file"
        return [] if url_file else [("url_file", said)]
    if not url.startswith(("https://", "http://")):
        return [("url", "is missing: a webhook needs an http(s) address")]
    said = "is missing: webhooks are signed; put whsec_ and 32 random bytes (base64) there"
    return [] if secret_file else [("secret_file", said)]


def is_mail(text: str) -> bool:
    """Whether this looks like one address."""
    name, at, domain = text.rpartition("@")
    return bool(name and at and domain) and not any(c in text for c in " \r\n,;<>")


def local_ms(text: str, zone: str) -> int:
    """Epoch ms of an ISO time; one without an offset is local time of the zone."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp() * 1000)


def _is_moment(text: str) -> bool:
    try:
        return dt.datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
