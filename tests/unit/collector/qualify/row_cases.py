"""Two cases for each evidence row of a platform, of a provider's word or of an operator's act: it holds, and it must not.

Plain values for ``test_evidence_rows``; ``c`` makes a case, ``h`` a finding, ``s`` a neighbour.
"""

from __future__ import annotations

METAL = {"virt": "none", "storage": "local"}
BOX = {"virt": "openvz"}
IO_LINE = ("blk_update_request: I/O error, dev sda, sector 99",)
STACKED = ("Buffer I/O error on dev dm-0, logical block 12, lost async page write",)
HUNG = ("INFO: task jbd2/vda1-8:311 blocked for more than 120 seconds.",)
STALL = ("BUG: soft lockup - CPU#1 stuck for 22s! [swapper/1:0]",)
TX = ("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out",)
SLOW = {"disk.await_ms": (3, 180), "disk.iops": (120, 40), "disk.qdepth": 7}
SSH = {"stream": "collector:outside", "subject": "ssh", "notes": {"type": "ssh"}}


def said(text: str, host: str = "") -> dict:
    return {"seen": (("prov.event", text, ""),)}


def below_cases(c, h, s):
    spin = {"cpu.spin_score": 0.55, "sched.runq_per_cpu": 0.3, "cpu.user_pct": 20, "cpu.sys_pct": 4}
    pause = {"agent.gap_s": 22, "agent.gap_progress": 0.1}
    return {
        "cpu.spin_very_slow": (c("cpu", spin), c("cpu", spin | {"cpu.spin_score": 0.75})),
        "hw.pcie_card": (
            c(
                "kernel",
                lines=(
                    "i40e 0000:3b:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer",
                ),
            ),
            c(
                "kernel",
                lines=(
                    "nvme 0000:3b:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer",
                ),
            ),
        ),
        "prov.cpu_ordered_down": (
            c("cpu", {"cpu.steal_pct": 74}, **said("CPU limit 400 % -> 100 %, ordered by customer olha")),
            c("cpu", {"cpu.steal_pct": 74}, **said("CPU limit 100 % -> 400 %, ordered by customer olha")),
        ),
        "cpu.sibling_spin": (
            c("cpu", spin, siblings=(s(cpu__spin_score=0.5),)),
            c("cpu", spin, siblings=(s(cpu__spin_score=1.0),)),
        ),
        "cpu.no_steal": (
            c("cpu", spin | {"cpu.steal_pct": 0.1}),
            c("cpu", spin | {"cpu.steal_pct": 0.1}, topology={"virt": "vmware"}),
        ),
        "cpu.stall_stolen": (
            c("kernel", {"cpu.steal_pct": 60}, lines=STALL),
            c("kernel", {"cpu.steal_pct": 2}, lines=STALL),
        ),
        "cpu.stall_paused": (c("kernel", pause, lines=STALL), c("kernel", lines=STALL)),
        "memory.swapped_below": (
            c("virt", {"mem.hypervisor_swap_mb": (0, 900)}, topology={"virt": "vmware"}),
            c("virt", {"mem.hypervisor_swap_mb": (0, 4)}, topology={"virt": "vmware"}),
        ),
        "memory.puffed": (
            c("memory", lines=("virtio_balloon virtio3: Out of puff! Can't get 1 pages",)),
            c("memory", lines=("Out of memory: Kill process 42 (perl) score 803",)),
        ),
        "memory.container_shrank": (
            c("virt", {"mem.total_mb": (8000, 4000)}, topology={"virt": "lxc"}),
            c("virt", {"mem.total_mb": (8000, 4000)}),
        ),
        "memory.guarantee_broken": (
            c("memory", {"ubc.failcnt": {"oomguarpages": 3}, "ubc.held_mb": 1000, "ubc.limit_mb": 4096}),
            c("memory", {"ubc.failcnt": {"oomguarpages": 3}, "ubc.held_mb": 4090, "ubc.limit_mb": 4096}),
        ),
        "virt.suspended": (
            c("virt", {"clk.bt_mono_step_s": 14}),
            c("virt", {"clk.bt_mono_step_s": 14}, ops=("systemctl suspend",)),
        ),
    }


def network_more(c, h, s):
    lost = {"net.gw": "ok", "net.anchors": 0, "net.hop2": "ok"}
    way = {"rule": "no_way_out"}
    return {
        "net.null_routed": (
            c("network", lost, siblings=(s(),), **way),
            c("network", lost, siblings=(s(life="silent"),), **way),
        ),
        "net.beyond_hop2": (
            c("network", lost, siblings=(s(life="silent"),), **way),
            c("network", lost, siblings=(s(),), **way),
        ),
        "net.queue_stuck": (c("network", lines=TX, topology=METAL), c("network", lines=TX)),
        "net.queue_stuck_below": (c("network", lines=TX), c("network", lines=TX, topology=METAL)),
        "net.lost_on_the_way": (
            c("network", {"net.loss_pct": 18}),
            c("network", {"net.loss_pct": 18, "net.conntrack_pct": 100}),
        ),
        "net.lossy_outside": (
            c("network", seen=(("ext.icmp", "loss", "v2"),)),
            c("network", {"cpu.softirq_pct": 60}, seen=(("ext.icmp", "loss", "v2"),)),
        ),
        "net.conntrack_line": (
            c("limits", lines=("nf_conntrack: nf_conntrack: table full, dropping packet",)),
            c("limits", lines=TX),
        ),
        "net.flood_line": (
            c("limits", lines=("TCP: Possible SYN flooding on port 443. Dropping request.",)),
            c("limits", lines=TX),
        ),
        "net.missed": (
            c("network", {"net.missed_ps": 900, "net.crc_ps": 0}),
            c("network", {"net.missed_ps": 900, "net.crc_ps": 40}),
        ),
        "dns.stub_failed": (
            c("dns", beside=(h("unit", subject="systemd-resolved.service"),)),
            c("dns", beside=(h("unit", subject="postfix.service"),)),
        ),
        "clock.service_failed": (
            c("clock", beside=(h("unit", subject="chronyd.service"),)),
            c("clock", beside=(h("unit", subject="httpd.service"),)),
        ),
    }


def disk_cases(c, h, s):
    full = {"fs.used_pct": 100}
    return {
        "io.disk_slow": (c("io", SLOW, topology=METAL), c("io", SLOW)),
        "io.disk_probe_slow": (
            c("io", {"disk.probe_ms": (1, 160), "disk.qdepth": 2}, topology=METAL),
            c("io", {"disk.probe_ms": (1, 160), "disk.qdepth": 2}),
        ),
        "io.disk_stalled": (
            c("io", {"disk.iops": 0, "disk.qdepth": 3}, topology=METAL),
            c("io", {"disk.iops": 0, "disk.qdepth": 0}, topology=METAL),
        ),
        "io.errors_below": (c("io", lines=IO_LINE), c("io", lines=IO_LINE, topology=METAL)),
        "io.errors_disk": (c("io", lines=IO_LINE, topology=METAL), c("io", lines=IO_LINE)),
        "io.errors_stacked": (c("io", lines=STACKED), c("io", lines=IO_LINE)),
        "io.errors_stacked_disk": (c("io", lines=STACKED, topology=METAL), c("io", lines=STACKED)),
        "io.pool_full": (
            c("io", lines=("critical space allocation error, dev dm-3, sector 9",)),
            c("io", lines=IO_LINE),
        ),
        "io.full_below": (
            c("io", lines=("critical space allocation error, dev vda, sector 9",)),
            c("io", lines=("critical space allocation error, dev dm-3, sector 9",)),
        ),
        "io.tasks_wait": (
            c("io", lines=HUNG),
            c("io", {"swap.out_mbps": 40}, lines=HUNG),
        ),
        "io.tasks_wait_disk": (c("io", lines=HUNG, topology=METAL), c("io", lines=HUNG)),
        "io.lone_hang": (
            c("io", {"disk.await_ms": 3, "disk.iops": 100}, lines=HUNG),
            c("io", SLOW, lines=HUNG),
        ),
        "fs.ro_disk": (
            c("fs", {"fs.ro": True}, lines=IO_LINE, topology=METAL),
            c("fs", {"fs.ro": True}, lines=IO_LINE),
        ),
        "fs.ro_by_admin": (
            c("fs", {"fs.ro": True}, ops=("mount -o remount,ro /srv",)),
            c("fs", {"fs.ro": True}, ops=("deploy app v2",)),
        ),
        "fs.own_fault": (
            c("fs", lines=("XFS (dm-2): Corruption of in-memory data detected.  Shutting down filesystem",)),
            c("fs", lines=("EXT4-fs error (device vda1): x", *IO_LINE)),
        ),
        "fs.guests_stopped": (
            c("virt", full, rule="guest_down", subject="g1"),
            c("virt", {"fs.used_pct": 40}, rule="guest_down", subject="g1"),
        ),
        "hw.log_disk": (
            c("hardware", {"hw.sel": "Drive Slot #0x1 | Drive Fault | Asserted"}),
            c("hardware", {"hw.sel": "Fan #0x30 | Lower Critical going low | Asserted"}),
        ),
    }


def outside_cases(c, h, s):
    hung = {"silence.outcome": "hung"}
    down = {"silence.outcome": "down"}
    return {
        "service.ssh_refused": (
            c("service", {"ext.state": "refused"}, **SSH),
            c("service", {"ext.state": "timeout"}, **SSH),
        ),
        "service.ssh_silent": (
            c("service", {"ext.state": "banner_timeout"}, **SSH),
            c("service", {"ext.state": "refused"}, **SSH),
        ),
        "service.alive_here": (
            c("service", rule="vantage.service", stream="collector:unserved", subject="web"),
            c("service", rule="outside.service", stream="collector:outside", subject="web"),
        ),
        "service.filtered": (
            c(
                "service",
                {"ext.state": "timeout"},
                subject="web",
                stream="collector:outside",
                beside=(h("service", {"ext.state": "timeout"}, subject="ssh", stream="collector:outside"),),
            ),
            c("service", {"ext.state": "dead"}, subject="web", stream="collector:outside"),
        ),
        "service.alive_elsewhere": (
            c(
                "service",
                {"ext.state": "timeout"},
                seen=(("ext.svc", "ok", "v2"),),
                life="silent",
                subject="web",
                stream="collector:outside",
            ),
            c(
                "service",
                {"ext.state": "timeout"},
                seen=(("ext.svc", "ok", "v2"),),
                subject="web",
                stream="collector:outside",
            ),
        ),
        "silence.storage_silent": (
            c("silence", hung, siblings=(s(families=("io",)),)),
            c("silence", hung, siblings=(s(),)),
        ),
        "silence.waited_for_disks": (
            c("silence", hung | {"disk.iops": 0, "disk.qdepth": 9}),
            c("silence", hung | {"disk.iops": 0, "disk.qdepth": 9, "swap.out_mbps": 60}),
        ),
        "silence.bmc_dead": (
            c("silence", down, siblings=(s(),), seen=(("ext.bmc", "dead", ""),), topology=METAL),
            c("silence", down, siblings=(s(),), seen=(("ext.bmc", "ok", ""),), topology=METAL),
        ),
        "silence.link_was_lost": (
            c("silence", down, beside=(h("network", rule="link_lost"),), topology=METAL),
            c("silence", down, beside=(h("network", rule="link_lost"),)),
        ),
        "silence.withdrawn": (
            c("silence", down, siblings=(s(),), seen=(("ext.last_hop", "before-alfa", ""),)),
            c("silence", down, siblings=(s(life="silent"),), seen=(("ext.last_hop", "before-alfa", ""),)),
        ),
    }


def hardware_more(c, h, s):
    segv = tuple(
        f"{name}[{n}]: segfault at 0 ip 00007f3a error 4" for n, name in enumerate(("httpd", "cron", "ls"))
    )
    trace = {"boot.pstore": "Kernel panic - not syncing: Fatal exception"}
    return {
        "hw.corrected": (c("hardware", lines=("EDAC MC1: 2 CE memory scrubbing error",)), c("hardware")),
        "hw.pcie": (
            c("hardware", lines=("PCIe Bus Error: severity=Uncorrected (Fatal)",)),
            c("hardware", lines=("AER: Corrected error received: id=00e0",)),
        ),
        "hw.hot_line": (
            c(
                "cpu",
                {"cpu.mhz_pct": 50},
                lines=("CPU1: Core temperature above threshold, cpu clock throttled",),
                topology=METAL,
            ),
            c(
                "cpu",
                {"cpu.mhz_pct": 99},
                lines=("CPU1: Core temperature above threshold, cpu clock throttled",),
                topology=METAL,
            ),
        ),
        "hw.log_cooling": (
            c("hardware", {"hw.sel": "Fan #0x30 | Lower Critical going low | Asserted"}),
            c("hardware", {"hw.sel": "Power Supply #0x63 | Power Supply AC lost | Asserted"}),
        ),
        "hw.log_memory": (
            c("hardware", {"hw.sel": "Memory #0x0d | Uncorrectable ECC | Asserted"}),
            c("hardware", {"hw.sel": "Power Supply #0x63 | Power Supply AC lost | Asserted"}),
        ),
        "hw.segfaults": (c("unit", lines=segv), c("unit", lines=segv[:2])),
        "kernel.oops": (
            c("kernel", lines=("Oops: 0002 [#1] SMP",)),
            c("kernel", trace, lines=("Oops: 0002 [#1] SMP",)),
        ),
        "kernel.siblings_fell": (
            c("kernel", siblings=(s(families=("silence",)),)),
            c("kernel", siblings=(s(),)),
        ),
        "kernel.went_down": (
            c("kernel", rule="unclean_boot"),
            c("kernel", {"boot.restart_cause": "watchdog"}, rule="unclean_boot"),
        ),
        "kernel.watchdog": (
            c("kernel", {"boot.restart_cause": "watchdog expired"}),
            c("kernel", {"boot.restart_cause": "watchdog expired"}, lines=IO_LINE),
        ),
        "kernel.reset_by_command": (
            c("kernel", {"boot.restart_cause": "chassis power control command"}),
            c("kernel", {"boot.restart_cause": "power-up due to always-restore power policy"}),
        ),
    }


def said_cases(c, h, s):
    other = said("resize 4->8 vCPU by customer user u17")
    running = (("prov.vm_state", "running", ""),)
    return {
        "prov.null_route": (
            c("network", **said("null-route set by network operations")),
            c("network", **other),
        ),
        "prov.storage": (c("io", **said("ceph cluster degraded, OSD lost")), c("io", **other)),
        "prov.power": (
            c("silence", **said("PDU tripped in row 4"), topology=METAL),
            c("silence", **said("PDU tripped in row 4")),
        ),
        "prov.power_of_node": (
            c("silence", **said("PDU tripped in row 4")),
            c("silence", **said("PDU tripped in row 4"), topology=METAL),
        ),
        "prov.network": (c("network", **said("core router failure")), c("network", **other)),
        "prov.forced_off": (
            c("silence", **said("action=shutdown actor=staff")),
            c("silence", **said("shutdown by customer user u17")),
        ),
        "prov.capacity": (c("virt", **said("flavour reduced by operations")), c("virt", **other)),
        "prov.limits": (
            c("cpu", **said("cpulimit lowered by staff")),
            c("cpu", **said("cpulimit lowered by customer")),
        ),
        "prov.pause": (c("virt", **said("snapshot of the guest taken")), c("virt", **other)),
        "prov.machine_stopped": (
            c("silence", seen=(("prov.vm_state", "stopped", ""),)),
            c("silence", {"agent.stop_reason": "host_shutdown"}, seen=(("prov.vm_state", "stopped", ""),)),
        ),
        "prov.machine_paused": (
            c("silence", seen=(("prov.vm_state", "paused", ""),)),
            c("silence", seen=running),
        ),
        "prov.incident": (
            c("silence", seen=(("prov.status", "incident", ""),)),
            c("silence", seen=(("prov.status", "ok", ""),)),
        ),
        "prov.incident_below": (
            c("io", seen=(("prov.status", "incident", ""),)),
            c("io", seen=(("prov.status", "maintenance", ""),)),
        ),
        "ops.firewall": (c("service", ops=("iptables -P INPUT DROP",)), c("service", ops=("deploy app v2",))),
        "ops.resolver": (c("dns", ops=("vi /etc/resolv.conf",)), c("dns", ops=("deploy app v2",))),
        "ops.clock": (c("clock", ops=("date -s 12:00",)), c("clock", ops=("deploy app v2",))),
        "ops.unit": (c("unit", ops=("systemctl stop nginx",)), c("unit", ops=("vi /etc/motd",))),
        "ops.work": (c("cpu", ops=("deploy app v2",)), c("cpu", ops=("vi /etc/motd",))),
    }


MORE = (below_cases, network_more, disk_cases, outside_cases, hardware_more, said_cases)
