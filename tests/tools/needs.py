"""What a test may need from the machine, in one table, and the two words to ask for it.

``require_package("postgresql")`` and ``require_kernel("netem")`` skip the test where the thing is missing, and
fail it under ``CI=true`` - a package always, a kernel feature unless ``tests/kernel_features.txt`` names it.
The same table tells ``tests/tools/setup.py`` what to install, so that the two cannot disagree.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest

TESTS = Path(__file__).resolve().parent.parent
KERNEL_FEATURES_FILE = TESTS / "kernel_features.txt"


@dataclasses.dataclass(frozen=True)
class Package:
    """One system package as the tests see it."""

    name: str
    shows: Tuple[str, ...]
    """Commands or globbed paths; any one present means installed."""
    debian: Tuple[str, ...]
    centos: Tuple[str, ...]
    """Empty: not to be had there, so the tests are skipped with that word."""
    wanted_by: Tuple[str, ...]
    """Folders or files under tests/; installed only when one of them is there."""
    services: Tuple[str, ...] = ()
    """Units that Debian would enable and start with it; the tests want the programs only."""


PACKAGES = (
    Package(
        "postgresql",
        ("/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "postgres"),
        ("postgresql",),
        ("postgresql-server",),
        ("conformance", "lab/parts"),
    ),
    Package("chromium", ("chromium", "chromium-browser"), ("chromium",), (), ("e2e/browser",)),
    Package("chromedriver", ("chromedriver",), ("chromium-driver",), (), ("e2e/browser",)),
    Package(
        "systemd-nspawn",
        ("systemd-nspawn",),
        ("systemd-container",),
        ("systemd-container",),
        ("e2e/systemd", "conformance/mirrors"),
    ),
    Package("debootstrap", ("debootstrap",), ("debootstrap",), (), ("e2e/systemd", "conformance/mirrors")),
    Package("systemd-analyze", ("systemd-analyze",), ("systemd",), ("systemd",), ("unit/systemd",)),
    Package("iproute2", ("ip",), ("iproute2",), ("iproute",), ("e2e", "lab")),
    Package("nftables", ("nft",), ("nftables",), ("nftables",), ("unit/agent/ladder", "lab")),
    Package(
        "monitoring-plugins",
        ("/usr/lib/nagios/plugins/check_load",),
        ("monitoring-plugins-basic",),
        (),
        ("unit/agent/ladder",),
    ),
    Package("chrony", ("chronyd",), ("chrony",), ("chrony",), ("unit/agent/ladder",)),
    Package(
        "promtool",
        ("promtool",),
        ("prometheus",),
        (),
        ("e2e/test_prometheus.py", "unit/agent"),
        ("prometheus.service", "prometheus-node-exporter.service"),
    ),
    Package(
        "dovecot",
        ("dovecot",),
        ("dovecot-imapd",),
        ("dovecot",),
        ("e2e/mail",),
        ("dovecot.service", "dovecot.socket"),
    ),
    Package(
        "openssh-server",
        ("sshd",),
        ("openssh-server",),
        ("openssh-server",),
        ("unit/collector/failover/steps", "lab"),
        ("ssh.service", "ssh.socket"),
    ),
    # The programs alone: Debian's mariadb-server adds a service, a user and a database of its own to these.
    Package(
        "mariadb",
        ("mariadbd",),
        ("mariadb-server-core",),
        ("mariadb-server",),
        ("lab/parts",),
    ),
    Package("mariadb-client", ("mariadb-dump",), ("mariadb-client",), ("mariadb",), ("lab/parts",)),
    Package("ipmi_sim", ("ipmi_sim",), ("openipmi",), (), ("lab/parts",), ("openipmi.service",)),
    Package("ipmitool", ("ipmitool",), ("ipmitool",), ("ipmitool",), ("lab/parts",), ("ipmievd.service",)),
    Package(
        "bind9",
        ("named",),
        ("bind9",),
        ("bind",),
        ("lab/parts",),
        ("named.service", "named-resolvconf.service"),
    ),
    Package("bind9-dnsutils", ("nsupdate",), ("bind9-dnsutils",), ("bind-utils",), ("lab/parts",)),
    Package("haproxy", ("haproxy",), ("haproxy",), ("haproxy",), ("lab/parts",), ("haproxy.service",)),
    Package("stress-ng", ("stress-ng",), ("stress-ng",), ("stress-ng",), ("e2e/faults",)),
    Package("e2fsprogs", ("mkfs.ext4",), ("e2fsprogs",), ("e2fsprogs",), ("e2e/faults", "lab")),
    Package(
        "libfuse",
        ("/usr/lib/*/libfuse*.so.*", "/usr/lib64/libfuse*.so.*"),
        ("fuse3", "libfuse3-3"),
        ("fuse3", "fuse3-libs"),
        ("e2e/faults",),
    ),
    Package(
        "libfaketime",
        ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib64/faketime/libfaketimeMT.so.1"),
        ("libfaketime",),
        ("libfaketime",),
        ("e2e/faults", "lab/parts"),
    ),
    Package("util-linux", ("unshare",), ("util-linux",), ("util-linux",), ("e2e", "lab")),
)
_BY_NAME = {package.name: package for package in PACKAGES}


def is_installed(package: Package) -> bool:
    """Whether any of the things that show it is there (``/usr/sbin`` is not on everybody's PATH)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return any(glob.glob(show) if "/" in show else shutil.which(show, path=path) for show in package.shows)


def wanted() -> List[Package]:
    """The packages that tests of this tree ask for."""
    return [package for package in PACKAGES if any((TESTS / place).exists() for place in package.wanted_by)]


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


def require_package(name: str) -> None:
    """Go on only where the package is installed; a missing one is a failure under CI=true, else a skip."""
    package = _BY_NAME[name]
    if is_installed(package):
        return
    words = f"package missing: {name} (Debian: {' '.join(package.debian) or 'none'})"
    if is_ci():
        pytest.fail(words, pytrace=False)
    pytest.skip(words)


def require_root() -> None:
    """Go on only as root; tests that need it say so instead of failing in a strange way."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


def require_kernel(feature: str) -> None:
    """Go on only where the kernel has the feature; under CI=true only the named list excuses its absence."""
    if _KERNEL[feature]():
        return
    words = f"kernel feature missing: {feature}"
    if is_ci() and feature not in excused_kernel_features():
        pytest.fail(f"{words}, and {KERNEL_FEATURES_FILE.name} does not name it", pytrace=False)
    pytest.skip(words)


def excused_kernel_features() -> List[str]:
    """The names in tests/kernel_features.txt."""
    lines = KERNEL_FEATURES_FILE.read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _link_kind_works(kind: str) -> bool:
    name = f"vt{os.getpid() % 10**9}"[:15]
    made = _runs("ip", "link", "add", name, "type", kind)
    _runs("ip", "link", "del", name)
    return made


def _has_netem() -> bool:
    """Tried on a veth pair of its own, so that no device of the machine is touched."""
    name = f"vq{os.getpid() % 10**9}"[:15]
    if not _runs("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name[:14]}p"):
        return False
    works = _runs("tc", "qdisc", "add", "dev", name, "root", "netem", "delay", "1ms")
    _runs("ip", "link", "del", name)
    return works


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


_KERNEL: Dict[str, Callable[[], bool]] = {
    "netem": _has_netem,
    "dummy": lambda: _link_kind_works("dummy"),
    "bonding": lambda: _link_kind_works("bond"),
    "softdog": lambda: Path("/dev/watchdog").exists(),
    "kvm": lambda: Path("/dev/kvm").exists(),
    "network_namespaces": lambda: _runs("unshare", "--net", "true"),
    "mount_namespaces": lambda: _runs("unshare", "--mount", "true"),
    "user_namespaces": lambda: _runs("unshare", "--user", "--map-root-user", "--mount", "true"),
    "fuse": lambda: Path("/dev/fuse").exists(),
    "loop": lambda: Path("/dev/loop-control").exists(),
    "memory_cgroup_v1": lambda: Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists(),
    "pressure": lambda: Path("/proc/pressure/cpu").exists(),
    "ipv6": _has_ipv6,
}
