"""Every evidence row, both ways: a case in which it holds, and one in which it must not; and its words in both languages."""

from __future__ import annotations

import dataclasses

import pytest

from collector.qualify.judge import ROWS
from collector.qualify.row import DECISIVE, GROUPS
from collector.tick.context import TEXTS_FOLDER
from tests.unit.collector.qualify.row_cases import MORE
from ticketing.texts import register, set_strict, texts

pytestmark = pytest.mark.collector

METAL = {"virt": "none"}
OUT = {"stream": "collector:outside", "subject": "web"}
IO_LINE = ("blk_update_request: I/O error, dev vda, sector 99",)
MCE = ("mce: [Hardware Error]: Machine check events logged",)


def group(kind: str) -> dict:
    names = {
        "node": "node:alfa/n7",
        "storage": "storage:alfa/c",
        "rack": "rack:alfa/r1",
        "site": "site:alfa/s1",
    }
    scope = names.get(kind, "provider:alfa")
    return {
        "silence.outcome": "down",
        "silence.group": scope,
        "silence.group_silent": 2,
        "silence.group_size": 2,
        "silence.members": ["a1", "a2"],
    }


def cpu_cases(c, h, s):
    cpu = {"cpu.user_pct": 20, "cpu.sys_pct": 4}
    busy = {"cpu.user_pct": 90, "cpu.sys_pct": 6}
    return {
        "cpu.steal": (c("cpu", cpu | {"cpu.steal_pct": 30}), c("cpu", cpu | {"cpu.steal_pct": 4})),
        "cpu.spin_slow": (
            c("cpu", {"cpu.spin_score": 0.6, "sched.runq_per_cpu": 0.4}),
            c("cpu", {"cpu.spin_score": 0.6, "sched.runq_per_cpu": 3.0}),
        ),
        "cpu.sibling_steal": (
            c("cpu", {"cpu.steal_pct": 30}, siblings=(s(cpu__steal_pct=25.0),)),
            c("cpu", {"cpu.steal_pct": 30}, siblings=(s(cpu__steal_pct=0.2),)),
        ),
        "cpu.sibling_calm": (
            c("cpu", {"cpu.steal_pct": 30}, siblings=(s(cpu__steal_pct=0.2),)),
            c("cpu", {"cpu.steal_pct": 30}, siblings=(s(),)),
        ),
        "cpu.plan_limit": (
            c(
                "cpu",
                {"cpu.user_pct": 17, "cpu.sys_pct": 3, "cpu.steal_pct": 78},
                topology={"plan": "burstable baseline=20%"},
            ),
            c("cpu", {"cpu.user_pct": 17, "cpu.sys_pct": 3, "cpu.steal_pct": 78}),
        ),
        "cpu.throttled": (c("cpu", {"cg.throttled_pct": 40}), c("cpu", {"cg.throttled_pct": 2})),
        "cpu.own_demand": (c("cpu", busy), c("cpu", busy | {"cpu.steal_pct": 20})),
        "cpu.long_queue": (
            c("cpu", {"load.per_cpu": 4}),
            c("cpu", {"load.per_cpu": 4}, lacks=("own loadavg",)),
        ),
        "cpu.softirq": (c("cpu", {"cpu.softirq_pct": 60}), c("cpu", {"cpu.softirq_pct": 3})),
        "cpu.fewer": (c("virt", {"cpu.online": (4, 2)}), c("virt", {"cpu.online": (4, 2)}, ops=("resize",))),
        "cpu.thermal": (
            c("cpu", {"hw.therm_ps": 3, "cpu.mhz_pct": 55}, topology=METAL),
            c("cpu", {"hw.therm_ps": 3, "cpu.mhz_pct": 99}, topology=METAL),
        ),
        "cpu.process_storm": (
            c("limits", {"proc.forks_ps": (5, 900)}),
            c("limits", {"proc.forks_ps": (5, 20)}),
        ),
    }


def memory_cases(c, h, s):
    fell = {"mem.total_mb": (8000, 6000), "mem.avail_pct": (55, 5)}
    leak = {"mem.total_mb": (8000, 8000), "mem.avail_pct": (55, 5)}
    return {
        "memory.ballooned": (c("memory", fell), c("memory", leak)),
        "memory.balloon_grew": (
            c("memory", {"mem.balloon_mb": 2000, "mem.total_mb": 8000}),
            c("memory", {"mem.balloon_mb": 100, "mem.total_mb": 8000}),
        ),
        "memory.limit_fell": (
            c("memory", {"ubc.limit_mb": (4096, 2048)}),
            c("memory", {"ubc.limit_mb": (4096, 4096)}),
        ),
        "memory.little_left": (c("memory", leak), c("memory", fell)),
        "memory.grew": (
            c("memory", leak),
            c("memory", {"mem.total_mb": (8000, 8000), "mem.avail_pct": (8, 5)}),
        ),
        "memory.pressure": (c("memory", {"psi.mem_full60": 40}), c("memory", {"psi.mem_full60": 1})),
        "memory.swaps": (c("memory", {"swap.out_mbps": 9}), c("memory", {"swap.out_mbps": 9} | fell)),
        "memory.oom_cgroup": (
            c("memory", lines=("Memory cgroup out of memory: Killed process 17 (gunicorn) total-vm:64kB",)),
            c("memory", lines=("Out of memory: Kill process 42 (perl) score 803",)),
        ),
        "memory.killed_with_room": (
            c("memory", {"vm.oom_kills": (0, 1), "mem.avail_pct": (60, 62)}),
            c("memory", {"vm.oom_kills": (0, 1), "mem.avail_pct": (8, 52)}),
        ),
        "memory.oom": (
            c("memory", lines=("Out of memory: Kill process 42 (perl) score 803",)),
            c("memory", lines=("Memory cgroup out of memory: Killed process 17 (gunicorn)",)),
        ),
        "memory.failcnt": (
            c("memory", {"ubc.failcnt": {"privvmpages": 4}}),
            c("memory", {"ubc.failcnt": {"privvmpages": 4}, "ubc.limit_mb": (4096, 2048)}),
        ),
        "memory.corrupted": (c("hardware", {"hw.edac_ue": 1}), c("hardware", {"hw.edac_ue": 0})),
    }


def io_cases(c, h, s):
    slow = {"disk.await_ms": (3, 180), "disk.iops": (120, 40), "disk.qdepth": 7}
    demand = {"disk.await_ms": (3, 60), "disk.iops": (120, 2600), "disk.qdepth": 40}
    return {
        "io.backend_slow": (c("io", slow), c("io", demand)),
        "io.probe_slow": (
            c("io", {"disk.probe_ms": (1, 160), "disk.qdepth": 2}),
            c("io", {"disk.probe_ms": (1, 160), "disk.qdepth": 80}),
        ),
        "io.stalled": (
            c("io", {"disk.iops": 0, "disk.qdepth": 3}),
            c("io", {"disk.iops": 0, "disk.qdepth": 0}),
        ),
        "io.sibling_slow": (
            c("io", slow, siblings=(s(disk__await_ms=150.0),)),
            c("io", slow, siblings=(s(disk__await_ms=150.0),), topology={"storage": "local"}),
        ),
        "io.sibling_fine": (
            c("io", slow, siblings=(s(disk__await_ms=3.0),)),
            c("io", slow, siblings=(s(disk__await_ms=150.0),)),
        ),
        "io.saturated": (c("io", demand), c("io", slow)),
        "io.queue_grew": (
            c("io", {"disk.await_ms": (13, 58), "disk.iops": (1850, 1910), "disk.qdepth": (24, 111)}),
            c("io", {"disk.await_ms": (13, 58), "disk.iops": (1850, 700), "disk.qdepth": (24, 41)}),
        ),
        "io.plan_cap": (
            c("io", demand | {"disk.iops": (120, 2990)}, topology={"plan": "dedicated iops_cap=3000"}),
            c("io", demand, topology={"plan": "dedicated iops_cap=9000"}),
        ),
        "io.errors_below": (c("io", lines=IO_LINE), c("io", lines=IO_LINE, topology=METAL)),
        "io.errors_disk": (c("io", lines=IO_LINE, topology=METAL), c("io", lines=IO_LINE)),
        "io.pressure": (c("io", {"psi.io_full60": 40}), c("io", {"psi.io_full60": 3})),
    }


def fs_cases(c, h, s):
    return {
        "fs.full": (c("fs_space", {"fs.used_pct": 97}, subject="/var"), c("fs_space", {"fs.used_pct": 60})),
        "fs.no_inodes": (c("fs_space", {"fs.inode_pct": 99}), c("fs_space", {"fs.inode_pct": 10})),
        "fs.filling": (c("fs_space", {"fs.growth_gb_h": 6.0}), c("fs_space", {"fs.growth_gb_h": 0.1})),
        "fs.ro_below": (c("fs", {"fs.ro": True}, lines=IO_LINE), c("fs", {"fs.ro": True})),
        "fs.ro_disk": (
            c("fs", {"fs.ro": True}, lines=IO_LINE, topology=METAL),
            c("fs", {"fs.ro": True}, lines=IO_LINE),
        ),
        "fs.ro_alone": (c("fs", {"fs.ro": True}), c("fs", {"fs.ro": True}, lines=IO_LINE)),
    }


def service_cases(c, h, s):
    return {
        "service.unit_failed": (c("unit", subject="nginx.service"), c("service", subject="web")),
        "service.restarts": (c("unit", {"svc.restarts_h": 9}), c("unit", {"svc.restarts_h": 1})),
        "service.process_gone": (c("process", subject="nginx"), c("unit", subject="nginx.service")),
        "service.inside_fails": (
            c("service", {"check.state": "refused"}, subject="web"),
            c("service", {"check.state": "slow"}, subject="web"),
        ),
        "service.outside_fails": (c("service", {"ext.state": "refused"}, **OUT), c("service", subject="web")),
        "service.refused": (
            c("service", {"ext.state": "refused"}, **OUT),
            c("service", {"ext.state": "refused"}, **OUT, beside=(h("unit", subject="nginx.service"),)),
        ),
        "service.filtered": (
            c("service", {"ext.state": "timeout"}, **OUT),
            c("service", {"ext.state": "timeout"}, **OUT, life="silent"),
        ),
        "service.alive_elsewhere": (
            c("service", {"ext.state": "timeout"}, seen=(("ext.svc", "ok", "v2"),), **OUT),
            c("service", {"ext.state": "timeout"}, seen=(("ext.svc", "dead", "v2"),), **OUT),
        ),
        "service.sshd_down": (c("unit", subject="sshd.service"), c("unit", subject="httpd.service")),
        "service.hangs": (
            c("service", {"ext.state": "timeout", "ext.port": "ok"}, **OUT),
            c("service", {"ext.state": "timeout", "ext.port": "timeout"}, **OUT),
        ),
        "service.disk_full": (
            c("service", subject="web", beside=(h("fs_space", subject="/var"),)),
            c("service", subject="web", beside=(h("fs_space", subject="/mnt/backup"),)),
        ),
        "service.no_turn": (
            c(
                "service",
                {"ext.state": "timeout", "cpu.user_pct": 92, "cpu.sys_pct": 6, "sched.runq_per_cpu": 7},
                subject="web",
            ),
            c(
                "service",
                {"ext.state": "timeout", "cpu.user_pct": 92, "cpu.sys_pct": 6, "sched.runq_per_cpu": 7},
                subject="web",
                beside=(h("unit", subject="web.service"),),
            ),
        ),
        "service.certificate": (c("tls", {"tls.days": 3}), c("tls", {"tls.days": 60})),
        "service.slow": (
            c("service", {"check.state": "slow"}, subject="web", rule="check_slow"),
            c("service", {"check.state": "slow"}, subject="web", rule="check_slow", beside=(h("cpu"),)),
        ),
        "service.app_error": (
            c("service", {"ext.state": "status"}, **OUT, notes={"status": 500}),
            c("service", {"ext.state": "status"}, **OUT, notes={"status": 404}),
        ),
    }


def silence_cases(c, h, s):
    gone = {"silence.outcome": "agent_gone"}
    hung = {"silence.outcome": "hung", "ext.tcp22": "banner_timeout"}
    return {
        "silence.tcp_refused": (
            c("silence", gone | {"ext.tcp22": "refused"}),
            c("silence", {"silence.outcome": "down", "ext.tcp22": "timeout"}),
        ),
        "silence.ssh_ok": (
            c("silence", gone | {"ext.tcp22": "ok"}),
            c("silence", gone | {"ext.tcp22": "refused"}),
        ),
        "silence.service_dead": (
            c("silence", gone | {"ext.tcp22": "ok", "silence.mute": True}),
            c(
                "silence",
                gone | {"ext.tcp22": "ok", "silence.mute": True},
                beside=(dataclasses.replace(h("service", subject="web"), at_ms=0),),
            ),
        ),
        "silence.hangs_with_storage": (
            c("silence", hung, siblings=(s(families=("io",)),)),
            c("silence", hung, siblings=(s(families=("io",), disk__iops=3000.0),)),
        ),
        "silence.icmp_ok": (c("silence", gone | {"ext.icmp": "ok"}), c("silence", gone)),
        "silence.service_ok": (
            c("silence", gone | {"ext.svc": "ok"}),
            c("silence", gone | {"ext.svc": "dead"}),
        ),
        "silence.service_stop": (
            c("silence", gone | {"agent.stop_reason": "service_stop"}),
            c("silence", gone | {"agent.stop_reason": "none"}),
        ),
        "silence.no_banner": (
            c("silence", {"silence.outcome": "hung", "ext.tcp22": "banner_timeout"}),
            c("silence", gone | {"ext.tcp22": "ok"}),
        ),
        "silence.seen_elsewhere": (
            c("silence", {"silence.outcome": "path", "silence.group": "path:collector"}),
            c("silence", {"silence.outcome": "down"}),
        ),
        "silence.trace_in_provider": (
            c("silence", {"silence.outcome": "down"}, seen=(("ext.last_hop", "alfa-core", ""),)),
            c("silence", {"silence.outcome": "down"}, seen=(("ext.last_hop", "transit-x", ""),)),
        ),
        "silence.kex_hangs": (c("silence", {"ext.tcp22": "kex_timeout"}), c("silence", {"ext.tcp22": "ok"})),
        "silence.nothing_answers": (c("silence", {"silence.outcome": "down"}), c("silence", group("node"))),
        "silence.not_returned": (
            c("silence", {"silence.outcome": "down", "agent.stop_reason": "host_shutdown"}),
            c("silence", gone | {"agent.stop_reason": "host_shutdown", "ext.tcp22": "ok"}),
        ),
        "silence.not_probed": (
            c("silence", {"silence.outcome": "unknown"}),
            c("silence", {"silence.outcome": "down"}),
        ),
        "silence.group_dead": (c("silence", group("node")), c("silence", {"silence.outcome": "down"})),
        **{
            f"silence.group_{kind}": (c("silence", group(kind)), c("silence", {"silence.outcome": "down"}))
            for kind in ("node", "storage", "rack", "site", "provider")
        },
    }


def vantage_cases(c, h, s):
    down = {"silence.outcome": "down"}
    swallowed = {"ext.state": "timeout", "ext.port": "timeout", "ext.tcp22": "refused"}
    near = dataclasses.replace(s(), topology={**s().topology, "rack": "r7"})
    border = (("ext.last_hop", "transit-before-alfa", ""),)
    return {
        "vantage.both_dead": (c("silence", down | {"silence.dead_to": ["v1"]}), c("silence", down)),
        "vantage.alone": (c("silence", down), c("silence", down | {"silence.dead_to": ["v1"]})),
        "vantage.dead_there_too": (
            c("service", {"ext.elsewhere": {"v1": {"ext.svc": "dead"}}}, **OUT),
            c("service", {"ext.elsewhere": {"v1": {"ext.svc": "ok"}}}, **OUT),
        ),
        "vantage.port_swallowed": (
            c("service", swallowed, **OUT),
            c("service", swallowed | {"net.listen_drops_ps": 3.0}, **OUT),
        ),
        "vantage.large_lost": (
            c("service", {"ext.elsewhere": {"v1": {"ext.tcp22": "kex_timeout"}}}, **OUT),
            c("service", {"ext.tcp22": "ok"}, **OUT),
        ),
        "silence.flooded": (
            c("silence", down | {"net.in_kpps": 850}, siblings=(s(),), seen=border),
            c("silence", down | {"net.in_kpps": 12}, siblings=(s(),), seen=border),
        ),
        "vantage.neighbours_answer": (
            c("silence", down, topology={"rack": "r7"}, siblings=(near,), seen=border),
            c("silence", down, topology={"rack": "r8"}, siblings=(near,), seen=border),
        ),
    }


RACK = {"rack": "r9"}


def in_rack(sibling):
    """The neighbour as a machine of the same rack."""
    return dataclasses.replace(sibling, topology=dict(sibling.topology) | METAL | RACK)


BOND_LEG = "bond0: (slave eno2): link status definitely down, disabling slave"


def network_cases(c, h, s):
    return {
        "net.link_down": (
            c("network", {"net.link": "down"}, subject="eth0", topology=METAL),
            c(
                "network",
                {"net.link": "down"},
                subject="eth0",
                topology=METAL,
                ops=("ip link set eth0 down",),
            ),
        ),
        "net.link_flaps": (c("network", {"net.flaps": 6}), c("network", {"net.flaps": 1})),
        "net.link_line": (
            c("network", rule="link_lost", topology=METAL),
            c("network", rule="link_lost"),
        ),
        "net.rack_flaps": (
            c(
                "network",
                {"net.flaps": 6},
                topology=METAL | RACK,
                siblings=(in_rack(s("b1", families=("network",))),),
            ),
            c(
                "network",
                {"net.flaps": 6, "net.crc_ps": 4},
                topology=METAL | RACK,
                siblings=(in_rack(s("b1", families=("network",))),),
            ),
        ),
        "net.bond_leg": (
            c("hardware", {"kmsg": BOND_LEG}, rule="bond_leg_lost", topology=METAL),
            c("hardware", {"kmsg": BOND_LEG}, rule="bond_leg_lost", topology=METAL, ops=("ifdown eno2",)),
        ),
        "net.dark_outside": (
            c("network", {"net.gw": "ok"}, seen=(("ext.icmp", "dead", "v2"),)),
            c("network", {"net.gw": "ok"}, seen=(("ext.icmp", "ok", "v2"),)),
        ),
        "net.way_to_us": (
            c("network", {"net.collector": "dead", "net.anchors": 3}),
            c("network", {"net.collector": "dead", "net.anchors": 0}),
        ),
        "net.crc": (c("network", {"net.crc_ps": 3.0}), c("network", {"net.crc_ps": 0})),
        "net.link_by_admin": (
            c("network", {"net.link": "down"}, ops=("ip link set eth0 down",)),
            c("network", {"net.link": "down"}),
        ),
        "net.gateway_dead": (
            c("network", {"net.gw": "dead", "net.link": "up"}),
            c("network", {"net.gw": "dead", "net.link": "down"}),
        ),
        "net.uplink_dead": (
            c("network", {"net.gw": "ok", "net.anchors": 0}),
            c("network", {"net.gw": "ok", "net.anchors": 3}),
        ),
        "net.segment_too": (c("network", siblings=(s(life="silent"),)), c("network", siblings=(s(),))),
        "net.big_packets": (c("network", {"net.bigpkt": "fail"}), c("network", {"net.bigpkt": "ok"})),
        "net.conntrack": (c("limits", {"net.conntrack_pct": 99}), c("limits", {"net.conntrack_pct": 50})),
        "net.ports": (c("limits", {"net.ports_pct": 95}), c("limits", {"net.ports_pct": 20})),
        "net.syn_flood": (c("network", {"net.cookies_ps": 900}), c("network", {"net.cookies_ps": 0})),
        "limits.fds": (
            c("limits", {"fd.used_pct": 99}, rule="descriptors_gone"),
            c("limits", {"fd.used_pct": 99}, rule="listen_drops"),
        ),
    }


def clock_cases(c, h, s):
    return {
        "dns.public_answers": (
            c("dns", {"net.dns_sys": "fail", "net.dns_pub": "ok"}),
            c("dns", {"net.dns_sys": "fail", "net.dns_pub": "fail"}),
        ),
        "dns.siblings_fail": (c("dns", siblings=(s(families=("dns",)),)), c("dns", siblings=(s(),))),
        "dns.siblings_resolve": (c("dns", siblings=(s(),)), c("dns", siblings=(s(families=("dns",)),))),
        "clock.off": (c("clock", {"clk.ntp_offset_ms": -4000}), c("clock", {"clk.ntp_offset_ms": 2})),
        "clock.stepped": (
            c("clock", {"clk.wall_step_s": 3600}),
            c("clock", {"clk.wall_step_s": -8, "clk.offset_step_s": 8}),
        ),
        "clock.ntp_siblings": (
            c(
                "clock",
                {"clk.ntp_offset_ms": 1, "clk.true_offset_ms": 3000},
                siblings=(s(families=("clock",)),),
            ),
            c("clock", {"clk.ntp_offset_ms": 1, "clk.true_offset_ms": 3000}, siblings=(s(),)),
        ),
        "virt.stood_still": (c("virt", {"clk.offset_step_s": 8}), c("virt", {"clk.offset_step_s": 0.3})),
        "virt.did_not_run_long": (
            c("virt", {"agent.gap_s": 12, "agent.gap_progress": 0.1}),
            c("virt", {"agent.gap_s": 4, "agent.gap_progress": 0.1}),
        ),
        "virt.did_not_run": (
            c("virt", {"agent.gap_s": 8, "agent.gap_progress": 0.1}),
            c("virt", {"agent.gap_s": 8, "agent.gap_progress": 0.9}),
        ),
    }


BATTERY = "megaraid_sas 0000:03:00.0: 11842 (754012811s/0x0008/CRIT) - Battery has failed and cannot support data retention"


def hardware_cases(c, h, s):
    return {
        "hw.smart_failed": (
            c("hardware", {"hw.smart_health": "FAILED"}),
            c("hardware", {"hw.smart_health": "PASSED"}),
        ),
        "prov.node_failed": (
            c("silence", seen=(("prov.event", "HA restart: host node failure", ""),)),
            c("silence", seen=(("prov.event", "resize 4->8 vCPU by customer user u17", ""),)),
        ),
        "prov.customer_reset": (
            c("silence", seen=(("prov.event", "hard reset by customer user u17", ""),)),
            c("silence", seen=(("prov.event", "resize 4->8 vCPU by customer user u17", ""),)),
        ),
        "hw.smart_rule": (
            c("hardware", rule="smart_grows", subject="197"),
            c("hardware", rule="raid_degraded", subject="md0"),
        ),
        "hw.raid_line": (
            c("hardware", {"kmsg": "md/raid1:md0: Disk failure on sdb2"}, rule="raid_member_lost"),
            c("hardware", {"kmsg": "md/raid1:md0"}, rule="raid_member_lost", ops=("mdadm --fail",)),
        ),
        "hw.raid_event": (
            c("hardware", {"kmsg": BATTERY}, rule="raid_event"),
            c("hardware", {"kmsg": BATTERY}, rule="raid_event", ops=("storcli /c0/bbu start learn",)),
        ),
        "hw.power_log": (
            c("hardware", {"hw.sel": "Power Supply #0x63 | Power Supply AC lost | Asserted"}),
            c("hardware", {"hw.sel": "Fan #0x30 | Lower Critical going low | Asserted"}),
        ),
        "hw.power_back": (
            c("kernel", {"boot.restart_cause": "power-up due to always-restore power policy"}),
            c("kernel", {"boot.restart_cause": "chassis power control command"}),
        ),
        "hw.nvme": (c("hardware", {"hw.nvme_cw": 4}), c("hardware", {"hw.nvme_cw": 0})),
        "hw.array": (
            c("hardware", {"hw.md": "degraded"}),
            c("hardware", {"hw.md": "degraded"}, ops=("mdadm --fail",)),
        ),
        "hw.ecc_rate": (c("hardware", {"hw.edac_ce_h": 40}), c("hardware", {"hw.edac_ce_h": 2})),
        "hw.machine_check": (c("kernel", lines=MCE), c("kernel", lines=("usb 1-1: new device",))),
        "kernel.panic": (
            c("kernel", lines=("Kernel panic - not syncing: Fatal exception",)),
            c("kernel", lines=("Kernel panic - not syncing: Fatal exception", *MCE)),
        ),
        "kernel.soft_lockup": (
            c("kernel", lines=("BUG: soft lockup - CPU#1 stuck for 22s! [foo:123]",), topology=METAL),
            c("kernel", lines=("BUG: soft lockup - CPU#1 stuck for 22s! [foo:123]",)),
        ),
    }


def cases(c, h, s):
    """Row id -> (case where it holds, case where it does not)."""
    tables = (
        cpu_cases,
        memory_cases,
        io_cases,
        fs_cases,
        service_cases,
        silence_cases,
        vantage_cases,
        network_cases,
        clock_cases,
        hardware_cases,
        *MORE,
    )
    return {row_id: pair for table in tables for row_id, pair in table(c, h, s).items()}


BY_ID = {row.id: row for row in ROWS}


@pytest.fixture(scope="module")
def strict_words():
    register(TEXTS_FOLDER)
    set_strict(True)
    yield texts("uk"), texts("en")
    set_strict(False)


@pytest.mark.parametrize("row_id", sorted(BY_ID))
def test_a_row_holds_in_its_case_and_not_in_the_other(row_id, make_case, make_held, make_sibling):
    yes, no = cases(make_case, make_held, make_sibling)[row_id]
    row = BY_ID[row_id]
    assert yes.subject.family in row.families, "its case must be one that it may speak in"
    assert row.when(yes) is not None
    assert row.when(no) is None


def test_a_busy_machine_that_spoke_its_banner_and_lost_its_key_exchange_had_its_turn(make_case):
    when = BY_ID["service.no_turn"].when
    busy = {"ext.state": "timeout", "cpu.user_pct": 92, "cpu.sys_pct": 6, "sched.runq_per_cpu": 7}
    assert when(make_case("service", busy | {"ext.tcp22": "ok"}, subject="web")) is not None
    assert when(make_case("service", busy | {"ext.tcp22": "kex_timeout"}, subject="web")) is None


@pytest.mark.parametrize("row_id", sorted(BY_ID))
def test_a_row_says_why_in_both_languages(row_id, make_case, make_held, make_sibling, strict_words):
    row = BY_ID[row_id]
    params = row.when(cases(make_case, make_held, make_sibling)[row_id][0])
    assert params is not None
    uk, en = (words.get(row.key, **params) for words in strict_words)
    assert uk != en


def test_a_bare_case_satisfies_no_row(make_case):
    """Absence of every signal is no evidence, for nobody."""
    families = sorted({family for row in ROWS for family in row.families} - {"unit", "process"})
    for family in families:
        held = [row.id for row in ROWS if family in row.families and row.when(make_case(family))]
        assert [r for r in held if r != "service.inside_fails"] == []


def test_no_case_is_left_without_its_row(make_case, make_held, make_sibling):
    assert set(cases(make_case, make_held, make_sibling)) == set(BY_ID)


def test_rows_are_well_declared():
    assert len(BY_ID) == len(ROWS), "ids are unique"
    for row in ROWS:
        assert row.group in GROUPS
        assert abs(row.weight) <= DECISIVE
        assert row.source.startswith(("signals.md", "design.md"))


@pytest.mark.parametrize("family", ["network", "service"])
def test_large_packets_that_are_lost_are_one_piece_of_evidence_whoever_saw_it(make_case, family):
    """Two rows once said it of the same answers, and counted twice."""
    seen = (("ext.tcp22", "kex_timeout", "v2"),)
    asked = {"ext.tcp22": "kex_timeout", "ext.elsewhere": {"v1": {"ext.tcp22": "kex_timeout"}}}
    case = make_case(family, asked, seen=seen)
    told = [
        (row.id, row.when(case))
        for row in ROWS
        if family in row.families and row.cause == "net.mtu_blackhole"
    ]
    assert [(name, params) for name, params in told if params is not None] == [
        ("vantage.large_lost", {"vantages": "collector, v1, v2"})
    ]


HALT = "thermal thermal_zone0: critical temperature reached (110 C), shutting down"
POOL = "device-mapper: thin: 253:4: switching pool to out-of-data-space (queue IO) mode"


@pytest.mark.parametrize(
    ("row_id", "family", "line", "other"),
    [
        ("hw.hot_line", "hardware", HALT, "thermal thermal_zone0: failed to read out thermal zone (-61)"),
        ("io.pool_full", "io", POOL, "device-mapper: thin: 253:4: reached low water mark for data device"),
    ],
)
def test_lines_that_name_the_cause_without_a_figure(row_id, family, line, other, make_case):
    when = next(row for row in ROWS if row.id == row_id).when
    assert when(make_case(family, lines=(line,), topology=METAL)) is not None
    assert when(make_case(family, lines=(other,), topology=METAL)) is None
