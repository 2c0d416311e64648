"""A small internet of network namespaces: host - gateway - hop 2 - three anchors; packets are dropped by nftables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

ANCHORS = ("198.51.100.1", "203.0.113.1", "198.18.0.1")
ROOT = Path(__file__).resolve().parents[4]


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


class Lab:
    """Four namespaces and the processes in them; everything is gone after ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tag = f"vl{os.getpid()}"
        self.host, self.gateway, self.hop2, self.far = (f"{tag}{end}" for end in "aghx")
        self.children: List[subprocess.Popen] = []
        for name in (self.host, self.gateway, self.hop2, self.far):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            # Routers hold their answers back by default; here every test asks more than one a second.
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
        self._join(self.host, "10.77.0.2", self.gateway, "10.77.0.1")
        self._join(self.gateway, "10.77.1.1", self.hop2, "10.77.1.2")
        self._join(self.hop2, "10.77.2.1", self.far, "10.77.2.2")
        for name, via in ((self.host, "10.77.0.1"), (self.gateway, "10.77.1.2"), (self.far, "10.77.2.1")):
            run("ip", "-n", name, "route", "add", "default", "via", via)
        run("ip", "-n", self.hop2, "route", "add", "10.77.0.0/30", "via", "10.77.1.1")
        run("ip", "-n", self.hop2, "route", "add", "default", "via", "10.77.2.2")
        for address in ANCHORS:
            run("ip", "-n", self.far, "addr", "add", f"{address}/32", "dev", "lo")
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc/resolv.conf").write_text("nameserver 10.77.1.2\n")

    def _join(self, left: str, left_address: str, right: str, right_address: str) -> None:
        a, b = f"{left[-6:]}-r", f"{right[-6:]}-l"
        run("ip", "link", "add", a, "netns", left, "type", "veth", "peer", "name", b, "netns", right)
        for name, device, address in ((left, a, left_address), (right, b, right_address)):
            run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")

    def start(self, namespace: str, *words: str) -> subprocess.Popen:
        child = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )
        self.children.append(child)
        return child

    def dns(self, namespace: str, address: str) -> subprocess.Popen:
        child = self.start(namespace, str(Path(__file__).with_name("dns_server.py")), address, "53")
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        return child

    def ladder(self, **more: Any) -> subprocess.Popen:
        given = {
            "anchors": [f"{a}:443" for a in ANCHORS], "resolver": ANCHORS[0], "name": "shop.example", "every": 0.0, **more,
        }  # fmt: skip
        return self.start(
            self.host, str(Path(__file__).with_name("drive.py")), str(self.folder), json.dumps(given)
        )

    def drop(self, namespace: str, *rules: str) -> None:
        """Replace what the namespace drops of the packets that it forwards."""
        made = "add chain ip t f { type filter hook forward priority 0; }"
        words = [made, *(f"add rule ip t f {rule} drop" for rule in rules)]
        text = "add table ip t; delete table ip t; add table ip t; " + "; ".join(words)
        run("ip", "netns", "exec", namespace, "nft", text)

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait(10)
        for name in (self.host, self.gateway, self.hop2, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=30)


def say(child: subprocess.Popen, word: str) -> str:
    """One line to the child, one line back."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(word + "\n")
    child.stdin.flush()
    return child.stdout.readline()


class Driven:
    """Sweeps of the driven ladder, a minute apart by its own clock."""

    def __init__(self, child: subprocess.Popen) -> None:
        self.child = child
        self.at_ms = 0

    def sweep(self) -> Dict[str, Any]:
        self.at_ms += 60_000
        return json.loads(say(self.child, str(self.at_ms)))
