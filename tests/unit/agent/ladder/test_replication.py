"""Replication lag on the backup: from a real command and from real heartbeat files; its age, and what reaches a report."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any, Dict, List

import pytest

from agent.checks import commands, replication
from agent.checks.answer import CheckAnswer
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings, from_dict
from agent.core import AgentCore, Identity, Status
from agent.findings import Now
from agent.samplers.watching import Checks
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.wire import Reply
from config.clock import FixedClock

T0 = 1_767_225_600_000


def at(wall_ms: int = T0) -> FixedClock:
    return FixedClock(wall_ms)


def beat(tmp_path: Path, text: str = "", age_s: float = 0.0) -> CheckSettings:
    file = tmp_path / "heartbeat"
    file.write_text(text)
    os.utime(file, (T0 / 1000 - age_s, T0 / 1000 - age_s))
    return CheckSettings(name="site", type="replication", path=str(file))


def iso(age_s: float) -> str:
    zone = datetime.timezone(datetime.timedelta(hours=3))
    return datetime.datetime.fromtimestamp(T0 / 1000 - age_s, zone).isoformat()


@pytest.mark.parametrize("text", ["", f"{T0 / 1000 - 7}\n", iso(7), iso(7) + "\n"])
def test_a_replicated_file_tells_the_lag_by_its_text_or_else_by_its_time(tmp_path: Path, text: str) -> None:
    answer = run_check(beat(tmp_path, text, age_s=7.0), clock=at())
    assert (answer.state, answer.facts["lag_s"]) == ("ok", 7.0)


def test_a_lag_beyond_the_bound_is_old_and_told_all_the_same(tmp_path: Path) -> None:
    answer = run_check(beat(tmp_path, age_s=90.0), clock=at())
    assert (answer.state, answer.facts["lag_s"]) == ("old", 90.0)


@pytest.mark.parametrize(
    ("text", "age_s", "state"),
    [
        ("yesterday", 0, "protocol"),
        ("2026-01-01T00:00:00", 0, "protocol"),  # of which zone?
        ("12", 0, "protocol"),
        ("nan", 0, "protocol"),
        ("x" * 100, 0, "unknown"),
        ("", -60, "protocol"),  # the primary's clock is ahead: no lag is known, least of all none
    ],
)
def test_what_is_no_moment_gives_no_lag(tmp_path: Path, text: str, age_s: float, state: str) -> None:
    answer = run_check(beat(tmp_path, text, age_s), clock=at())
    assert (answer.state, "lag_s" in answer.facts) == (state, False)


@pytest.mark.parametrize(("printed", "unit"), [("2MB", "B"), ("17c", "c"), ("3%", "%"), ("5rows", "rows")])
def test_a_lag_in_octets_or_counts_is_no_time(printed: str, unit: str) -> None:
    spec = CheckSettings(name="site", type="replication", command="lag")
    said = commands.judge(0, f"OK | lag={printed}".encode(), 1.0)
    answer = replication.from_numbers(spec, said)
    assert answer.state == "protocol" and "lag_s" not in answer.facts
    assert f"in {unit}, which is no time" in answer.detail


def test_a_file_that_is_gone_and_a_pipe_give_no_lag(tmp_path: Path) -> None:
    gone = CheckSettings(name="site", type="replication", path=str(tmp_path / "none"))
    assert run_check(gone, clock=at()).state == "missing"
    os.mkfifo(str(tmp_path / "pipe"))
    pipe = CheckSettings(name="site", type="replication", path=str(tmp_path / "pipe"))
    assert run_check(pipe, clock=at()).state == "unknown"


@pytest.mark.parametrize(
    ("line", "status", "state", "lag"),
    [
        ("OK - streaming | lag=2s;10;60", 0, "ok", 2.0),
        ("OK | lag=1500ms", 0, "ok", 1.5),
        ("OK | lag=90s", 0, "old", 90.0),
        ("WARNING - slow | lag=12s", 1, "warning", 12.0),
        ("CRITICAL - no slave thread", 2, "critical", None),
        ("OK | seconds=2s", 0, "protocol", None),
        ("OK | lag=-5s", 0, "protocol", None),
    ],
)
def test_a_real_command_tells_the_lag_as_performance_data(
    tmp_path: Path, line: str, status: int, state: str, lag: Any
) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{line}'\nexit {status}\n")
    plugin.chmod(0o755)
    (tmp_path / "repl.yaml").write_text(f"run: [{plugin}]\n")
    (tmp_path / "repl.yaml").chmod(0o644)
    tmp_path.chmod(0o755)
    spec = CheckSettings(name="db", type="replication", command="repl")
    answer = replication.run(spec, 5.0, folder=tmp_path, owner=os.getuid())
    assert (answer.state, answer.facts.get("lag_s")) == (state, lag), answer.detail


def test_a_check_needs_a_command_or_a_file_and_not_both() -> None:
    for wrong in ({}, {"command": "a", "path": "/b"}):
        with pytest.raises(ValueError, match="one of both"):
            from_dict({"name": "db", "type": "replication", **wrong})


# --- the sampler, and the report ----------------------------------------------------------------------------------


def swept(checks: Checks, at_ms: int) -> Dict[str, Any]:
    checks.sweep(at_ms)
    checks.settle(1.0)
    samples = checks.sweep(at_ms + 1)
    return {s.signal: s for s in samples if s.signal.startswith("repl.") and not s.subject}


def test_the_age_grows_while_no_lag_can_be_had(tmp_path: Path) -> None:
    answers: List[CheckAnswer] = [
        CheckAnswer("ok", facts={"lag_s": 2.0}),
        CheckAnswer("critical"),
        CheckAnswer("unknown"),
    ]
    spec = CheckSettings(name="db", type="replication", command="repl")
    checks = Checks([spec], run=lambda *_, **__: answers.pop(0), first_wait_s=2.0)
    first = {s.signal: s for s in checks.sweep(1_000) if not s.subject}
    assert (first["repl.lag_s"].value, first["repl.lag_s"].at_ms) == (2.0, 1_000)
    for at_ms in (61_000, 121_000):
        later = swept(checks, at_ms)
        assert "repl.lag_s" not in later
        assert later["repl.sample_age_s"].value == pytest.approx(at_ms / 1000 - 1.0, abs=0.01)


def test_of_two_sites_the_one_that_may_be_furthest_behind_stands_for_the_host() -> None:
    lags = {"a": 5.0, "b": 40.0}
    specs = [CheckSettings(name=n, type="replication", command="r") for n in lags]
    checks = Checks(
        specs, run=lambda spec, **_: CheckAnswer("ok", facts={"lag_s": lags[spec.name]}), first_wait_s=2.0
    )
    samples = checks.sweep(0)
    assert {s.subject: s.value for s in samples if s.signal == "repl.lag_s"} == {
        "a": 5.0,
        "b": 40.0,
        "": 40.0,
    }


def test_a_report_tells_the_newest_lag_until_it_was_taken_and_then_no_more(tmp_path: Path) -> None:
    def now(second: int) -> Now:
        return Now(mono_ms=second * 1000, wall_ms=T0 + second * 1000, boottime_ms=second * 1000)

    core = AgentCore(
        Spool.open(tmp_path, new_id=lambda: "s1", max_bytes=100_000), [], Identity("0.1", "b1", "r1"), now(0)
    )

    def told(second: int) -> List[Any]:
        return [(one.signal, one.value, one.at_ms) for one in core.report(now(second), Status(10.0)).told]

    core.take([Sample("repl.lag_s", "", 9.0, 1_000), Sample("repl.lag_s", "db", 9.0, 1_000)], now(2))
    core.take([Sample("repl.lag_s", "", 2.0, 31_000)], now(32))
    assert told(33) == [("repl.lag_s", 2.0, T0 + 31_000)]
    assert told(43) == [("repl.lag_s", 2.0, T0 + 31_000)]
    core.replied(Reply(want_n=1), now(44), stream=core.spool.stream)
    assert told(53) == []
