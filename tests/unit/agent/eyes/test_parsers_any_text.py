"""No input raises anything but ParseError: not random text, not a real text with a piece cut out or doubled."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.parsers import (
    boots,
    commands,
    diskstats,
    firmware,
    keyed,
    logs,
    mdstat,
    mounts,
    netdev,
    numbers,
    pid,
    pressure,
    routes,
    smart,
    stat,
    systemd,
    virtual,
)
from agent.signals.parsers.error import ParseError
from tests.tools.examples import examples

FIXTURES = Path(__file__).with_name("fixtures")

PARSERS: List[Tuple[Callable[[str], Any], str]] = [
    (stat.parse_stat, "el7/stat"),
    (keyed.parse_meminfo, "el7/meminfo"),
    (keyed.parse_counters, "el9/vmstat"),
    (lambda text: keyed.parse_chosen(text, ("pgmajfault", "oom_kill")), "el9/vmstat"),
    (keyed.parse_paired, "el9/netstat"),
    (keyed.parse_sockstat, "el9/netstat"),
    (keyed.parse_softnet, "el7/stat"),
    (pressure.parse_pressure, "el9/pressure"),
    (diskstats.parse_diskstats, "el9/diskstats"),
    (mounts.parse_mountinfo, "el9/mountinfo"),
    (mounts.parse_mounts, "el9/mountinfo"),
    (netdev.parse_netdev, "el9/netdev"),
    (pid.parse_stat, "el9/pidstat"),
    (pid.parse_io, "el7/meminfo"),
    (pid.parse_status_uid, "el7/meminfo"),
    (systemd.parse_show, "el9/systemctl_show"),
    (systemd.parse_list_units, "el9/systemctl_show"),
    (mdstat.parse_mdstat, "el9/mdstat"),
    (routes.parse_default_route, "el9/netdev"),
    (routes.parse_arp, "el9/netdev"),
    (numbers.parse_whole, "el9/pressure"),
    (numbers.parse_loadavg, "el9/pressure"),
    (numbers.parse_file_nr, "el9/pressure"),
    (numbers.parse_port_range, "el9/pressure"),
    (numbers.parse_cpu_list, "el9/pressure"),
    (numbers.parse_statm, "el9/pressure"),
    (logs.parse_kmsg, "el9/pressure"),
    (logs.parse_journal, "el9/systemctl_show"),
    (logs.parse_cursor, "el9/systemctl_show"),
    (commands.parse_fields, "el7/meminfo"),
    (commands.parse_table, "el9/netdev"),
    (commands.parse_paths, "el9/netdev"),
    (commands.parse_netlink, "el9/netdev"),
    (commands.parse_swaps, "el9/netdev"),
    (commands.parse_uptime, "el9/pressure"),
    (commands.parse_mdadm, "el7/meminfo"),
    (smart.parse_smartctl, "el9/mdstat"),
    (boots.panic_in, "hardware/sel_elist"),
    (lambda text: boots.is_replayed(text.split("\n")), "hardware/sel_elist"),
    (lambda text: boots.ending_of(text.split("\n")), "el9/systemctl_show"),
    (lambda text: boots.syslog_before(text, 2e9, 2e9, dt.timezone.utc, 9), "el9/systemctl_show"),
    (firmware.parse_sel, "hardware/sel_elist"),
    (firmware.parse_restart_cause, "hardware/sel_elist"),
    (virtual.parse_domstats, "hardware/domstats"),
    (virtual.parse_beancounters, "hardware/user_beancounters"),
    (virtual.parse_toolbox_mb, "hardware/domstats"),
]
NAMES = [f"{parser.__module__.rsplit('.', 1)[-1]}.{parser.__name__}" for parser, _ in PARSERS]

_PIECES = st.one_of(
    st.text(max_size=40),
    st.text("0123456789 -.,:;=[]()/\n\tUu_cpusomeavg", max_size=40),
    st.sampled_from(
        [
            "9" * 5000,
            "nan",
            "inf",
            "-1",
            "1e999",
            "\0",
            "\ud800",
            "²",
            "٣",
            "cpu ",
            "some avg10=",
            "0-99999999",
        ]
    ),
)


def _raises_only_parse_error(parser: Callable[[str], Any], text: str) -> None:
    try:
        parser(text)
    except ParseError as error:
        assert str(error)


@pytest.mark.parametrize(("parser", "fixture"), PARSERS, ids=NAMES)
def test_any_text_is_parsed_or_refused_in_one_way(parser: Callable[[str], Any], fixture: str) -> None:
    @settings(max_examples=examples(60), deadline=None, database=None)
    @given(st.lists(_PIECES, max_size=8).map("".join))
    def check(text: str) -> None:
        _raises_only_parse_error(parser, text)

    check()


@pytest.mark.parametrize(("parser", "fixture"), PARSERS, ids=NAMES)
def test_a_damaged_real_text_is_parsed_or_refused_in_one_way(
    parser: Callable[[str], Any], fixture: str
) -> None:
    whole_text = (FIXTURES / fixture).read_text(encoding="utf-8")

    @settings(max_examples=examples(60), deadline=None, database=None)
    @given(st.integers(0, len(whole_text)), st.integers(0, 60), _PIECES)
    def check(at: int, cut: int, piece: str) -> None:
        _raises_only_parse_error(parser, whole_text[:at] + piece + whole_text[at + cut :])

    check()
