"""What ``make run`` writes into its folder: settings of both programs and a sample contract about this machine.

Written anew at every start, since addresses may move; the store, the spool and the host's token stay.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import socket
from pathlib import Path

SMALL_FOLDER = "small"
SERVICE_NAME = "demo-site"


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where things listen, all on 127.0.0.1."""

    collector: int
    agent_metrics: int
    service: int


@dataclasses.dataclass(frozen=True)
class Rooms:
    """The folder of one household and what lies in it."""

    state: Path

    @property
    def small(self) -> Path:
        """Mount point of the small file system."""
        return self.state / SMALL_FOLDER

    @property
    def contracts(self) -> Path:
        return self.state / "contracts"

    @property
    def token(self) -> Path:
        return self.state / "agent.token"

    @property
    def agent_settings(self) -> Path:
        return self.state / "agent.yaml"

    @property
    def collector_settings(self) -> Path:
        return self.state / "collector.yaml"

    @property
    def running(self) -> Path:
        """Process ids and addresses while it runs."""
        return self.state / "run.json"


def host_id() -> str:
    """This machine's name as a host id."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63].strip("-._")
    return name or "this-machine"


def write(rooms: Rooms, ports: Ports, *, has_small: bool, is_quick: bool = False) -> None:
    """Write every file; folders are made, readable by their owner only. ``is_quick``: tickets come and go in seconds."""
    for folder in (
        rooms.state,
        rooms.contracts,
        rooms.small,
        rooms.state / "agent",
        rooms.state / "collector",
    ):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    rooms.collector_settings.write_text(_collector(rooms, ports, is_quick), encoding="utf-8")
    rooms.agent_settings.write_text(
        _agent(rooms, ports, has_small) + (_QUICK_AGENT if is_quick else ""), encoding="utf-8"
    )
    (rooms.contracts / "sample.yaml").write_text(_contract(ports, is_quick), encoding="utf-8")
    (rooms.contracts / "people.yaml").write_text(_PEOPLE, encoding="utf-8")


def _collector(rooms: Rooms, ports: Ports, is_quick: bool) -> str:
    # A real installation waits a minute before it believes that a fault is over, and most of an hour where it came again
    # and again.
    resolve_after, flapping_step = ("2 s", "3 s") if is_quick else ("15 s", "15 s")
    return f"""\
# Written by `make run` at every start.
state_dir: {_quoted(rooms.state / "collector")}
contracts: {_quoted(rooms.contracts)}
public_url: http://127.0.0.1:{ports.collector}
listen:
  address: 127.0.0.1
  port: {ports.collector}
tick:
  resolve_after_s: {resolve_after}
  flapping_step_s: {flapping_step}
intake:
  vitals_every_s: 5 s
"""


def _agent(rooms: Rooms, ports: Ports, has_small: bool) -> str:
    mounts = f"mounts:\n  include: [{_quoted(rooms.small)}]\n" if has_small else ""
    return f"""\
# Written by `make run` at every start.
state_dir: {_quoted(rooms.state / "agent")}
collector:
  url: http://127.0.0.1:{ports.collector}
  token_file: {_quoted(rooms.token)}
metrics:
  listen: 127.0.0.1:{ports.agent_metrics}
{mounts}checks:
  - name: {SERVICE_NAME}
    type: http
    url: http://127.0.0.1:{ports.service}/
    timeout_s: 2 s
    interval_s: 5 s
"""


def _contract(ports: Ports, is_quick: bool) -> str:
    return f"""\
# Written by `make run` at every start: a client whose only server is this machine.
id: sample
title: Sample client
language: uk
lines: 3
preventive: note
hosts:
  - id: {host_id()}
    addresses: [127.0.0.1]
    kind: vds
    web_environment: true
    exclusive_access: true
    topology: {{os: {_quoted(platform.system())}}}
    interval: {"1 s" if is_quick else "10 s"}
    services:
      - name: {SERVICE_NAME}
        check: {{type: http, url: "http://127.0.0.1:{ports.service}/", timeout_s: 2}}
        interval: 10 s
"""


_PEOPLE = """\
# Written by `make run` at every start. Passwords are never in a file.
people:
  - {id: admin, role: admin, name: Адміністратор, language: uk, profiles: [linux, network, storage], line: 1}
  - {id: engineer, role: engineer, name: Engineer, language: en, profiles: [linux], line: 2}
"""

_QUICK_AGENT = """\
interval: 1 s
period: 1 s
rules:
  fs_full:
    raise: {all: ["fs.used_pct >= 95"], for: 1 s}
    clear: {all: ["fs.used_pct < 90"], for: 1 s}
"""


def _quoted(value: object) -> str:
    """A YAML double-quoted text."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
