"""Ports of loopback on which nobody listens, for servers that must be told theirs beforehand."""

from __future__ import annotations

import fcntl
import random
import socket
import tempfile
from pathlib import Path
from typing import Any, List

# Below what Linux gives to outgoing connections and to whoever asks for port 0 (net.ipv4.ip_local_port_range),
# so that nobody gets one of these by chance between our look and the server's start.
FIRST, LAST = 20_000, 31_999

_ours: List[Any] = []
"""Locks of the ports this process holds; the kernel drops them with it, however it ends."""


def free_port() -> int:
    """A port that no other caller, in this process or beside it, is given while this process lives."""
    folder = Path(tempfile.gettempdir()) / "vartovyi-ports"
    folder.mkdir(exist_ok=True)
    while True:
        port = random.SystemRandom().randint(FIRST, LAST)
        lock = (folder / str(port)).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _ours.append(lock)
        return port
