"""One cause, one problem: the smallest group of the topology that holds all the fallen hosts and no healthy one.

signals.md 3.7: two hosts or more, and at least 60 % of a group, silent within 90 s. Pure: hosts and instants in,
groups out. Issue by issue other symptoms than silence will be folded through the same function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from collector.qualify.case import SCOPES

WITHIN_MS = 90_000
SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Place:
    """A host in the topology: what correlation needs of it."""

    host_id: str
    contract_id: str
    groups: tuple[str, ...]
    """Scopes it belongs to, smallest first: ``node:alfa/n7``, ..., ``provider:alfa``."""
    is_healthy: bool


@dataclasses.dataclass(frozen=True)
class Group:
    """A scope that fell as a whole."""

    scope: str
    fallen: tuple[str, ...]
    size: int


def groups_of(topology: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes of a host, the smallest first. On bare metal what is called a node is the rack it stands in."""
    provider = str(topology.get("provider") or "")
    if not provider:
        return ()
    places = {
        "node": topology.get("node"),
        "storage": topology.get("storage"),
        "rack": topology.get("rack"),
        "site": topology.get("site") or topology.get("dc"),
    }
    if topology.get("virt") == "none":
        places["rack"], places["node"] = places["rack"] or places["node"], None
    if places["storage"] == "local":
        places["storage"] = None
    found = [f"{kind}:{provider}/{places[kind]}" for kind in SCOPES[:-1] if places[kind]]
    return (*found, f"provider:{provider}")


def fallen_groups(places: Iterable[Place], fell_at_ms: Mapping[str, int]) -> dict[str, Group]:
    """Host -> the group that fell with it; hosts that fell alone are not in the answer.

    ``fell_at_ms`` holds the hosts that are confirmed silent, with the instant. Of the groups that fit, the one that
    explains the most hosts is taken, and of those that explain the same hosts the smallest.
    """
    members: dict[str, list[Place]] = {}
    for place in places:
        for scope in place.groups:
            members.setdefault(scope, []).append(place)
    fitting: list[Group] = []
    for scope, hosts in members.items():
        if any(p.is_healthy for p in hosts):
            continue
        fell = sorted((fell_at_ms[p.host_id], p.host_id) for p in hosts if p.host_id in fell_at_ms)
        core = _within(fell)
        if len(core) >= 2 and len(core) >= SHARE * len(hosts):
            # Stragglers of a group that fell as a whole belong to it, however late they are noticed.
            first = min(fell_at_ms[host] for host in core)
            fallen = sorted(host for at_ms, host in fell if at_ms >= first)
            fitting.append(Group(scope, tuple(fallen), len(hosts)))
    fitting.sort(key=lambda g: (-len(g.fallen), SCOPES.index(g.scope.partition(":")[0]), g.scope))
    chosen: dict[str, Group] = {}
    for group in fitting:
        if not any(host in chosen for host in group.fallen):
            chosen.update(dict.fromkeys(group.fallen, group))
    return chosen


def _within(fallen: list[tuple[int, str]]) -> list[str]:
    """The largest set of hosts that fell within WITHIN_MS of each other."""
    best: list[tuple[int, str]] = []
    first = 0
    for last in range(len(fallen)):
        while fallen[last][0] - fallen[first][0] > WITHIN_MS:
            first += 1
        if last - first + 1 > len(best):
            best = fallen[first : last + 1]
    return [host for _, host in best]
