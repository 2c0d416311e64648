"""TCP sockets by state and ephemeral ports in use, by sock_diag: the way of ``ss``.

/proc/net/tcp costs ten times more, since the kernel prints its whole hash table. A dump is bounded: past MAX_SOCKETS
it is cut off and what was seen is reported as "at least".
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Dict, List, NamedTuple, Set

from agent.checks.sock_diag import EVERY_STATE, LISTEN, dump
from agent.samplers.base import Batch, ratio_pct, read_or_none, why
from agent.signals.parsers.drops import count_drops
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_port_range
from agent.signals.sample import Sample

MAX_SOCKETS = 200_000
STATES = (
    "", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait",
    "last_ack", "listen", "closing", "new_syn_recv",
)  # fmt: skip


class TcpSockets(NamedTuple):
    """What one dump showed."""

    by_state: Dict[str, int]
    local_ports: Set[int]
    """Of sockets that do not listen."""
    is_whole: bool


def count_tcp(states: int = EVERY_STATE) -> TcpSockets:
    """TCP sockets of IPv4 and IPv6 in the asked states. Raises OSError where the kernel does not answer."""
    by_state: Dict[str, int] = {}
    ports: Set[int] = set()
    seen = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        for told in dump(family, states):
            state, port = told[1], (told[4] << 8) | told[5]
            seen += 1
            name = STATES[state] if state < len(STATES) else "other"
            by_state[name] = by_state.get(name, 0) + 1
            if state != LISTEN:
                ports.add(port)
            if seen >= MAX_SOCKETS:
                return TcpSockets(by_state, ports, False)
    return TcpSockets(by_state, ports, True)


class Sockets:
    """Signals net.syn_recv, net.ports_pct, net.tcp_established, net.buffer_drops (by kind)."""

    name = "sockets"
    period_s = 60.0

    def __init__(self, root: Path = Path("/")) -> None:
        self._range = f"{root / 'proc/sys/net/ipv4/ip_local_port_range'}"
        # A dump asks this kernel; of another tree it knows nothing.
        self._is_here = root == Path("/")
        self._net = f"{root / 'proc/net'}"
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        self._add_drops(batch)
        if not self._is_here:
            return batch.samples
        try:
            sockets = count_tcp()
        except OSError as error:
            self._lacks.update(
                dict.fromkeys(("net.syn_recv", "net.ports_pct", "net.tcp_established"), why(error))
            )
            return batch.samples
        half_open = sockets.by_state.get("syn_recv", 0) + sockets.by_state.get("new_syn_recv", 0)
        batch.add("net.syn_recv", half_open)
        batch.add("net.tcp_established", sockets.by_state.get("established", 0))
        try:
            first, last = parse_port_range(read_or_none(self._range) or "")
            used = sum(1 for port in sockets.local_ports if first <= port <= last)
            batch.add("net.ports_pct", ratio_pct(used, last - first + 1))
        except ParseError as error:
            self._lacks["net.ports_pct"] = why(error)
        return batch.samples

    def _add_drops(self, batch: Batch) -> None:
        texts = [read_or_none(f"{self._net}/{name}") or "" for name in ("snmp", "netstat", "netlink")]
        try:
            drops = count_drops(*texts)
        except ParseError as error:
            self._lacks["net.buffer_drops"] = why(error)
            return
        for kind, count in drops.items():
            batch.add("net.buffer_drops", count, kind)
