"""Each root cause once: which profile of specialist it needs, and which line takes it first.

Its name and what to do next are texts: ``cause.<key>`` and ``steps.<key>`` in both languages (one step a line).
The vocabulary is that of the scenario files; a test compares them.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Cause:
    """A root cause as the desk sees it."""

    key: str
    profile: str
    """Whose trade it is: virtualization, hardware, network, storage, linux, web, monitoring."""
    line: int
    """Line that takes it first, clamped to the contract's lines: 4 talks to providers, 2 knows the system."""


_PROVIDER_LINE = 4
_DEEP_LINE = 3
_SYSTEM_LINE = 2

_BY_PROFILE: dict[tuple[str, int], tuple[str, ...]] = {
    ("virtualization", _PROVIDER_LINE): (
        "virt.cpu_contention",
        "virt.pause",
        "virt.balloon",
        "virt.vcpu_removed",
        "virt.node_failure",
        "virt.limits_changed",
    ),
    ("storage", _PROVIDER_LINE): ("virt.storage_backend",),
    ("hardware", _PROVIDER_LINE): ("hw.disk", "hw.memory", "hw.thermal", "hw.power", "hw.nic"),
    ("network", _PROVIDER_LINE): (
        "net.provider_edge",
        "net.provider_outage",
        "net.dc_outage",
        "net.transit_path",
        "net.nullroute",
        "net.mtu_blackhole",
        "svc3.dns",
        "svc3.ntp",
    ),
    ("linux", _SYSTEM_LINE): (
        "os.cpu_demand",
        "os.plan_limit",
        "os.io_demand",
        "os.memory_leak",
        "os.memory_limit",
        "os.fork_bomb",
        "os.disk_full",
        "os.service_failed",
        "os.clock",
        "os.user_reset",
        "os.sshd_down",
        "os.boot_failure",
    ),
    ("linux", _DEEP_LINE): ("os.softirq", "os.kernel_panic", "os.kernel_bug", "os.userland_hung"),
    ("storage", _DEEP_LINE): ("os.fs_error",),
    ("network", _SYSTEM_LINE): (
        "os.conntrack",
        "os.syn_flood",
        "os.port_exhaustion",
        "os.firewall",
        "os.resolver",
    ),
    ("web", _SYSTEM_LINE): ("os.cert_expired",),
    ("monitoring", _SYSTEM_LINE): (
        "os.agent_down",
        "none.scheduled_job",
        "none.planned",
        "none.migration_blip",
        "none.container_view",
        "none.capacity_change",
        "none.collector_fault",
        "none.agent_rollout",
        "none.maintenance",
    ),
    ("linux", 1): ("unknown", "request"),
}

CAUSES: dict[str, Cause] = {
    key: Cause(key, profile, line) for (profile, line), keys in _BY_PROFILE.items() for key in keys
}
"""Every root cause; ``unknown`` is a fault whose cause nobody named yet, ``request`` what a person filed."""

PROFILES = tuple(sorted({cause.profile for cause in CAUSES.values()}))


def cause(key: str) -> Cause:
    """The cause; one that nobody listed is treated as ``unknown`` under its own key."""
    return CAUSES.get(key) or Cause(key, CAUSES["unknown"].profile, _SYSTEM_LINE)


def first_line(key: str, confidence: str, lines: int) -> int:
    """Line that takes a machine's ticket: a weak verdict is looked at inside first, before a provider is asked."""
    wanted = cause(key).line if confidence != "low" else min(cause(key).line, _SYSTEM_LINE)
    return max(1, min(wanted, lines))
