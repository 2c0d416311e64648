"""Does an address answer echo requests? ``unknown`` where this process may not ask, which is no evidence."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any, Optional, Tuple

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import UNREACHABLE, Address, Deadline, NoSuchName, resolve
from agent.checks.spec import CheckSettings

COUNT = 3
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}


def run(spec: CheckSettings, timeout_s: float) -> CheckAnswer:
    """Three echo requests within ``timeout_s`` in all. Facts: sent, received, rtt_ms (the best)."""
    deadline = Deadline(timeout_s)
    try:
        address = resolve(spec.host, 0, deadline)[0]
    except (NoSuchName, socket.timeout) as error:
        return CheckAnswer("dns", str(error), deadline.spent_ms())
    opened = open_socket(address[0])
    if opened is None:
        return CheckAnswer("unknown", "this process may not send echo requests", deadline.spent_ms())
    sock, is_raw = opened
    with sock:
        return _ping(sock, is_raw, address, deadline, timeout_s)


def open_socket(family: int) -> Optional[Tuple[socket.socket, bool]]:
    """A ping socket (any user in net.ipv4.ping_group_range), else a raw one (root), else None."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol), kind == socket.SOCK_RAW
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
                raise
    return None


def _ping(
    sock: socket.socket, is_raw: bool, address: Address, deadline: Deadline, timeout_s: float
) -> CheckAnswer:
    family, sockaddr = address
    ident = int.from_bytes(os.urandom(2), "big")
    received, best, refusal = 0, 0.0, ""
    for seq in range(COUNT):
        each = Deadline(timeout_s / COUNT)
        try:
            sock.sendto(echo_request(family, ident, seq), sockaddr)
            if _await(sock, family, ident if is_raw else None, seq, each):
                received += 1
                best = min(best or each.spent_ms(), each.spent_ms())
        except socket.timeout:
            continue
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                return CheckAnswer("unknown", f"could not ask: {error.strerror}", deadline.spent_ms())
            if error.errno not in (*UNREACHABLE, errno.ECONNREFUSED):
                raise
            refusal = error.strerror or ""
    facts = {"sent": COUNT, "received": received, "rtt_ms": round(best, 2)}
    if received == COUNT:
        return CheckAnswer("ok", "answers every echo request", best, facts)
    if received:
        return CheckAnswer("loss", f"answers {received} of {COUNT} echo requests", best, facts)
    return CheckAnswer("dead", refusal or "answers no echo request", deadline.spent_ms(), facts)


def _await(sock: socket.socket, family: int, ident: Optional[int], seq: int, deadline: Deadline) -> bool:
    while True:
        sock.settimeout(deadline.left_s())
        octets, _ = sock.recvfrom(2048)
        if is_reply(octets, family, ident, seq):
            return True


def is_reply(octets: bytes, family: int, ident: Optional[int], seq: int) -> bool:
    """Is this the answer to our request ``seq``? ``ident`` is None on a ping socket, where the kernel sorts them."""
    if ident is not None and family == socket.AF_INET and octets:
        octets = octets[(octets[0] & 0x0F) * 4 :]
    if len(octets) < 8:
        return False
    fields: Tuple[Any, ...] = struct.unpack(">BBHHH", octets[:8])
    is_ours = ident is None or fields[3] == ident
    return fields[0] == _ECHO[socket.AddressFamily(family)][1] and fields[4] == seq and is_ours


def echo_request(family: int, ident: int, seq: int, size: int = 32) -> bytes:
    """An echo request with ``size`` octets in it (an even number); the kernel itself fills in ICMPv6's checksum."""
    kind = _ECHO[socket.AddressFamily(family)][0]
    body = (b"vartovyi" * (size // 8 + 1))[: size & ~1]
    head = struct.pack(">BBHHH", kind, 0, 0, ident, seq)
    total = sum(struct.unpack(f">{(len(head) + len(body)) // 2}H", head + body))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack(">BBHHH", kind, 0, checksum, ident, seq) + body
