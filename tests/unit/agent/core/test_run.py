"""`vartovyi-agent run` as a real process: reports, finds, survives kill -9, reloads, says goodbye."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import time

import pytest

from tests.tools.stage import Stage

pytestmark = pytest.mark.slow


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
    opening, closing = stage.of_shop()
    assert closing["opening_n"] == opening["n"]
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
    # By its name: the machine of the tests may suffer itself, and then another finding is the first in the log.
    stage.until(lambda: "opened rule=check_fails subject=shop" in (stage.folder / "log").read_text())
    child.kill()
    child.wait(10)
    found_ms = time.time() * 1000
    stage.listen()
    stage.write()
    stage.start()
    stage.until(lambda: stage.kinds() == ["opened check_fails shop"])
    assert stage.of_shop()[0]["at_ms"] < found_ms


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
    assert stage.of_shop()[0]["severity"] == "critical"
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
