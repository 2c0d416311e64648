"""What a contract file may say: the settings of the desk as typed, validated dataclasses.

Each class is read by ``config.loader``; ``faults()`` adds what bounds alone cannot say. Nothing here touches the store.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import typing
from collections import Counter
from collections.abc import Callable
from typing import Any, Optional
from zoneinfo import ZoneInfo

from config.loader import Duration, setting
from ticketing.calendar import DAYS, Calendar, Span, parse_hours
from ticketing.model import INTERNAL_CONTRACT, Reason

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"

Faults = list[tuple[str, str]]

NOTICES = (
    "opened",
    "joined",
    "reopened",
    "requalified",
    "widened",
    "merged",
    "escalated",
    "warned",
    "breached",
    "note",
    "ask_client",
    "client_answered",
    "ask_provider",
    "provider_answered",
    "assigned",
    "resolved",
    "closed",
    "preventive",
)
"""What a channel can be told of."""

DEFAULT_NOTICES = ("opened", "reopened", "requalified", "escalated", "breached", "ask_client", "resolved")


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
            found.extend(("hours", fault) for fault in _hours_faults(hours))
        found.extend(
            ("holidays", f"{day!r} is not a date YYYY-MM-DD") for day in self.holidays if not _is_date(day)
        )
        for day, hours in self.working_days.items():
            if not _is_date(day):
                found.append(("working_days", f"{day!r} is not a date YYYY-MM-DD"))
            found.extend(("working_days", fault) for fault in _hours_faults(hours))
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

    def faults(self) -> Faults:
        wrong = [pct for pct in self.at_resolution_pct if not 1 <= pct <= 1000]
        found: Faults = [("at_resolution_pct", f"{pct} is out of bounds (1 to 1000)") for pct in wrong]
        if sorted(set(self.at_resolution_pct)) != self.at_resolution_pct:
            found.append(("at_resolution_pct", "must rise, each percent once"))
        return found


@dataclasses.dataclass(frozen=True)
class Topology:
    """Where a host lives: what its siblings share with it. Empty = not known, and then it proves nothing."""

    provider: str = setting("", help="hoster")
    site: str = setting("", help="data centre")
    rack: str = setting("", help="rack or network segment")
    node: str = setting("", help="hypervisor")
    storage: str = setting("", help="storage back end")
    virt: str = setting("", help="kvm, lxc, openvz, bare, ...")
    os: str = setting("", help="operating system")
    plan: str = setting("", help="tariff, with its limits")
    resolver: str = setting("", help="whose DNS resolver it uses")
    ntp: str = setting("", help="whose time source it uses")


@dataclasses.dataclass(frozen=True)
class ServiceTerms:
    """A service that the contract names and that is probed from outside."""

    name: str = setting(help="its name in tickets", pattern=ID_PATTERN, example="site")
    check: Any = setting(
        help="the check as the collector knows it: type, host, port, url, text, status, timeout"
    )
    from_outside: bool = setting(True, help="probe it from the collector too")
    interval: Duration = setting(Duration(30), help="time between probes", min=5, max=3600)

    def faults(self) -> Faults:
        if not isinstance(self.check, dict) or not isinstance(self.check.get("type"), str):
            return [("check", "must be a mapping with at least `type` (tcp, http, ...)")]
        return []


@dataclasses.dataclass(frozen=True)
class HostTerms:
    """One guarded server."""

    id: str = setting(help="name of the host, unique over all contracts", pattern=ID_PATTERN, example="web-1")
    addresses: list[str] = setting([], help="what is probed from outside, the first one first", max=16)
    bmc: str = setting("", help="address of its management controller, asked for its presence only", max=253)
    kind: str = setting(
        "other", help="what the client bought", choices=("dedicated", "vds", "shared", "other")
    )
    web_environment: bool = setting(False, help="has the required web environment")
    exclusive_access: bool = setting(False, help="the company alone holds full access")
    topology: Topology = setting(Topology, help="where it lives")
    interval: Duration = setting(Duration(10), help="time between heartbeats", min=1, max=3600)
    services: list[ServiceTerms] = setting([], help="services under this contract", max=64)

    def faults(self) -> Faults:
        names = [service.name for service in self.services]
        return [("services", f"{name} stands twice") for name, n in Counter(names).items() if n > 1]

    @property
    def is_class2_eligible(self) -> bool:
        """Server work is done only on a dedicated server or VDS with the web environment and exclusive full access."""
        return self.kind in ("dedicated", "vds") and self.web_environment and self.exclusive_access


@dataclasses.dataclass(frozen=True)
class Channel:
    """Where tickets of this contract are told, and which moments."""

    type: str = setting(help="kind of channel", choices=("mail", "webhook"))
    to: list[str] = setting([], help="mail: addresses", max=32)
    url: str = setting("", help="webhook: address")
    secret_file: str = setting("", help="webhook: file with the signing secret (whsec_...)")
    on: list[str] = setting(list(DEFAULT_NOTICES), help="which moments", choices=NOTICES, max=len(NOTICES))
    language: str = setting("", help="empty = the contract's", choices=("", "uk", "en"))

    def faults(self) -> Faults:
        found: Faults = []
        if self.type == "mail":
            found.extend(
                ("to", f"{address!r} is not a mail address") for address in self.to if not _is_mail(address)
            )
            if not self.to:
                found.append(("to", "is missing: a mail channel needs addresses"))
        elif not self.url.startswith(("https://", "http://")):
            found.append(("url", "is missing: a webhook needs an http(s) address"))
        elif not self.secret_file:
            found.append(
                (
                    "secret_file",
                    "is missing: webhooks are signed; put whsec_ and 32 random bytes (base64) there",
                )
            )
        return found


@dataclasses.dataclass(frozen=True)
class Window:
    """Planned work: what falls inside is expected."""

    from_: str = setting(help="start, local time of the contract", example="2026-12-01 22:00")
    to: str = setting(help="end, local time of the contract", example="2026-12-02 02:00")
    title: str = setting("", help="what is done")
    hosts: list[str] = setting([], help="hosts concerned; empty = all of the contract", max=1000)

    def faults(self) -> Faults:
        found: Faults = []
        for key, text in (("from", self.from_), ("to", self.to)):
            try:
                dt.datetime.fromisoformat(text)
            except ValueError:
                found.append((key, f"{text!r} is not a time such as 2026-12-01 22:00"))
        if not found and dt.datetime.fromisoformat(self.from_) >= dt.datetime.fromisoformat(self.to):
            found.append(("to", "is not after `from`"))
        return found

    def span_ms(self, zone: str) -> tuple[int, int]:
        """Start and end in epoch ms; times without an offset are the contract's local time."""
        return _local_ms(self.from_, zone), _local_ms(self.to, zone)


@dataclasses.dataclass(frozen=True)
class Contract:
    """One client's agreement."""

    id: str = setting(help="short name, never changed", pattern=ID_PATTERN, example="acme")
    title: str = setting(help="the client's name as people say it")
    language: str = setting("uk", help="language of tickets and messages", choices=("uk", "en"))
    lines: int = setting(4, help="how many support lines", min=1, max=4)
    calendar: CalendarTerms = setting(CalendarTerms, help="when clocks run")
    sla: dict[str, SlaTimes] = setting(
        {}, help="times by class; what is missing has the house's defaults", max=6
    )
    provider_sla: Duration = setting(
        Duration(24 * 3600), help="what the hoster owes line 4", min=60, max=366 * 86400
    )
    escalation: Escalation = setting(Escalation, help="to the next line")
    class2: Optional[bool] = setting(
        None,
        help="server work: false = never; otherwise on hosts of a fit kind with web environment and exclusive access",
    )
    hosts: list[HostTerms] = setting([], help="guarded servers", max=20000)
    peers: list[str] = setting(
        [],
        help="hosts of this contract whose agents may look at addresses that the collector names, for others too",
        max=100,
    )
    applications: list[str] = setting([], help="the client's sites, portals and programs", max=200)
    services: list[str] = setting([], help="bought services, such as stability", max=50)
    preventive: str = setting("note", help="a forecast becomes a", choices=("ticket", "note"))
    channels: list[Channel] = setting([], help="who is told", max=32)
    windows: list[Window] = setting([], help="planned work", max=500)
    reopen_window: Duration = setting(
        Duration(24 * 3600), help="a fault that returns within resumes its ticket", min=60, max=90 * 86400
    )
    failover: Any = setting(None, help="failover terms; read by the failover room")

    def faults(self) -> Faults:
        found: Faults = [("sla", f"class {c!r} is not 1 to 6") for c in self.sla if c not in DEFAULT_SLA]
        names = [host.id for host in self.hosts]
        found.extend(("hosts", f"host {name} stands twice") for name, n in Counter(names).items() if n > 1)
        if self.class2 and self.hosts and not any(host.is_class2_eligible for host in self.hosts):
            found.append(
                ("class2", "no host here is dedicated or vds with web_environment and exclusive_access")
            )
        known = set(names)
        found.extend(("peers", f"host {h} is not in this contract") for h in self.peers if h not in known)
        for window in self.windows:
            found.extend(
                ("windows", f"host {h} is not in this contract") for h in window.hosts if h not in known
            )
        return found

    def times(self, class_: int) -> SlaTimes:
        """Reaction and resolution times of a class."""
        return self.sla.get(str(class_)) or DEFAULT_SLA[str(class_)]

    def host(self, host_id: str) -> HostTerms | None:
        """The host's terms, or None where it is not guarded here."""
        return self._by_id.get(host_id)

    @functools.cached_property
    def _by_id(self) -> dict[str, HostTerms]:
        return {host.id: host for host in self.hosts}

    def class2_refusal(self, host_ids: typing.Iterable[str]) -> Reason | None:
        """Why no class 2 work is due on any of these hosts; None where it is due on at least one."""
        if self.id == INTERNAL_CONTRACT:
            return None  # our own house: everything in it is ours to repair
        ids = sorted(host_ids)
        if self.class2 is False:
            return Reason("reason.intake.class2_not_in_contract", {"contract": self.id})
        if any((host := self.host(host_id)) is not None and host.is_class2_eligible for host_id in ids):
            return None
        host = self.host(ids[0]) if ids else None
        params = {"hosts": ", ".join(ids), "contract": self.id}
        if host is None:
            return Reason("reason.intake.class2_unknown_host", params)
        if host.kind not in ("dedicated", "vds"):
            return Reason("reason.intake.class2_kind", params | {"kind": host.kind})
        if not host.web_environment:
            return Reason("reason.intake.class2_web_environment", params)
        return Reason("reason.intake.class2_access", params)

    def window_at(self, host_id: str, at_ms: int) -> Window | None:
        """The planned window that covers this host at this instant."""
        for window in self.windows:
            start_ms, end_ms = window.span_ms(self.calendar.zone)
            if start_ms <= at_ms < end_ms and (not window.hosts or host_id in window.hosts):
                return window
        return None


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

    def faults(self) -> Faults:
        found: Faults = []
        if self.role == "client" and not self.contract:
            found.append(("contract", "is missing: a client's user belongs to a contract"))
        if self.role != "client" and self.contract:
            found.append(("contract", "is only for the role client"))
        if self.email and not _is_mail(self.email):
            found.append(("email", f"{self.email!r} is not a mail address"))
        return found


def _hours_faults(hours: list[str]) -> list[str]:
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


def _is_mail(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return bool(name and at and domain) and not any(c in text for c in " \r\n,;<>")


def _local_ms(text: str, zone: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp() * 1000)


@functools.cache
def shape_of(kind: Any) -> Callable[[Any], Any]:
    """A function that builds ``kind`` from plain values by its annotations; the document was validated before."""
    origin = typing.get_origin(kind)
    if origin is typing.Union:
        inner = shape_of(next(a for a in typing.get_args(kind) if a is not type(None)))
        return lambda raw: None if raw is None else inner(raw)
    if origin is list:
        item = shape_of(typing.get_args(kind)[0])
        return lambda raw: [item(value) for value in raw]
    if origin is dict:
        item = shape_of(typing.get_args(kind)[1])
        return lambda raw: {key: item(value) for key, value in raw.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        readers = {f.name.rstrip("_"): (f.name, shape_of(hints[f.name])) for f in dataclasses.fields(kind)}

        def build(raw: Any) -> Any:
            return kind(**{readers[k][0]: readers[k][1](v) for k, v in raw.items() if k in readers})

        return build
    return lambda raw: raw
