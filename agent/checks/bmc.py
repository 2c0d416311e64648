"""Does a management controller answer beside its server? One RMCP presence ping (ASF 2.0, UDP 623), twice at most.

No user, no password, no session: the ping is what every IPMI controller answers before anybody logs in, and the answer is
read for its form only. A controller that is told not to answer it looks dead; who asks must know that it once did.
"""

from __future__ import annotations

import os
import socket

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import UNREACHABLE, Deadline, NoSuchName, resolve

PORT = 623
ROUNDS = 2
_HEAD = b"\x06\x00\xff\x06\x00\x00\x11\xbe"
"""RMCP version 6, no acknowledgement, class ASF; IANA number of ASF."""
_PING, _PONG = 0x80, 0x40


def run(host: str, timeout_s: float, port: int = PORT) -> CheckAnswer:
    """Ask once for at most ``timeout_s``: ok, dead, dns, or unknown where we could not ask."""
    deadline = Deadline(timeout_s)
    try:
        family, sockaddr = resolve(host, port, deadline)[0]
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(sockaddr)
            return _asked(sock, deadline, timeout_s / ROUNDS)
    except NoSuchName as error:
        return CheckAnswer("dns", str(error), deadline.spent_ms())
    except socket.timeout:
        return CheckAnswer("dead", "answers no presence ping", deadline.spent_ms())
    except ConnectionRefusedError:
        return CheckAnswer("dead", "nobody listens there", deadline.spent_ms())
    except OSError as error:
        state = "dead" if error.errno in UNREACHABLE else "unknown"
        return CheckAnswer(state, f"could not ask: {error.strerror or error}", deadline.spent_ms())


def _asked(sock: socket.socket, deadline: Deadline, share_s: float) -> CheckAnswer:
    tag = os.urandom(1)[0] & 0x7F
    for _ in range(ROUNDS):
        sock.send(_HEAD + bytes((_PING, tag, 0, 0)))
        each = Deadline(min(share_s, deadline.left_s()))
        try:
            while True:
                sock.settimeout(each.left_s())
                if is_pong(sock.recv(512), tag):
                    return CheckAnswer("ok", "answers a presence ping", deadline.spent_ms())
        except socket.timeout:
            continue
    return CheckAnswer("dead", "answers no presence ping", deadline.spent_ms())


def is_pong(octets: bytes, tag: int) -> bool:
    """Pure: whether these octets answer the ping of that tag."""
    return len(octets) >= 12 and octets[:8] == _HEAD and octets[8] == _PONG and octets[9] == tag
