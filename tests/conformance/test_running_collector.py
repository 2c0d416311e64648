"""The real process: its start, its signals, its commands, its promises to systemd; on both databases where that differs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire import REPORT_PATH, FindingChange, Report, to_json

PROGRAM = Path(sys.executable).parent / "vartovyi-collector"
WAIT_S = 60.0

pytestmark = pytest.mark.slow


def wait_for(what: Callable[[], Any], why: str) -> Any:
    """The first true answer; fails with ``why``."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(why)


class Process:
    """A collector's folder and, once started, its process."""

    def __init__(self, folder: Path, url: str, listen: str = "{port: 0}", name: str = "state") -> None:
        self.folder = folder
        self.state = folder / name
        self.contracts = folder / "contracts"
        self.contracts.mkdir(exist_ok=True)
        if not list(self.contracts.iterdir()):
            self.write_contract(["web-1"])
        self.config = folder / f"{name}.yaml"
        self.config.write_text(
            f"state_dir: {self.state}\ncontracts: {self.contracts}\nlisten: {listen}\ndatabase: {{url: '{url}', lease_s: 3}}\n",
            encoding="utf-8",
        )
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def write_contract(self, hosts: list[str], extra: str = "") -> None:
        rows = "\n".join(f"  - {{id: {host}, addresses: [127.0.0.1], interval: 1}}" for host in hosts)
        (self.contracts / "acme.yaml").write_text(
            f"id: acme\ntitle: Acme\n{extra}hosts:\n{rows}\n", encoding="utf-8"
        )

    def start(self, **env: str) -> None:
        address = self.state / "address"
        address.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--config", self.config], stdout=log, stderr=log, env=os.environ | env
            )
        self.url = wait_for(lambda: self._address(address), "did not start").strip()

    def _address(self, address: Path) -> str:
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        return address.read_text() if address.exists() else ""

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def tell(self, sign: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(sign)

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.tell(sign)
        return self.process.wait(timeout=WAIT_S)

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *args, "--config", str(self.config)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )

    def enrol(self, host: str = "web-1") -> str:
        done = self.run("enroll", host, "--contract", "acme", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["token"]

    def report(
        self, token: str, mono: int = 1000, ns: tuple[int, ...] = (), context: Any = None
    ) -> tuple[int, dict[str, Any]]:
        now = round(time.time() * 1000)
        changes = [
            FindingChange(
                n=n,
                kind="opened",
                opening_n=n,
                rule="cpu_busy",
                subject=str(n),
                family="cpu",
                at_ms=now,
                severity="low",
            )
            for n in ns
        ]
        body = Report(
            v=1, agent="0.1", boot_id="b1", run_id="r1", wall_ms=now, mono_ms=mono, boottime_ms=mono, interval_s=1.0,
            stream="s1", findings=changes,
        )  # fmt: skip
        request = urllib.request.Request(
            self.url + REPORT_PATH, data=to_json(body), headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.rpartition(" ")[2])
        raise AssertionError(f"no {name}")

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def make(tmp_path: Path, empty_database: Any) -> Iterator[Callable[..., Process]]:
    """Makes processes on one empty database of each kind, and ends them all."""
    made: list[Process] = []

    def one(**other: Any) -> Process:
        made.append(Process(tmp_path, empty_database.url, **other))
        return made[-1]

    yield one
    for process in made:
        process.kill()


@pytest.fixture
def sqlite_process(tmp_path: Path) -> Iterator[Process]:
    """A collector on SQLite, for what the database has no part in."""
    process = Process(tmp_path, "")
    yield process
    process.kill()


def test_a_collector_starts_from_nothing_takes_a_finding_decides_and_stops_in_order(
    make: Callable[..., Process],
) -> None:
    collector = make()
    collector.start()
    token = collector.enrol()
    assert collector.report(token, 1000)[0] == 200
    status, answer = collector.report(token, 2000, (1, 2))
    assert (status, answer["want_n"], answer["interval_s"]) == (200, 3, 1.0)
    wait_for(lambda: collector.metric("vartovyi_findings_unhandled") == 0, "the tick judged nothing")
    assert collector.stop() == 0
    assert "stopped in order" in collector.said()
    assert "Traceback" not in collector.said()


def test_what_was_answered_survives_kill_9(make: Callable[..., Process]) -> None:
    collector = make()
    collector.start()
    token = collector.enrol()
    for n in range(1, 6):
        assert collector.report(token, 1000 * n, (n,))[1]["want_n"] == n + 1
    collector.kill()
    collector.start()
    status, answer = collector.report(token, 9000, (5,))
    assert (status, answer["want_n"]) == (200, 6)
    status, answer = collector.report(token, 10_000, (9,))
    assert (status, answer["error"], answer["want_n"]) == (409, "out_of_order", 6)


def test_a_second_collector_on_one_state_folder_is_refused_and_says_who_runs(sqlite_process: Process) -> None:
    sqlite_process.start()
    second = sqlite_process.run("serve")
    assert second.returncode == 1
    assert sqlite_process.process is not None
    assert f"pid {sqlite_process.process.pid}" in second.stderr
    assert sqlite_process.stop(signal.SIGINT) == 0
    sqlite_process.start()
    assert sqlite_process.stop() == 0


@pytest.mark.postgres
def test_of_two_collectors_on_one_postgresql_one_decides_and_the_other_follows_its_death(
    tmp_path: Path, postgres_server: Any
) -> None:
    name = postgres_server.create()
    pair = [Process(tmp_path, postgres_server.url(name), name=f"c{n}") for n in range(2)]
    try:
        for one in pair:
            one.start()
        token = pair[0].enrol()
        held = wait_for(lambda: [p.metric("vartovyi_lease_held") for p in pair], "no lease")
        assert sorted(held) == [0.0, 1.0]
        decider, standby = (pair[0], pair[1]) if held[0] else (pair[1], pair[0])
        assert standby.report(token, 1000, (1,))[1]["want_n"] == 2
        wait_for(
            lambda: decider.metric("vartovyi_findings_unhandled") == 0, "what the standby took was not judged"
        )
        decider.kill()
        wait_for(lambda: standby.metric("vartovyi_lease_held") == 1.0, "nobody decides")
        assert standby.report(token, 2000, (2,))[1]["want_n"] == 3
        wait_for(lambda: standby.metric("vartovyi_findings_unhandled") == 0, "the new decider judges nothing")
        assert standby.stop() == 0
    finally:
        for one in pair:
            one.kill()
        postgres_server.drop(name)


def test_sighup_takes_new_contracts_and_keeps_the_old_ones_when_the_new_have_a_fault(
    sqlite_process: Process,
) -> None:
    sqlite_process.start()
    sqlite_process.write_contract(["web-1"], extra="lines: 9\n")
    sqlite_process.tell(signal.SIGHUP)
    wait_for(lambda: "old ones stay in force" in sqlite_process.said(), "the fault was not told")
    assert "lines" in sqlite_process.said()
    sqlite_process.write_contract(["web-1", "web-2"])
    sqlite_process.tell(signal.SIGHUP)
    wait_for(lambda: "were read again" in sqlite_process.said(), "not reloaded")
    token = sqlite_process.enrol("web-2")
    assert sqlite_process.report(token)[1]["interval_s"] == 1.0
    assert sqlite_process.stop() == 0


def test_systemd_is_told_ready_reloading_and_stopping_and_the_watchdog_is_fed(
    sqlite_process: Process, tmp_path: Path
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(WAIT_S)
        sqlite_process.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="2000000")

        def hear(wanted: str) -> None:
            while wanted not in sock.recv(4096).decode():
                pass

        hear("READY=1")
        hear("WATCHDOG=1")
        sqlite_process.tell(signal.SIGHUP)
        hear("RELOADING=1")
        hear("READY=1")
        hear("WATCHDOG=1")
        sqlite_process.tell(signal.SIGTERM)
        hear("STOPPING=1")
    assert sqlite_process.process is not None
    assert sqlite_process.process.wait(timeout=WAIT_S) == 0


def test_tls_auto_makes_a_certificate_once_whose_pin_the_enrolment_prints(tmp_path: Path) -> None:
    collector = Process(tmp_path, "", listen="{port: 0, tls: auto}")
    try:
        collector.start()
        token = collector.enrol()
        told = json.loads(
            collector.run("enroll", "web-1", "--contract", "acme", "--new-token", "--json").stdout
        )
        der = ssl.PEM_cert_to_DER_cert((collector.state / "tls.crt").read_text())
        import hashlib

        assert told["pin"] == hashlib.sha256(der).hexdigest()
        assert told["pin"] in collector.said()
        assert (collector.state / "tls.key").stat().st_mode & 0o777 == 0o600
        context = ssl.create_default_context(cafile=str(collector.state / "tls.crt"))
        assert collector.url.startswith("https://")
        wait_for(
            lambda: collector.report(told["token"], context=context)[0] == 200, "the new token is not taken"
        )
        assert collector.report(token, context=context)[0] == 401, "the old token still speaks"
        before = (collector.state / "tls.crt").read_bytes()
        collector.stop()
        collector.start()
        assert (collector.state / "tls.crt").read_bytes() == before
    finally:
        collector.kill()


def test_check_config_lists_the_faults_of_settings_and_contracts_together_and_exits_78(
    sqlite_process: Process,
) -> None:
    assert sqlite_process.run("check-config").returncode == 0
    sqlite_process.write_contract(["web-1"], extra="lines: 9\ncolour: red\n")
    with sqlite_process.config.open("a") as stream:
        stream.write("log_level: LOUD\n")
    done = sqlite_process.run("check-config", "--contracts", str(sqlite_process.contracts))
    assert done.returncode == 78
    for word in ("log_level", "lines", "colour"):
        assert word in done.stderr
    assert sqlite_process.run("serve").returncode == 78


def test_commands_work_beside_a_running_collector_and_show_a_token_once(sqlite_process: Process) -> None:
    sqlite_process.start()
    out = sqlite_process.folder / "token"
    done = sqlite_process.run("enroll", "web-1", "--contract", "acme", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    token = out.read_text().strip()
    assert token not in done.stdout + done.stderr
    assert sqlite_process.report(token)[0] == 200
    assert sqlite_process.run("enroll", "web-1", "--contract", "acme").returncode == 1
    assert sqlite_process.run("enroll", "x y", "--contract", "acme").returncode == 1
    assert "acme" in sqlite_process.run("enroll", "web-9", "--contract", "nobody").stderr
    listed = json.loads(sqlite_process.run("hosts", "--json").stdout)
    assert [row["id"] for row in listed] == ["web-1"]
    added = sqlite_process.run("people", "add", "olena", "--role", "admin", stdin="a-long-password-1\n")
    assert added.returncode == 0, added.stderr
    assert sqlite_process.run("people", "passwd", "olena", stdin="short\n").returncode == 1
    assert sqlite_process.run("people", "passwd", "nobody", stdin="a-long-password-2\n").returncode == 1
    assert re.match(r"\S{20,}", sqlite_process.run("token", "olena").stdout)
    assert sqlite_process.run("explain", "404").returncode == 1
    assert sqlite_process.run("retire", "web-1").returncode == 0
    wait_for(
        lambda: sqlite_process.report(token)[1].get("error") == "retired", "the retired host still speaks"
    )
    assert "password" not in sqlite_process.said()


def test_metrics_and_api_answer_beside_the_intake(sqlite_process: Process) -> None:
    sqlite_process.start()
    with urllib.request.urlopen(sqlite_process.url + "/metrics", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        text = answer.read().decode()
    for name in (
        "vartovyi_tick_duration_seconds_bucket",
        "vartovyi_lease_held",
        "vartovyi_hosts",
        "process_resident_memory_bytes",
    ):
        assert name in text
    with urllib.request.urlopen(sqlite_process.url + "/api/v1/openapi.json", timeout=30) as answer:
        assert "paths" in json.loads(answer.read())
