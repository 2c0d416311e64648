"""What is usual at this hour, in the agent: facts of findings, levels that never were, and the file that survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional

import pytest

from agent.core import AgentCore, Identity
from agent.findings import Now
from agent.settings import SHIPPED
from agent.signals.catalogue import UNITS
from agent.signals.profile import SLOT_MS
from agent.signals.rules import RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.usual import FILE_NAME, MAX_FILE_BYTES, SAVE_EVERY_MS, UsualHours
from agent.wire import FindingChange
from config import loader

MONDAY = 4 * 86_400_000 * 1000
HOUR = 3_600_000
DAY = 24 * HOUR
CPU = "cpu.user_pct"
NIGHT = 2
"""Hour of the nightly job."""


class Server:
    """A server that is busy from two to three at night, sampled every five minutes (or as told)."""

    def __init__(self, folder: Path, usual: Optional[UsualHours] = None, step_ms: int = SLOT_MS) -> None:
        rules = compile_rules(loader.load(SHIPPED / "rules.yaml", RuleFile))
        folder.mkdir(exist_ok=True)
        spool = Spool.open(folder, new_id=lambda: "s", max_bytes=1 << 20)
        self.usual = usual or UsualHours()
        self.at_ms = MONDAY
        self.step_ms = step_ms
        self.core = AgentCore(
            spool, rules, Identity("1", "b", "r"), self.now(), units=UNITS, usual=self.usual
        )

    def now(self) -> Now:
        return Now(self.at_ms, self.at_ms - MONDAY, self.at_ms - MONDAY)

    def run(self, until_ms: int, *, night: float = 95.0, day: float = 20.0) -> List[FindingChange]:
        """Sample until then, by two samplers that come one after another; what changed."""
        found: List[FindingChange] = []
        while self.at_ms < until_ms:
            self.at_ms += self.step_ms
            is_night = self.at_ms % DAY // HOUR == NIGHT
            found += self.take(CPU, night if is_night else day)
            self.at_ms += 700
            found += self.take("mem.avail_pct", 60.0)
            self.at_ms -= 700
        return found

    def take(self, signal: str, value: float) -> List[FindingChange]:
        now = self.now()
        samples = [Sample(signal, "", value, now.mono_ms)]
        if signal == CPU:
            samples += [Sample(s, "", 0.0, now.mono_ms) for s in ("cpu.sys_pct", "cpu.softirq_pct")]
        return self.core.take(samples, now, signal.partition(".")[0])


def of(changes: List[FindingChange], rule: str, kind: str = "opened") -> List[FindingChange]:
    return [c for c in changes if c.rule == rule and c.kind == kind]


def test_the_same_as_every_night_is_a_fact_of_the_finding(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.run(MONDAY + 4 * DAY)
    (found,) = of(server.run(MONDAY + 4 * DAY + 4 * HOUR), "cpu_busy")
    fact = found.facts[CPU]
    assert fact.as_usual is True
    assert fact.usual == pytest.approx(95.0, abs=8)
    assert next(iter(found.facts)) == CPU, "the collector reads the first fact as the rule's own"


def test_the_same_load_at_another_hour_is_not_usual(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.run(MONDAY + 4 * DAY + 10 * HOUR)
    (found,) = of(server.run(MONDAY + 4 * DAY + 11 * HOUR, day=95.0), "cpu_busy")
    assert found.facts[CPU].as_usual is False


def test_what_outlasts_the_usual_hour_is_told_as_changed(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.run(MONDAY + 5 * DAY + 3 * HOUR - SLOT_MS)
    (changed,) = of(server.run(MONDAY + 5 * DAY + 4 * HOUR, day=95.0), "cpu_busy", "changed")
    assert changed.facts[CPU].as_usual is False
    late_ms = changed.at_ms - (MONDAY + 5 * DAY + 3 * HOUR)
    assert 0 <= late_ms <= 2 * SLOT_MS


def test_before_two_days_nobody_knows_what_is_usual(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.run(MONDAY + DAY)
    (found,) = of(server.run(MONDAY + DAY + 4 * HOUR), "cpu_busy")
    assert (found.facts[CPU].usual, found.facts[CPU].as_usual) == (None, None)


@pytest.mark.parametrize("step_ms", [10_000, 60_000, SLOT_MS])
def test_a_level_that_never_was_opens_once_and_closes_when_it_is_over(tmp_path: Path, step_ms: int) -> None:
    """Whatever the period, and although the samplers close their five minutes at different moments."""
    server = Server(tmp_path, step_ms=step_ms)
    found = server.run(MONDAY + 3 * DAY, night=45.0)
    assert of(found, "unusual_cpu") == []
    found = server.run(MONDAY + 3 * DAY + 2 * HOUR, night=45.0, day=80.0)
    found += server.run(MONDAY + 3 * DAY + 5 * HOUR, night=45.0)
    assert [(c.kind, c.subject) for c in found if c.rule == "unusual_cpu" and c.kind != "changed"] == [
        ("opened", CPU),
        ("closed", CPU),
    ]
    assert of(found, "unusual_cpu", "closed")[0].reason == "cleared"


def test_the_profile_survives_a_restart_and_a_crash_forgets_an_hour_at_most(tmp_path: Path) -> None:
    usual = UsualHours.open(tmp_path)
    server = Server(tmp_path / "a", usual)
    for hour in range(1, 24 * 3 + 1):
        server.run(MONDAY + hour * HOUR)
        usual.save_if_due(server.now().mono_ms)
    back = UsualHours.open(tmp_path)
    assert back.notes == []
    at_night = MONDAY + 4 * DAY + NIGHT * HOUR
    assert back.of(CPU, "", 95.0, at_night) == (pytest.approx(95.0, abs=8), True)
    assert back.of(CPU, "", 95.0, at_night + 5 * HOUR)[1] is False
    assert not (tmp_path / (FILE_NAME + ".new")).exists()


def test_it_is_written_once_an_hour_and_only_where_something_was_learned(tmp_path: Path) -> None:
    usual = UsualHours.open(tmp_path)
    assert not usual.save_if_due(0) and not usual.save_if_due(2 * SAVE_EVERY_MS)
    server = Server(tmp_path / "a", usual)
    server.run(MONDAY + HOUR)
    assert not usual.save_if_due(2 * SAVE_EVERY_MS + 1)
    assert usual.save_if_due(3 * SAVE_EVERY_MS)
    assert (tmp_path / FILE_NAME).stat().st_size <= 20 * 1024


@pytest.mark.parametrize("torn", ["cut", "flipped", "empty", "huge", "folder"])
def test_a_torn_file_is_an_empty_profile_and_a_note(tmp_path: Path, torn: str) -> None:
    usual = UsualHours.open(tmp_path)
    Server(tmp_path / "a", usual).run(MONDAY + 3 * HOUR)
    assert usual.save()
    path = tmp_path / FILE_NAME
    raw = path.read_bytes()
    if torn == "folder":
        path.unlink()
        path.mkdir()
    else:
        flipped = bytes(raw[:90]) + bytes([raw[90] ^ 4]) + raw[91:]
        kinds: Any = {"cut": raw[:-9], "flipped": flipped, "empty": b"", "huge": raw + b"x" * MAX_FILE_BYTES}
        path.write_bytes(kinds[torn])
    back = UsualHours.open(tmp_path)
    assert len(back.notes) == 1 and back.profile.days(CPU) == 0


def test_a_disk_that_takes_nothing_is_a_note_and_the_next_hour_tries_again(tmp_path: Path) -> None:
    usual = UsualHours(path=tmp_path / "gone" / FILE_NAME)
    Server(tmp_path / "a", usual).run(MONDAY + HOUR)
    assert not usual.save() and len(usual.notes) == 1
    (tmp_path / "gone").mkdir()
    assert usual.save()


def test_little_memory_is_usual_where_the_hour_has_as_little(tmp_path: Path) -> None:
    usual = UsualHours()
    server = Server(tmp_path, usual)
    server.run(MONDAY + 3 * DAY)
    assert usual.of("mem.avail_pct", "", 58.0, server.at_ms)[1] is True
    assert usual.of("mem.avail_pct", "", 30.0, server.at_ms)[1] is False
