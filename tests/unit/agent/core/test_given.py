"""Settings and rules are tried whole before they rule; the collector's are thresholds within what the server allows."""

from __future__ import annotations

import json

import pytest

from agent.given import REMOTE_NAME, Given, GivenFault, check_files

CLOSER = {"rules": {"fs_full": {"raise": {"all": ["fs.used_pct >= 80"], "for": 5}}}}


@pytest.fixture
def write(tmp_path):
    def make(text=""):
        path = tmp_path / "agent.yaml"
        path.write_text(f"state_dir: {tmp_path}\n{text}", encoding="utf-8")
        return path

    return make


def fs_full(given):
    return next(rule for rule in given.rules if rule.name == "fs_full")


def test_without_a_file_the_shipped_defaults_rule(tmp_path):
    given = Given.from_file(None)
    assert len(given.rules) > 30 and given.version == 0


def test_the_files_changes_lie_over_the_shipped_rules(write):
    given = Given.from_file(write("rules: {fs_full: {severity: low}, zombies: {enabled: false}}"))
    assert fs_full(given).severity == "low" and "zombies" not in {rule.name for rule in given.rules}


def test_the_collectors_thresholds_lie_over_the_files_and_survive_a_restart(write):
    path = write("rules: {fs_full: {severity: low}}")
    given = Given.from_file(path).with_remote(CLOSER, 7)
    again = Given.from_file(path)
    for one in (given, again):
        assert (one.version, one.fault) == (7, "")
        assert (fs_full(one).severity, fs_full(one).raise_.for_ms) == ("low", 5000)


@pytest.mark.parametrize(
    "remote",
    [
        {"checks": [{"name": "x", "type": "command", "command": "rm -rf /"}]},
        {"rules": {"fs_full": {"raise": {"all": ["fs.used_pct >>> 1"]}}}},
        {"rules": {"no_such": {"severity": "low"}}},
        {"rules": {"fs_full": {"signal": "cpu.user_pct"}}},
        {"rules": []},
        [],
        "text",
        {"collector": {"url": "https://elsewhere.example"}},
    ],
)
def test_bad_settings_of_the_collector_are_refused_whole(write, tmp_path, remote):
    given = Given.from_file(write())
    with pytest.raises(GivenFault):
        given.with_remote(remote, 3)
    assert given.version == 0 and not (tmp_path / REMOTE_NAME).exists()


def test_the_server_decides_which_rules_the_collector_may_change(write):
    given = Given.from_file(write("remote: {may_change: ['cpu_*']}"))
    with pytest.raises(GivenFault, match="fs_full"):
        given.with_remote(CLOSER, 3)
    given.with_remote({"rules": {"cpu_busy": {"severity": "high"}}}, 4)


def test_a_refused_version_is_told_and_not_asked_for_again(write):
    given = Given.from_file(write())
    given.refuse(9, "no")
    assert (given.version, given.fault) == (9, "no")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"version": 1}', json.dumps({"version": 1, "settings": {"rules": {"gone": {}}}})]
)
def test_kept_settings_that_do_not_fit_any_more_do_not_stop_the_start(write, tmp_path, content):
    path = write()
    (tmp_path / REMOTE_NAME).write_text(content, encoding="utf-8")
    assert Given.from_file(path).version == 0


def test_a_file_that_became_faulty_is_refused_with_every_reason_and_the_old_one_stays(write):
    given = Given.from_file(write())
    write("interval: x\nlanguage: y")
    with pytest.raises(GivenFault, match=r"interval(.|\n)*language"):
        given.again()


def test_check_lists_faults_of_settings_and_rules_together(write, tmp_path):
    (tmp_path / "rules.yaml").write_text("rules: [{name: a}]", encoding="utf-8")
    faults, _ = check_files(write("language: fr"))
    assert [fault.key for fault in faults] == ["language"]
    faults, _ = check_files(write(f"rules_file: {tmp_path / 'rules.yaml'}"))
    assert {fault.key for fault in faults} >= {"rules[0].family", "rules[0].raise"}
    faults, _summary = check_files(write("rules: {no_such: {}}"))
    assert [fault.key for fault in faults] == ["rules.no_such"]


def test_a_settings_file_that_is_not_there_is_one_clear_fault(tmp_path):
    (fault,), _ = check_files(tmp_path / "none.yaml")
    assert "No such file" in str(fault)
