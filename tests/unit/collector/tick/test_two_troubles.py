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
