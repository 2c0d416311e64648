"""TCP sockets by state and ephemeral ports in use, by sock_diag: the way of ``ss``.

/proc/net/tcp costs ten times more, since the kernel prints its whole hash table. A dump is bounded: past MAX_SOCKETS
it is cut off and what was seen is reported as "at least".
"""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from typing import Dict, Generator, Iterator, List, NamedTuple, Set, Tuple

from agent.samplers.base import Batch, ratio_pct, read_or_none, why
from agent.signals.parsers.drops import count_drops
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_port_range
from agent.signals.sample import Sample

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
MAX_SOCKETS = 200_000
TIMEOUT_S = 2.0
LISTEN = 10
STATES = (
    "", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait",
    "last_ack", "listen", "closing", "new_syn_recv",
)  # fmt: skip
EVERY_STATE = 0xFFF << 1


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
        for state, port in _dump(family, states):
            seen += 1
            name = STATES[state] if state < len(STATES) else "other"
            by_state[name] = by_state.get(name, 0) + 1
            if state != LISTEN:
                ports.add(port)
            if seen >= MAX_SOCKETS:
                return TcpSockets(by_state, ports, False)
    return TcpSockets(by_state, ports, True)


def _dump(family: int, states: int) -> Iterator[Tuple[int, int]]:
    """(state, local port) of every socket."""
    request = struct.pack("=BBBBI48s", family, socket.IPPROTO_TCP, 0, 0, states, b"")
    head = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.send(head + request)
        while True:
            octets = sock.recv(1 << 16)
            done = yield from _messages(octets)
            if done:
                return


def _messages(octets: bytes) -> Generator[Tuple[int, int], None, bool]:
    """The sockets of one answer; returns whether it was the last."""
    at = 0
    while at + 16 <= len(octets):
        length, kind = struct.unpack_from("=IH", octets, at)
        if kind == NLMSG_DONE:
            return True
        if kind == NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", octets, at + 16)
            # A kernel without IPv6 or without the module answers so; an empty answer is the right one.
            if -code in (0, errno.ENOENT, errno.EAFNOSUPPORT):
                return True
            raise OSError(-code, "sock_diag was refused")
        if length < 24:
            raise OSError(errno.EPROTO, "sock_diag answered something else")
        # inet_diag_msg: family, state, timer, retransmits, then the ports in network order.
        yield octets[at + 17], (octets[at + 20] << 8) | octets[at + 21]
        at += (length + 3) & ~3
    return False


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
