"""The contracts of a replayed scenario: what an admin would have written for its topology. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Any

from collector.replay.outside import address_of
from collector.replay.scenario import Host, Scenario
from ticketing.terms import Contract, HostTerms, ServiceTerms, Window
from ticketing.terms import Topology as Places

CONTRACT = "replay"
SERVICE = "service"
SSH = "ssh"
"""The engineers' way in: watched from outside like any service."""
NEVER_S = 3600.0
"""The player itself asks for a service's probe when what it would see may have changed."""


def contracts_of(scenario: Scenario, start_ms: int) -> tuple[Contract, ...]:
    """The contracts that the topology asks for: every host fit for class 2, with one service, windows as declared."""
    by_contract: dict[str, list[Host]] = {}
    for host in scenario.topology.hosts:
        by_contract.setdefault(host.contract or CONTRACT, []).append(host)
    return tuple(
        Contract(
            id=name,
            title=name,
            language="en",
            hosts=[_host_terms(host) for host in hosts],
            preventive="ticket",
            windows=_windows(scenario, [host.id for host in hosts], start_ms),
            failover=_failover(scenario, {host.id for host in hosts}),
        )
        for name, hosts in sorted(by_contract.items())
    )


def _failover(scenario: Scenario, host_ids: set[str]) -> dict[str, Any] | None:
    """The pair as an admin would have written it: power by the provider's interface, one step a phase."""
    raw = scenario.topology.failover
    if raw is None or raw["primary"] not in host_ids:
        return None
    words = {"primary": "primary", "backup": "backup", "mode": "mode", "fence_min": "fence_min"}
    pair = {ours: raw[theirs] for theirs, ours in words.items() if theirs in raw}
    pair |= {ours: raw[theirs] for theirs, ours in (("rto_s", "rto"), ("rpo_s", "rpo")) if theirs in raw}
    steps = {name: [{"type": f"{name}.{kind}"}] for name, kind in _STEPS}
    return {"pairs": [{**pair, "fence": [[{"type": FENCE}]], **steps}]}


FENCE = "fence.provider"
_STEPS = (("promote", "unit"), ("traffic", "dns"), ("verify", "http"))


def _host_terms(host: Host) -> HostTerms:
    check = {"type": "http", "url": f"http://{address_of(host.id)}/", "host": address_of(host.id)}
    return HostTerms(
        id=host.id,
        addresses=[address_of(host.id)],
        kind="dedicated" if host.virt == "none" else "vds",
        web_environment=True,
        exclusive_access=True,
        topology=Places(provider=host.provider, **host.places),
        services=[
            ServiceTerms(name=SERVICE, check=check, interval=NEVER_S),  # type: ignore[arg-type]
            ServiceTerms(
                name=SSH,
                check={"type": "ssh", "host": address_of(host.id)},  # type: ignore[arg-type]
                interval=NEVER_S,  # type: ignore[arg-type]
            ),
        ],
    )


def _windows(scenario: Scenario, host_ids: list[str], start_ms: int) -> list[Window]:
    """Declared windows: from each ``ops.window: true`` to the next false, a day where it never ends."""
    found = []
    for host_id in host_ids:
        since: int | None = None
        for entry in scenario.timeline:
            if entry.signal != "ops.window" or entry.host not in (host_id, _provider(scenario, host_id)):
                continue
            if entry.value and since is None:
                since = entry.t_ms
            elif not entry.value and since is not None:
                found.append(_window(host_id, start_ms + since, start_ms + entry.t_ms))
                since = None
        if since is not None:
            found.append(_window(host_id, start_ms + since, start_ms + since + 86_400_000))
    return found


def _provider(scenario: Scenario, host_id: str) -> str:
    return next(host.provider for host in scenario.topology.hosts if host.id == host_id)


def _window(host_id: str, from_ms: int, to_ms: int) -> Window:
    def text(at_ms: int) -> str:
        return dt.datetime.fromtimestamp(at_ms / 1000, dt.timezone.utc).isoformat()

    return Window(from_=text(from_ms), to=text(to_ms), title="planned work", hosts=[host_id])
