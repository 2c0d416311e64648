"""`vartovyi-agent run` as a real process: reports, finds, survives kill -9, reloads, says goodbye."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Any, Callable, List

import pytest

pytestmark = pytest.mark.slow


class Desk(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        desk = self.server.desk
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with desk.lock:
            desk.reports.append(report)
            want = desk.want.setdefault(report["stream"], 1)
            for change in report["findings"]:
                if change["n"] == want:
                    desk.changes.append(change)
                    want += 1
            desk.want[report["stream"]] = want
            reply = {"v": 1, "want_n": want, "interval_s": 1.0, **desk.more}
        raw = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


class Stage:
    """A collector of few words, and agents started against it."""

    def __init__(self, folder: Any, context: Any = None) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.reports: List[Any] = []
        self.changes: List[Any] = []
        self.want: dict = {}
        self.more: dict = {}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self.server.desk = self
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.free_port = sock.getsockname()[1]
        self.children: List[subprocess.Popen] = []
        (folder / "token").write_text("secret\n", encoding="ascii")
        self.write()

    def write(self, more: str = "", scheme: str = "http", trust: str = "") -> None:
        url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        (self.folder / "agent.yaml").write_text(
            f"state_dir: {self.folder}/state\nperiod: 0.5\ninterval: 1\nmetrics: {{listen: ''}}\n"
            f"collector: {{url: '{url}', token_file: '{self.folder}/token'{trust}}}\n"
            f"checks: [{{name: shop, type: tcp, host: 127.0.0.1, port: {self.free_port}, interval_s: 1}}]\n"
            "rules: {check_fails: {raise: {all: ['check.state == refused'], for: 2}, "
            "clear: {all: ['check.state == ok'], for: 2}}}\n" + more,
            encoding="utf-8",
        )

    def start(self, **environment: str) -> subprocess.Popen:
        child = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "run", "--config", str(self.folder / "agent.yaml")],
            stderr=(self.folder / "log").open("ab"), env={**os.environ, **environment},
        )  # fmt: skip
        self.children.append(child)
        return child

    def until(self, what: Callable[[], Any], seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.lock:
                found = what()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(
            f"not within {seconds} s; the agent said: {(self.folder / 'log').read_text()[-3000:]}"
        )

    def kinds(self) -> List[str]:
        return [f"{c['kind']} {c['rule']} {c['subject']}" for c in self.changes if c["rule"] == "check_fails"]

    def stop(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait(10)
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.stop()


def test_a_dead_service_is_found_resolved_and_the_agent_says_goodbye(stage):
    child = stage.start()
    stage.until(lambda: stage.kinds() == ["opened check_fails shop"])
    with socket.create_server(("127.0.0.1", stage.free_port)):
        stage.until(lambda: len(stage.kinds()) == 2)
    assert stage.kinds()[1] == "closed check_fails shop"
    assert stage.changes[-1]["opening_n"] == stage.changes[0]["n"]
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    assert stage.reports[-1]["goodbye"] == "service_stop"
    assert {"cpu.user_pct", "mem.avail_pct", "fs.used_pct"} <= set(stage.reports[-2]["vitals"])


def test_killed_and_started_again_the_finding_is_neither_lost_nor_doubled(stage):
    for _ in range(4):
        child = stage.start()
        stage.until(lambda: stage.kinds() == ["opened check_fails shop"])
        reports = len(stage.reports)
        stage.until(lambda reports=reports: len(stage.reports) > reports + 2)
        child.kill()
        child.wait(10)
    runs = {report["run_id"] for report in stage.reports}
    assert len(runs) == 4 and len({report["stream"] for report in stage.reports}) == 1
    with socket.create_server(("127.0.0.1", stage.free_port)):
        stage.start()
        stage.until(lambda: len(stage.kinds()) == 2)


def test_a_finding_that_nobody_could_take_is_delivered_with_its_original_time(stage):
    stage.write()
    stage.server.shutdown()
    stage.server.server_close()
    child = stage.start()
    stage.until(lambda: "a finding was opened" in (stage.folder / "log").read_text())
    child.kill()
    child.wait(10)
    found_ms = time.time() * 1000
    again = Stage.__new__(Stage)
    again.__dict__.update(stage.__dict__)
    again.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    again.server.desk, again.server.daemon_threads = stage, True
    threading.Thread(target=again.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    stage.server = again.server
    stage.write()
    stage.start()
    stage.until(lambda: stage.kinds() == ["opened check_fails shop"])
    assert stage.changes[0]["at_ms"] < found_ms


def test_reload_takes_good_settings_and_refuses_bad_ones(stage):
    child = stage.start()
    stage.until(lambda: stage.kinds() == ["opened check_fails shop"])
    stage.write("interval: nonsense\n")
    child.send_signal(signal.SIGHUP)
    stage.until(lambda: "stands twice" in stage.reports[-1]["settings_fault"])
    stage.write("without: [processes]\n")
    child.send_signal(signal.SIGHUP)
    stage.until(
        lambda: (
            stage.reports[-1]["settings_fault"] == "" and "processes" not in stage.reports[-1]["sweep_age_s"]
        )
    )
    assert child.poll() is None


def test_settings_of_the_collector_are_taken_by_version_and_bad_ones_are_reported(stage):
    stage.more = {"settings_version": 5, "settings": {"rules": {"check_fails": {"severity": "critical"}}}}
    stage.start()
    stage.until(lambda: stage.reports and stage.reports[-1]["settings_version"] == 5)
    stage.until(lambda: stage.kinds())
    assert stage.changes[0]["severity"] == "critical"
    with stage.lock:
        stage.more = {"settings_version": 6, "settings": {"rules": {"nothing": {"severity": "low"}}}}
    stage.until(lambda: "no such rule" in stage.reports[-1]["settings_fault"])


def test_a_second_agent_on_the_same_folder_is_refused(stage):
    stage.start()
    stage.until(lambda: stage.reports)
    assert stage.start().wait(10) == 75


def test_a_frozen_agent_restarts_its_windows_and_systemd_would_notice(stage):
    path = str(stage.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(15)
        child = stage.start(NOTIFY_SOCKET=path, WATCHDOG_USEC="2000000")
        said = [notify.recv(300) for _ in range(4)]
        assert said[0].startswith(b"READY=1") and said[1:] == [b"WATCHDOG=1"] * 3
        child.send_signal(signal.SIGSTOP)
        notify.settimeout(0.2)
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < 4:
            try:
                notify.recv(300)
            except socket.timeout:
                continue
        with pytest.raises(socket.timeout):
            notify.recv(300)
        child.send_signal(signal.SIGCONT)
        stage.until(lambda: "did not run for a while" in (stage.folder / "log").read_text())


def test_over_tls_only_the_pinned_or_trusted_collector_gets_the_token(tmp_path):
    certificate = pytest.importorskip(
        "tests.unit.agent.core.certificate", reason="needs Python 3.11 packages"
    ).make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    stage = Stage(tmp_path, context)
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text().split("-----END PRIVATE KEY-----\n")[1])
    good, bad = hashlib.sha256(der).hexdigest(), "0" * 64
    try:
        for trust, is_taken in (
            (f", pin: 'sha256:{good}'", True),
            (f", ca_file: '{certificate}'", True),
            (f", pin: '{bad}'", False),
            ("", False),
        ):
            stage.write("", "https", trust)
            stage.reports.clear()
            child = stage.start()
            if is_taken:
                stage.until(lambda: stage.reports)
            else:
                stage.until(lambda: "did not take the report" in (tmp_path / "log").read_text())
                assert stage.reports == []
            child.kill()
            child.wait(10)
            (tmp_path / "log").write_text("")
    finally:
        stage.stop()
