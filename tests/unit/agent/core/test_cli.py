"""The commands, in this process; `run` has tests of its own."""

from __future__ import annotations

import json

import pytest

from agent import cli
from agent.page import JSON, Page, file_listener
from config.clock import FixedClock

SNAPSHOT = {
    "pid": 1,
    "version": "1",
    "collector": "https://c",
    "last_error": "",
    "interval_s": 10,
    "spool": {"stream": "s", "depth": 0, "held": 0, "dropped": 0},
    "settings": {"version": 0, "fault": ""},
    "findings": [{"rule": "fs_full", "subject": "/var", "severity": "high", "at_ms": 0}],
    "samplers": {"cpu": {"age_s": 3.0, "stuck": False}},
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(f"state_dir: {tmp_path}\n", encoding="utf-8")
    return path


def test_check_config_of_a_good_file(config, capsys):
    assert cli.main(["check-config", "--config", str(config)]) == 0
    assert "well:" in capsys.readouterr().out
    assert cli.main(["check-config", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["faults"] == []


def test_check_config_of_a_bad_file_lists_every_fault_and_exits_78(config, capsys):
    config.write_text("interval: x\nwhat: 1\n", encoding="utf-8")
    assert cli.main(["check-config", "--config", str(config)]) == 78
    said = capsys.readouterr().err
    assert f"{config}:1: interval:" in said and f"{config}:2: what:" in said and "2 faults" in said
    assert cli.main(["check-config", "--json", "--config", str(config)]) == 78
    assert [fault["line"] for fault in json.loads(capsys.readouterr().out)["faults"]] == [1, 2]


def test_check_config_says_what_it_read_and_that_nobody_is_told(config, capsys):
    assert cli.main(["check-config", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert str(config) in said and "reported to nobody" in said


@pytest.mark.parametrize(
    ("words", "locale", "settings", "heading"),
    [
        ([], "C.UTF-8", "en", "NUMBERS"),
        ([], "uk_UA.UTF-8", "en", "ПОКАЗНИКИ"),
        ([], "en_US.UTF-8", "uk", "ПОКАЗНИКИ"),
        (["--language", "en"], "uk_UA.UTF-8", "uk", "NUMBERS"),
    ],
)
@pytest.mark.slow
def test_once_speaks_as_asked_else_as_the_locale_else_as_the_settings(
    config, capsys, monkeypatch, words, locale, settings, heading
):
    monkeypatch.setenv("LC_ALL", locale)
    every = "[filesystems, network, sockets, units, processes, hardware, drives, controller, virtual, ladder]"
    config.write_text(
        f"state_dir: {config.parent}\nlanguage: {settings}\nwithout: {every}\n", encoding="utf-8"
    )
    assert cli.main(["once", "--config", str(config), *words]) == 0
    said = capsys.readouterr().out
    assert heading in said.split("\n")
    assert "\x1b" not in said, "no colour where nobody looks at a terminal"


def test_every_command_explains_itself(capsys):
    for words in ([], ["run"], ["once"], ["check-config"], ["status"]):
        with pytest.raises(SystemExit) as left:
            cli.main([*words, "--help"])
        assert left.value.code == 0
    assert "--config" in capsys.readouterr().out


def test_status_without_an_agent_says_so(config, capsys):
    assert cli.main(["status", "--config", str(config)]) == 69
    assert "no agent answers" in capsys.readouterr().err


@pytest.fixture
def status(config, tmp_path, capsys, monkeypatch):
    pages = []
    clock = FixedClock()
    monkeypatch.setattr("config.clock.SystemClock", lambda: clock)

    def ask(*words, **over):
        now_ms = clock.now_ms()
        page = Page([file_listener(tmp_path)])
        pages.append(page)
        page.show(
            "/status",
            json.dumps({**SNAPSHOT, "written_at_ms": now_ms, "last_reply_at_ms": now_ms, **over}).encode(),
            JSON,
        )
        code = cli.main(["status", "--config", str(config), *words])
        return code, capsys.readouterr().out

    yield ask
    for page in pages:
        page.close()


def test_status_of_a_well_agent_shows_what_is_open(status):
    code, said = status()
    assert code == 0 and "last reply 0 s ago" in said and "high     fs_full /var" in said


@pytest.mark.parametrize(
    ("over", "part"),
    [
        ({"last_error": "status 503: busy"}, "does not take reports"),
        ({"written_at_ms": 0}, "hangs"),
        ({"settings": {"version": 3, "fault": "bad"}}, "refused: bad"),
        ({"samplers": {"disk": {"age_s": 99.0, "stuck": True}}}, "sampler disk is stuck"),
        ({"spool": {"stream": "s", "depth": 2, "held": 2, "dropped": 0}}, "wait in memory"),
    ],
)
def test_status_tells_what_is_wrong_and_exits_1(status, over, part):
    code, said = status(**over)
    assert (code == 1 and f"WRONG: {part}" in said) or part in said
    code, said = status("--json", **over)
    assert code == 1 and part in json.loads(said)["troubles"][0]
