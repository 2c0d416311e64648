"""E: ``kill -9`` of the collector at every line where it could fall, then another process: same end, effects once.

Real processes on one database, a real sshd with the shipped wrapper, a real interface for the address, a fence by
command. What each effect did is a line in a file that only the effect writes.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from collector.failover import journal, runs
from config.clock import SystemClock
from tests.unit.collector.failover.houses import PAIR, House

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[5]
BOUNDARIES = 40
"""More than one run has; past its last one a child ends by itself."""


class Provider:
    """A floating address: who it is routed to, and every order that came."""

    def __init__(self) -> None:
        self.routed = "a1"
        self.orders: list[str] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"ip": {"server": outer.routed}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.orders.append(body["server"])
                outer.routed = body["server"]
                self._answer({})

            def _answer(self, value: Any) -> None:
                octets = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ip"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


class Stage:
    """One pair whose steps leave traces, its database in a file, and the fall of its primary."""

    def __init__(self, folder: Path, sshd: Any, provider: Provider, url: str = "") -> None:
        """``url``: of another store than a file of its own."""
        self.folder, self.provider = folder, provider
        folder.mkdir()
        (folder / "role").write_text("standby\n")
        sshd.state.mkdir(exist_ok=True)
        for old in sshd.state.iterdir():
            subprocess.run(["rm", "-rf", str(old)], check=True)
        sshd.allow(
            "steps",
            "promote-x",
            f"echo $VARTOVYI_KEY >> {folder}/promoted; sleep 0.2; echo primary > {folder}/role\n",
        )
        sshd.allow("asks", "role-x", f"cat {folder}/role\n")
        fence = folder / "port"
        fence.write_text(
            f"#!/bin/sh\n[ $1 = off ] && {{ echo off >> {folder}/fenced; }}\n"
            f"if [ -e {folder}/fenced ]; then echo off; else echo on; fi\n"
        )
        fence.chmod(0o755)
        (folder / "settings.yaml").write_text(
            f"ssh_user: root\nssh_key: {sshd.folder}/user\nknown_hosts: {folder}/known\nssh_port: {sshd.port}\n"
        )
        kind, blob = (sshd.folder / "host.pub").read_text().split()[:2]
        (folder / "known").write_text(f"a1,b9 {kind} {blob}\n")
        self.url = url or f"sqlite:///{folder}/store.db"
        call = {"url": provider.url}
        self.house = House(
            self.url,
            now_ms=SystemClock().now_ms() - 70_000,
            fence=[[{"type": "fence.port", "options": {"command": "port", "folder": str(folder)}}]],
            promote=[{"type": "promote.script", "options": {"script": "promote-x", "role": "role-x"}}],
            traffic=[
                {
                    "type": "traffic.floating_ip",
                    "options": {
                        "act": {**call, "method": "POST", "body": '{"server": "b9"}'},
                        "read": call,
                        "path": "ip.server",
                        "done": ["b9"],
                    },
                }
            ],
            verify=[{"type": "verify.tcp", "options": {"host": "127.0.0.1", "port": sshd.port}}],
        )
        self.house.well()
        self.house.falls()
        self.house.now_ms = SystemClock().now_ms()
        self.house.asked(level="F3")
        self.house.tick()
        (self.run,) = self.house.runs()

    def begun(self, boundary: int | str, holder: str, *words: str) -> subprocess.Popen[str]:
        """One collector, on its way."""
        argv = [sys.executable, str(Path(__file__).with_name("crash_child.py")), self.url]
        return subprocess.Popen(
            [*argv, str(self.folder / "settings.yaml"), holder, str(boundary), *words],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def child(self, boundary: int, holder: str, alone: str = "alone") -> tuple[int, list[str]]:
        """One collector to its end; its exit status and the boundaries that it came to."""
        with self.begun(boundary, holder, alone) as child:
            out, err = child.communicate(timeout=120)
        assert child.returncode in (0, -9), err[-2000:]
        return child.returncode, out.splitlines()

    def traces(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def audit(self) -> journal.Run:
        """The chain holds, every effect has its intent before it, the end is safe, effects happened once."""
        with self.house.store.read() as conn:
            assert runs.broken_at(conn, self.run.id) is None
            entries = runs.entries_of(conn, self.run.id)
            run = runs.load(conn, self.run.id)
            state = runs.pair_state(conn, PAIR)
        assert run is not None
        for n, entry in enumerate(entries):
            if entry.kind == "result":
                before = [
                    e for e in entries[:n] if e.kind == "intent" and e.body["step"] == entry.body["step"]
                ]
                assert before, f"{entry.body['step']} has a result without an intent"
        assert self.traces("promoted") <= 1
        assert self.traces("fenced") <= 2
        assert state.epoch <= 1
        if self.traces("promoted"):
            assert self.traces("fenced"), "promoted without a fence"
        return run

    def close(self) -> None:
        self.house.store.close()


def run_of(
    folder: Path, sshd: Any, provider: Provider, boundary: int, second: str = "alone"
) -> tuple[str, str]:
    """Kill the first collector at this boundary, let the second end it; where it fell, and the end."""
    provider.routed = "a1"
    stage = Stage(folder, sshd, provider)
    try:
        status, lines = stage.child(boundary, "one", second)
        fell = lines[-1] if status == -9 else ""
        if status == -9:
            assert stage.child(-1, "two", second)[0] == 0
        run = stage.audit()
        if run.state.value == "aborted" and fell.endswith(("arm-0", "entered armed")):
            # A run that was armed ten seconds ago and did nothing is void: on a slow machine the second one comes later.
            assert (stage.traces("fenced"), stage.traces("promoted"), provider.routed) == (0, 0, "a1")
            return fell, "aborted"
        assert run.state.value == "hold_down", (fell, run.state, run.reason)
        assert provider.routed == "b9"
        assert stage.traces("promoted") == 1
        return fell, run.state.value
    finally:
        stage.close()


def test_without_a_crash_the_service_runs_on_the_backup(sshd, provider, tmp_path) -> None:
    assert run_of(tmp_path / "x", sshd, provider, -1) == ("", "hold_down")
    assert provider.orders == ["b9"]


SHARDS = 6
KILLED: dict[int, str] = {}


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_every_boundary_the_end_is_the_same_and_effects_happen_once(
    sshd, provider, tmp_path, shard
) -> None:
    """Every n-th boundary, so that the parts fit their time and may run beside each other."""
    for boundary in range(shard, BOUNDARIES, SHARDS):
        where, _ = run_of(tmp_path / str(boundary), sshd, provider, boundary)
        if not where:
            break
        KILLED[boundary] = where.partition(" ")[2]
    else:
        raise AssertionError("the run has more boundaries than are killed at")


def test_the_boundaries_that_were_killed_at_are_all_that_there_are() -> None:
    if len(KILLED) != max(KILLED, default=-1) + 1 or len(KILLED) < SHARDS:
        pytest.skip("the parts above ran elsewhere")
    steps = {"arm-0", "fence-0-0", "promote-0", "traffic-0"}
    for what in ("intent", "acting", "acted", "result"):
        assert {f"{what} {step}" for step in steps} <= set(KILLED.values()), KILLED


@pytest.mark.parametrize("boundary", ["acting promote-0", "acted promote-0", "acted fence-0-0"])
def test_another_collector_waits_until_the_first_one_s_act_cannot_be_on_its_way(
    sshd, provider, tmp_path, boundary
) -> None:
    stage = Stage(tmp_path / "first", sshd, provider)
    status, lines = stage.child(-1, "one", "alone")
    stage.close()
    assert status == 0
    number = next(line.split()[0] for line in lines if line.endswith(boundary))
    assert run_of(tmp_path / "again", sshd, provider, int(number), "shared")[1] == "hold_down"


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("boundary", ["acting promote-0"])
def test_a_collector_that_was_paused_past_its_lease_acts_no_more(sshd, provider, tmp_path, boundary) -> None:
    """E3: it stands still with its intent written and the act before it; meanwhile another one ends the run."""
    stage = Stage(tmp_path / "x", sshd, provider)
    first = stage.begun(boundary, "one", "shared", "stop")
    try:
        while not is_stopped(first.pid):
            assert first.poll() is None, first.communicate()
            threading.Event().wait(0.05)
        assert stage.child(-1, "two", "shared")[0] == 0
        ended = stage.audit()
        assert ended.state.value == "hold_down", (ended.state, ended.reason)
        traces = [stage.traces(name) for name in ("fenced", "promoted")]
        with stage.house.store.read() as conn:
            n = len(runs.entries_of(conn, stage.run.id))
        first.send_signal(signal.SIGCONT)
        # It turns on for a while with the lease that it believes to hold.
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(5)
        assert [stage.traces(name) for name in ("fenced", "promoted")] == traces
        assert stage.traces("promoted") == 1
        assert provider.orders == ["b9"]
        with stage.house.store.read() as conn:
            assert len(runs.entries_of(conn, stage.run.id)) == n
        stage.audit()
    finally:
        first.kill()
        first.communicate()
        stage.close()
