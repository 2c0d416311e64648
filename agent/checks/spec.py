"""What a check is asked: one entry of ``checks:`` in the agent's settings, or of a contract's services.

The same type serves the agent (checks from inside) and the collector (probes from outside), so that a check means
the same from both sides. A check never holds a command: names in it are compared or validated, never interpreted.
Of a command a check holds only the name; what it runs stands in root's own files on the server (agent.checks.commands).
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from typing import Any, Dict, List, Mapping, Tuple

from config.loader import Duration, setting

TYPES = ("tcp", "http", "unit", "process", "ssh", "icmp", "dns", "file", "command", "listen", "replication")
RECORDS = ("A", "AAAA", "CNAME", "MX", "NS", "TXT")

UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]{0,254}")
"""What systemd allows in a unit's name; a leading dash is refused, since it would read as an option."""

_NEEDS = {
    "tcp": ("host", "port"),
    "http": ("url",),
    "unit": ("unit",),
    "process": ("process",),
    "ssh": ("host",),
    "icmp": ("host",),
    "dns": ("query",),
    "file": ("path",),
    "command": ("command",),
    "listen": ("port",),
}


@dataclasses.dataclass(frozen=True)
class CheckSettings:
    """One check: what to ask, what answer is good, how often."""

    name: str = setting(
        help="name of the check: the subject of its findings",
        pattern=r"[^\x00-\x1f{}\"]{1,100}",
        example="shop-front",
    )
    type: str = setting(help="what to do", choices=TYPES)
    host: str = setting(
        "",
        help="tcp, ssh, icmp: address or name; dns: the server to ask, else those of resolv.conf; listen: own address",
        pattern=r"[^\s\x00-\x1f]{0,253}",
        example="127.0.0.1",
    )
    port: int = setting(
        0, help="tcp, ssh, dns, listen: port (ssh: 22, dns: 53 when absent)", min=0, max=65535
    )
    url: str = setting("", help="http: address that begins with http:// or https://", max=2000)
    status: int = setting(0, help="http: status that is good; 0 = any below 400", min=0, max=599)
    text: str = setting(
        "",
        help="http: text that the page must hold; tcp: text that the server must send first; dns: record that must come",
        max=500,
    )
    unit: str = setting("", help="unit: name of a systemd unit", example="nginx.service")
    process: str = setting(
        "", help="process: name of the program, as in /proc/PID/comm", max=200, example="nginx"
    )
    least: int = setting(1, help="process: fewest of them that are enough", min=1, max=100_000)
    query: str = setting("", help="dns: name to resolve", max=253, example="shop.example.net")
    record: str = setting("A", help="dns: kind of record", choices=RECORDS)
    path: str = setting(
        "",
        help="file: path; with * the newest that matches; replication: heartbeat file",
        max=1000,
        example="/backup/*.gz",
    )
    max_age: Duration = setting(86_400.0, help="file: older than this is a fault", min=1, max=366 * 86_400)
    least_bytes: int = setting(0, help="file: smaller than this is a fault", min=0)
    command: str = setting(
        "",
        help="command, replication: name of an entry in the commands folder of this server",
        pattern=r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?",
        example="check_load",
    )
    label: str = setting("lag", help="replication: name of the number that the command prints", min=1, max=60)
    max_lag: Duration = setting(
        60.0, help="replication: further behind its primary than this is a fault", min=1, max=30 * 86_400
    )
    slow_ms: int = setting(0, help="an answer later than this is slow; 0 = never", min=0, max=600_000)
    timeout_s: Duration = setting(5.0, help="longest wait for an answer", min=0.1, max=60)
    interval_s: Duration = setting(30.0, help="time between two runs", min=1, max=86_400)
    verify_tls: bool = setting(True, help="http: a certificate that does not verify is a fault")

    def faults(self) -> List[Tuple[str, str]]:
        """(key, message) of what the fields allow singly but not together; the loader asks."""
        found: List[Tuple[str, str]] = []
        for key in _NEEDS.get(self.type, ()):
            if not getattr(self, key):
                found.append((key, f"is needed by a check of type {self.type}"))
        if self.type == "replication" and bool(self.command) == bool(self.path):
            found.append(("command", "or path, one of both, is needed by a check of type replication"))
        if self.unit and not UNIT_NAME.fullmatch(self.unit):
            found.append(("unit", f"{self.unit!r} is not the name of a systemd unit"))
        if self.path and (not self.path.startswith("/") or "\0" in self.path):
            found.append(("path", "must be an absolute path"))
        if self.url:
            fault = url_fault(self.url)
            if fault:
                found.append(("url", fault))
        return found


def url_fault(url: str) -> str:
    """Why this URL cannot be checked, or "" when it can."""
    if any(c <= " " or c == "\x7f" for c in url):
        return "holds a space or a control character"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host"
    return ""


def to_dict(spec: CheckSettings) -> Dict[str, Any]:
    """The check as plain values, for a JSON column."""
    return dataclasses.asdict(spec)


def from_dict(raw: Mapping[str, Any]) -> CheckSettings:
    """The check from a JSON column; unknown keys are ignored. Raises ValueError where it is not a check."""
    known = {f.name for f in dataclasses.fields(CheckSettings)}
    try:
        spec = CheckSettings(**{str(k): v for k, v in raw.items() if k in known})
    except TypeError as error:
        raise ValueError(f"not a check: {error}") from error
    if spec.type not in TYPES:
        raise ValueError(f"no check is of type {spec.type!r}")
    found = spec.faults()
    if found:
        raise ValueError("; ".join(f"{key} {message}" for key, message in found))
    return spec
