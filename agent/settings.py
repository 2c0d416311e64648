"""The agent's section of the settings: one YAML file, every field typed, bounded and documented.

Shipped defaults are the dataclass defaults; ``config/shipped/agent.yaml`` says the same in words for a person.
What the collector may change while we run is a small part (``RemoteSettings``): thresholds and checks, of commands only
the name, and never beyond what the local file lets go (``remote``).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from agent.checks.spec import TYPES, CheckSettings
from agent.preset import PresetSettings
from agent.samplers.filesystems import MountSettings
from agent.samplers.ladder import LadderSettings
from agent.signals.rules import RuleChange
from config import loader
from config.loader import Duration, Size, setting

DEFAULT_PATH = Path("/etc/vartovyi/agent.yaml")
SHIPPED = Path(loader.__file__).with_name("shipped")
"""Our shipped YAML lies beside the loader as plain files: the program is always installed unpacked (ADR 1)."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclasses.dataclass(frozen=True)
class CollectorSettings:
    """Where reports go, and how we know that it is really the collector."""

    url: str = setting(
        "",
        help="address of the collector; empty: the agent judges and shows, but reports to nobody",
        pattern=r"(https?://[^\s/]+/?)?",
        example="https://vartovyi.example.net",
    )
    token_file: Optional[Path] = setting(None, help="file with this host's token, readable by the agent only")
    ca_file: Optional[Path] = setting(
        None, help="PEM file of the authority (or of the collector's own certificate)"
    )
    pin: str = setting(
        "",
        help="sha256 of the collector's certificate (DER), hex; instead of ca_file for self-signed ones",
        pattern=r"((sha256:)?[0-9a-fA-F:]{64,95})?",
        example="sha256:<64 hex digits>",
    )
    connect_timeout: Duration = setting(
        5.0, help="longest wait for a connection and the TLS handshake", min=0.1, max=60
    )
    reply_timeout: Duration = setting(10.0, help="longest wait for a reply", min=0.1, max=120)
    retry_max: Duration = setting(
        60.0, help="longest pause between attempts while the collector is away", min=1, max=600
    )

    def faults(self) -> List[Tuple[str, str]]:
        """Cross-field faults: plain HTTP is for loopback only, and a collector needs a token."""
        found: List[Tuple[str, str]] = []
        if not self.url:
            return found
        parts = urlsplit(self.url)
        try:
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            return [("url", "has no valid port")]
        if parts.scheme == "http" and not is_loopback(host):
            found.append(
                ("url", "sends the token over plain HTTP: use https:// (http:// is for loopback only)")
            )
        if self.token_file is None:
            found.append(("url", "needs collector.token_file beside it"))
        if self.pin and self.ca_file is not None:
            found.append(("pin", "stands beside ca_file: give one of them"))
        return found


@dataclasses.dataclass(frozen=True)
class MetricsSettings:
    """The page for Prometheus."""

    listen: str = setting(
        "127.0.0.1:9977",
        help="address:port of /metrics; empty: no page",
        pattern=r"(\S+:\d{1,5})?",
        example="127.0.0.1:9977",
    )
    max_connections: int = setting(
        16, help="connections kept at once; the oldest idle one gives way", min=1, max=256
    )


@dataclasses.dataclass(frozen=True)
class SpoolSettings:
    """Findings that the collector has not confirmed yet, on disk."""

    max_size: Size = setting(
        8 * 1024 * 1024, help="room for undelivered findings", min=64 * 1024, max=1024**3
    )


@dataclasses.dataclass(frozen=True)
class RemoteLimits:
    """What settings from the collector may change here."""

    may_change: List[str] = setting(
        ["*"], help="rules (names or globs) whose thresholds the collector may set", max=100
    )
    may_disable: List[str] = setting(
        ["*"], help="rules (names or globs) that the collector may switch off", max=100
    )
    may_check: List[str] = setting(
        list(TYPES),
        help="types of checks that the collector may add; of commands it names entries of root's folder",
        max=len(TYPES),
    )
    min_check_interval: Duration = setting(
        5.0, help="a check from the collector may not run more often", min=1, max=86_400
    )
    trial: Duration = setting(
        120.0,
        help="new settings under which no report is answered for so long are taken back",
        min=1,
        max=3600,
    )
    min_interval: Duration = setting(
        1.0, help="shortest heartbeat interval the collector may ask for", min=0.2, max=3600
    )
    max_interval: Duration = setting(
        300.0, help="longest heartbeat interval the collector may ask for", min=1, max=3600
    )


@dataclasses.dataclass(frozen=True)
class VantageSettings:
    """This host looks at others on the collector's behalf; off unless networks are named here.

    Only this file says where it may look: the collector names addresses and can never widen it.
    """

    networks: List[str] = setting(
        [],
        help="networks that the collector may ask this host to probe; empty: this host is no vantage",
        max=100,
        example="[198.51.100.0/24]",
    )
    per_minute: int = setting(120, help="most probes a minute; past it an ask is refused", min=1, max=6000)
    at_once: int = setting(8, help="most probes at once", min=1, max=32)

    def faults(self) -> List[Tuple[str, str]]:
        """Networks must be networks."""
        found: List[Tuple[str, str]] = []
        for text in self.networks:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError as error:
                found.append(("networks", str(error)))
        return found


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """The whole file."""

    state_dir: Path = setting(
        Path("/var/lib/vartovyi-agent"), help="folder of spool, history and lock; ours alone"
    )
    interval: Duration = setting(
        10.0, help="heartbeat, until the collector asks for another", min=0.2, max=3600
    )
    period: Duration = setting(
        10.0,
        help="how often the cheap counters are read; slower samplers keep their ratio to it",
        min=0.5,
        max=300,
    )
    collector: CollectorSettings = setting(CollectorSettings, help="where reports go")
    metrics: MetricsSettings = setting(MetricsSettings, help="the page for Prometheus")
    spool: SpoolSettings = setting(SpoolSettings, help="undelivered findings")
    remote: RemoteLimits = setting(RemoteLimits, help="what the collector may change")
    vantage: VantageSettings = setting(VantageSettings, help="looking at other hosts for the collector")
    rules_file: Optional[Path] = setting(None, help="rules instead of the shipped ones")
    rules: Dict[str, RuleChange] = setting(
        {}, help="changes to single rules by name, e.g. {fs_full: {severity: low}}", max=200
    )
    checks: List[CheckSettings] = setting(
        [], help="checks of this server: process, unit, tcp, http, ...", max=200
    )
    preset: PresetSettings = setting(PresetSettings, help="checks of the usual services, found by themselves")
    mounts: MountSettings = setting(MountSettings, help="which file systems are watched")
    ladder: LadderSettings = setting(LadderSettings, help="anchors and resolvers that are asked")
    without: List[str] = setting([], help="samplers that must not run, by name", max=50)
    deadline: Duration = setting(
        20.0, help="a sampler that takes longer is stuck: left alone, and a finding", min=0.5, max=600
    )
    evidence: bool = setting(True, help="attach top processes, log lines and series to findings")
    language: str = setting("en", help="language of `once`", choices=("uk", "en"))
    log_level: str = setting("INFO", help="least level that is logged", choices=LEVELS)

    def faults(self) -> List[Tuple[str, str]]:
        """Cross-field faults."""
        if not self.state_dir.is_absolute():
            return [("state_dir", "must be an absolute path")]
        return []


def is_loopback(host: str) -> bool:
    """Whether a URL's host names this machine: 127.0.0.0/8, ::1 or localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(path: Path) -> AgentSettings:
    """The agent's settings from its file; raises ConfigError with every fault."""
    return loader.load(path, AgentSettings)


def rules_path(settings: AgentSettings) -> Path:
    """The rules file in force."""
    return settings.rules_file or SHIPPED / "rules.yaml"
