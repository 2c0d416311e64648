"""Evidence: small enough, without secrets, with what an engineer asks first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.checks.spec import CheckSettings
from agent.evidence import (
    add_io,
    fit,
    gather,
    joined,
    kernel_lines,
    program_lines,
    redact,
    related_series,
    remembered,
    size_of,
    thin,
    top_processes,
    unit_of,
)
from agent.samplers.root_only import NoAnswer
from agent.settings import AgentSettings
from agent.signals.sample import Sample
from agent.wire import MAX_EVIDENCE_BYTES, Evidence, Fact, FindingChange
from config.clock import FixedClock
from tests.tools.examples import examples

Lay = Callable[[Dict[str, str]], Path]


def change(family: str = "cpu", subject: str = "", **more: Any) -> FindingChange:
    return FindingChange(1, "opened", 1, "rule", subject, family, 0, mono_ms=2_000_000, **more)


class OneSeries:
    """Points for every signal."""

    def __init__(self, points: List[Tuple[int, float]]) -> None:
        self.points = points
        self.asked: List[Tuple[str, str, int]] = []
        self.lines: Dict[str, Sample] = {}

    def series(self, signal: str, subject: str = "", since_ms: int = 0) -> List[Tuple[int, float]]:
        self.asked.append((signal, subject, since_ms))
        return self.points if not subject else []

    def newest(self, signal: str, subject: str = "") -> Optional[Sample]:
        return self.lines.get(subject) if signal == "log" else None

    def subjects(self, signal: str) -> List[str]:
        return list(self.lines) if signal == "log" else []


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("mysqldump -u root -pHunter2 shop", "Hunter2"),
        ("connect postgres://app:s3cr3t@db/shop failed", "s3cr3t"),
        ("GET /hook?token=abcd1234&x=1 200", "abcd1234"),
        ("Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.payload", "payload"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("Cookie: PHPSESSID=deadbeef; lang=uk", "deadbeef"),
        ('{"user":"a","password":"p w","x":1}', "p w"),
        ("DB_PASSWORD='two words' HOME=/", "two words"),
        ("curl --api-key=KEY123 https://x", "KEY123"),
        ("aws key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("GRANT ALL TO x IDENTIFIED BY 'opensesame'", "opensesame"),
        ("client_secret => zzz999,", "zzz999"),
        ("-----BEGIN RSA PRIVATE KEY----- MIIE", "MIIE"),
    ],
)
def test_what_reads_like_a_secret_is_removed(line: str, secret: str) -> None:
    assert secret not in redact(line)
    assert "removed" in redact(line)


@pytest.mark.parametrize(
    "line",
    [
        "Failed password for root from 192.0.2.7 port 22 ssh2",
        "EXT4-fs error (device vda1): ext4_find_entry:1436: inode #2: comm ls",
        "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)",
        "Out of memory: Killed process 1777 (mysqld) total-vm:640000kB",
    ],
)
def test_what_an_engineer_needs_stays(line: str) -> None:
    assert redact(line) == line


def test_a_line_is_cut_and_holds_no_control_characters() -> None:
    assert len(redact("x" * 5000)) == 300
    assert redact("a\x1b[31mb\nc") == "a [31mb c"


@settings(max_examples=examples(60), deadline=None, database=None)
@given(st.text(max_size=900))
def test_redaction_takes_any_text(text: str) -> None:
    assert len(redact(text)) <= 300


def test_evidence_that_is_too_large_loses_the_least_useful_and_fits() -> None:
    log = [{"at_ms": n, "source": "kernel", "text": f"line {n} " + "x" * 280} for n in range(40)]
    series = {f"signal.{n}": [[float(at), at * 1.5] for at in range(90)] for n in range(12)}
    top = [{"by": "cpu", "pid": n, "name": "x" * 40, "user": "root", "cpu_pct": 1.0} for n in range(15)]
    small = fit(Evidence(top, log, series, {"sockets": {"listen": 3}}))
    assert size_of(small) <= MAX_EVIDENCE_BYTES
    assert small.log[-1] == log[-1], "the newest line is the last to go"
    assert len(small.series) >= 2
    assert len(small.top) >= 3
    json.dumps(small.notes)


def test_evidence_that_fits_stays_as_it_is() -> None:
    evidence = Evidence([], [{"at_ms": 1, "source": "kernel", "text": "x"}], {"a": [[1.0, 2.0]]})
    assert fit(evidence) is evidence


def test_thinning_keeps_the_peak_and_the_last_point() -> None:
    points = [(at, 1.0) for at in range(200)]
    points[57] = (57, 99.0)
    thinned = thin(points, 20)
    assert len(thinned) <= 21
    assert (57, 99.0) in thinned
    assert thinned[-1] == points[-1]


def test_series_are_of_the_finding_and_its_family_in_wall_time() -> None:
    clock = FixedClock(wall_ms=5_000_000, mono_ms=2_000_000)
    history = OneSeries([(1_990_000, 1.0), (2_000_000, 2.0)])
    found = related_series(change("io", "vda", facts={"psi.io_full60": Fact(1.0)}), history, clock)
    assert list(found)[:2] == ["psi.io_full60", "disk.await_ms"]
    assert found["disk.await_ms"] == [[4_990_000, 1.0], [5_000_000, 2.0]]
    assert history.asked[0] == ("psi.io_full60", "vda", 2_000_000 - 900_000)


def test_top_processes_carry_numbers_and_no_arguments(lay: Lay) -> None:
    def stat(ticks: int) -> str:
        return f"42 (my sqld) R 1 42 42 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 3 0 8123 1 25600 " + "0 " * 30

    root = lay(
        {"proc/42/stat": stat(0), "proc/42/cmdline": "mysqld\0--password=x\0", "proc/42/environ": "A=b"}
    )
    rows = top_processes(root, {}, lambda seconds: lay({"proc/42/stat": stat(50)}) and None)
    assert len(rows) == 1
    assert (rows[0]["by"], rows[0]["name"], rows[0]["rss_mb"]) == ("cpu", "my sqld", 100.0)
    assert set(rows[0]) == {"by", "pid", "name", "user", "cpu_pct", "rss_mb", "io_mbps"}


def test_a_kernel_log_that_may_not_be_read_is_named_in_the_notes(lay: Lay) -> None:
    notes: Dict[str, Any] = {}
    assert kernel_lines(lay({"proc/x": ""}), notes, FixedClock()) == []
    assert "cannot be read" in notes["kernel_log"]


def test_the_unit_is_the_findings_subject_or_that_of_its_check() -> None:
    settings_ = AgentSettings(checks=[CheckSettings(name="front", type="unit", unit="nginx.service")])
    assert unit_of(change("unit", "shop.service"), settings_) == "shop.service"
    assert unit_of(change("process", "front"), settings_) == "nginx.service"
    assert unit_of(change("unit", "--root=/tmp.service"), settings_) == ""
    assert unit_of(change("fs_space", "/var"), settings_) == ""


def test_gathering_on_this_machine_fits_and_is_json(tmp_path: Path) -> None:
    evidence = gather(change(), OneSeries([(1, 1.0), (2, 2.0)]), AgentSettings(), pause=lambda seconds: None)
    assert size_of(evidence) <= MAX_EVIDENCE_BYTES
    assert evidence.top


def test_programs_lines_of_the_last_quarter_of_an_hour_go_with_a_finding() -> None:
    clock = FixedClock(mono_ms=7_200_000)
    history = OneSeries([])
    history.lines = {
        "": Sample("log", "", "nginx: newest", 7_190_000),
        "nginx": Sample("log", "nginx", "nginx: no live upstreams", 7_190_000),
        "mysqld": Sample("log", "mysqld", "mysqld: Too many connections", 6_000_000),
    }
    assert program_lines(history, clock) == [
        {"at_ms": clock.now_ms() - 10_000, "source": "nginx", "text": "nginx: no live upstreams"}
    ]


def test_kernel_lines_of_the_last_hour_are_told_and_those_of_the_boot_are_not(lay: Lay) -> None:
    old, fresh = 5_000_000, 7_190_000_000  # microseconds since boot: seconds after it, and 10 s before now
    ring = f"6,1,{fresh},-;EXT4-fs error (device vda1): reading directory"
    clock = FixedClock(mono_ms=7_200_000)
    lines = kernel_lines(lay({"dev/kmsg": ring}), {}, clock)
    assert [line["text"] for line in lines] == ["EXT4-fs error (device vda1): reading directory"]
    assert kernel_lines(lay({"dev/kmsg": f"6,1,{old},-;Run /init as init process"}), {}, clock) == []


def test_a_record_of_the_kernel_that_is_not_understood_is_counted(lay: Lay) -> None:
    notes: Dict[str, Any] = {}
    assert kernel_lines(lay({"dev/kmsg": "no record of the kernel's"}), notes, FixedClock()) == []
    assert notes == {"kernel_log": "1 of the last records not understood"}


def test_findings_of_one_moment_share_the_look_at_processes_and_not_what_the_kernel_just_said(
    lay: Lay,
) -> None:
    clock, looks = FixedClock(mono_ms=7_200_000), []
    root = lay({"dev/kmsg": "6,1,7190000000,-;usb 1-1: new device"})

    def lines(now: str) -> List[str]:
        lay({"dev/kmsg": now})
        found = gather(change(), OneSeries([]), AgentSettings(), root, clock=clock, pause=looks.append)
        return [line["text"] for line in found.log]

    assert lines("6,1,7190000000,-;usb 1-1: new device") == ["usb 1-1: new device"]
    assert lines("3,2,7199000000,-;I/O error, dev sda, sector 8") == ["I/O error, dev sda, sector 8"]
    assert len(looks) <= 1


def test_who_reads_and_writes_is_asked_of_root_where_we_are_not_told(lay: Lay) -> None:
    stat = "{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0 1 0 100 0 256 0 0 0 0 0 0 0 0 0 0 0\n"
    root = lay(
        {f"proc/{pid}/stat": stat.format(pid=pid, name=name) for pid, name in ((7, "cron"), (8, "mysqld"))}
    )
    rows: List[Dict[str, Any]] = [
        {"by": "cpu", "pid": 7, "name": "cron", "user": "", "cpu_pct": 1.0, "rss_mb": 1.0, "io_mbps": None}
    ]
    notes: Dict[str, Any] = {}
    told = json.dumps(
        [
            {"pid": 8, "bytes_ps": 3 * 1024 * 1024},
            {"pid": 7, "bytes_ps": 1024 * 1024},
            {"pid": 9, "bytes_ps": 1},
        ]
    )
    add_io(rows, root, notes, lambda question: told)
    assert [(row["name"], row["by"], row["io_mbps"]) for row in rows] == [
        ("cron", "cpu", 1.0),
        ("mysqld", "io", 3.0),
    ]
    assert notes == {}
    add_io(rows[:0], root, notes, lambda question: NoAnswer("no"))
    assert notes == {"io": "no"}


def test_the_line_that_raised_the_finding_is_told_though_the_kernel_has_said_much_since() -> None:
    clock = FixedClock(10_000_000, mono_ms=2_000_000)
    said = "EXT4-fs error (device vdb1): ext4_find_entry:1455: inode #2"
    raised = change("fs", "ext4_err", facts={"kmsg": Fact(said)})
    memory = remembered(raised, OneSeries([]), clock)
    later = {"at_ms": 2, "source": "kernel", "text": "port1: entered promiscuous mode"}
    assert [line["text"] for line in joined(Evidence(log=[later]), memory).log] == [said, later["text"]]
    again = {"at_ms": 1, "source": "kernel", "text": said}
    assert joined(Evidence(log=[again, later]), memory).log == [again, later]
    assert remembered(change("fs"), OneSeries([]), clock).log == []
