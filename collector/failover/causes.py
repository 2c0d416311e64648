"""Which root causes a switch to the backup can help (I4): a table, with the reason why not for the rest.

A cause that follows the service (an attack, a certificate, replicated data), that a switch does not touch (load, the
client's own change), or that leaves clients served (a path, the agent) forbids. What stands in neither list is unknown
to this page, and unknown never acts.
"""

from __future__ import annotations

from collections.abc import Mapping

HELPED = frozenset(
    {
        "virt.node_failure", "virt.storage_backend", "virt.pause", "virt.vcpu_removed",
        "hw.disk", "hw.memory", "hw.power", "hw.nic", "hw.thermal",
        "net.provider_edge", "net.provider_outage", "net.dc_outage",
        "os.kernel_panic", "os.kernel_bug", "os.fs_error", "os.userland_hung", "os.memory_leak",
        "os.boot_failure", "os.service_failed",
    }
)  # fmt: skip
"""The server or what lies below it is gone or hung, and the backup is not."""

WHY_NOT: Mapping[str, str] = {
    "os.syn_flood": "attack", "net.nullroute": "attack",
    "os.cert_expired": "replicated", "os.disk_full": "replicated",
    "os.cpu_demand": "load", "os.io_demand": "load", "os.plan_limit": "load", "os.softirq": "load",
    "os.conntrack": "load", "os.port_exhaustion": "load", "virt.cpu_contention": "load", "virt.balloon": "load",
    "virt.limits_changed": "load", "os.fork_bomb": "load", "os.memory_limit": "load",
    "net.transit_path": "path", "net.mtu_blackhole": "path",
    "os.agent_down": "agent", "os.sshd_down": "agent",
    "os.firewall": "own_change", "os.user_reset": "own_change",
    "os.clock": "elsewhere", "os.resolver": "elsewhere", "svc3.dns": "elsewhere", "svc3.ntp": "elsewhere",
}  # fmt: skip
"""Cause -> the tail of the text key that says why a switch does not help."""


def why_not(cause: str, allowed: tuple[str, ...], forbidden: tuple[str, ...]) -> str:
    """Why this cause forbids an act ("" = it allows one); the contract's own lists come before the house's."""
    if cause in forbidden:
        return "contract"
    if allowed:
        return "" if cause in allowed else "contract"
    if cause in HELPED:
        return ""
    if cause.startswith(("app.", "none.")):
        return "application" if cause.startswith("app.") else "planned"
    return WHY_NOT.get(cause, "unknown")
