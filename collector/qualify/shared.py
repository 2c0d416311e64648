"""Which causes are shared by neighbours, and at what scope: the smallest group that holds all who suffer. Pure.

A cause below the OS rarely strikes one guest alone: a crowded node, a slow storage, a resolver that is down. Hosts of
one such group with the same cause at the same time are one problem.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.qualify.case import HostView

FAMILIES = frozenset(
    {
        "cpu",
        "memory",
        "io",
        "fs",
        "dns",
        "clock",
        "virt",
        "network",
        "kernel",
        "service",
        "silence",
        "hardware",
    }
)
"""Symptom families in which neighbours are asked whether they suffer too."""

RELATED: dict[str, frozenset[str]] = {
    "io": frozenset({"fs", "silence"}),
    "fs": frozenset({"io", "silence"}),
    "silence": frozenset({"io", "fs"}),
    "kernel": frozenset({"cpu", "virt"}),
    "cpu": frozenset({"kernel"}),
    "network": frozenset({"service"}),
    "service": frozenset({"network"}),
}
"""Family -> others by which neighbours may show the same cause."""

FAR_FAMILIES = frozenset({"dns", "clock", "network", "service"})
"""Those whose shared part may be the provider's: all its hosts are neighbours."""

GROUPS: dict[str, tuple[str, ...]] = {
    "virt.cpu_contention": ("node",),
    "virt.pause": ("node",),
    "virt.balloon": ("node",),
    "virt.vcpu_removed": ("node",),
    "virt.limits_changed": ("node",),
    "virt.node_failure": ("node",),
    "virt.storage_backend": ("storage", "node"),
    "hw.power": ("rack",),
    "hw.thermal": ("rack",),
    "net.provider_edge": ("node", "rack", "site", "provider"),
    "net.mtu_blackhole": ("site", "provider"),
    "net.transit_path": ("path",),
    "svc3.dns": ("dns",),
    "svc3.ntp": ("node", "ntp"),
}
"""Root cause -> groups that may share it, the smallest first."""


AT_ONCE = frozenset({"hw.power", "hw.thermal"})
"""Causes of which every machine has its own parts too: only what began together is the rack's."""

TOGETHER_MS = 30 * 60_000
"""Machines warm up, and lose their second supply, within this time of one another where the rack is to blame."""


def began_together(cause: str, began_ms: Sequence[int]) -> list[bool]:
    """Which of these, by when they began, may share the cause with another of them."""
    if cause not in AT_ONCE:
        return [True] * len(began_ms)
    return [
        any(n != m and abs(mine - other) <= TOGETHER_MS for m, other in enumerate(began_ms))
        for n, mine in enumerate(began_ms)
    ]


def scopes_of(cause: str, host: HostView) -> tuple[str, ...]:
    """The groups of this host that the cause may hold, the smallest first: ``node:alfa/n7``, ``dns:alfa``."""
    provider = host.place("provider")
    found = []
    for kind in GROUPS.get(cause, ()):
        if kind == "dns":
            found.append(f"dns:{host.place('resolver') or provider}")
        elif kind == "ntp":
            found.append(f"ntp:{host.place('ntp') or provider}")
        elif kind == "path":
            found.append("path:collector")
        elif kind == "provider":
            found.append(f"provider:{provider}")
        elif (cause, kind) == ("svc3.ntp", "node") and not host.is_container:
            continue  # only containers take their clock from their node
        elif host.place(kind) and not (kind == "storage" and host.place(kind) == "local"):
            found.append(f"{kind}:{provider}/{host.place(kind)}")
    return tuple(scope for scope in found if provider or scope.startswith("path:"))


def breadth(cause: str, scope: str) -> int:
    """Where a scope stands among those of its cause, the smallest first."""
    kind = scope.partition(":")[0]
    kinds = GROUPS.get(cause, ())
    return kinds.index(kind) if kind in kinds else len(kinds)


def may_reach(cause: str, scope: str) -> bool:
    """Whether the cause may be as broad as this scope: a provider's edge goes down for a site, one node's memory does not."""
    return scope.partition(":")[0] in GROUPS.get(cause, ())
