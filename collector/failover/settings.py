"""The failover section of collector.yaml: how hosts are spoken to, and the bounds of the worker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from config.loader import Duration, setting


@dataclasses.dataclass(frozen=True)
class FailoverSettings:
    """How the collector acts on pairs."""

    ssh_user: str = setting("vartovyi-failover", help="log-in name on the hosts", max=64)
    ssh_key: Path = setting(
        Path("/etc/vartovyi/failover_key"), help="private key; on the hosts it may only run vartovyi-step"
    )
    known_hosts: Path = setting(
        Path("/etc/vartovyi/failover_known_hosts"),
        help="pinned host keys, one `host type key` a line, under our host ids or addresses",
    )
    ssh_port: int = setting(22, help="port of sshd on the hosts", min=1, max=65535)
    check: Duration = setting(
        Duration(900), help="time between two looks at whether the steps could be done", min=60
    )
    ask_s: float = setting(20.0, help="longest precheck or probe (seconds)", min=1, max=120)
    runs_max: int = setting(8, help="runs that are moved at one time", min=1, max=64)
