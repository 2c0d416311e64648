"""Parsers give the numbers that stand in what Linux prints."""

from __future__ import annotations

import pytest

from agent.signals.parsers.diskstats import parse_diskstats
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.keyed import (
    parse_chosen,
    parse_counters,
    parse_meminfo,
    parse_paired,
    parse_sockstat,
    parse_softnet,
)
from agent.signals.parsers.logs import parse_journal, parse_kmsg
from agent.signals.parsers.mdstat import parse_mdstat
from agent.signals.parsers.mounts import parse_mountinfo, parse_mounts
from agent.signals.parsers.netdev import parse_netdev
from agent.signals.parsers.numbers import parse_cpu_list, parse_file_nr, parse_loadavg, whole
from agent.signals.parsers.pid import parse_io, parse_status_uid
from agent.signals.parsers.pid import parse_stat as parse_pid_stat
from agent.signals.parsers.pressure import parse_pressure
from agent.signals.parsers.routes import parse_arp, parse_default_route
from agent.signals.parsers.stat import parse_stat
from agent.signals.parsers.systemd import parse_list_units, parse_show


def test_stat_gives_every_kind_of_time_and_the_number_of_cpus(text) -> None:
    stat = parse_stat(text("el7/stat"))
    assert stat.cpu == (1065270, 4432, 302164, 58803460, 120422, 0, 8123, 20114)
    assert (stat.cpus, stat.running, stat.blocked, stat.forks) == (2, 3, 1, 812345)
    assert (stat.context_switches, stat.interrupts) == (301457822, 164872394)


def test_stat_of_an_old_kernel_with_four_columns_has_no_steal() -> None:
    assert parse_stat("cpu 1 2 3 4\n").cpu == (1, 2, 3, 4, 0, 0, 0, 0)


def test_meminfo_is_in_bytes_and_counts_stay_counts(text) -> None:
    memory = parse_meminfo(text("el7/meminfo"))
    assert memory["MemTotal"] == 3880192 * 1024
    assert memory["HugePages_Total"] == 0


def test_counters_of_vmstat_are_read_by_name(text) -> None:
    assert parse_counters(text("el9/vmstat"))["balloon_inflate"] == 25600


def test_chosen_counters_are_those_that_reading_all_gives(text) -> None:
    every = parse_counters(text("el9/vmstat"))
    first, *_, last = every
    chosen = parse_chosen(text("el9/vmstat"), [first, last, "pgmajfault", "fault"])
    assert chosen == {name: every[name] for name in (first, last, "pgmajfault")}
    with pytest.raises(ParseError):
        parse_chosen("pgmajfault many\n", ["pgmajfault"])
    with pytest.raises(ParseError):
        parse_chosen("", ["pgmajfault"])


def test_paired_lines_are_matched_by_protocol(text) -> None:
    assert parse_paired(text("el9/netstat"))["TcpExt"]["ListenDrops"] == 40
    with pytest.raises(ParseError):
        parse_paired("TcpExt: A B\nTcpExt: 1\n")


def test_sockstat_gives_numbers_by_protocol() -> None:
    found = parse_sockstat("sockets: used 290\nTCP: inuse 8 orphan 0 tw 3 alloc 20 mem 2\n")
    assert found["TCP"] == {"inuse": 8, "orphan": 0, "tw": 3, "alloc": 20, "mem": 2}


def test_softnet_columns_are_hexadecimal_and_summed() -> None:
    assert parse_softnet("0000ffff 0000000a 00000001 0\n00000000 00000006 0000000f 0\n") == (16, 16)


def test_pressure_has_both_lines_and_refuses_nan(text) -> None:
    assert parse_pressure(text("el9/pressure"))["full"].avg60 == 2.75
    with pytest.raises(ParseError):
        parse_pressure("some avg10=nan avg60=0 avg300=0 total=1")


def test_diskstats_of_el7_and_el9_have_the_same_first_columns(text) -> None:
    assert {d.name: d.reads for d in parse_diskstats(text("el7/diskstats"))}["sda"] == 1000
    vda = parse_diskstats(text("el9/diskstats"))[0]
    assert (vda.name, vda.in_flight, vda.busy_ms, vda.weighted_ms) == ("vda", 2, 40000, 66000)


def test_a_mount_point_with_a_space_is_unescaped(text) -> None:
    mounts = {mount.point: mount for mount in parse_mountinfo(text("el9/mountinfo"))}
    assert mounts["/srv/my shop"].error_policy == "remount-ro"
    assert mounts["/boot"].is_read_only and not mounts["/"].is_read_only


def test_a_mount_that_systemd_write_protects_for_a_service_is_no_read_only_file_system() -> None:
    line = "30 27 252:1 / /boot ro,relatime shared:2 - ext4 /dev/vda1 rw,seclabel\n"
    assert not parse_mountinfo(line)[0].is_read_only


def test_mounts_reads_the_short_form() -> None:
    assert parse_mounts("/dev/vda1 /a\\040b ext4 ro,relatime 0 0\n")[0].point == "/a b"


def test_netdev_reads_a_name_that_touches_its_first_number(text) -> None:
    nics = parse_netdev(text("el9/netdev"))
    assert (nics["eth0"].rx_bytes, nics["eth0"].tx_packets) == (1000000, 800)


def test_a_process_name_may_hold_brackets(text) -> None:
    stat = parse_pid_stat(text("el9/pidstat"))
    assert (stat.comm, stat.state, stat.user_ticks, stat.rss_pages) == ("php-fpm) (w", "S", 700, 2560)


def test_process_io_counts_reads_and_writes_of_devices_together() -> None:
    assert parse_io("rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n") == 12288
    assert parse_status_uid("Name:\tx\nUid:\t0\t48\t48\t48\n") == 48


def test_md_arrays_have_the_state_that_an_admin_would_say(text) -> None:
    states = {array.name: array.state() for array in parse_mdstat(text("el9/mdstat"))}
    assert states == {"md0": "ok", "md1": "degraded", "md2": "rebuilding", "md3": "inactive", "md4": "ok"}


def test_md_members_that_failed_are_named(text) -> None:
    assert parse_mdstat(text("el9/mdstat"))[1].failed == ("sdc1",)


def test_systemctl_show_gives_a_unit_for_each_block(text) -> None:
    units = parse_show(text("el9/systemctl_show"))
    assert [(u.name, u.active, u.restarts) for u in units] == [
        ("nginx.service", "active", 4),
        ("shop.service", "failed", 0),
    ]


def test_list_units_may_begin_with_a_dot_and_end_with_a_description() -> None:
    units = parse_list_units("● shop.service loaded failed failed The shop front\n")
    assert (units[0].name, units[0].active) == ("shop.service", "failed")


def test_the_default_route_is_the_one_with_the_least_metric() -> None:
    route = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth1\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\n"
        "eth0\t00000000\t010AA8C0\t0003\t0\t0\t100\t00000000\n"
        "eth0\t000AA8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\n"
    )
    assert parse_default_route(route) == ("eth0", "192.168.10.1")


def test_an_arp_entry_without_the_complete_flag_is_dead() -> None:
    head = "IP address       HW type     Flags       HW address            Mask     Device\n"
    arp = parse_arp(
        head + "10.0.0.1 0x1 0x2 52:54:00:00:00:01 * eth0\n10.0.0.2 0x1 0x0 00:00:00:00:00:00 * eth0\n"
    )
    assert arp == {("10.0.0.1", "eth0"): True, ("10.0.0.2", "eth0"): False}


def test_small_files() -> None:
    assert parse_loadavg("0.52 0.58 0.59 2/811 12345\n") == (0.52, 0.58, 0.59, 2, 811)
    assert parse_file_nr("1984\t128\t97816\n") == (1856, 97816)
    assert parse_cpu_list("0-2,5\n") == [0, 1, 2, 5]


@pytest.mark.parametrize("word", ["", "-1", "1_000", "٣", "²", "1.0", "9" * 21, " 1"])
def test_only_plain_digits_are_a_whole_number(word: str) -> None:
    with pytest.raises(ParseError):
        whole(word)


def test_a_kernel_record_is_unescaped_and_its_dictionary_left_out() -> None:
    line = parse_kmsg("4,1234,98765,-;EXT4-fs\\x0aerror\n SUBSYSTEM=block\n")
    assert (line.sequence, line.at_us, line.level, line.text) == (1234, 98765, 4, "EXT4-fs\nerror")


def test_journal_lines_keep_what_continues_them() -> None:
    lines = parse_journal("-- No entries --\n2026-01-01T02:00:00+0200 web1 nginx[1]: a\n    b\n")
    assert [(line.at_us, line.text) for line in lines] == [(1767225600000000, "nginx[1]: a b")]
