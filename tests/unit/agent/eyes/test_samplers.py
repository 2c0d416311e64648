"""Samplers over trees of files: rates, what is left out, what is lacking."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from agent.checks.systemctl import Unavailable
from agent.samplers import platform
from agent.samplers.base import LoopNotes
from agent.samplers.cpu import Cpu, GapWatch, shares
from agent.samplers.disk import Disk, rates_between, whole_devices
from agent.samplers.memory import Memory
from agent.samplers.network import Network
from agent.samplers.processes import Processes
from agent.samplers.timekeeping import KernelClock, Timekeeping
from agent.samplers.units import Units
from agent.signals.parsers.diskstats import parse_diskstats
from agent.signals.parsers.stat import CpuTimes
from agent.signals.sample import Sample
from config.clock import FixedClock

KVM = platform.Platform("kvm", "", "5.14.0-427.el9.x86_64", "kvm-clock")
Lay = Callable[[Dict[str, str]], Path]
Text = Callable[[str], str]


def values(samples: List[Sample], subject: str = "") -> Dict[str, Any]:
    return {sample.signal: sample.value for sample in samples if sample.subject == subject}


# --- CPU ---------------------------------------------------------------------------------------------------------


def test_shares_of_cpu_time_sum_to_a_hundred_with_idle() -> None:
    before = CpuTimes(100, 0, 50, 1000, 10, 0, 0, 0)
    now = CpuTimes(160, 20, 70, 1060, 20, 0, 10, 20)
    found = shares(before, now, capacity=200)
    assert found == {
        "cpu.user_pct": 40.0, "cpu.sys_pct": 10.0, "cpu.iowait_pct": 5.0, "cpu.softirq_pct": 5.0, "cpu.steal_pct": 10.0,
    }  # fmt: skip


def test_a_steal_counter_that_runs_backwards_is_left_out_and_spoils_nothing() -> None:
    found = shares(CpuTimes(0, 0, 0, 0, 0, 0, 0, 5000), CpuTimes(50, 0, 0, 50, 0, 0, 0, 100), capacity=100)
    assert found["cpu.user_pct"] == 50.0
    assert "cpu.steal_pct" not in found


def test_a_steal_counter_that_jumps_above_what_can_have_passed_is_left_out() -> None:
    found = shares(CpuTimes(0, 0, 0, 0, 0, 0, 0, 0), CpuTimes(50, 0, 0, 50, 0, 0, 0, 90_000), capacity=100)
    assert found["cpu.user_pct"] == 50.0
    assert "cpu.steal_pct" not in found


def test_idle_time_that_falls_by_a_few_ticks_counts_as_standing_still() -> None:
    assert (
        shares(CpuTimes(0, 0, 0, 100, 0, 0, 0, 0), CpuTimes(10, 0, 0, 98, 0, 0, 0, 0), capacity=10)[
            "cpu.user_pct"
        ]
        == 100.0
    )


def test_an_interval_in_which_the_number_of_cpus_changed_gives_no_shares(lay: Lay, text: Text) -> None:
    stat = text("el7/stat")
    root = lay({"proc/stat": stat, "proc/loadavg": "0.5 0.4 0.3 1/200 99\n"})
    cpu = Cpu(root, KVM)
    cpu.sweep(0)
    cpus = [line for line in stat.split("\n") if line.startswith("cpu1")]
    lay({"proc/stat": stat.replace(cpus[0] + "\n", "").replace("1065270", "9065270")})
    found = values(cpu.sweep(10_000))
    assert found["cpu.online"] == 1
    assert "cpu.user_pct" not in found


def test_run_queue_and_load_are_by_cpu_and_the_reader_is_not_counted(lay: Lay, text: Text) -> None:
    root = lay({"proc/stat": text("el7/stat"), "proc/loadavg": "3.0 0.4 0.3 1/200 99\n"})
    found = values(Cpu(root, KVM).sweep(0))
    assert (found["sched.runq_per_cpu"], found["load.per_cpu"]) == (1.0, 1.5)


def test_a_kernel_without_pressure_lacks_it_and_says_why(lay: Lay, text: Text) -> None:
    cpu = Cpu(lay({"proc/stat": text("el7/stat"), "proc/loadavg": "0 0 0 1/2 3\n"}), KVM)
    assert "psi.cpu_some60" not in values(cpu.sweep(0))
    assert cpu.lacks()["psi.cpu_some60"] == "this kernel has no /proc/pressure"


def test_a_guest_that_stood_still_is_told_from_an_agent_that_was_starved() -> None:
    def gap(progress: int) -> Dict[str, float]:
        watch = GapWatch(10.0)
        watch.saw(0, 0, 0.0)
        watch.saw(10_000, 10_000, 0.0)
        return watch.saw(28_000, 20_000 + progress, 0.0)

    assert gap(0) == {"agent.gap_s": 8.0, "agent.gap_progress": 0.0}
    assert gap(8_000) == {"agent.gap_s": 8.0, "agent.gap_progress": 1.0}


def test_a_gap_that_the_daemon_noted_counts_though_the_sweep_was_in_time() -> None:
    watch = GapWatch(10.0)
    watch.saw(0, 0, 0.0)
    watch.saw(10_000, 10_000, 0.0)
    assert watch.saw(19_000, 13_000, noted_s=6.0) == {"agent.gap_s": 6.0, "agent.gap_progress": 0.0}


def test_the_lateness_that_the_loop_noted_is_told_once(lay: Lay, text: Text) -> None:
    notes = LoopNotes()
    root = lay({"proc/stat": text("el7/stat"), "proc/loadavg": "0 0 0 1/2 3\n"})
    cpu = Cpu(root, KVM, notes=notes)
    cpu.sweep(0)
    notes.late_s = 6.0
    assert values(cpu.sweep(9_000))["agent.gap_s"] == 6.0
    assert values(cpu.sweep(19_000))["agent.gap_s"] == 0.0


# --- platform ----------------------------------------------------------------------------------------------------


def test_vmware_before_5_8_shows_no_steal_and_says_so() -> None:
    old = platform.Platform("vmware", "", "3.10.0-1160.el7.x86_64", "tsc")
    new = platform.Platform("vmware", "", "5.14.0-427.el9.x86_64", "tsc")
    assert "cpu.steal_pct" in platform.lacks(old, ["cpu.steal_pct"])
    assert platform.lacks(new, ["cpu.steal_pct"]) == {}


def test_a_container_does_not_show_its_own_disks(lay: Lay) -> None:
    root = lay({"run/systemd/container": "lxc\n", "proc/cpuinfo": "flags\t: fpu hypervisor\n"})
    host = platform.detect(root)
    assert (host.machine, host.container) == ("vm", "lxc")
    assert "disk.await_ms" in platform.lacks(host, ["disk.await_ms", "mem.avail_pct"])


def test_the_maker_of_a_bare_metal_machine_does_not_make_it_a_guest(lay: Lay) -> None:
    dmi = {"sys/class/dmi/id/sys_vendor": "Hetzner\n", "proc/cpuinfo": "flags\t\t: fpu vme de\n"}
    assert platform.detect(lay(dmi)).machine == "bare-metal"
    assert platform.detect(lay({"proc/cpuinfo": "flags\t\t: fpu hypervisor\n"})).machine == "kvm"


# --- memory ------------------------------------------------------------------------------------------------------


def test_memory_of_centos_7_with_what_its_kernel_lacks(lay: Lay, text: Text) -> None:
    vmstat = text("el7/vmstat")
    root = lay({"proc/meminfo": text("el7/meminfo"), "proc/vmstat": vmstat})
    memory = Memory(root, KVM)
    memory.sweep(0)
    lay(
        {
            "proc/vmstat": vmstat.replace("pswpout 1000", "pswpout 3560").replace(
                "pgmajfault 5000", "pgmajfault 5100"
            )
        }
    )
    found = values(memory.sweep(10_000))
    assert found["mem.avail_pct"] == 47.9929
    assert found["swap.used_pct"] == 25.0
    assert (found["swap.out_mbps"], found["vm.majfault_ps"]) == (1.0, 10.0)
    assert {"vm.oom_kills", "mem.balloon_mb", "psi.mem_full60"} <= set(memory.lacks())


def test_oom_kills_count_from_the_agents_start_and_the_balloon_holds_the_difference(
    lay: Lay, text: Text
) -> None:
    root = lay({"proc/meminfo": text("el7/meminfo"), "proc/vmstat": text("el9/vmstat"),
                "proc/pressure/memory": text("el9/pressure")})  # fmt: skip
    memory = Memory(root, KVM)
    assert values(memory.sweep(0))["vm.oom_kills"] == 0
    lay({"proc/vmstat": text("el9/vmstat").replace("oom_kill 2", "oom_kill 5")})
    found = values(memory.sweep(10_000))
    assert (found["vm.oom_kills"], found["mem.balloon_mb"], found["psi.mem_full60"]) == (3, 80.0, 2.75)


# --- disks -------------------------------------------------------------------------------------------------------


def test_only_devices_that_stand_on_their_own_are_counted(text: Text) -> None:
    assert [d.name for d in whole_devices(parse_diskstats(text("el7/diskstats")))] == ["sda"]
    # A Xen guest may have xvda1 and no xvda: then it is the device.
    assert [d.name for d in whole_devices(parse_diskstats(text("el9/diskstats")))] == [
        "vda",
        "nvme0n1",
        "xvda1",
    ]


def test_disk_rates_between_two_readings(text: Text) -> None:
    before = parse_diskstats(text("el7/diskstats"))[0]
    now = before._replace(reads=1100, writes=2100, sectors_read=80000 + 20480, read_ms=5500, write_ms=15500, busy_ms=10_000,
                          weighted_ms=22_000)  # fmt: skip
    assert rates_between(before, now, 10.0) == {
        "disk.iops": 20.0, "disk.mbps": 1.0, "disk.await_ms": 5.0, "disk.util_pct": 10.0, "disk.qdepth": 0.2,
    }  # fmt: skip
    assert rates_between(now, before, 10.0) is None


def test_a_device_with_requests_under_way_and_none_that_end_is_stuck(lay: Lay, text: Text) -> None:
    root = lay({"proc/diskstats": text("el9/diskstats")})
    disk = Disk(root, KVM)
    for at_ms in (0, 10_000, 20_000):
        disk.sweep(at_ms)
    found = disk.sweep(40_000)
    assert values(found, "vda")["disk.stuck_s"] == 30.0
    assert values(found, "nvme0n1")["disk.stuck_s"] == 0.0


def test_one_slow_request_on_an_idle_device_does_not_stand_for_the_host(lay: Lay, text: Text) -> None:
    root = lay({"proc/diskstats": text("el9/diskstats")})
    disk = Disk(root, KVM)
    disk.sweep(0)
    lay(
        {
            "proc/diskstats": text("el9/diskstats").replace(
                "nvme0n1 100 0 800 20 0", "nvme0n1 101 0 808 2020 0"
            )
        }
    )
    found = disk.sweep(10_000)
    assert values(found, "nvme0n1")["disk.await_ms"] == 2000.0
    assert values(found)["disk.await_ms"] == 0.0


def test_the_worst_array_stands_for_the_host(lay: Lay, text: Text) -> None:
    samples = Disk(
        lay({"proc/diskstats": text("el9/diskstats"), "proc/mdstat": text("el9/mdstat")}), KVM
    ).sweep(0)
    assert values(samples, "md1")["hw.md"] == "degraded"
    assert values(samples)["hw.md"] == "inactive"


# --- network -----------------------------------------------------------------------------------------------------

ARP = "IP address HW type Flags HW address Mask Device\n10.0.0.1 0x1 {flags} 52:54:00:00:00:01 * eth0\n"
ROUTE = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 0100000A 0003 0 0 100 00000000 0 0 0\n"


def network_tree(lay: Lay, text: Text, **changed: str) -> Path:
    files = {
        "proc/net/dev": text("el9/netdev"),
        "proc/net/netstat": text("el9/netstat"),
        "proc/net/softnet_stat": "00000001 00000000 00000000\n",
        "proc/net/route": ROUTE,
        "proc/net/arp": ARP.format(flags="0x2"),
        "sys/class/net/eth0/device/vendor": "0x1af4\n",
        "sys/class/net/eth0/carrier": "1\n",
        "sys/class/net/eth0/carrier_changes": "2\n",
        "sys/class/net/eth0/statistics/rx_crc_errors": "0\n",
    }
    return lay({**files, **{f"{'/'.join(key.split('__'))}": value for key, value in changed.items()}})


def test_traffic_of_hardware_counts_and_that_of_bridges_does_not_count_twice(lay: Lay, text: Text) -> None:
    network = Network(network_tree(lay, text))
    network.sweep(0)
    lay(
        {
            "proc/net/dev": text("el9/netdev")
            .replace("eth0:1000000 1000", "eth0:2250000 21000")
            .replace(": 700", ": 99999999")
        }
    )
    found = values(network.sweep(10_000))
    assert (found["net.in_mbps"], found["net.in_kpps"], found["net.out_mbps"]) == (1.0, 2.0, 0.0)


def test_syn_cookies_and_listen_drops_are_rates(lay: Lay, text: Text) -> None:
    network = Network(network_tree(lay, text))
    network.sweep(0)
    lay({"proc/net/netstat": text("el9/netstat").replace("TcpExt: 10 1 2 30 40", "TcpExt: 60 1 2 30 140")})
    found = values(network.sweep(10_000))
    assert (found["net.cookies_ps"], found["net.listen_drops_ps"]) == (5.0, 10.0)


def test_a_link_that_goes_down_is_down_and_a_port_that_never_had_a_cable_is_no_fault(
    lay: Lay, text: Text
) -> None:
    netdev = text("el9/netdev") + "  eth1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    root = network_tree(lay, text, proc__net__dev=netdev, sys__class__net__eth1__device__vendor="x",
                        sys__class__net__eth1__carrier="0\n")  # fmt: skip
    network = Network(root)
    assert values(network.sweep(0), "eth0")["net.link"] == "up"
    lay({"sys/class/net/eth0/carrier": "0\n", "sys/class/net/eth0/carrier_changes": "5\n"})
    samples = network.sweep(10_000)
    assert (values(samples)["net.link"], values(samples, "eth0")["net.flaps"]) == ("down", 3)
    assert values(samples, "eth1") == {
        "net.in_mbps": 0.0,
        "net.in_kpps": 0.0,
        "net.out_mbps": 0.0,
        "net.crc_ps": 0.0,
    }


def test_a_gateway_whose_neighbour_entry_is_incomplete_is_dead_and_the_ladder_shows_it(
    lay: Lay, text: Text
) -> None:
    notes = LoopNotes(collector_answers=True)
    network = Network(network_tree(lay, text), notes)
    assert values(network.sweep(0))["net.ladder"] == 1 | 2 | 8
    lay({"proc/net/arp": ARP.format(flags="0x0")})
    notes.collector_answers = False
    found = values(network.sweep(10_000))
    assert (found["net.gw"], found["net.collector"], found["net.ladder"]) == ("dead", "dead", 1)


# --- processes, units, clock -------------------------------------------------------------------------------------


def process_tree(lay: Lay, text: Text, ticks: int, octets: int) -> Path:
    stat = text("el9/pidstat")
    return lay({
        "proc/4242/stat": stat.replace(" 700 300 ", f" {700 + ticks} 300 "),
        "proc/4242/io": f"read_bytes: 0\nwrite_bytes: {octets}\n",
        "proc/77/stat": stat.replace("4242 (php-fpm) (w) S", "77 (old) Z").replace(" 2560 ", " 0 "),
        "proc/77/io": "read_bytes: 0\nwrite_bytes: 0\n",
        "proc/loadavg": "0 0 0 1/400 9\n",
        "proc/sys/kernel/pid_max": "4000\n",
        "proc/sys/kernel/threads-max": "60000\n",
        "proc/sys/fs/file-nr": "500 0 1000\n",
    })  # fmt: skip


def test_the_process_table_names_its_largest(lay: Lay, text: Text) -> None:
    processes = Processes(process_tree(lay, text, 0, 0))
    processes.sweep(0)
    process_tree(lay, text, ticks=450, octets=30 * 1024 * 1024)
    found = values(processes.sweep(10_000))
    assert (found["proc.count"], found["proc.zombies"]) == (2, 1)
    assert (found["proc.top_cpu"], found["proc.top_io"], found["mem.top_rss"]) == (
        "php-fpm) (w=45",
        "php-fpm) (w=3.0",
        "php-fpm) (w=10",
    )
    assert (found["pid.used_pct"], found["fd.used_pct"]) == (10.0, 50.0)


def test_units_that_failed_and_units_that_recovered_are_both_told(lay: Lay, text: Text) -> None:
    answers: List[Any] = [
        "shop.service loaded failed failed Shop\n",
        "",
        Unavailable("systemctl did not answer"),
    ]
    root = lay({"run/systemd/system/x": ""})
    services = text("el9/systemctl_show")
    units = Units(root, lambda timeout_s: answers.pop(0), lambda timeout_s: services, lambda root: None)
    first = units.sweep(0)
    assert (values(first)["svc.failed"], values(first, "shop.service")["svc.unit_failed"]) == (
        ["shop.service"],
        True,
    )
    assert values(first)["svc.restarts_h"] == 0
    assert values(units.sweep(60_000), "shop.service")["svc.unit_failed"] is False
    assert units.sweep(120_000) == []
    assert units.lacks()["svc.failed"] == "systemctl did not answer"


def test_a_machine_without_systemd_lacks_its_units(lay: Lay) -> None:
    units = Units(lay({"proc/x": ""}))
    assert units.sweep(0) == []
    assert units.lacks()["svc.failed"] == "systemd is not running here"


def test_clocks_that_jump_apart_give_a_step_and_slewing_gives_none(lay: Lay) -> None:
    clock = FixedClock()
    kernel: List[Optional[KernelClock]] = [KernelClock(True, 1.5, 20.0)] * 3
    root = lay({"sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock\n"})
    keeping = Timekeeping(root, clock, lambda: kernel.pop(0))
    keeping.sweep(0)
    clock.advance(10_000)
    clock.wall_ms += 5
    found = values(keeping.sweep(10_000))
    assert (found["clk.wall_step_s"], found["clk.ntp_offset_ms"], found["clk.source"]) == (
        0.0,
        1.5,
        "kvm-clock",
    )
    clock.advance(10_000)
    clock.wall_ms -= 3_000
    clock.suspended_ms += 60_000
    found = values(keeping.sweep(20_000))
    assert (found["clk.wall_step_s"], found["clk.bt_mono_step_s"]) == (-3.0, 60.0)
