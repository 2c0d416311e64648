"""Two troubles of one host: each its own ticket, while what hangs together stays together; an old word of a vantage."""

from __future__ import annotations

import pytest

from collector.observed import observe

pytestmark = pytest.mark.collector

MINUTE_MS = 60_000
KILL = "Out of memory: Killed process 511 (php) total-vm:7400000kB, anon-rss:6900000kB"
KILLED = {"facts": {"vm.oom_kills": {"now": 1, "before": 0}}, "evidence": {"log": [{"text": KILL}]}}
ROOM = {"mem.avail_pct": 60.0}
FULL = {"fs.used_pct": {"now": 99.0, "before": 40.0}}


def causes(world) -> list[str]:
    return [t["root_cause"] for t in world.tickets()]


def test_a_kill_a_spare_disk_and_a_frozen_service_minutes_apart_are_three_tickets(world):
    world.add_host("a1")
    world.find("a1", "oom_kill", "memory", **KILLED)
    world.find("a1", "fs_full", "fs_space", subject="/mnt/copy", facts=FULL)
    world.tick()
    world.now_ms += 8 * MINUTE_MS
    world.heartbeat("a1", vitals=ROOM)
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "timeout"}})
    world.tick()
    assert sorted(causes(world)) == ["os.disk_full", "os.memory_leak", "os.service_failed"]
    (outage,) = [t for t in world.tickets() if t["root_cause"] == "os.service_failed"]
    said = [reason["key"] for reason in outage["verdict"]["reasons"]]
    assert "reason.service.disk_full" not in said


def test_a_service_that_falls_with_the_kill_is_one_ticket_with_it(world):
    world.add_host("a1")
    world.find("a1", "oom_kill", "memory", **KILLED)
    world.tick()
    world.now_ms += MINUTE_MS
    world.heartbeat("a1", vitals=ROOM)
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "refused"}})
    world.tick()
    assert causes(world) == ["os.memory_leak"]


def test_while_memory_is_short_a_service_that_fails_later_belongs_to_its_want(world):
    world.add_host("a1")
    world.find("a1", "oom_kill", "memory", **KILLED)
    world.tick()
    world.now_ms += 8 * MINUTE_MS
    world.heartbeat("a1", vitals={"mem.avail_pct": 3.0})
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "timeout"}})
    world.tick()
    assert causes(world) == ["os.memory_leak"]


def test_a_bad_cable_and_a_full_connection_table_are_two_tickets(world):
    world.add_host("a1", virt="none")
    world.find("a1", "conntrack_full", "limits", facts={"net.conntrack_pct": {"now": 97.0, "before": 6.0}})
    world.find(
        "a1", "link_errors", "network", subject="eth0", facts={"net.crc_ps": {"now": 40.0, "before": 0.0}}
    )
    world.tick()
    assert sorted((t["class"], t["root_cause"]) for t in world.tickets()) == [
        (1, "hw.nic"),
        (2, "os.conntrack"),
    ]


def test_what_a_vantage_saw_while_the_host_was_away_opens_nothing_when_it_is_back(world):
    world.add_host("a1", provider="alfa")
    world.tick()
    world.store.write(lambda tx: observe(tx, "a1", "ext.svc", "ok", world.now_ms, "vantage", vantage="v1"))
    world.run(60)
    world.store.write(lambda tx: observe(tx, "a1", "ext.svc", "dead", world.now_ms, "vantage", vantage="v1"))
    world.run(60)
    opened = len(world.tickets())
    world.network.states[("ssh", "addr-a1")] = "ok"
    back_ms = world.now_ms
    world.store.write(
        lambda tx: tx.exec_driver_sql(
            f"update hosts set life = 'alive', life_since_ms = {back_ms} where id = 'a1'"
        )
    )
    world.run(30, beating=("a1",))
    assert len(world.tickets()) == opened
    world.store.write(lambda tx: observe(tx, "a1", "ext.svc", "ok", world.now_ms, "vantage", vantage="v1"))
    world.run(120, beating=("a1",))
    assert len(world.tickets()) == opened


def damaged(world, subject, line):
    """The ticket of a file system of which the kernel said this, without any other line."""
    world.add_host("a1", provider="alfa", virt="kvm")
    world.find("a1", "fs_faults", "fs", subject=subject, facts={"kmsg": {"now": line}})
    world.tick()
    (ticket,) = world.tickets()
    return ticket


def test_what_fails_on_a_damaged_file_system_is_no_better_cause_of_it(world):
    ticket = damaged(world, "jbd2_abort", "Aborting journal on device vdb1-8.")
    assert (ticket["root_cause"], ticket["confidence"]) == ("os.fs_error", "low")
    world.run(60, beating=("a1",))
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "timeout"}})
    world.tick()
    (ticket,) = world.tickets()
    assert (ticket["root_cause"], ticket["class"]) == ("os.fs_error", 2)


def test_the_line_by_which_a_finding_was_raised_argues_though_the_last_lines_do_not_hold_it(world):
    line = "EXT4-fs error (device vdb1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0"
    ticket = damaged(world, "ext4_err", line)
    assert [reason["key"] for reason in ticket["verdict"]["reasons"]] == ["reason.fs.own_fault"]


NO_INODES = {"fs.inode_pct": {"now": 100.0, "before": 71.0}}


def test_a_service_that_fails_for_want_of_inodes_long_after_belongs_to_the_full_file_system(world):
    world.add_host("a1")
    world.find("a1", "fs_inodes", "fs_space", subject="/", facts=NO_INODES)
    world.tick()
    world.now_ms += 25 * MINUTE_MS
    world.heartbeat("a1", vitals={"fs.used_pct": 47.0, "fs.inode_pct": 100.0})
    world.find("a1", "check_fails", "service", subject="shop", facts={"check.state": {"now": "timeout"}})
    world.tick()
    assert causes(world) == ["os.disk_full"]


@pytest.mark.parametrize(("act", "tickets"), [("systemctl stop postgresql", 1), ("systemctl stop cron", 2)])
def test_a_unit_that_fails_long_after_the_act_that_felled_its_service_is_one_problem_with_it(
    world, act, tickets
):
    world.add_host("a1")
    world.store.write(lambda tx: observe(tx, "a1", "ops.action", act, world.now_ms, "journal"))
    world.now_ms += 5_000
    facts = {"ext.state": {"now": "refused"}, "ext.svc": {"now": "dead"}}
    world.find("a1", "outside.service", "service", subject="shop", facts=facts, stream="collector:outside")
    world.tick()
    world.now_ms += 16 * MINUTE_MS
    world.heartbeat("a1", vitals=ROOM)
    world.find("a1", "unit_failed", "unit", subject="postgresql.service")
    world.tick()
    assert causes(world) == ["os.service_failed"] * tickets


def test_two_machines_of_a_rack_that_overheat_together_are_one_problem_of_the_rack(world):
    line = {"evidence": {"log": [{"text": "CPU3: Package temperature above threshold, cpu clock throttled"}]}}
    facts = {"hw.sel": {"now": "Temperature #0x0e | Upper Critical going high | Asserted"}}
    for host_id in ("a1", "a2"):
        world.add_host(host_id, provider="alfa", virt="none", rack="r4")
    for host_id in ("a1", "a2"):
        world.find(host_id, "sel_entry", "hardware", subject="temperature", facts=facts, **line)
        world.now_ms += MINUTE_MS
        world.heartbeat("a1", "a2")
        world.tick()
    assert [(t["scope"], t["affected"]) for t in world.tickets(is_open=True)] == [
        ("rack:alfa/r4", ["a1", "a2"])
    ]
