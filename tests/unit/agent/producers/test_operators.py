"""Acts of people: real log lines of CentOS 7 to 9, hostile ones, secrets, rotation, and the way into a report."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from agent.samplers.operators import Operators
from agent.signals.parsers.operators import TEXT_MAX, parse_acts, redact, stamp_s
from config.clock import FixedClock

UTC = dt.timezone.utc
NOW_S = dt.datetime(2026, 1, 1, 12, 0, tzinfo=UTC).timestamp()


def sudo(command: str, user: str = "ivan", tty: str = "pts/0", stamp: str = "Jan  1 11:59:00") -> str:
    return (
        f"{stamp} web-1 sudo[812]:    {user} : TTY={tty} ; PWD=/home/{user} ; USER=root ; COMMAND={command}\n"
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (sudo("/sbin/iptables -P INPUT DROP"), "iptables -P INPUT DROP (sudo, user ivan)"),
        (sudo("/usr/bin/date -s 10:00", "petro"), "date -s 10:00 (sudo, user petro)"),
        (sudo("/sbin/reboot", "admin", "unknown"), "reboot (sudo, user admin)"),
        (
            "2026-01-01T11:59:00.123456+00:00 web-1 sudo[9]: olena : TTY=pts/1 ; PWD=/ ; USER=root ; TSID=0001 ;"
            " COMMAND=/usr/bin/systemctl restart nginx",
            "systemctl restart nginx (sudo, user olena)",
        ),
        (
            "Jan  1 11:59:00 web-1 systemd-logind[712]: Power key pressed.",
            "Power key pressed (systemd-logind)",
        ),
        (
            "Jan  1 11:59:00 web-1 systemd-logind[712]: System is rebooting.",
            "System is rebooting (systemd-logind)",
        ),
        (
            "2026-01-01T11:59:00+0000 SUBDEBUG Upgraded: nginx-1:1.20.1-14.el9.x86_64",
            "packages upgraded: nginx-1:1.20.1-14.el9.x86_64 (dnf)",
        ),
        (
            "Jan 01 11:59:00 Updated: kernel-3.10.0-1160.el7.x86_64",
            "packages updated: kernel-3.10.0-1160.el7.x86_64 (dnf)",
        ),
    ],
)
def test_a_real_line_becomes_an_act_as_people_say_it(line: str, text: str) -> None:
    (act,) = parse_acts(line, NOW_S, UTC)
    assert act.text == text and abs(act.at_s - (NOW_S - 60)) < 1


@pytest.mark.parametrize(
    "line",
    [
        sudo("/usr/lib64/nagios/plugins/check_disk -w 10%", "nagios", "unknown"),
        "Jan  1 11:59:00 web-1 sshd[1]: Accepted publickey for ivan",
        "Jan  1 11:59:00 web-1 app: sudo: ivan : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/sbin/reboot",
        "Jan 99 11:59:00 web-1 sudo: ivan : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/sbin/reboot",
        "x" * 100_000,
        "\x00\x1b[2J",
        "",
    ],
)
def test_what_is_no_act_of_a_person_is_none(line: str) -> None:
    assert parse_acts(line, NOW_S, UTC) == []


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--password hunter2 -v", "--password *** -v"),
        ("--token=abc x", "--token=*** x"),
        ("-uroot -phunter2 db", "-uroot -p*** db"),
        ("https://u:hunter2@example.net/x", "https://u:***@example.net/x"),
        ("0123456789abcdef0123456789abcdef01", "***"),
        ("restart nginx", "restart nginx"),
    ],
)
def test_secrets_are_blotted_out(arguments: str, shown: str) -> None:
    assert redact(arguments) == shown


def test_a_hostile_command_is_one_bounded_printable_line() -> None:
    (act,) = parse_acts(sudo("/bin/sh -c 'x\x1b[31m" + "a " * 500 + "'"), NOW_S, UTC)
    assert act.text.isprintable() and len(act.text) <= TEXT_MAX + 30


def test_packages_of_one_transaction_are_one_act_and_a_kernel_stands_first() -> None:
    names = ["bash-5.1", "curl-7.76", "kernel-core-5.14", "zlib-1.2", "tar-1.34"]
    lines = "".join(
        f"2026-01-01T11:58:{n:02d}+0000 SUBDEBUG Upgraded: {name}.x86_64\n" for n, name in enumerate(names)
    )
    (act,) = parse_acts(lines, NOW_S, UTC)
    assert (
        act.text
        == "packages upgraded: kernel-core-5.14.x86_64, bash-5.1.x86_64, curl-7.76.x86_64 and 2 more (dnf)"
    )


def test_a_line_of_december_read_in_january_is_of_last_year() -> None:
    assert stamp_s("Dec 31 23:00:00", NOW_S, UTC) == NOW_S - 13 * 3600


@pytest.fixture
def world(tmp_path: Path) -> Any:
    (tmp_path / "var/log").mkdir(parents=True)
    clock = FixedClock(int(NOW_S * 1000))
    return tmp_path / "var/log/secure", clock, Operators(tmp_path, clock)


def texts(samples: Any) -> Any:
    return [sample.value for sample in samples]


def iso(second: int) -> str:
    return dt.datetime.fromtimestamp(NOW_S + second, UTC).isoformat()


def test_each_act_is_told_once_also_when_a_line_was_half_written_and_the_file_rotated(world: Any) -> None:
    log, _, sampler = world
    assert sampler.sweep(0) == [] and "ops.action" in sampler.lacks()
    log.write_text(sudo("/sbin/reboot", stamp=iso(-3000)) + sudo("/sbin/ip a", stamp=iso(-60)))
    (act,) = sampler.sweep(1_000_000)
    assert act.value == "ip a (sudo, user ivan)" and act.at_ms == 1_000_000 - 60_000
    assert sampler.lacks() == {} and sampler.sweep(1_010_000) == []
    line = sudo("/sbin/tc qdisc", stamp=iso(-1))
    with log.open("a") as stream:
        stream.write(line[:40])
        stream.flush()
        assert sampler.sweep(1_020_000) == []
        stream.write(line[40:])
    assert texts(sampler.sweep(1_030_000)) == ["tc qdisc (sudo, user ivan)"]
    log.rename(log.with_name("secure-1"))
    log.write_text(sudo("/sbin/nft list", stamp=iso(0)))
    assert texts(sampler.sweep(1_040_000)) == ["nft list (sudo, user ivan)"]


def test_a_flood_of_lines_costs_a_bounded_read_and_a_bounded_number_of_acts(world: Any) -> None:
    log, _, sampler = world
    log.write_text("".join(sudo(f"/sbin/ip route add {n}", stamp=iso(-1)) for n in range(5000)))
    found = texts(sampler.sweep(0))
    assert len(found) == 20 and found[-1] == "ip route add 4999 (sudo, user ivan)"
