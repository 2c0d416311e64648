"""New settings of the collector prove themselves by an answered report, or are taken back; the last good ones stay."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest

from agent.given import REMOTE_NAME, Given, GivenFault
from tests.tools.stage import Desk, Stage

GOOD = {"rules": {"fs_full": {"severity": "low"}}}
BAD = {"rules": {"fs_full": {"severity": "critical"}}}


@pytest.fixture
def write(tmp_path):
    def make(text=""):
        path = tmp_path / "agent.yaml"
        path.write_text(f"state_dir: {tmp_path}\n{text}", encoding="utf-8")
        return path

    return make


def severity(given):
    return next(rule for rule in given.rules if rule.name == "fs_full").severity


def proved(path, settings, version):
    given = Given.from_file(path).with_remote(settings, version)
    given.proved()
    return given


def test_settings_on_trial_go_back_to_those_before_and_are_refused(write):
    path = write()
    given = proved(path, GOOD, 3).with_remote(BAD, 4)
    assert given.is_on_trial and severity(given) == "critical"
    back = given.taken_back("no report")
    assert (severity(back), back.version, back.fault, back.is_on_trial) == ("low", 4, "no report", False)
    again = Given.from_file(path, is_start=True)
    assert (severity(again), again.version) == ("low", 3)


def test_the_first_settings_go_back_to_the_files_own(write):
    path = write()
    back = Given.from_file(path).with_remote(BAD, 1).taken_back("no report")
    assert severity(back) == severity(Given.from_file(None))


def test_a_second_version_on_trial_does_not_make_the_first_a_good_one(write):
    given = proved(write(), GOOD, 3).with_remote(BAD, 4).with_remote(BAD, 5)
    assert severity(given.taken_back("x")) == "low"


def test_settings_under_which_the_agent_dies_twice_are_taken_back_at_the_start(write):
    path = write()
    proved(path, GOOD, 3).with_remote(BAD, 4)
    first = Given.from_file(path, is_start=True)
    assert first.is_on_trial and severity(first) == "critical"
    for _ in range(5):
        assert Given.from_file(path).is_on_trial, "whoever only looks does not count"
    second = Given.from_file(path, is_start=True)
    assert (severity(second), second.version, second.is_on_trial) == ("low", 4, False)
    assert "again and again" in second.fault


def test_settings_that_proved_themselves_survive_every_start(write):
    path = write()
    proved(path, GOOD, 3)
    for _ in range(4):
        given = Given.from_file(path, is_start=True)
        assert (severity(given), given.version, given.fault) == ("low", 3, "")


@pytest.mark.parametrize("trial", [{}, {"before": 1}, {"before": {}, "starts": "x"}, [], 7])
def test_a_torn_word_of_a_trial_never_keeps_the_agent_from_starting(write, tmp_path, trial):
    path = write()
    kept = {"version": 4, "settings": BAD, "trial": trial}
    (tmp_path / REMOTE_NAME).write_text(json.dumps(kept))
    given = Given.from_file(path, is_start=True)
    assert given.rules and (given.fault or given.version == 4)


# --- checks of the collector, and the cap ------------------------------------------------------------------------

CHECKS = {"checks": [{"name": "shop", "type": "tcp", "host": "127.0.0.1", "port": 80}]}


def test_checks_of_the_collector_lie_beside_the_local_ones_and_over_those_of_their_name(write):
    path = write(
        "checks: [{name: shop, type: tcp, host: 127.0.0.1, port: 81}, {name: own, type: unit, unit: a.service}]"
    )
    given = Given.from_file(path).with_remote(CHECKS, 2)
    assert [(c.name, c.port) for c in given.settings.checks] == [("own", 0), ("shop", 80)]
    assert [c.port for c in given.taken_back("x").settings.checks] == [81, 0]
    assert len(given.with_remote({}, 3).settings.checks) == 2, "what it no longer names is the file's again"


@pytest.mark.parametrize(
    ("cap", "remote", "word"),
    [
        ("remote: {may_check: [unit]}", CHECKS, "add checks of type tcp"),
        (
            "remote: {may_check: []}",
            {"checks": [{"name": "x", "type": "command", "command": "y"}]},
            "command",
        ),
        (
            "remote: {may_disable: [zombies]}",
            {"rules": {"fs_full": {"enabled": False}}},
            "switch off fs_full",
        ),
        ("remote: {min_check_interval: 60}", CHECKS, "more often"),
        ("remote: {may_change: [cpu_*]}", GOOD, "change fs_full"),
    ],
)
def test_the_local_cap_refuses_what_lies_beyond_it_whole(write, cap, remote, word):
    given = Given.from_file(write(cap))
    with pytest.raises(GivenFault, match=word):
        given.with_remote(remote, 3)
    assert given.version == 0


@pytest.mark.parametrize(
    "check",
    [
        {"name": "x", "type": "command", "command": "/bin/sh"},
        {"name": "x", "type": "command", "command": "a", "run": ["/bin/sh"]},
        {"name": "x", "type": "command", "command": "a;b"},
        {"name": "x", "type": "unit", "unit": "--root=/x"},
        {"name": "x", "type": "file", "path": "relative"},
    ],
)
def test_no_command_comes_from_the_collector_only_a_name(write, check):
    with pytest.raises(GivenFault):
        Given.from_file(write()).with_remote({"checks": [check]}, 3)


# --- the real agent ----------------------------------------------------------------------------------------------


class Choosy(Desk):
    """Refuses every report that was made under version 9, as a collector does whose bounds it breaks."""

    def do_POST(self):
        size = int(self.headers["Content-Length"])
        raw = self.rfile.read(size)
        report = json.loads(raw)
        if report["settings_version"] == 9 and not report["settings_fault"]:
            self.stage.refused += 1
            self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.rfile = __import__("io").BytesIO(raw)
        super().do_POST()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    made.refused = 0
    made.server.RequestHandlerClass = type("ChoosyOfStage", (Choosy,), {"stage": made})
    yield made
    made.stop()


@pytest.mark.slow
def test_settings_that_stop_the_heartbeats_of_a_real_agent_are_taken_back_and_told(stage):
    stage.write("remote: {trial: 3 s}\n")
    stage.start()
    stage.until(lambda: stage.reports)
    stage.more = {"settings_version": 8, "settings": {"rules": {"check_fails": {"severity": "low"}}}}
    stage.until(lambda: stage.reports[-1]["settings_version"] == 8)
    with stage.lock:
        stage.more = {"settings_version": 9, "settings": BAD}
    begun = time.monotonic()
    report = stage.until(lambda: stage.reports[-1] if stage.reports[-1]["settings_fault"] else None)
    assert time.monotonic() - begun > 2.5 and stage.refused >= 1
    assert report["settings_version"] == 9 and "taken back" in report["settings_fault"]
    kept = json.loads((stage.folder / "state" / REMOTE_NAME).read_text())
    assert kept["version"] == 8 and "trial" not in kept


@pytest.mark.slow
def test_a_good_version_is_in_force_without_a_restart_and_stays_over_one(stage):
    child = stage.start()
    stage.until(lambda: stage.reports)
    stage.more = {
        "settings_version": 5,
        "settings": {
            "checks": [
                {
                    "name": "other",
                    "type": "tcp",
                    "host": "127.0.0.1",
                    "port": stage.free_port,
                    "interval_s": 5,
                }
            ],
            "rules": {"check_fails": {"raise": {"all": ["check.state == refused"], "for": 1}}},
        },
    }
    stage.until(lambda: "opened check_fails other" in stage.kinds())
    runs = {report["run_id"] for report in stage.reports}
    assert len(runs) == 1
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    stage.more = {}
    reports = len(stage.reports)
    stage.start()
    report = stage.until(lambda: stage.reports[-1] if len(stage.reports) > reports else None)
    assert report["settings_version"] == 5
    with socket.create_server(("127.0.0.1", stage.free_port)):
        stage.until(lambda: "closed check_fails other" in stage.kinds())


@pytest.mark.slow
def test_a_bad_version_is_refused_told_and_the_last_good_one_stays(stage):
    stage.start()
    stage.until(lambda: stage.reports)
    stage.more = {"settings_version": 5, "settings": {"rules": {"check_fails": {"severity": "low"}}}}
    stage.until(lambda: stage.reports[-1]["settings_version"] == 5)
    with stage.lock:
        stage.more = {"settings_version": 6, "settings": {"rules": {"no_such": {"severity": "low"}}}}
    report = stage.until(lambda: stage.reports[-1] if stage.reports[-1]["settings_fault"] else None)
    assert report["settings_version"] == 6 and "no_such" in report["settings_fault"]
    (opened,) = stage.until(lambda: [c for c in stage.changes if c["rule"] == "check_fails"])
    assert opened["severity"] == "low"
