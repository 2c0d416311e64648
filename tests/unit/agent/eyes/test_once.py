"""``once``: what holds now, what is near, whose fault it looks like, in both languages."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest

from agent.history import History
from agent.once import LAST_WAIT_S, LOOK_S, Found, Look, as_document, judge, look
from agent.once_page import blame, headline, page, sentence
from agent.samplers.filesystems import Filesystems, MountSettings, Space
from agent.settings import SHIPPED
from agent.signals.parsers.error import ParseError
from agent.signals.rules import RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.texts import TEXTS, say_number
from config import loader
from config.clock import FixedClock, SystemClock, perf_seconds

RULES = compile_rules(loader.load(SHIPPED / "rules.yaml", RuleFile))


def history_of(*samples: tuple[str, str, Any]) -> History:
    history = History()
    history.record(Sample(signal, subject, value, 1_000) for signal, subject, value in samples)
    return history


def test_a_rule_whose_level_holds_is_found_at_once_without_its_duration() -> None:
    found, near = judge(RULES, history_of(("fs.used_pct", "/var", 97.2), ("fs.used_pct", "", 97.2)))
    assert [(f.rule.name, f.subject, f.value) for f in found] == [("fs_full", "/var", 97.2)]
    assert near == []


def test_a_value_between_clear_and_raise_is_near() -> None:
    found, near = judge(RULES, history_of(("fs.used_pct", "/var", 92.0)))
    assert found == []
    assert [f.rule.name for f in near] == ["fs_full"]


def test_the_worse_level_raises_the_severity_and_the_order() -> None:
    found, _ = judge(RULES, history_of(("cpu.steal_pct", "", 12.0), ("fs.used_pct", "/", 99.9)))
    assert [(f.rule.name, f.severity) for f in found] == [("fs_full", "critical"), ("cpu_steal", "medium")]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([("cpu.steal_pct", "", 30.0)], "the layer below this server"),
        ([("fs.used_pct", "/", 99.0)], "this server itself"),
        ([("cpu.steal_pct", "", 30.0), ("fs.used_pct", "/", 99.0)], "Signs of both"),
        (
            [("disk.await_ms", "vda", 300.0), ("disk.util_pct", "vda", 99.0), ("disk.qdepth", "vda", 0.8)],
            "little is asked",
        ),
        (
            [("disk.await_ms", "vda", 300.0), ("disk.util_pct", "vda", 99.0), ("disk.qdepth", "vda", 40.0)],
            "our own requests",
        ),
        ([("clk.synced", "", False)], "cannot tell"),
    ],
)
def test_the_sentence_about_fault_follows_the_signs(samples: List[Any], words: str) -> None:
    history = history_of(*samples)
    found, _ = judge(RULES, history)
    assert words in blame(found, history, "en")


def test_the_document_has_each_signal_once_and_its_parts_in_braces() -> None:
    history = history_of(("fs.used_pct", "", 60.0), ("fs.used_pct", "/", 60.0), ("check.state", "a", "ok"),
                         ("check.state", "b", "refused"), ("tls.days", "b", 3.0))  # fmt: skip
    found, _ = judge(RULES, history)
    document = as_document(
        Look(history, {"cpu.steal_pct": "bare metal"}, {"disk": "permission denied"}), found, "en"
    )
    assert set(document) == {"signals", "lacks", "findings"}
    assert document["signals"]["fs.used_pct"] == {"value": 60.0, "unit": "%"}
    assert document["signals"]["fs.used_pct{/}"]["value"] == 60.0
    assert document["signals"]["check.state"]["value"] == "refused", "the worst stands for the host"
    assert document["signals"]["tls.days"] == {"value": 3.0, "unit": "days"}
    assert document["lacks"] == {"cpu.steal_pct": "bare metal", "sampler disk": "permission denied"}
    assert document["findings"][0]["rule"] == "check_fails"
    json.dumps(document, allow_nan=False)


class Scripted:
    """A sampler that gives what it is told."""

    period_s = 10.0

    def __init__(self, name: str, *sweeps: Any) -> None:
        self.name = name
        self._sweeps = list(sweeps)

    def sweep(self, mono_ms: int) -> List[Sample]:
        sweep = self._sweeps.pop(0)
        if isinstance(sweep, Exception):
            raise sweep
        return sweep

    def lacks(self) -> Dict[str, str]:
        return {f"{self.name}.x": "not here"}


def test_a_sampler_that_fails_is_named_and_the_others_go_on() -> None:
    good = Scripted("good", [Sample("a.b", "", 1.0, 0)], [Sample("a.b", "", 2.0, 6_000)])
    bad = Scripted("bad", ParseError("expected a number"))
    gone = Scripted("gone", FileNotFoundError(2, "No such file or directory"))
    seen = look([bad, gone, good], FixedClock())
    assert seen.history.value("a.b") == 2.0
    assert seen.failed == {"bad": "not understood: expected a number", "gone": "no such file or directory"}
    assert seen.lacks["good.x"] == "not here"


@pytest.mark.parametrize("language", ["en", "uk"])
def test_the_page_says_what_is_wrong_in_its_language(language: str, tmp_path: Path) -> None:
    history = history_of(
        ("fs.used_pct", "/var", 97.25),
        ("cpu.user_pct", "", 12.5),
        ("cpu.online", "", 2),
        ("mem.avail_pct", "", 40.0),
    )
    found, near = judge(RULES, history)
    seen = Look(history, {"psi.io_full60": "this kernel has no /proc/pressure"}, {})
    (tmp_path / "proc").mkdir()
    text = "\n".join(page(seen, found, near, language, False, tmp_path, FixedClock()))
    if language == "en":
        assert "/var is 97.2 % full" in text
        assert "this kernel has no /proc/pressure" in text
    else:
        assert "/var заповнено на 97,2 %" in text
        assert "це ядро не має /proc/pressure" in text
        assert not re.search(r"\b(is|the|wrong|available|server)\b", text), text
    assert "\x1b[" not in text
    assert "\x1b[" in "\n".join(page(seen, found, near, language, True, tmp_path, FixedClock()))


def test_a_rule_of_the_admins_own_is_said_by_its_signal() -> None:
    rule = RULES[0]._replace(name="my_own")
    found, _ = judge([rule], history_of(("fs.used_pct", "/srv", 99.0)))
    assert sentence(found[0], "en") == "my_own /srv: fs.used_pct = 99 %"


def test_every_text_stands_in_both_languages_with_the_same_parameters() -> None:
    for key, (english, ukrainian) in TEXTS.items():
        assert english and ukrainian, key
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", ukrainian)), key


def test_numbers_are_written_as_the_language_writes_them() -> None:
    assert (say_number(12.50, "en"), say_number(12.50, "uk"), say_number(3.0, "uk")) == ("12.5", "12,5", "3")


def test_the_headline_names_system_and_uptime(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="CentOS Stream"\nPRETTY_NAME="CentOS Stream 9"\n')
    line = headline(history_of(("cpu.online", "", 4)), "uk", tmp_path, FixedClock(mono_ms=3 * 86_400_000))
    assert "CentOS Stream 9" in line
    assert "працює 3 дн." in line


def test_a_program_that_fills_the_processors_is_named_in_the_sentence_about_fault() -> None:
    history = history_of(("cpu.user_pct", "", 97.0), ("cpu.sys_pct", "", 2.0), ("cpu.softirq_pct", "", 0.0))
    found, _ = judge(RULES, history)
    top = [
        {"name": "php-fpm", "cpu_pct": 30.0, "rss_mb": 40.0},
        {"name": "mysqld", "cpu_pct": 50.0, "rss_mb": 900.0},
        {"name": "php-fpm", "cpu_pct": 31.0, "rss_mb": 40.0},
    ]
    assert "(most of it: php-fpm, 61 %)" in blame(found, history, "en", top)
    assert "(найбільше: php-fpm, 61 %)" in blame(found, history, "uk", top)


def test_a_program_at_its_own_limit_is_no_want_of_memory_of_the_server() -> None:
    history = history_of(("mem.avail_pct", "", 94.0))
    rule = next(rule for rule in RULES if rule.name == "oom_in_limit")
    found = [Found(rule, "", "Killed process 27890 (python) " * 9, "medium")]
    assert "its own memory limit" in blame(
        found, history, "en", [{"name": "python", "cpu_pct": 1.0, "rss_mb": 9.0}]
    )
    assert len(sentence(found[0], "en")) < 130 and sentence(found[0], "en").endswith("…")


@pytest.mark.slow
def test_a_mount_that_never_answers_is_found_and_the_look_ends_in_seconds() -> None:
    release = threading.Event()

    def statvfs(path: str) -> Space:
        if path != "/":
            release.wait()
        return 4096, 1000, 500, 1000, 500

    mounts = MountSettings(include=["/proc"])
    begun = perf_seconds()
    try:
        seen = look([Filesystems(Path("/"), mounts, statvfs)], SystemClock())
    finally:
        release.set()
    found, _ = judge(RULES, seen.history)
    assert ("fs_hung", "/proc") in {(f.rule.name, f.subject) for f in found}
    assert "does not answer" in blame(found, seen.history, "en")
    assert perf_seconds() - begun < LOOK_S


@pytest.mark.slow
def test_ten_samplers_that_hang_do_not_hold_the_look_ten_times_as_long() -> None:
    release = threading.Event()

    class Hung(Scripted):
        def sweep(self, mono_ms: int) -> List[Sample]:
            release.wait()
            return []

    begun = perf_seconds()
    try:
        seen = look([Hung(f"h{n}") for n in range(10)], FixedClock(), within_s=1.0)
    finally:
        release.set()
    assert len(seen.failed) == 10
    assert perf_seconds() - begun < 1.0 + 10 * LAST_WAIT_S + 2.0


def test_what_happened_a_while_ago_has_its_age_and_is_blamed_for_nothing() -> None:
    clock = FixedClock()
    killed = "Memory cgroup out of memory: Killed process 27890 (python)"

    def told(ago_s: int) -> tuple[list[str], dict[str, Any]]:
        history = History()
        at_ms = clock.mono_ms() - ago_s * 1000
        history.record(
            [Sample("kmsg", "oom_cgroup", killed, at_ms), Sample("load.per_cpu", "", 0.1, clock.mono_ms())]
        )
        found, near = judge(RULES, history, clock.mono_ms())
        seen = Look(history, {}, {})
        (row,) = as_document(seen, found, "en")["findings"]
        return page(seen, found, near, "en", False, Path("/"), clock), row

    lines, row = told(13 * 60)
    text = "\n".join(lines)
    assert "Nothing is wrong" in text and "WHOSE FAULT" not in text
    assert "A WHILE AGO" in text and "(13 min ago)" in text and row["ago_s"] == 780.0
    lines, row = told(40)
    text = "\n".join(lines)
    assert "WRONG NOW" in text and "(40 s ago)" in text and "WHOSE FAULT" in text and row["ago_s"] == 40.0
