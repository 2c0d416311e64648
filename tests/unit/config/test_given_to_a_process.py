"""Clock, log lines and sd_notify."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from config import log
from config.clock import FixedClock, SystemClock
from config.notify import notify, watchdog_interval_s


def test_a_fixed_clock_moves_only_when_told():
    clock = FixedClock(wall_ms=1000, mono_ms=50)
    assert clock.wait(threading.Event(), 2.5) is False
    assert (clock.now_ms(), clock.mono_ms(), clock.boottime_ms()) == (3500, 2550, 2550)
    clock.suspended_ms = 10
    assert clock.boottime_ms() - clock.mono_ms() == 10
    event = threading.Event()
    event.set()
    assert clock.wait(event, 99) is True and clock.now_ms() == 3500


def test_the_systems_clocks_go_forward_in_milliseconds():
    clock = SystemClock()
    assert clock.mono_ms() <= clock.mono_ms()
    assert clock.boottime_ms() >= clock.mono_ms() - 1
    assert clock.now_ms() > 1_600_000_000_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a", "k=a"),
        ("two words", 'k="two words"'),
        ('q"', 'k="q\\""'),
        ("", 'k=""'),
        ("a\nb", 'k="a\\nb"'),
        (3, "k=3"),
    ],
)
def test_a_field_of_a_log_line_can_be_read_back(value, said):
    assert log.fields(k=value) == said


def test_an_event_is_one_line_whatever_it_holds(capsys):
    log.set_up("INFO")
    try:
        logging.getLogger("x").info("first\nsecond")
        assert capsys.readouterr().err.count("\n") == 1
    finally:
        logging.getLogger().handlers[:] = []


def test_systemd_is_told_over_its_socket(tmp_path, monkeypatch):
    path = str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        assert notify("READY=1") is True
        assert sock.recv(100) == b"READY=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify("READY=1") is False
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert notify("READY=1") is False


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", "", 15.0), ("", "", None), ("x", "", None), ("30000000", "1", None)],
)
def test_the_watchdog_is_fed_at_half_its_time_and_only_when_it_is_ours(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval_s() == seconds
