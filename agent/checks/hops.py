"""Which routers stand on the way to an address: one UDP packet a hop, all at once, answers from the error queue.

Any user may do this on Linux: the kernel itself hands ICMP errors to the socket that caused them (IP_RECVERR), so no
raw socket is needed. Where even that is refused, the answer is ``unknown``. Shared by the collector's traces and by
the agent's ladder. Python 3.9, standard library, a bounded number of packets.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from agent.checks.deadline import Address, Deadline, NoSuchName, resolve

HOPS_MAX = 20
FIRST_PORT = 33_434
"""As every traceroute: the port tells which packet an answer is about, and nobody listens there."""

ROUNDS = 2
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_IPV6_UNICAST_HOPS = 16
_TIME_EXCEEDED = {2: 11, 3: 3}
"""SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6 -> type of `time exceeded`."""
_UNREACHABLE = {2: 3, 3: 1}


class Hop(NamedTuple):
    """One answer."""

    ttl: int
    address: str
    kind: str
    """transit (time exceeded), host (the target itself answered), stop (a router says that there is no way)."""


class Hops(NamedTuple):
    """What a trace brought."""

    state: str
    """ok, dns, or unknown (this machine may not ask)."""
    hops: Tuple[Hop, ...] = ()
    detail: str = ""

    @property
    def is_reached(self) -> bool:
        return any(hop.kind == "host" for hop in self.hops)

    @property
    def last(self) -> Optional[Hop]:
        """The farthest that answered."""
        return max(self.hops, key=lambda hop: hop.ttl, default=None)


def trace(host: str, timeout_s: float = 1.0, first: int = 1, most: int = HOPS_MAX) -> Hops:
    """Ask hops ``first`` to ``most`` at once; at most ``timeout_s`` in all, less when the target itself answers."""
    deadline = Deadline(timeout_s)
    try:
        family, sockaddr = resolve(host, 0, deadline)[0]
    except (NoSuchName, socket.timeout) as error:
        return Hops("dns", (), str(error))
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            level, option = _error_option(family)
            sock.setsockopt(level, option, 1)
            sock.setblocking(False)
            return _ask(sock, (family, sockaddr), deadline, first, min(most, HOPS_MAX))
    except OSError as error:
        return Hops("unknown", (), f"could not ask: {error.strerror or error}")


def _error_option(family: int) -> Tuple[int, int]:
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, _IPV6_RECVERR
    return socket.IPPROTO_IP, _IP_RECVERR


def _ask(sock: socket.socket, address: Address, deadline: Deadline, first: int, most: int) -> Hops:
    found: Dict[int, Hop] = {}
    share_s = deadline.left_s() / ROUNDS
    for round_ in range(ROUNDS):
        wanted = [ttl for ttl in range(first, most + 1) if ttl not in found and ttl <= _end(found, most)]
        refused = _send(sock, address, wanted)
        if refused and not found:
            # Our own kernel knows no way: nobody was asked, and nothing is learned about anybody.
            return Hops("unknown", (), f"could not ask: {refused}")
        each = Deadline(share_s)
        last = round_ == ROUNDS - 1
        _listen(sock, address, found, each if not last else deadline, first, most)
        if _is_complete(found, first, most):
            break
    end = _end(found, most)
    return Hops("ok", tuple(found[ttl] for ttl in sorted(found) if ttl <= end))


def _send(sock: socket.socket, address: Address, ttls: List[int]) -> str:
    family, sockaddr = address
    level, option = (
        (socket.IPPROTO_IPV6, _IPV6_UNICAST_HOPS)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, socket.IP_TTL)
    )
    refusal = ""
    for ttl in ttls:
        sock.setsockopt(level, option, ttl)
        try:
            sock.sendto(b"vartovyi", (sockaddr[0], FIRST_PORT + ttl, *sockaddr[2:]))
        except OSError as error:
            # An answer that waits in the error queue is told by the next send; it is read there.
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENETUNREACH, errno.EADDRNOTAVAIL):
                refusal = error.strerror or "refused"
    return refusal


def _listen(
    sock: socket.socket, address: Address, found: Dict[int, Hop], deadline: Deadline, first: int, most: int
) -> None:
    poller = select.poll()
    poller.register(sock, select.POLLERR)
    while not _is_complete(found, first, most):
        try:
            poller.poll(deadline.left_s() * 1000)
            _, ancillary, _, about = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            continue
        except OSError as error:
            if isinstance(error, socket.timeout):
                return
            continue  # the error itself was told to us as well; the queue holds who said it
        hop = hop_of(ancillary, about, address[1][0])
        if hop is not None and first <= hop.ttl <= most:
            found.setdefault(hop.ttl, hop)


def hop_of(ancillary: List[Any], about: Any, target: str) -> Optional[Hop]:
    """Pure: one message of the error queue; None where it is no answer of a router. Refuses what is too short."""
    ttl = about[1] - FIRST_PORT if isinstance(about, tuple) and len(about) > 1 else 0
    for level, kind, octets in ancillary:
        if (level, kind) not in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
            continue
        if len(octets) < 24:
            return None
        origin, type_ = octets[4], octets[5]
        address = _offender(octets[16:])
        if not address or origin not in _TIME_EXCEEDED:
            return None
        if type_ == _TIME_EXCEEDED[origin]:
            return Hop(ttl, address, "transit")
        if type_ == _UNREACHABLE[origin]:
            return Hop(ttl, address, "host" if address == target.partition("%")[0] else "stop")
    return None


def _offender(octets: bytes) -> str:
    (family,) = struct.unpack("=H", octets[:2])
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, octets[4:8])
    if family == socket.AF_INET6 and len(octets) >= 24:
        return socket.inet_ntop(socket.AF_INET6, octets[8:24])
    return ""


def _end(found: Dict[int, Hop], most: int) -> int:
    """The nearest hop behind which there is nothing more to ask."""
    return min((ttl for ttl, hop in found.items() if hop.kind != "transit"), default=most)


def _is_complete(found: Dict[int, Hop], first: int, most: int) -> bool:
    return all(ttl in found for ttl in range(first, _end(found, most) + 1))
