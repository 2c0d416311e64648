"""The last hop that answers on the way to a host, by its owner's name: where on the way does it end?

Addresses become names by a table that settings hold (network -> name, the longest prefix counts) and by what was
learned while hosts were well: the router before a host of rack R is the gateway of R. The reading is pure.

Names as judgement knows them: ``host``; ``gw-of-RACK``; ``PROVIDER-...`` inside a provider; ``transit-...`` and
``col-...`` before any. An address that nobody named is told as it is: it proves no owner.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from agent.checks.hops import Hops, trace
from collector.observed import observe
from collector.tables import hosts
from collector.tick.rows import remember, remembered

SIGNAL = "ext.last_hop"
LEARNED_KEY = "hops_learned"
LEARNED_MAX = 2_000
LEARN_AT_ONCE = 4
NAME_MAX = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True)
class HopOwners:
    """Whose address is it?"""

    networks: tuple[tuple[Network, str], ...] = ()
    """Longest prefix first."""
    learned: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Address -> name, from traces to hosts that were well."""

    @staticmethod
    def of(table: Iterable[tuple[str, str]], learned: Mapping[str, str] | None = None) -> HopOwners:
        nets = [(ipaddress.ip_network(net, strict=False), name) for net, name in table]
        return HopOwners(tuple(sorted(nets, key=lambda row: -row[0].prefixlen)), dict(learned or {}))

    def name(self, address: str) -> str:
        """The owner's name; the address itself where nobody is named."""
        if address in self.learned:
            return self.learned[address]
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return address[:NAME_MAX]
        for net, name in self.networks:
            if ip.version == net.version and ip in net:
                return name
        return address[:NAME_MAX]


def last_hop(found: Hops, owners: HopOwners) -> str:
    """Pure: the name of where the way ends; "" where the trace tells nothing (nobody answered, or we may not ask)."""
    if found.state != "ok" or found.last is None:
        return ""
    if found.is_reached:
        return "host"
    return owners.name(found.last.address)


def answer_of(found: Hops, owners: HopOwners) -> dict[str, object]:
    """A trace as the answer of a probe row; ``state`` is unknown where it tells nothing."""
    name = last_hop(found, owners)
    way = [f"{hop.ttl} {hop.address} {owners.name(hop.address)}" for hop in found.hops]
    detail = found.detail or (f"the way ends at {name}" if name else "no hop answered")
    return {
        "state": "ok" if name else "unknown",
        "detail": detail,
        "ms": 0.0,
        "facts": {"last_hop": name, "hops": way},
    }


def gateway_of(found: Hops) -> str:
    """Pure: the router right before a host that answered; "" where that cannot be said."""
    host = next((hop for hop in found.hops if hop.kind == "host"), None)
    before = [
        hop for hop in found.hops if host is not None and hop.ttl == host.ttl - 1 and hop.kind == "transit"
    ]
    return before[0].address if before else ""


def write_last_hop(
    tx: Connection, host_id: str, answer: Mapping[str, object], now_ms: int, vantage: str = ""
) -> bool:
    """The answer of a trace as an observation; False where it tells nothing, or nothing new."""
    facts = answer.get("facts")
    name = facts.get("last_hop") if isinstance(facts, Mapping) else None
    if not isinstance(name, str) or not name:
        return False
    return observe(tx, host_id, SIGNAL, name[:NAME_MAX], now_ms, "trace", vantage=vantage)


def learned(conn: Connection) -> dict[str, str]:
    """What was learned, from the store."""
    raw = remembered(conn, LEARNED_KEY)
    kept = json.loads(raw) if raw else {}
    return {str(address): str(name) for address, name in kept.items()}


def learn(tx: Connection, gateways: Mapping[str, str]) -> int:
    """Add what healthy ways showed (address -> name); two racks behind one gateway name it for neither. How many new."""
    known = learned(tx)
    before = dict(known)
    for address, name in gateways.items():
        if known.get(address, name) != name:
            known.pop(address)
        elif len(known) < LEARNED_MAX:
            known[address] = name
    if known != before:
        remember(tx, LEARNED_KEY, json.dumps(known, sort_keys=True))
    return len(known.keys() - before.keys())


def to_learn(conn: Connection, names: Iterable[str]) -> list[tuple[str, str]]:
    """(address, rack) of hosts that are well, one for a rack whose gateway nobody has named yet."""
    named = set(names)
    rack = hosts.c.topology["rack"].as_string()
    rows = conn.execute(
        select(rack.label("rack"), func.min(hosts.c.id).label("id"))
        .where(hosts.c.life == "alive", hosts.c.is_retired.is_(False), rack.is_not(None), rack != "")
        .group_by(rack)
    ).all()
    wanted = [row for row in rows if f"gw-of-{row.rack}" not in named][:LEARN_AT_ONCE]
    found: list[tuple[str, str]] = []
    for row in wanted:
        addresses = conn.execute(select(hosts.c.addresses).where(hosts.c.id == row.id)).scalar_one()
        if addresses:
            found.append((str(addresses[0]), str(row.rack)))
    return found


def ways_of(racks: Iterable[tuple[str, str]], timeout_s: float = 1.0) -> dict[str, str]:
    """Trace to these hosts: gateway's address -> ``gw-of-RACK``, where the host itself answered."""
    found: dict[str, str] = {}
    for address, rack in racks:
        gateway = gateway_of(trace(address, timeout_s))
        if gateway:
            found[gateway] = f"gw-of-{rack}"[:NAME_MAX]
    return found
