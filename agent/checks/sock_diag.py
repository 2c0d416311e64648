"""The kernel's own list of TCP sockets, by netlink sock_diag as ``ss`` has it: cheap, and no packet is sent to anybody."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Generator, Iterator, List, NamedTuple

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
TIMEOUT_S = 2.0
LISTEN = 10
EVERY_STATE = 0xFFF << 1
MAX_LISTENERS = 4_000


class Listener(NamedTuple):
    """One socket that waits for connections."""

    address: str
    port: int
    waiting: int
    """Connections that the kernel has accepted and the program has not yet taken."""
    room: int
    """For how many of them there is room."""


def listeners() -> List[Listener]:
    """Every listening TCP socket of this network namespace. Raises OSError where the kernel does not answer."""
    found: List[Listener] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for told in dump(family, 1 << LISTEN):
            if len(told) >= 64 and len(found) < MAX_LISTENERS:
                size = 4 if told[0] == socket.AF_INET else 16
                address = socket.inet_ntop(told[0], told[8 : 8 + size])
                waiting, room = struct.unpack_from("=II", told, 56)
                found.append(Listener(address, (told[4] << 8) | told[5], waiting, room))
    return found


def dump(family: int, states: int) -> Iterator[bytes]:
    """inet_diag_msg of every socket in these states: family, state, timer, retransmits, the ports in network order..."""
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


def _messages(octets: bytes) -> Generator[bytes, None, bool]:
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
        yield octets[at + 16 : at + length]
        at += (length + 3) & ~3
    return False
