"""Which of several addresses answer at all? TCP connects and echo requests, all at once, under one deadline, in one thread.

For the ladder: it asks whether there is a way, not what a service says. So a refused connection is an answer, and so
is a router's word that a packet was too large. Where this process may not send echo requests the answer is None,
which is no evidence.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from agent.checks.deadline import Deadline
from agent.checks.icmp import echo_request, is_reply, open_socket

Address = Tuple[str, int]
"""A literal address, and the port that is connected to."""

_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE, _IP_RECVERR = 10, 3, 11
BETWEEN_S = 0.1
"""Echo requests to one address come so far apart: a burst meets one full queue, and counts it as often as it is long."""


class Echoes(NamedTuple):
    """What came back."""

    sent: int
    """To each address."""
    received: Dict[str, int]
    """Address -> answers."""
    too_large: Set[str]
    """Addresses on whose way a router (or our own interface) said that the packet is too large: an honest way."""


def connect_all(addresses: Sequence[Address], timeout_s: float) -> Set[str]:
    """Those that accept or refuse a connection within the time. What hangs, or has no way, is not among them."""
    deadline = Deadline(timeout_s)
    answered: Set[str] = set()
    under_way: Dict[int, Tuple[socket.socket, str]] = {}
    poller = select.poll()
    try:
        for host, port in addresses:
            sock = socket.socket(
                _family(host), socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            )
            under_way[sock.fileno()] = (sock, host)
            code = sock.connect_ex((host, port))
            if code in (0, errno.ECONNREFUSED):
                answered.add(host)
            elif code == errno.EINPROGRESS:
                poller.register(sock, select.POLLOUT)
        waiting = {fd for fd, (_, host) in under_way.items() if host not in answered}
        with contextlib.suppress(socket.timeout):
            while waiting:
                events = poller.poll(max(1.0, deadline.left_s() * 1000))
                for fd, _ in events:
                    sock, host = under_way[fd]
                    poller.unregister(fd)
                    waiting.discard(fd)
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED):
                        answered.add(host)
    finally:
        for sock, _ in under_way.values():
            sock.close()
    return answered


def echo_all(
    hosts: Sequence[str], count: int, timeout_s: float, *, size: int = 32, whole: bool = False
) -> Optional[Echoes]:
    """``count`` echo requests of ``size`` octets to each address; ``whole`` forbids every router to cut them (DF).

    IPv4 only, as the kernel cuts no IPv6 packet on the way anyhow. None where this process may not ask.
    """
    v4 = [host for host in hosts if _family(host) == socket.AF_INET]
    opened = open_socket(socket.AF_INET)
    if opened is None:
        return None
    sock, is_raw = opened
    found = Echoes(count, dict.fromkeys(v4, 0), set())
    with sock:
        sock.setblocking(False)
        if whole:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        ident = int.from_bytes(os.urandom(2), "big")
        expected: Dict[int, str] = {}
        deadline = Deadline(timeout_s + BETWEEN_S * (count - 1))
        for round_ in range(count):
            for place, host in enumerate(v4):
                seq = round_ * len(v4) + place
                expected[seq] = host
                _send(sock, echo_request(socket.AF_INET, ident, seq, size), host, found)
            share = Deadline(BETWEEN_S) if round_ < count - 1 else deadline
            _listen(sock, ident if is_raw else None, expected, found, share)
    return found


def _send(sock: socket.socket, packet: bytes, host: str, found: Echoes) -> None:
    try:
        sock.sendto(packet, (host, 0))
    except OSError as error:
        if error.errno == errno.EMSGSIZE:
            found.too_large.add(host)
        # Anything else (no way, a full queue) is a packet that does not come back.


def _listen(
    sock: socket.socket, ident: Optional[int], expected: Dict[int, str], found: Echoes, deadline: Deadline
) -> None:
    poller = select.poll()
    poller.register(sock, select.POLLIN | select.POLLERR)
    with contextlib.suppress(socket.timeout):
        # Each answer is counted once: its number is taken out, so that a doubled packet hides no lost one.
        while expected:
            for _, events in poller.poll(max(1.0, deadline.left_s() * 1000)):
                if events & select.POLLERR:
                    _take_word(sock, found)
                if events & select.POLLIN:
                    _take_answer(sock, ident, expected, found)


def _take_answer(sock: socket.socket, ident: Optional[int], expected: Dict[int, str], found: Echoes) -> None:
    try:
        octets, (host, *_) = sock.recvfrom(2048)
    except OSError:
        return  # an error that another host's router reported: it is in the queue, or over
    for seq, wanted in list(expected.items()):
        if wanted == host and is_reply(octets, socket.AF_INET, ident, seq):
            del expected[seq]
            found.received[host] += 1


def _take_word(sock: socket.socket, found: Echoes) -> None:
    """A router's word about one of our packets: only `too large` is one that we look for."""
    with contextlib.suppress(OSError):
        _, ancillary, _, about = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        for _, _, octets in ancillary:
            if len(octets) >= 4 and struct.unpack("=I", octets[:4])[0] == errno.EMSGSIZE and about:
                found.too_large.add(str(about[0]))


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def parse_address(text: str) -> Optional[Address]:
    """``203.0.113.9:443`` or ``[2001:db8::1]:443``; None where it is no literal address with a port."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return None
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return host, int(port)
    return None


def addresses_of(texts: Sequence[str]) -> List[Address]:
    """The addresses among ``texts``, in order."""
    return [address for address in map(parse_address, texts) if address is not None]
