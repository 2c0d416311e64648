"""What a contract file may say: the settings of the desk as typed, validated dataclasses.

Each class is read by ``config.loader``; ``faults()`` adds what bounds alone cannot say. Nothing here touches the store.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import typing
from collections import Counter
from typing import Any, Optional

from config.loader import Duration, setting
from ticketing.duty import ID_PATTERN, Rota, is_mail, local_ms, place_faults
from ticketing.mirrors.terms import MirrorTerms, mirror_faults
from ticketing.model import INTERNAL_CONTRACT, Reason
from ticketing.promises import DEFAULT_SLA, CalendarTerms, Escalation, Faults, SlaTimes
from ticketing.provider_terms import ProviderDesk

STABILITY = "stability"
"""The service under which class 3 holds preventive work."""

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
    "reminded",
    "consulted",
    "advised",
    "resolved",
    "closed",
    "preventive",
)
"""What a channel can be told of."""

DEFAULT_NOTICES = ("opened", "reopened", "requalified", "escalated", "breached", "ask_client", "resolved")


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

    type: str = setting(help="kind of channel", choices=("mail", "webhook", "chat"))
    to: list[str] = setting([], help="mail: addresses", max=32)
    url: str = setting("", help="webhook: address")
    secret_file: str = setting("", help="webhook: file with the signing secret (whsec_...)")
    format: str = setting(
        "binary",
        help="webhook: CloudEvents in headers (binary) or around the body (structured)",
        choices=("binary", "structured"),
    )
    url_file: str = setting("", help="chat: file with one Apprise address, such as tgram://TOKEN/CHAT")
    on: list[str] = setting(list(DEFAULT_NOTICES), help="which moments", choices=NOTICES, max=len(NOTICES))
    language: str = setting("", help="empty = the contract's", choices=("", "uk", "en"))

    def faults(self) -> Faults:
        found: Faults = []
        if self.type == "mail":
            found.extend(
                ("to", f"{address!r} is not a mail address") for address in self.to if not is_mail(address)
            )
            if not self.to:
                found.append(("to", "is missing: a mail channel needs addresses"))
        else:
            found += place_faults(self.type, self.url, self.secret_file, self.url_file)
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
        return local_ms(self.from_, zone), local_ms(self.to, zone)


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
    rota: list[Rota] = setting(
        [], help="who is on call for this contract; a line that stands here has no other rota", max=16
    )
    channels: list[Channel] = setting([], help="who is told", max=32)
    provider_desks: list[ProviderDesk] = setting([], help="where line 4 turns to, by provider", max=20)
    mirrors: list[MirrorTerms] = setting([], help="its tickets in external desks", max=8)
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
        found.extend(
            ("escalation", f"class {c}: the contract has no line {steps.first_line}")
            for c, steps in self.escalation.by_class.items()
            if (steps.first_line or 0) > self.lines
        )
        found.extend(
            ("rota", f"the contract has no line {turn.line}") for turn in self.rota if turn.line > self.lines
        )
        found.extend(mirror_faults(self.mirrors, NOTICES))
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

    def holds_service(self, name: str) -> bool:
        """Whether the client bought this service; people write names in any case."""
        return name.casefold() in (service.casefold() for service in self.services)

    def preventive_refusal(self, class_: int) -> Reason | None:
        """Why preventive work of this class is not due; None where it is.

        In the application (class 3) it is done under the service "stability" only.
        """
        if class_ != 3 or self.id == INTERNAL_CONTRACT or self.holds_service(STABILITY):
            return None
        return Reason("reason.intake.no_stability", {"contract": self.id})

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
