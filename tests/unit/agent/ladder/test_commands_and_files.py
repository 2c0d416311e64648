"""Commands of root's folder: real programs, real Nagios plugins, hung ones killed with all that they started; files by age."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, List

import pytest

from agent.checks import commands, files
from agent.checks.commands import Refused, entry_named, unsafe
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings
from agent.samplers.watching import Checks
from agent.signals.parsers.plugin import MAX_NUMBERS, parse_plugin
from config import loader
from config.clock import FixedClock, SystemClock
from config.loader import ConfigError
from tests.tools import threads

ME = os.geteuid()
PLUGINS = Path("/usr/lib/nagios/plugins")


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "commands.d"
    made.mkdir(mode=0o755)
    return made


def entry(folder: Path, name: str, *words: Any) -> None:
    quoted = ", ".join("'" + str(word).replace("'", "''") + "'" for word in words)
    (folder / f"{name}.yaml").write_text(f"run: [{quoted}]\n")
    (folder / f"{name}.yaml").chmod(0o644)


def script(folder: Path, text: str) -> Path:
    path = folder / "plugin.sh"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def ask(folder: Path, name: str = "c", timeout_s: float = 10.0) -> Any:
    spec = CheckSettings(name="x", type="command", command=name, timeout_s=timeout_s)
    return commands.run(spec, timeout_s, folder, ME)


@pytest.mark.parametrize(
    ("status", "state"),
    [(0, "ok"), (1, "warning"), (2, "critical"), (3, "unknown"), (4, "unknown"), (127, "unknown")],
)
def test_the_exit_status_is_the_state(folder, status, state) -> None:
    entry(
        folder, "c", script(folder, f"echo 'DISK - free 3 GB | /=2643MB;5948;5958;0;5968'\nexit {status}\n")
    )
    answer = ask(folder)
    assert answer.state == state and answer.detail.endswith("DISK - free 3 GB")
    assert answer.facts == {"exit_status": status, "numbers": {"/": 2643e6}, "units": {"/": "B"}}


def runs(command: str) -> str:
    done = subprocess.run(["pgrep", "-f", command], capture_output=True, text=True, check=False)
    return done.stdout


def test_a_plugin_that_hangs_is_killed_with_all_that_it_started(folder) -> None:
    mark = f"7{os.getpid()}"
    entry(folder, "c", script(folder, f"sleep {mark} &\nsleep {mark}\n"))
    assert ask(folder, timeout_s=0.5).state == "timeout"
    end = time.monotonic() + 20
    while (left := runs(f"sleep {mark}")) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == ""


def test_what_a_plugin_leaves_behind_does_not_hold_us(folder) -> None:
    entry(folder, "c", script(folder, "echo fine\nsleep 20 &\nexit 0\n"))
    begun = time.monotonic()
    assert ask(folder).state == "ok" and time.monotonic() - begun < 15


def test_a_flood_of_output_is_bounded_and_does_not_stop_the_plugin(folder) -> None:
    entry(folder, "c", script(folder, "echo first; head -c 3000000 /dev/zero | tr '\\0' x; exit 1\n"))
    answer = ask(folder)
    assert (answer.state, answer.detail) == ("warning", "first")


def test_no_word_reaches_a_shell_and_no_escape_a_screen(folder, tmp_path) -> None:
    hostile = "$(touch " + str(tmp_path / "owned") + "); `id`\n\x1b[31m"
    entry(folder, "c", "/bin/echo", hostile.replace("\n", " ").replace("\x1b", ""))
    assert "$(touch" in ask(folder).detail
    entry(folder, "c", script(folder, "printf 'red \\033[31m token=abc\\tend'\n"))
    answer = ask(folder)
    assert answer.detail == "red  [31m token=[removed] end"
    assert not (tmp_path / "owned").exists()


def test_secrets_of_our_environment_do_not_reach_a_plugin(folder, monkeypatch) -> None:
    monkeypatch.setenv("VARTOVYI_SECRET", "hunter2")
    entry(folder, "c", "/usr/bin/env")
    assert "hunter2" not in str(ask(folder))


@pytest.mark.parametrize("name", ["../c", "c/../c", "", ".c", "-c", "c;id", "c\n", "x" * 65])
def test_a_name_that_is_none_is_refused(folder, name) -> None:
    assert isinstance(entry_named(name, folder, ME), Refused)
    if name:
        with pytest.raises(ConfigError):
            loader.parse(f"{{name: x, type: command, command: {name!r}}}", CheckSettings)


def test_what_others_can_write_is_refused(folder) -> None:
    plugin = script(folder, "exit 0\n")
    entry(folder, "c", plugin)
    assert ask(folder).state == "ok"
    for place in (folder / "c.yaml", plugin, folder):
        mode = place.stat().st_mode & 0o777
        for more in (0o020, 0o002):
            place.chmod(mode | more)
            answer = ask(folder)
            assert answer.state == "unknown" and "can be written by others" in answer.detail
        place.chmod(mode)
    assert ask(folder).state == "ok"


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_what_belongs_to_another_user_is_refused_also_behind_a_link(folder, tmp_path) -> None:
    plugin = script(folder, "exit 0\n")
    entry(folder, "c", plugin)
    os.chown(plugin, 1000, 1000)
    assert "does not belong to root" in ask(folder).detail
    os.chown(plugin, 0, 0)
    theirs = tmp_path / "home"
    theirs.mkdir()
    (theirs / "link").symlink_to(plugin)
    os.chown(theirs, 1000, 1000)
    assert "does not belong to root" in unsafe(theirs / "link")
    (folder / "through").symlink_to(theirs / "link")
    entry(folder, "c", folder / "through")
    assert "does not belong to root" in ask(folder).detail


@pytest.mark.parametrize(
    "text", ["run: ls", "run: []", "run: [ls]", "shell: x", "run: ['/bin/true', \"a\\0b\"]", "]["]
)
def test_an_entry_that_is_wrong_is_unknown_with_its_fault(folder, text) -> None:
    (folder / "c.yaml").write_text(text)
    answer = ask(folder)
    assert answer.state == "unknown" and answer.detail


def test_real_monitoring_plugins_work_unchanged(folder, require_package) -> None:
    require_package("monitoring-plugins")
    entry(folder, "load", PLUGINS / "check_load", "-w", "9999,9999,9999", "-c", "99999,99999,99999")
    load = ask(folder, "load")
    assert load.state == "ok" and set(load.facts["numbers"]) == {"load1", "load5", "load15"}
    entry(folder, "procs", PLUGINS / "check_procs", "-w", "0:0", "-c", "0:99999")
    assert ask(folder, "procs").state == "warning"
    entry(folder, "disk", PLUGINS / "check_disk", "-w", "1%", "-c", "101%", "-p", "/")
    assert ask(folder, "disk").state == "critical"
    entry(folder, "nothing", PLUGINS / "check_tcp", "--no-such-option")
    assert ask(folder, "nothing").state == "unknown"


def test_numbers_come_in_base_units_and_in_bounds() -> None:
    text = "OK | time=12ms;;; 'a b'=3KB 'it''s'=1 x=nan y=U size=5,5MiB;1 %=7% \nlong\nmore | z=2us"
    said = parse_plugin(text)
    assert said.numbers == {
        "time": 0.012, "a b": 3000.0, "it's": 1.0, "size": 5.5 * 2**20, "%": 7.0, "z": pytest.approx(2e-6),
    }  # fmt: skip
    assert said.units == {"time": "s", "a b": "B", "it's": "", "size": "B", "%": "%", "z": "s"}
    assert parse_plugin("x|n=3c t=20rpm").units == {"n": "c", "t": "rpm"}
    many = " ".join(f"n{n}=1" for n in range(500))
    assert len(parse_plugin("x|" + many).numbers) == MAX_NUMBERS
    assert parse_plugin("x|a=1e999").numbers == {}


def test_a_check_that_does_not_come_back_is_an_answer_and_is_not_begun_again() -> None:
    import threading

    release, begun = threading.Event(), []

    def run(spec: CheckSettings, **_: Any) -> Any:
        begun.append(spec.name)
        if spec.name.startswith("dead"):
            release.wait(20)
        return commands.judge(0, b"fine", 1.0)

    specs = [
        CheckSettings(name=f"dead{n}", type="file", path="/x", timeout_s=1.0, interval_s=5.0)
        for n in range(8)
    ]
    specs.append(CheckSettings(name="well", type="file", path="/y", timeout_s=1.0, interval_s=5.0))
    checks = Checks(specs, run=run, first_wait_s=0.05)
    states: List[Any] = []
    before = threads.running()
    for at in range(0, 120_000, 5_000):
        samples = checks.sweep(at)
        time.sleep(0.01)
        states.append({s.subject: s.value for s in samples if s.signal == "check.state"})
        if at == 30_000:
            before = threads.running()
    release.set()
    assert states[-1] == {**{f"dead{n}": "hung" for n in range(8)}, "well": "ok"}
    assert [begun.count(f"dead{n}") for n in range(8)] == [1] * 8 and begun.count("well") > 10
    assert threads.since(before) <= 1


# --- files -------------------------------------------------------------------------------------------------------


def look(path: Path, now_ms: int, **more: Any) -> Any:
    spec = CheckSettings(name="b", type="file", path=str(path), **more)
    return files.run(spec, 5.0, clock=FixedClock(wall_ms=now_ms))


def test_a_file_is_judged_by_age_and_size(tmp_path) -> None:
    file = tmp_path / "dump.gz"
    assert look(file, 0).state == "missing"
    file.write_bytes(b"x" * 100)
    os.utime(file, (1000, 1000))
    assert look(file, 1_060_000, max_age=120.0).state == "ok"
    assert look(file, 1_130_000, max_age=120.0).state == "old"
    assert look(file, 1_060_000, max_age=120.0, least_bytes=101).state == "small"
    assert look(file, 0, max_age=120.0).facts == {"age_s": 0, "bytes": 100, "files": 1}


def test_of_those_that_match_the_newest_counts(tmp_path) -> None:
    for n in range(3):
        (tmp_path / f"db-{n}.gz").write_bytes(b"x")
        os.utime(tmp_path / f"db-{n}.gz", (1000 * n, 1000 * n))
    (tmp_path / "db-9.gz").mkdir()
    assert look(tmp_path / "db-*.gz", 2_030_000).facts == {"age_s": 30, "bytes": 1, "files": 3}


def test_the_check_runs_by_its_type(tmp_path) -> None:
    (tmp_path / "f").write_text("x")
    answer = run_check(CheckSettings(name="f", type="file", path=str(tmp_path / "f")), clock=SystemClock())
    assert answer.state == "ok"
    assert run_check(CheckSettings(name="c", type="command", command="no-such-command")).state == "unknown"


def test_a_signal_that_ends_a_plugin_is_said(folder) -> None:
    entry(folder, "c", script(folder, "kill -9 $$\n"))
    answer = ask(folder)
    assert answer.state == "unknown" and answer.detail.startswith(
        f"was ended by signal {signal.SIGKILL.value}"
    )
