"""Disk probe, spin score, time source, CPU limit, programs' logs: against real files, a real chronyd, a real FUSE-free disk."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from agent.checks.systemctl import Unavailable
from agent.samplers import disk_probe, time_source
from agent.samplers.disk_probe import BLOCK, BLOCKS, DiskProbe, OwnFile
from agent.samplers.program_log import LINES_MAX, ProgramLog
from agent.samplers.spin import HOUR_MS, RUNS, Spin, work_ms
from agent.samplers.throttle import CpuLimit, levels
from agent.samplers.time_source import TimeSource
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.ntp import NTP_VARIABLES, parse_chrony, parse_ntp_variables
from tests.tools import threads
from tests.tools.ports import free_port

DEAD = ("127.0.0.1", 9)


def only(samples: List[Any], signal: str) -> Any:
    values = [s.value for s in samples if s.signal == signal and not s.subject]
    assert len(values) <= 1
    return values[0] if values else None


# --- disk probe --------------------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch) -> None:
    """What answers at once is waited for, also where this machine is busy."""
    for module in (disk_probe, time_source):
        monkeypatch.setattr(module, "QUICK_WAIT_S", 20.0)


def test_the_own_file_is_read_past_the_cache_where_the_file_system_allows_it(tmp_path) -> None:
    own = OwnFile(tmp_path / "disk-probe")
    try:
        took_ms = own.read_ms()
    except OSError as error:
        assert error.errno == errno.EINVAL  # tmpfs before 6.6
        return
    assert took_ms > 0 and (tmp_path / "disk-probe").stat().st_size == BLOCK * BLOCKS


def test_a_file_cut_short_is_made_anew_at_the_next_start(tmp_path) -> None:
    (tmp_path / "disk-probe").write_bytes(b"x" * 100)
    own = OwnFile(tmp_path / "disk-probe")
    try:
        assert own.read_ms() > 0
    except OSError as error:
        assert error.errno == errno.EINVAL
        return
    assert (tmp_path / "disk-probe").stat().st_size == BLOCK * BLOCKS


def test_a_read_that_does_not_end_is_told_by_its_age_and_costs_one_thread(tmp_path) -> None:
    release, calls = threading.Event(), []

    def hang() -> float:
        calls.append(1)
        release.wait(60)
        return 1.0

    probe = DiskProbe(tmp_path, measure=hang)
    assert probe.sweep(0) == []
    before = threads.running()
    ages = [only(probe.sweep(at), "disk.probe_ms") for at in range(10_000, 310_000, 10_000)]
    assert ages[:2] == [10_000.0, 20_000.0] and ages[-1] == 300_000.0
    assert (len(calls), threads.since(before)) == (1, 0)
    assert probe._errand is not None
    release.set()
    assert probe._errand.wait(20)
    assert only(probe.sweep(310_000), "disk.probe_ms") == 1.0


def test_a_read_much_slower_than_usual_is_asked_again_with_every_sweep(tmp_path, patient) -> None:
    times = iter([1.0] * 5 + [80.0, 90.0, 1.0, 1.0])
    probe = DiskProbe(tmp_path, measure=lambda: next(times))
    quiet = [at for at in range(0, 300_000, 10_000) if probe.sweep(at)]
    assert quiet == [0, 60_000, 120_000, 180_000, 240_000]
    busy = [at for at in range(300_000, 360_000, 10_000) if probe.sweep(at)]
    assert busy == [300_000, 310_000, 320_000]


def test_a_file_system_without_direct_reads_is_a_lack(tmp_path, patient) -> None:
    def refuse() -> float:
        raise OSError(errno.EINVAL, "Invalid argument")

    probe = DiskProbe(tmp_path, measure=refuse)
    assert probe.sweep(0) == [] and "knows no direct reads" in probe.lacks()["disk.probe_ms"]


# --- spin --------------------------------------------------------------------------------------------------------


def run_hours(spin: Spin, hours: int, begin_ms: int = 0) -> int:
    for at in range(begin_ms, begin_ms + hours * HOUR_MS + 20_000, 10_000):
        spin.sweep(at)
    return begin_ms + hours * HOUR_MS + 20_000


def test_the_score_falls_with_the_work_and_learning_survives_a_restart(tmp_path) -> None:
    took = [2.0]
    spin = Spin(tmp_path, work=lambda: took[0])
    at = run_hours(spin, 4)
    took[0] = 4.0
    again = Spin(tmp_path, work=lambda: took[0])
    found = [only(again.sweep(at + n * 10_000), "cpu.spin_score") for n in range(RUNS)]
    assert found == [None] * (RUNS - 1) + [0.5]


def test_until_some_hours_are_known_there_is_no_score(tmp_path) -> None:
    spin = Spin(tmp_path, work=lambda: 1.0)
    assert all(not spin.sweep(at) for at in range(0, HOUR_MS, 10_000))
    assert "learning" in spin.lacks()["cpu.spin_score"]


@pytest.mark.parametrize("cut", [0, 5, 9, 12, 13])
def test_a_torn_or_foreign_file_is_learned_anew(tmp_path, cut) -> None:
    run_hours(Spin(tmp_path, work=lambda: 1.0), 4)
    raw = (tmp_path / "spin").read_bytes()
    (tmp_path / "spin").write_bytes(raw[:cut] + (b"\xff\xff\xff\xff\xff" if cut else b""))
    assert "cpu.spin_score" in Spin(tmp_path).lacks()


def test_the_real_work_takes_time_and_not_much_of_it() -> None:
    assert 0.05 < min(work_ms() for _ in range(5)) < 50


# --- time source -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_chronyd_says_which_source_it_follows(tmp_path, require_package) -> None:
    require_package("chrony")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    port = free_port()
    (tmp_path / "c.conf").write_text(
        f"local stratum 5\nport 0\ncmdport {port}\nbindcmdaddress 127.0.0.1\nbindcmdaddress {tmp_path}/none/sock\n"
        f"pidfile {tmp_path}/pid\ndriftfile {tmp_path}/drift\n"
    )
    command = ["chronyd", "-x", "-d", "-u", "root", "-f", str(tmp_path / "c.conf")]
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": "/usr/sbin:/sbin:/usr/bin"})
    try:
        source = TimeSource(tmp_path, chrony=("127.0.0.1", port), ntp=DEAD)
        end = time.monotonic() + 15
        found = None
        while found is None and time.monotonic() < end:
            time.sleep(0.2)
            found = only(source.sweep(0), "clk.ntp_source")
        assert found == "local", (tmp_path / "log").read_text()
    finally:
        child.terminate()
        child.wait(10)


def chrony_answer(ref: bytes, address: bytes, family: int, stratum: int, leap: int, status: int = 0) -> bytes:
    head = struct.pack(">BBBBHHHHHHIII", 6, 2, 0, 0, 33, 5, status, 0, 0, 0, 7, 0, 0)
    return (
        head
        + ref
        + address.ljust(16, b"\0")
        + struct.pack(">HH", family, 0)
        + struct.pack(">HH", stratum, leap)
    )


def test_chronys_answers_by_kind_of_source() -> None:
    v4 = chrony_answer(b"\xc0\x00\x02\x05", b"\xc0\x00\x02\x05", 1, 3, 0)
    assert parse_chrony(v4) == "192.0.2.5"
    assert parse_chrony(chrony_answer(b"PPS\0", b"", 0, 1, 0)) == "PPS"
    assert parse_chrony(chrony_answer(b"\xc0\x00\x02\x05", b"\xc0\x00\x02\x05", 1, 3, 3)) == "none"
    six = bytes.fromhex("20010db8000000000000000000000001")
    assert parse_chrony(chrony_answer(b"\x01\x02\x03\x04", six, 2, 2, 0)) == "2001:db8::1"
    with pytest.raises(ParseError):
        parse_chrony(chrony_answer(b"\x01\x02\x03\x04", six, 2, 2, 0, status=2))
    for cut in range(len(v4)):
        with pytest.raises(ParseError):
            parse_chrony(v4[:cut])


def test_ntpds_variables_name_its_source() -> None:
    body = b"leap=00, stratum=3,\r\nrefid=192.0.2.77, offset=0.1"
    answer = struct.pack(">BBHHHHH", 0x16, 0x82, 1, 0, 0, 0, len(body)) + body
    assert parse_ntp_variables(answer) == "192.0.2.77"
    assert parse_ntp_variables(answer.replace(b"leap=00", b"leap=11")) == "none"
    with pytest.raises(ParseError):
        parse_ntp_variables(NTP_VARIABLES)


def test_timesyncd_is_asked_by_a_process_and_seldom(tmp_path, patient) -> None:
    asked: List[int] = []

    def ask() -> str:
        asked.append(1)
        return "192.0.2.9"

    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    source = TimeSource(tmp_path, chrony=DEAD, ntp=DEAD, ask_timesyncd=ask)
    found = []
    for at in range(0, 660_000, 60_000):
        found.append(only(source.sweep(at), "clk.ntp_source"))
    assert found.count("192.0.2.9") == 2 == len(asked)
    assert source.lacks() == {}


def test_without_any_daemon_the_source_is_lacking(tmp_path, patient) -> None:
    source = TimeSource(tmp_path, chrony=DEAD, ntp=DEAD)
    assert source.sweep(0) == [] and source.lacks() == {"clk.ntp_source": "no time daemon answers"}


# --- CPU limit ---------------------------------------------------------------------------------------------------


def lay(root: Path, files: Dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("own", "place"),
    [
        ("0::/system.slice/a.service\n", "sys/fs/cgroup/system.slice/cpu.stat"),
        ("3:cpu,cpuacct:/docker/ab\n0::/\n", "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.stat"),
        ("0::/../../outside\n", "sys/fs/cgroup/cpu.stat"),
    ],
)
def test_the_limit_that_holds_us_most_is_told_from_v1_and_v2(tmp_path, own, place) -> None:
    def stat(periods: int, held: int) -> str:
        return f"usage_usec 1\nnr_periods {periods}\nnr_throttled {held}\nthrottled_usec 5\n"

    limit = CpuLimit(lay(tmp_path, {"proc/self/cgroup": own, place: stat(100, 10)}))
    assert limit.sweep(0) == []
    lay(tmp_path, {place: stat(400, 85)})
    assert only(limit.sweep(30_000), "cg.throttled_pct") == 25.0
    assert only(limit.sweep(60_000), "cg.throttled_pct") == 0.0


def test_a_group_without_a_limit_is_a_lack_and_no_zero(tmp_path) -> None:
    root = lay(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": "usage_usec 12\n"})
    limit = CpuLimit(root)
    assert limit.sweep(0) == [] and limit.lacks() == {"cg.throttled_pct": "no CPU limit is set above us"}


def test_the_groups_above_us_end_at_the_top() -> None:
    assert levels("/a/b") == ["/a/b", "/a", ""]
    assert levels("/") == [""]
    assert len(levels("/x" * 500)) <= 21


# --- programs' logs ----------------------------------------------------------------------------------------------

STAMP = "Nov 22 21:00:00 web1 "


def test_only_lines_that_argue_are_told_and_without_secrets(tmp_path) -> None:
    root = lay(tmp_path, {"var/log/messages": STAMP + "mysqld[7]: Disk is full writing (Errcode: 28)\n"})
    log = ProgramLog(root, journal=lambda cursor: Unavailable("none"))
    assert log.sweep(0) == []  # what stood there before us is history
    with (root / "var/log/messages").open("a") as stream:
        stream.write(STAMP + "chronyd[1]: System clock wrong by -3600.0 seconds\n")
        stream.write(STAMP + "mysqld[7]: Too many connections password=hunter2\n")
        stream.write(STAMP + "sshd[9]: Accepted publickey for root\n")
        stream.write(STAMP + "php: getaddrinfo failed: Temporary failure in name resolution\n")
        stream.write(STAMP + "evil[1]: \x1b[31m$(reboot) No space left on device\n")
        stream.write(STAMP + "half a li")
    samples = log.sweep(10_000)
    told = [s.value for s in samples if not s.subject]
    assert told == [
        "chronyd: System clock wrong by -3600.0 seconds",
        "mysqld: Too many connections password=[removed]",
        "php: getaddrinfo failed: Temporary failure in name resolution",
        "evil:  [31m$(reboot) No space left on device",
    ]
    assert {s.subject for s in samples} == {"", "chronyd", "mysqld", "php", "evil"}


def test_a_storm_of_one_line_is_told_once_and_of_many_within_the_bound(tmp_path) -> None:
    root = lay(tmp_path, {"var/log/messages": ""})
    log = ProgramLog(root)
    log.sweep(0)
    with (root / "var/log/messages").open("a") as stream:
        stream.write((STAMP + "nginx[1]: 1024 worker_connections are not enough\n") * 200)
        stream.writelines(f"{STAMP}nginx[1]: no live upstreams while {n}\n" for n in range(100))
    told = [s for s in log.sweep(10_000) if not s.subject]
    assert len(told) == LINES_MAX and log.passed_over == 101 - LINES_MAX


def test_where_no_file_may_be_read_the_journal_is_asked_by_its_cursor_and_seldom(tmp_path) -> None:
    cursors: List[str] = []

    def journal(cursor: str) -> str:
        cursors.append(cursor)
        line = "2026-11-22T21:00:00+0000 web1 systemd[1]: httpd.service: Failed with result 'exit-code'.\n"
        return line + "-- cursor: s=1;i=2\n"

    log = ProgramLog(tmp_path, journal=journal)
    told = [only(log.sweep(at), "log") for at in range(0, 130_000, 10_000)]
    assert cursors == ["", "s=1;i=2"]
    assert told.count("systemd: httpd.service: Failed with result 'exit-code'.") == 2
    assert log.lacks() == {}


def test_without_file_and_journal_the_signal_is_lacking(tmp_path) -> None:
    log = ProgramLog(tmp_path, journal=lambda cursor: Unavailable("journalctl is not installed"))
    log.sweep(0)
    assert log.lacks() == {"log": "journalctl is not installed"}
