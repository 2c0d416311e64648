"""What each platform cannot show (signals.md, section 2), from a tree of files: absence is said, and never sampled as 0."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Set, Tuple

import pytest

from agent.samplers import platform
from agent.samplers.cpu import Cpu
from agent.samplers.registry import make_samplers
from agent.settings import AgentSettings
from agent.signals.catalogue import BY_NAME
from config import loader

Lay = Callable[[Dict[str, str]], Path]

PRESSURE = "some avg10=0.00 avg60=0.10 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
GUEST_CPU = "flags\t\t: fpu hypervisor\n"
METAL_CPU = "flags\t\t: fpu vme\n"
CLOCK = "sys/devices/system/clocksource/clocksource0/current_clocksource"
VENDOR, PRODUCT = "sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"
KERNEL = "proc/sys/kernel/osrelease"

BASE = {
    "proc/stat": "cpu  900 0 90 9000 10 0 1 7 0 0\ncpu0 900 0 90 9000 10 0 1 7 0 0\nintr 500 1\nctxt 900\nbtime 1\n"
    "processes 50\nprocs_running 1\nprocs_blocked 0\n",
    "proc/loadavg": "0.1 0.1 0.1 1/90 100\n",
    "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 500 kB\nHardwareCorrupted: 0 kB\n",
    "proc/vmstat": "pswpout 0\npgmajfault 1\noom_kill 0\nballoon_inflate 0\nballoon_deflate 0\n",
    "proc/diskstats": "8 0 sda 1 0 8 1 1 0 8 1 0 1 2\n",
    "proc/mdstat": "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0]\n      1 blocks [2/2] [UU]\n",
    "proc/net/dev": "Inter-|\n face |bytes\n  eth0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
}
WITH_PRESSURE = {f"proc/pressure/{name}": PRESSURE for name in ("cpu", "memory", "io")}

EL7, EL8, EL9 = "3.10.0-1160.el7.x86_64\n", "4.18.0-553.el8.x86_64\n", "5.14.0-427.el9.x86_64\n"
HARDWARE = {"hw.edac_ce_h", "hw.edac_ue", "hw.therm_ps", "cpu.mhz_pct", "hw.sel", "hw.raid"}
NODES = {
    "disk.await_ms",
    "disk.iops",
    "disk.stuck_s",
    "sched.runq_per_cpu",
    "kmsg",
    "hw.md",
    "mem.balloon_mb",
}
PSI = {"psi.cpu_some60", "psi.mem_full60", "psi.io_full60"}

CASES: List[Tuple[str, Dict[str, str], Tuple[str, str], Set[str], Set[str]]] = [
    (
        "bare metal, CentOS 7",
        {KERNEL: EL7, "proc/cpuinfo": METAL_CPU, VENDOR: "Dell Inc.\n", CLOCK: "tsc\n"},
        ("bare-metal", ""),
        {"cpu.steal_pct", "mem.balloon_mb"} | PSI,
        {"disk.iops", "load.per_cpu", "hw.md"},
    ),
    (
        "KVM, CentOS 9 with psi=1",
        {KERNEL: EL9, "proc/cpuinfo": GUEST_CPU, VENDOR: "QEMU\n", CLOCK: "kvm-clock\n", **WITH_PRESSURE},
        ("kvm", ""),
        HARDWARE,
        {"cpu.steal_pct", "mem.balloon_mb", "disk.iops", "load.per_cpu"} | PSI,
    ),
    (
        "VMware, CentOS 7",
        {KERNEL: EL7, "proc/cpuinfo": GUEST_CPU, VENDOR: "VMware, Inc.\n", CLOCK: "tsc\n"},
        ("vmware", ""),
        {"cpu.steal_pct"} | HARDWARE | PSI,
        {"disk.iops", "load.per_cpu"},
    ),
    (
        "Xen, CentOS 7",
        {KERNEL: EL7, "proc/cpuinfo": GUEST_CPU, "sys/hypervisor/type": "xen\n", CLOCK: "xen\n"},
        ("xen", ""),
        {"mem.balloon_mb"} | HARDWARE | PSI,
        {"cpu.steal_pct", "disk.iops"},
    ),
    (
        "Hyper-V, CentOS 8",
        {
            KERNEL: EL8, "proc/cpuinfo": GUEST_CPU, VENDOR: "Microsoft Corporation\n", PRODUCT: "Virtual Machine\n",
            CLOCK: "hyperv_clocksource_tsc_page\n",
        },
        ("hyper-v", ""),
        {"cpu.steal_pct", "mem.balloon_mb"} | HARDWARE,
        {"disk.iops", "load.per_cpu"},
    ),
    (
        "OpenVZ container",
        {KERNEL: "2.6.32-042stab145.3\n", "proc/cpuinfo": METAL_CPU, "proc/user_beancounters": "Version: 2.5\n"},
        ("bare-metal", "openvz"),
        {"cpu.steal_pct", "boot.pstore"} | HARDWARE | NODES | PSI,
        {"load.per_cpu", "mem.avail_pct"},
    ),
    (
        "LXC on KVM",
        {
            KERNEL: EL9, "proc/cpuinfo": GUEST_CPU, VENDOR: "QEMU\n", CLOCK: "kvm-clock\n", **WITH_PRESSURE,
            "run/systemd/container": "lxc\n",
        },
        ("kvm", "lxc"),
        {"cpu.steal_pct", "load.per_cpu", "vm.oom_kills", "swap.out_mbps"} | HARDWARE | NODES | PSI,
        {"mem.avail_pct"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "kind", "lacking", "shown"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_platform_says_what_it_cannot_show_and_samples_none_of_it(
    lay: Lay, files: Dict[str, str], kind: Tuple[str, str], lacking: Set[str], shown: Set[str]
) -> None:
    root = lay({**BASE, **files})
    host = platform.detect(root)
    assert (host.machine, host.container) == kind
    lacks: Dict[str, str] = {}
    sampled: Set[str] = set()
    settings = loader.parse("without: [processes, filesystems, units, timekeeping]", AgentSettings)
    samplers = make_samplers(settings, root)
    for mono_ms in (0, 10_000):
        for sampler in samplers:
            sampled |= {sample.signal for sample in sampler.sweep(mono_ms) if sample.value is not None}
        lay({"proc/stat": BASE["proc/stat"].replace("9000", "9900")})
    for sampler in samplers:
        lacks.update(sampler.lacks())
    assert lacking <= set(lacks)
    assert not lacking & sampled
    assert shown <= sampled
    assert not shown & set(lacks)
    assert all(reason for reason in lacks.values())
    assert set(lacks) <= set(BY_NAME)


def test_pressure_that_is_built_in_but_off_says_what_to_do() -> None:
    assert platform.no_pressure(OSError(95, "not supported")) == "pressure is switched off: boot with psi=1"


@pytest.mark.parametrize(
    ("machine", "kernel", "hours", "steal", "is_shown"),
    [
        ("kvm", EL9, 1, 0, True),
        ("kvm", EL9, 48, 0, False),
        ("kvm", EL9, 48, 3, True),
        ("xen", EL7, 48, 0, False),
        ("vmware", EL9, 1, 0, False),
        ("vmware", "6.1.0-18.el9\n", 1, 0, False),
        ("vmware", "6.1.0-18.el9\n", 1, 5, True),
    ],
)
def test_a_steal_counter_that_never_moved_is_no_health(
    lay: Lay, machine: str, kernel: str, hours: int, steal: int, is_shown: bool
) -> None:
    idle = hours * 3600 * 100
    head = "cpu  {user} 0 90 {idle} 10 0 1 {steal} 0 0"
    rest = "\ncpu0 1 0 0 1 0 0 0 0 0 0\nintr 5 1\nctxt 9\nbtime 1\nprocesses 5\nprocs_running 1\nprocs_blocked 0\n"
    root = lay({**BASE, "proc/stat": head.format(user=900, idle=idle, steal=steal) + rest})
    cpu = Cpu(root, platform.Platform(machine, "", kernel.strip(), "tsc"))
    cpu.sweep(0)
    lay({"proc/stat": head.format(user=1000, idle=idle + 900, steal=steal) + rest})
    found = {sample.signal for sample in cpu.sweep(10_000)}
    assert ("cpu.steal_pct" in found) is is_shown
    assert ("cpu.steal_pct" in cpu.lacks()) is not is_shown
