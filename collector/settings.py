"""The collector's settings: types, bounds and help of everything in collector.yaml.

Read by ``config.loader``; every fault is reported at once. Nothing here opens a socket; only ``database_url`` reads a
file, because a password belongs in no settings.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from pathlib import Path
from typing import Any, Optional, Union

from collector.failover.settings import FailoverSettings
from collector.feed_settings import FeedSettings
from collector.mail_settings import MailSettings
from config.loader import Duration, Size, setting
from ticketing.mirrors.terms import DESK_NAME, DeskTerms

DAY_S = 86_400.0

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclasses.dataclass(frozen=True)
class TlsFiles:
    """A certificate with its key, PEM."""

    cert: Path = setting(help="certificate chain, PEM")
    key: Path = setting(help="private key, PEM, readable by the collector only")


@dataclasses.dataclass(frozen=True)
class Listen:
    """Where the collector listens."""

    address: str = setting("127.0.0.1", help="address to listen on; anything but loopback needs tls")
    port: int = setting(8440, help="port; 0 takes a free one and logs it", min=0, max=65535)
    tls: Any = setting(
        "off",
        help="off (loopback only), auto (a self-signed certificate kept in state_dir, its pin printed) or {cert, key}",
    )
    trusted_proxies: list[str] = setting(
        [], help="networks of reverse proxies whose X-Forwarded-Proto and -For are believed", max=32
    )
    keep_alive_s: Duration = setting(
        Duration(30.0),
        help="how long an idle connection stays open; above the agents' interval",
        min=1,
        max=600,
    )
    max_connections: int = setting(20_000, help="most open connections; past it 503", min=10, max=200_000)

    def faults(self) -> list[tuple[str, str]]:
        """What the types cannot say: the shape of ``tls``, networks, and plain HTTP off loopback."""
        faults: list[tuple[str, str]] = []
        is_plain = self.tls in ("off", False)
        if isinstance(self.tls, dict):
            unknown = set(self.tls) - {"cert", "key"}
            missing = {"cert", "key"} - set(self.tls)
            if unknown or missing:
                faults.append(("tls", "a mapping here holds exactly cert and key"))
        elif not is_plain and self.tls != "auto":
            faults.append(("tls", f"{self.tls!r} is neither off, auto nor a mapping with cert and key"))
        if is_plain and not is_loopback(self.address) and not self.trusted_proxies:
            faults.append(
                (
                    "address",
                    f"{self.address} is not loopback: set tls, or name the trusted_proxies that add it",
                )
            )
        faults += _network_faults("trusted_proxies", self.trusted_proxies)
        return faults

    @property
    def tls_kind(self) -> str:
        """off, auto or files."""
        if isinstance(self.tls, dict):
            return "files"
        return "auto" if self.tls == "auto" else "off"

    @property
    def tls_files(self) -> TlsFiles | None:
        """The named files, where settings name some."""
        if not isinstance(self.tls, dict):
            return None
        return TlsFiles(Path(str(self.tls["cert"])), Path(str(self.tls["key"])))


@dataclasses.dataclass(frozen=True)
class Database:
    """Where the store lives."""

    url: str = setting(
        "", help="empty: SQLite in state_dir; else postgresql+psycopg://user@host/name", secret=True
    )
    url_file: Optional[Path] = setting(
        None, help="file that holds the url, so that its password stands in no settings"
    )
    auto_migrate: bool = setting(
        True, help="bring the tables to this version at start; false: refuse to start instead"
    )
    pool_size: int = setting(
        8, help="database connections for reading (and writing, on PostgreSQL)", min=2, max=100
    )
    queue_max: int = setting(
        4096, help="most writes that wait; past it a request gets 503", min=64, max=1_000_000
    )
    lease_s: Duration = setting(
        Duration(10.0), help="how long a silent decider keeps its lease", min=3, max=300
    )

    def faults(self) -> list[tuple[str, str]]:
        """A database is SQLite or PostgreSQL."""
        if self.url and not self.url.startswith(("sqlite:///", "postgresql+psycopg://")):
            return [("url", "begins with neither sqlite:/// nor postgresql+psycopg://")]
        return []


@dataclasses.dataclass(frozen=True)
class IntakeSettings:
    """Bounds of the intake."""

    body_max: Size = setting(Size(1024 * 1024), help="largest report", min=16 * 1024, max=16 * 1024 * 1024)
    waiting_max: int = setting(
        2000, help="most reports that wait for their commit; past it 503", min=16, max=100_000
    )
    waiting_bytes_max: Size = setting(
        Size(64 * 1024 * 1024), help="most bytes of bodies in hand; past it 503", min=1024 * 1024, max=2**32
    )
    batch_max: int = setting(128, help="most reports in one commit", min=1, max=1000)
    body_s: Duration = setting(
        Duration(10.0), help="how long a report's body may take to arrive", min=1, max=120
    )
    reports_per_host_s: int = setting(
        50, help="most reports a second of one host; past it 429", min=1, max=100_000
    )
    absurd_clock_s: Duration = setting(
        Duration(60.0),
        help="an agent's clock further off than this is corrected by the time of receipt",
        min=1,
        max=86_400,
    )
    clone_quiet_s: Duration = setting(
        Duration(600.0),
        help="a host counts as cloned until one half was silent this long",
        min=60,
        max=86_400,
    )
    vitals_every_s: Duration = setting(
        Duration(30.0),
        help="one point of a host's vitals is kept this often, for the plots of silent hosts",
        min=1,
        max=300,
    )


@dataclasses.dataclass(frozen=True)
class TickSettings:
    """The decider."""

    every_s: Duration = setting(Duration(1.0), help="time between ticks when nothing pokes", min=0.1, max=1)
    coalesce_s: Duration = setting(
        Duration(0.1), help="findings that arrive within this share a tick", min=0.01, max=1
    )
    resolve_after_s: Duration = setting(
        Duration(60.0),
        help="how long everything of a ticket must be clear before it resolves",
        min=0,
        max=86_400,
    )
    flapping_step_s: Duration = setting(
        Duration(180.0),
        help="a problem that keeps coming and going stays one open ticket until it has been quiet for some steps of this",
        min=1,
        max=3600,
    )


@dataclasses.dataclass(frozen=True)
class HopOwner:
    """Whose addresses these are, in the words of judgement: PROVIDER-..., transit-..., col-..., gw-of-RACK."""

    net: str = setting(help="network", example="192.0.2.0/24")
    name: str = setting(
        help="its owner's name for a hop", pattern=r"[A-Za-z0-9._-]{1,64}", example="transit-X"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Networks must be networks."""
        return _network_faults("net", [self.net])


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """The collector's own probes."""

    workers: int = setting(8, help="probes in flight at once", min=1, max=256)
    timeout_s: Duration = setting(Duration(3.0), help="time-out of one probe", min=0.2, max=60)
    icmp: bool = setting(True, help="ping suspects (needs CAP_NET_RAW or net.ipv4.ping_group_range)")
    anchors: list[str] = setting(
        [], help="host:port addresses; when all are unreachable the collector judges nobody", max=16
    )
    uplinks: dict[str, list[str]] = setting(
        {}, help="name of an uplink -> host:port addresses that are reached through it alone", max=16
    )
    hops: list[HopOwner] = setting(
        [], help="whose routers are whose, for the last hop of a trace; the longest prefix counts", max=5000
    )
    look_s: Duration = setting(Duration(10.0), help="time between looks at our own anchors", min=1, max=600)

    def faults(self) -> list[tuple[str, str]]:
        """Anchors need a port."""
        return [
            ("anchors", f"{anchor!r} is not host:port") for anchor in self.anchors if not _is_address(anchor)
        ] + [
            ("uplinks", f"{address!r} of {name} is not host:port")
            for name, addresses in self.uplinks.items()
            for address in addresses
            if not _is_address(address)
        ]


@dataclasses.dataclass(frozen=True)
class VantageSettings:
    """Hosts that look at others on our behalf, from another provider or site. Their agents must allow it too."""

    hosts: list[str] = setting(
        [], help="enrolled hosts of ours that look at others; each agent names the networks", max=200
    )
    poll_s: Duration = setting(Duration(25.0), help="how long a vantage's poll is held", min=1, max=25)
    expire_s: Duration = setting(Duration(10.0), help="how old an ask may grow unanswered", min=1, max=60)
    every_s: Duration = setting(
        Duration(30.0), help="least time between two looks at one service from a vantage", min=5, max=3600
    )
    waiting_max: int = setting(200, help="most asks that wait for one vantage", min=8, max=10_000)
    peers_agree: int = setting(
        2, help="peers of so many contracts must see the same before it counts", min=2, max=10
    )


@dataclasses.dataclass(frozen=True)
class OutboxSettings:
    """Workers that deliver."""

    workers: int = setting(4, help="deliveries in flight at once", min=1, max=64)
    claim_s: Duration = setting(
        Duration(600.0),
        help="how long a worker that says nothing keeps its row; longer than a delivery with all its time-outs",
        min=1,
        max=86_400,
    )


@dataclasses.dataclass(frozen=True)
class WebSettings:
    """Pages and API."""

    session_s: Duration = setting(
        Duration(12 * 3600.0), help="how long a log-in holds", min=300, max=30 * DAY_S
    )
    threads: int = setting(8, help="requests that are in the database at once", min=1, max=64)
    zone: str = setting("Europe/Kyiv", help="time zone of pages that belong to no single contract")


@dataclasses.dataclass(frozen=True)
class MetricsSettings:
    """/metrics."""

    allow_from: list[str] = setting(
        ["127.0.0.0/8", "::1/128"], help="networks that may read /metrics without a log-in", max=64
    )

    def faults(self) -> list[tuple[str, str]]:
        """Networks must be networks."""
        return _network_faults("allow_from", self.allow_from)


@dataclasses.dataclass(frozen=True)
class DeadMan:
    """The watcher outside that notices our own end (invariant 4)."""

    url: str = setting(
        "", help="address that is fetched while the tick turns, e.g. a healthchecks ping; empty: none"
    )
    every_s: Duration = setting(Duration(60.0), help="time between pings", min=5, max=3600)
    timeout_s: Duration = setting(Duration(10.0), help="time-out of a ping", min=1, max=60)


@dataclasses.dataclass(frozen=True)
class Retention:
    """How long rows live, by table. Rows that are still in force (open tickets, current streams) always stay."""

    findings: Duration = setting(Duration(90 * DAY_S), help="handled findings", min=3600)
    streams: Duration = setting(
        Duration(90 * DAY_S), help="finding streams that a host has left behind", min=3600
    )
    probes: Duration = setting(Duration(7 * DAY_S), help="answered probes", min=3600)
    outbox: Duration = setting(Duration(90 * DAY_S), help="messages delivered or given up", min=3600)
    sessions: Duration = setting(Duration(0.0), help="log-ins, after they expired", min=0)
    login_failures: Duration = setting(Duration(DAY_S), help="failed log-ins, after the last one", min=3600)
    observations: Duration = setting(
        Duration(90 * DAY_S), help="what providers, operators and vantages said", min=3600
    )
    vitals: Duration = setting(
        Duration(1800.0), help="the short memory of vitals, for the plots of silent hosts", min=900, max=DAY_S
    )
    judgements: Duration = setting(Duration(400 * DAY_S), help="facts behind verdicts", min=3600)
    courses: Duration = setting(
        Duration(200 * DAY_S), help="how problems fared: patience with load, flapping", min=7 * DAY_S
    )
    roll_outs: Duration = setting(
        Duration(400 * DAY_S), help="announced roll-outs, after they ended", min=3600
    )
    failover_journal: Duration = setting(
        Duration(1100 * DAY_S), help="failover runs that are over, with their journal", min=30 * DAY_S
    )
    failover_rehearsals: Duration = setting(
        Duration(1100 * DAY_S), help="failover rehearsals", min=90 * DAY_S
    )
    failover_links: Duration = setting(
        Duration(30 * DAY_S), help="one-time links of switch requests, after they expired", min=0
    )
    mails: Duration = setting(Duration(400 * DAY_S), help="letters of people, as they came", min=DAY_S)
    audit: Duration = setting(Duration(400 * DAY_S), help="who did what", min=3600)
    tickets: Duration = setting(
        Duration(1100 * DAY_S), help="closed tickets with events and clocks", min=DAY_S
    )
    knowledge: Duration = setting(
        Duration(1100 * DAY_S), help="what solved earlier tickets, in people's words", min=DAY_S
    )
    contracts: Duration = setting(
        Duration(1100 * DAY_S), help="contract versions that no ticket names", min=DAY_S
    )
    hosts: Duration = setting(Duration(400 * DAY_S), help="retired hosts", min=DAY_S)
    sweep_s: Duration = setting(Duration(60.0), help="time between sweeps", min=1, max=DAY_S)
    batch: int = setting(500, help="most rows of one table that one sweep deletes", min=1, max=100_000)


@dataclasses.dataclass(frozen=True)
class CollectorSettings:
    """The whole of collector.yaml."""

    state_dir: Path = setting(
        Path("/var/lib/vartovyi-collector"), help="folder for store, certificate and lock"
    )
    contracts: Path = setting(
        Path("/etc/vartovyi/contracts"), help="folder of contract files, one YAML a contract"
    )
    providers: Path = setting(
        Path("/etc/vartovyi/providers"), help="folder of providers' files: how each is asked; may be absent"
    )
    calendars: list[FeedSettings] = setting([], help="calendar feeds of planned work", max=200)
    public_url: str = setting("", help="address people reach the desk at; links in mails begin with it")
    log_level: str = setting(
        "INFO", help="least level that is logged", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    listen: Listen = setting(Listen, help="address, port and TLS")
    database: Database = setting(Database, help="SQLite or PostgreSQL")
    intake: IntakeSettings = setting(IntakeSettings, help="bounds of the intake")
    tick: TickSettings = setting(TickSettings, help="the decider")
    probes: ProbeSettings = setting(ProbeSettings, help="the collector's own probes")
    vantages: VantageSettings = setting(VantageSettings, help="hosts that look at others for us")
    failover: FailoverSettings = setting(FailoverSettings, help="how pairs are acted upon")
    outbox: OutboxSettings = setting(OutboxSettings, help="workers that deliver")
    mail: MailSettings = setting(MailSettings, help="how mail leaves and comes")
    desks: dict[str, DeskTerms] = setting(
        {}, help="external service desks that contracts mirror tickets to", max=100
    )
    web: WebSettings = setting(WebSettings, help="pages and API")
    metrics: MetricsSettings = setting(MetricsSettings, help="/metrics")
    dead_man: DeadMan = setting(DeadMan, help="the watcher outside")
    retention: Retention = setting(Retention, help="how long rows live, by table")
    stop_s: Duration = setting(
        Duration(20.0), help="how long a stop may take before connections are cut", min=1, max=300
    )

    def faults(self) -> list[tuple[str, str]]:
        """A public address is an http address."""
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            return [("public_url", "begins with neither http:// nor https://")]
        is_shared = bool(self.database.url_file) or self.database.url.startswith("postgresql")
        if self.mail.intake.host and is_shared and self.mail.token_key_file is None:
            return [("mail", "token_key_file is missing: collectors that share a database share this key")]
        return [
            ("desks", f"{name!r} is no short name for a desk (a-z, 0-9, - and _)")
            for name in self.desks
            if not re.fullmatch(DESK_NAME, name)
        ]

    def database_url(self) -> str:
        """Where the store is; reads ``url_file`` where one is named (OSError when it cannot be)."""
        if self.database.url_file is not None:
            return self.database.url_file.read_text(encoding="utf-8").strip()
        return self.database.url or f"sqlite:///{(self.state_dir / 'collector.db').absolute()}"


@functools.lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Whether an address (or ``localhost``) is this machine's own; an unreadable one is not."""
    if address == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def networks(texts: list[str]) -> tuple[Network, ...]:
    """The named networks, parsed."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def is_within(address: str, nets: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of the networks; an unreadable one does not."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip.version == net.version and ip in net for net in nets)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


def _network_faults(key: str, texts: list[str]) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    for text in texts:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            faults.append((key, str(error)))
    return faults
