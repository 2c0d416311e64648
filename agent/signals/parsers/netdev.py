"""/proc/net/dev: octets and packets of each interface."""

from __future__ import annotations

from typing import Dict, NamedTuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import whole


class NicCounters(NamedTuple):
    """One interface, since it came up."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    rx_frame: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def parse_netdev(text: str) -> Dict[str, NicCounters]:
    """Interface -> counters, loopback among them."""
    nics: Dict[str, NicCounters] = {}
    for line in text.split("\n"):
        # An alias holds a colon of its own ("eth0:1"), and old kernels leave no space behind the last one.
        name, colon, rest = line.rpartition(":")
        if not colon or "|" in line:
            continue
        fields = [whole(field) for field in rest.split()]
        if len(fields) < 16:
            raise ParseError("expected sixteen columns")
        received, sent = fields[:8], fields[8:]
        nics[name.strip()] = NicCounters(
            received[0],
            received[1],
            received[2],
            received[3],
            received[5],
            sent[0],
            sent[1],
            sent[2],
            sent[3],
        )
    if not nics:
        raise ParseError("expected at least one interface")
    return nics
