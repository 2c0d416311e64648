"""What sockets had no room for: counters of /proc/net/{snmp,netstat,netlink} that tell of programs too slow to read."""

from __future__ import annotations

from typing import Dict, Mapping

from agent.signals.parsers.commands import parse_netlink
from agent.signals.parsers.keyed import parse_paired

UDP = ("InErrors", "SndbufErrors")
"""InErrors holds what no receive buffer had room for, and what came in with a wrong checksum."""
TCP = ("TCPBacklogDrop", "TCPRcvQDrop", "ListenDrops")


def count_drops(snmp: str, netstat: str, netlink: str) -> Dict[str, int]:
    """Kind (udp, tcp, netlink) -> packets or messages since boot; a text that is empty leaves its kind out."""
    found: Dict[str, int] = {}
    if snmp:
        found["udp"] = _sum(parse_paired(snmp).get("Udp", {}), UDP)
    if netstat:
        found["tcp"] = _sum(parse_paired(netstat).get("TcpExt", {}), TCP)
    if netlink:
        found["netlink"] = sum(parse_netlink(netlink).values())
    return found


def _sum(counters: Mapping[str, int], names: tuple[str, ...]) -> int:
    return sum(max(0, counters.get(name, 0)) for name in names)
