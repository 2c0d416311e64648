"""A small internet of network namespaces: a collector, a guarded host and a second vantage, each at its own provider.

    col (10.80.1.2) -- transit -- edge -- gw -- host (10.80.3.2)
    vant (10.80.4.2) --/                   \\-- near (10.80.5.2)

``edge`` is the border of provider alfa, ``gw`` the gateway of its rack r1, in which host and near stand. Everything is
made for one test, in namespaces of its own, and gone after it. Filters are routing rules (``ip rule``), so that no
packet filter need be installed: a rule that says ``blackhole`` drops what it matches in silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.house import PROGRAMS, ROOT, wait_for

COL, VANT, HOST, NEAR = "10.80.1.2", "10.80.4.2", "10.80.3.2", "10.80.5.2"
URL = f"https://{COL}:8440"
INTERVAL_S = 3
LINKS = (
    ("transit", "col", 1),
    ("transit", "vant", 4),
    ("transit", "edge", 6),
    ("edge", "gw", 2),
    ("gw", "host", 3),
    ("gw", "near", 5),
)
"""(left, right, n): left is 10.80.n.1, right is 10.80.n.2, on devices named after the other end."""
VIA = {
    "col": "10.80.1.1",
    "vant": "10.80.4.1",
    "transit": "10.80.6.2",
    "edge": "10.80.6.1",
    "gw": "10.80.2.1",
    "host": "10.80.3.1",
    "near": "10.80.5.1",
}
PLACES = ("col", "vant", "transit", "edge", "gw", "host", "near")


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


class Internet:
    """The namespaces, and what runs in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = {place: f"vo{os.getpid() % 100000}{place[:4]}" for place in PLACES}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # the wires

    def lay(self) -> None:
        for name in self._names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for left, right, n in LINKS:
            one, other = self._names[left], self._names[right]
            run(
                "ip", "-n", one, "link", "add", f"to-{right}", "type", "veth",
                "peer", "name", f"to-{left}", "netns", other,
            )  # fmt: skip
            for name, device, last in ((one, f"to-{right}", 1), (other, f"to-{left}", 2)):
                run("ip", "-n", name, "addr", "add", f"10.80.{n}.{last}/24", "dev", device)
                run("ip", "-n", name, "link", "set", device, "up")
        for place in ("transit", "edge", "gw"):
            self.inside(
                place, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0",
                "net.ipv4.icmp_msgs_per_sec=10000",
            )  # fmt: skip
        for place, via in VIA.items():
            self.ip(place, "route", "add", "default", "via", via)
        for net in ("10.80.3.0/24", "10.80.5.0/24"):
            self.ip("edge", "route", "add", net, "via", "10.80.2.2")
        for name in self._names.values():
            # Our own rules must be looked at before the table of local addresses.
            run("ip", "-n", name, "rule", "add", "pref", "100", "lookup", "local")
            run("ip", "-n", name, "rule", "del", "pref", "0")

    def ip(self, place: str, *words: str) -> str:
        return run("ip", "-n", self._names[place], *words)

    def drop(self, place: str, *what: str) -> None:
        """Packets that match these words of ``ip rule`` vanish there."""
        self.ip(place, "rule", "add", "pref", "10", *what, "blackhole")

    def lose_large_packets(self) -> None:
        """Packets over 1,200 bytes vanish at the gateway, both ways, and no ICMP error of it tells anybody."""
        self.ip("gw", "rule", "add", "pref", "9", "iif", "lo", "ipproto", "icmp", "blackhole")
        for device in ("to-host", "to-edge"):
            self.ip("gw", "link", "set", device, "mtu", "1200")

    def inside(self, place: str, *words: str) -> str:
        return run("ip", "netns", "exec", self._names[place], *words)

    # the programs

    def start(self, name: str, place: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self._names[place], *command],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def freeze(self, name: str) -> None:
        """``ip netns exec`` becomes the program itself, so its process is the one we started."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def end(self) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            process.wait(20)
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)

    # the household

    def settle(self, *, with_vantage: bool, anchors: bool = False) -> None:
        """Settings, contracts, enrolment, everything started, and every host heard."""
        (self.folder / "contracts").mkdir()
        (self.folder / "contracts" / "acme.yaml").write_text(CONTRACT)
        (self.folder / "contracts" / "internal.yaml").write_text(INTERNAL)
        # Our machine is everybody's here: what it suffers itself is no part of the story.
        (self.folder / "rules.yaml").write_text("rules: []\n")
        hosts = "[vant]" if with_vantage else "[]"
        anchor_list = "['10.80.1.1:9', '10.80.4.1:9']" if anchors else "[]"
        (self.folder / "collector.yaml").write_text(
            COLLECTOR.format(folder=self.folder, hosts=hosts, anchors=anchor_list)
        )
        told = {
            host: self._enrol(host, c)
            for host, c in (("host", "acme"), ("near", "acme"), ("vant", "internal"))
        }
        # A page of many full-size packets: what a hole for large ones swallows.
        site = self.folder / "site"
        site.mkdir()
        (site / "shop.html").write_text("<p>a shop</p>" * 10_000 + "</html>")
        python = [sys.executable, "-m"]
        self.start("sshd", "host", *python, "tests.e2e.ssh_like", "22")
        self.start("site", "host", *python, "http.server", "8080", "--directory", str(site))
        self.start(
            "collector",
            "col",
            str(PROGRAMS / "vartovyi-collector"),
            "serve",
            "--config",
            str(self.folder / "collector.yaml"),
        )
        wait_for("the collector listens", 60, lambda: (self.folder / "state" / "address").exists())
        for host, pin in told.items():
            self._agent(host, pin)
        wait_for("every host is heard", 60, lambda: set(self.lives().values()) == {"alive"})
        if with_vantage:
            wait_for("the vantage is on its poll", 60, lambda: self.rows("SELECT * FROM vantages"))

    def command(self, *words: str) -> str:
        return run(
            str(PROGRAMS / "vartovyi-collector"), *words, "--config", str(self.folder / "collector.yaml")
        )

    def _enrol(self, host: str, contract: str) -> str:
        token = self.folder / f"{host}.token"
        told = json.loads(self.command("enroll", host, "--contract", contract, "--out", str(token), "--json"))
        return str(told["pin"])

    def _agent(self, host: str, pin: str) -> None:
        config = self.folder / f"{host}.yaml"
        networks = "[10.80.0.0/16]" if host == "vant" else "[]"
        config.write_text(
            AGENT.format(
                folder=self.folder, host=host, url=URL, pin=pin, networks=networks, interval=INTERVAL_S
            )
        )
        self.start(f"agent-{host}", host, str(PROGRAMS / "vartovyi-agent"), "run", "--config", str(config))

    # what came of it

    def rows(self, sql: str, *values: Any) -> list[Mapping[str, Any]]:
        """What the collector's store holds, read beside it."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.folder}/state/collector.db?mode=ro", uri=True)
        ) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    def lives(self) -> dict[str, str]:
        return {row["id"]: row["life"] for row in self.rows("SELECT id, life FROM hosts")}

    def tickets(self, about: str = "host") -> list[Mapping[str, Any]]:
        """Open tickets that affect this host, oldest first."""
        return [
            row for row in self.rows("SELECT * FROM tickets WHERE open_mark = 1 ORDER BY id")
            if about in json.loads(row["affected"])
        ]  # fmt: skip

    def held(self, host: str = "host") -> dict[tuple[str, str], Any]:
        """(signal, vantage) -> what was seen last."""
        sql = "SELECT signal, vantage, value FROM observations WHERE host_id = ? ORDER BY id"
        return {(r["signal"], r["vantage"]): _plain(r["value"]) for r in self.rows(sql, host)}

    def silence_facts(self, host: str = "host") -> dict[str, Any]:
        sql = (
            "SELECT body FROM findings WHERE host_id = ? AND rule = 'silence' AND kind = 'opened' ORDER BY id"
        )
        rows = self.rows(sql, host)
        return (
            {name: fact["now"] for name, fact in json.loads(rows[-1]["body"])["facts"].items()}
            if rows
            else {}
        )


def _plain(value: Any) -> Any:
    """A JSON column as SQLite gives it: a bare number comes as one."""
    return json.loads(value) if isinstance(value, str) else value


@contextlib.contextmanager
def internet(folder: Path) -> Iterator[Internet]:
    """An internet that is surely gone afterwards; the logs are printed, so that a failing test shows them."""
    made = Internet(folder)
    try:
        made.lay()
        yield made
    finally:
        made.end()
        for log in sorted(folder.glob("*.log")):
            print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))


COLLECTOR = """
state_dir: {folder}/state
contracts: {folder}/contracts
providers: {folder}/providers
listen: {{address: 10.80.1.2, port: 8440, tls: auto}}
probes:
  timeout_s: 1 s
  anchors: {anchors}
  hops:
    - {{net: 10.80.1.1/32, name: transit-before-alfa}}
    - {{net: 10.80.4.1/32, name: transit-before-alfa}}
vantages: {{hosts: {hosts}, every_s: 5 s}}
"""

CONTRACT = """
id: acme
title: Acme
class2: true
hosts:
  - id: host
    addresses: ["10.80.3.2"]
    kind: dedicated
    web_environment: true
    exclusive_access: true
    interval: 3 s
    topology: {provider: alfa, site: a1, rack: r1, virt: kvm}
    services:
      - {name: site, interval: 5 s, check: {type: http, url: "http://10.80.3.2:8080/shop.html", text: "</html>", timeout: 2}}
  - id: near
    addresses: ["10.80.5.2"]
    kind: dedicated
    web_environment: true
    exclusive_access: true
    interval: 3 s
    topology: {provider: alfa, site: a1, rack: r1, virt: kvm}
"""

INTERNAL = """
id: internal
title: Us
hosts:
  - {id: vant, addresses: ["10.80.4.2"], interval: 3 s, topology: {provider: beta, site: b1}}
"""

AGENT = """
state_dir: {folder}/agent-{host}
interval: {interval} s
collector: {{url: "{url}", token_file: {folder}/{host}.token, pin: "{pin}", retry_max: 3 s}}
metrics: {{listen: ""}}
evidence: false
rules_file: {folder}/rules.yaml
vantage: {{networks: {networks}}}
"""
