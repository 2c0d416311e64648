"""What is only recorded: ordered, taken out, the node's own figures, announced work, a wrong clock, as usual at this hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.signals.rules import RuleFile
from collector.qualify.excuses import EVENTS, excused, noted
from collector.qualify.judge import qualify
from config import loader

pytestmark = pytest.mark.collector

SHIPPED = Path(loader.__file__).with_name("shipped") / "rules.yaml"


def why(case):
    reason = excused(case, qualify(case))
    return reason.key if reason is not None else ""


def test_the_events_that_no_window_lets_go_on_are_the_shipped_rules_about_events():
    lasting = {rule.name for rule in loader.load(SHIPPED, RuleFile).rules if rule.lasts}
    assert lasting == EVENTS - {"clock.stood_still"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("resize 8->4 vCPU by customer user u17", "reason.quiet.ordered"),
        ("plan change: vCPU 4 -> 2 requested by customer user ihor", "reason.quiet.ordered"),
        ("Тариф змінено клієнтом: 4 vCPU / 8 ГБ → 2 vCPU / 4 ГБ", "reason.quiet.ordered"),
        ("зменшення ресурсів за заявкою замовника", "reason.quiet.ordered"),
        ("flavour reduced by operations staff", ""),
        ("Тариф змінено адміністратором майданчика", ""),
    ],
)
def test_a_smaller_machine_is_no_fault_where_its_customer_ordered_it(make_case, said, expected):
    facts = {"cpu.online": (4, 2)}
    case = make_case("virt", facts, rule="cpus_fewer", seen=(("prov.event", said, ""),))
    assert why(case) == expected


def test_a_processor_that_an_engineer_took_offline_is_no_fault(make_case):
    act = ("echo 0 > /sys/devices/system/cpu/cpu3/online (sudo, user ivan)",)
    assert (
        why(make_case("virt", {"cpu.online": (4, 3)}, rule="cpus_fewer", ops=act)) == "reason.quiet.ordered"
    )
    assert why(make_case("virt", {"cpu.online": (4, 3)}, rule="cpus_fewer")) == ""


def test_a_disk_that_an_operator_took_out_of_its_array_is_no_fault(make_case):
    taken = {"rule": "raid_degraded", "subject": "md0"}
    degraded = {"hw.md": "degraded"}
    act = ("mdadm /dev/md0 --fail /dev/sdb2 (sudo, user ivan)",)
    assert why(make_case("hardware", degraded, ops=act, **taken)) == "reason.quiet.ordered"
    assert why(make_case("hardware", degraded, ops=("dnf update",), **taken)) == ""


def test_the_node_s_disks_read_inside_a_container_are_nobody_s_fault_until_something_suffers(make_case):
    busy = {"disk.await_ms": 80, "disk.iops": 4000, "disk.qdepth": 40}
    inside = {"topology": {"virt": "lxc"}}
    assert why(make_case("io", busy, **inside)) == "reason.quiet.node_view"
    assert why(make_case("io", busy | {"disk.probe_ms": 90}, **inside)) == ""
    assert why(make_case("io", busy, seen=(("ext.svc", "slow", "v2"),), **inside)) == ""


def test_a_provider_s_announced_work_excuses_what_such_work_does_and_nothing_else(make_case):
    work = (("prov.status", "maintenance", ""),)
    assert why(make_case("network", {"net.gw": "dead"}, seen=work)) == "reason.quiet.maintenance"
    assert why(make_case("fs_space", {"fs.used_pct": 99}, seen=work)) == ""


def test_a_certificate_is_counted_by_our_clock(make_case):
    ahead = {"tls.days": -32, "clk.true_offset_ms": 92 * 86_400_000}
    assert why(make_case("tls", ahead)) == "reason.quiet.wrong_clock"
    assert why(make_case("tls", {"tls.days": -32})) == ""


def test_a_timetable_of_ours_explains_our_own_load_and_not_a_slow_storage(make_case):
    usual = (("hist.same_hour_match", 0.86, ""),)
    own = {"disk.await_ms": (3, 60), "disk.iops": (120, 2600), "disk.qdepth": 40}
    slow = {"disk.await_ms": (12, 190), "disk.iops": (120, 60), "disk.qdepth": 7, "disk.probe_ms": (1, 150)}
    assert why(make_case("io", own, seen=usual)) == "reason.quiet.as_usual"
    assert why(make_case("io", slow, seen=usual)) == ""


def test_a_link_that_was_lost_once_is_noted_unless_the_card_counts_errors_or_the_host_falls_silent(make_held):
    once = make_held("network", {"net.crc_ps": 0, "net.flaps": 1}, rule="link_lost")
    damaged = make_held("network", {"net.crc_ps": 40}, rule="link_lost")
    assert noted([once]) is not None
    assert noted([damaged]) is None
    assert noted([once], (make_held("silence"),)) is None
