"""What this machine is (bare metal, which hypervisor, which container), and what it therefore cannot show.

Absence is evidence only where the signal can exist (signals.md, rule 3): a VMware guest on CentOS 7 shows no steal
however much is stolen, so its 0 must never be read as health. Files only, no subprocess.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Dict, Iterable, Union

from agent.samplers.base import read_or_none, why
from agent.signals.parsers.error import ParseError

_DMI = (
    (re.compile(r"VMware", re.IGNORECASE), "vmware"),
    (re.compile(r"Microsoft Corporation.*Virtual Machine", re.IGNORECASE), "hyper-v"),
    (re.compile(r"innotek|VirtualBox", re.IGNORECASE), "virtualbox"),
    (re.compile(r"Xen", re.IGNORECASE), "xen"),
    (
        re.compile(
            r"QEMU|KVM|Red Hat.*(RHEV|oVirt|OpenStack)|OpenStack|Google|Amazon EC2|DigitalOcean|Hetzner",
            re.IGNORECASE,
        ),
        "kvm",
    ),
)


@dataclasses.dataclass(frozen=True)
class Platform:
    """Where we run."""

    machine: str
    """bare-metal, kvm, vmware, xen, hyper-v, virtualbox, or vm where the kind is not known."""
    container: str
    """"", openvz, lxc, docker, podman, systemd-nspawn, ..."""
    kernel: str
    clock_source: str


def detect(root: Path = Path("/")) -> Platform:
    """Read the signs under ``root``."""
    sys_dmi = root / "sys/class/dmi/id"
    dmi = " ".join(
        (read_or_none(sys_dmi / name) or "").strip() for name in ("sys_vendor", "product_name", "bios_vendor")
    )
    cpuinfo = _head(root / "proc/cpuinfo")
    hypervisor = (read_or_none(root / "sys/hypervisor/type") or "").strip()
    clock = (
        read_or_none(root / "sys/devices/system/clocksource/clocksource0/current_clocksource") or ""
    ).strip()
    kernel = (read_or_none(root / "proc/sys/kernel/osrelease") or "").strip()
    return Platform(_machine(dmi, cpuinfo, hypervisor, clock), _container(root), kernel, clock)


def _head(path: Path) -> str:
    """The first CPU's flags are enough; cpuinfo of a large machine is a megabyte."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(8192)
    except OSError:
        return ""


def _machine(dmi: str, cpuinfo: str, hypervisor: str, clock: str) -> str:
    if hypervisor == "xen" or clock == "xen":
        return "xen"
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    is_guest = bool(flags and " hypervisor" in flags.group(1))
    if clock == "kvm-clock":
        return "kvm"
    for pattern, kind in _DMI:
        # Cloud makers' names stand on their bare-metal machines too; the flag tells.
        if pattern.search(dmi) and (is_guest or not flags):
            return kind
    if clock.startswith("hyperv"):
        return "hyper-v"
    return "vm" if is_guest else "bare-metal"


FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""The kernel gives the first namespace this fixed number (PROC_PID_INIT_INO)."""


def _is_first_pid_namespace(root: Path) -> bool:
    try:
        return str((root / "proc/self/ns/pid").readlink()) == FIRST_PID_NAMESPACE
    except OSError:
        return False


def _container(root: Path) -> str:
    if (root / "proc/user_beancounters").exists() and not (root / "proc/bc").exists():
        return "openvz"
    if _is_first_pid_namespace(root):
        return ""  # an image unpacked onto a machine of its own keeps its .dockerenv
    told = read_or_none(root / "run/systemd/container")
    if told and told.strip():
        return told.strip()
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    environment = read_or_none(root / "proc/1/environ") or ""
    match = re.search(r"(?:^|\0)container=([\w-]+)", environment)
    return match.group(1) if match else ""


def lacks(host: Platform, signals: Iterable[str]) -> Dict[str, str]:
    """Those of ``signals`` that a machine of this kind cannot show, whatever its files say."""
    known = _lacks(host)
    return {signal: known[signal] for signal in signals if signal in known}


HARDWARE = ("hw.edac_ce_h", "hw.edac_ue", "hw.therm_ps", "cpu.mhz_pct", "hw.sel", "boot.restart_cause")
"""What only the machine itself can show, and never a guest of it."""


def _lacks(host: Platform) -> Dict[str, str]:
    found: Dict[str, str] = {}
    if host.machine != "bare-metal":
        found.update(
            dict.fromkeys(HARDWARE, f"virtual machine ({host.machine}): the node's hardware is not shown")
        )
        found["hw.raid"] = f"virtual machine ({host.machine}): a controller is the node's"
    if host.machine == "bare-metal":
        found["cpu.steal_pct"] = "bare metal: nobody can steal"
    elif host.machine == "vmware" and not _has_vmware_steal(host.kernel):
        found["cpu.steal_pct"] = "VMware tells no steal to a kernel before 5.8"
    elif host.machine in ("hyper-v", "virtualbox"):
        found["cpu.steal_pct"] = f"{host.machine} tells no steal"
    if host.machine in ("xen", "hyper-v", "virtualbox", "vm"):
        # Their balloons are not counted in /proc/vmstat: its 0 says nothing.
        found["mem.balloon_mb"] = f"{host.machine}: its balloon is not counted; see mem.total_mb"
    elif host.machine == "bare-metal":
        found["mem.balloon_mb"] = "bare metal: there is no balloon"
    if host.container:
        view = f"container ({host.container}): shows the node, not us"
        found.update(
            dict.fromkeys((*HARDWARE, "hw.raid"), f"container ({host.container}): hardware is the node's")
        )
        found["boot.fs_recovery"] = f"container ({host.container}): the kernel's log is the node's"
        found["boot.pstore"] = f"container ({host.container}): a panic is the node's"
        for signal in (
            "disk.await_ms",
            "disk.iops",
            "disk.mbps",
            "disk.util_pct",
            "disk.qdepth",
            "disk.stuck_s",
            "hw.md",
            "mem.balloon_mb",
            "sched.runq_per_cpu",
        ):
            found[signal] = view
        for signal in ("psi.cpu_some60", "psi.mem_full60", "psi.io_full60"):
            found[signal] = view
        if host.container == "openvz":
            found["cpu.steal_pct"] = "container (openvz): always 0"
        else:
            # lxcfs shows memory and CPU as the container's own, but not these.
            found.update(dict.fromkeys(("swap.out_mbps", "vm.majfault_ps", "vm.oom_kills"), view))
            found["cpu.steal_pct"] = view
            found["load.per_cpu"] = view
    return found


def _has_vmware_steal(kernel: str) -> bool:
    match = re.match(r"(\d+)\.(\d+)", kernel)
    return bool(match) and (int(match.group(1)), int(match.group(2))) >= (5, 8)


def no_pressure(error: Union[OSError, ParseError]) -> str:
    """Why /proc/pressure cannot be read, in the words of what an admin would do about it."""
    if isinstance(error, ParseError):
        return why(error)
    # Built with PSI but off by default (CentOS 8 and 9): the file is there, and reading says EOPNOTSUPP.
    if error.errno == 95:
        return "pressure is switched off: boot with psi=1"
    return "this kernel has no /proc/pressure" if isinstance(error, FileNotFoundError) else why(error)
