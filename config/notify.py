"""sd_notify in a few lines: tells systemd READY, RELOADING, STOPPING, WATCHDOG. Silent where there is no systemd."""

from __future__ import annotations

import os
import socket
from typing import Optional


def notify(state: str) -> bool:
    """Send one state line (``READY=1``, ``STATUS=...``); False when no notify socket was given or it is gone."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_interval_s() -> Optional[float]:
    """Half of the unit's WatchdogSec in seconds, or None when systemd asked for no watchdog."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000
