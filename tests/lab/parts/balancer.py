"""A real HAProxy at oob, with its runtime interface on TCP: the door that clients use. Reloaded, it forgets (D4)."""

from __future__ import annotations

import socket
import time
from typing import Any

from tests.lab.house import ADDRESS, House

RUNTIME, BACKEND = 9999, "service"
CONFIG = """global
    stats socket ipv4@{address}:{runtime} level admin
    maxconn 200
    {state_file}
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    load-server-state-from-file {load}
frontend clients
    bind {address}:{port}
    default_backend {backend}
backend {backend}
    server a1 {prim}:{port}
    server b9 {back}:{port} disabled
"""


class Balancer:
    """One HAProxy before port ``port`` of both hosts; a1 in use, b9 not."""

    def __init__(self, house: House, port: int, *, keeps_state: bool = False) -> None:
        self._house, self.port = house, port
        self.folder = house.folder / "haproxy"
        self.folder.mkdir()
        self.state_file = self.folder / "state"
        (self.folder / "cfg").write_text(
            CONFIG.format(
                address=ADDRESS["oob"], prim=ADDRESS["prim"], back=ADDRESS["back"], port=port, runtime=RUNTIME,
                backend=BACKEND, load="global" if keeps_state else "none",
                state_file=f"server-state-file {self.state_file}" if keeps_state else "",
            )
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        words = ["haproxy", "-db", "-f", str(self.folder / "cfg")]
        self._process = self._house.popen("oob", words, log="haproxy")
        ends_s = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, "haproxy ended"
            assert time.monotonic() < ends_s, "haproxy does not answer"
            time.sleep(0.05)

    def reload(self) -> None:
        """As a reload does it: a new process with the file's settings, and the old one's state only where it was kept."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def keep_state(self) -> None:
        """What a balancer that keeps its state does before a reload: its own ``show servers state`` into the file."""
        self.state_file.write_text(self.say("show servers state"))

    def say(self, words: str) -> str:
        def ask() -> str:
            with socket.create_connection((ADDRESS["oob"], RUNTIME), timeout=5) as sock:
                sock.sendall(words.encode() + b"\n")
                return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

        return self._house.inside("coll", ask)

    def options(self, **changes: Any) -> dict[str, Any]:
        """Of the step traffic.haproxy."""
        place = f"{ADDRESS['oob']}:{RUNTIME}"
        return {"sockets": [place], "backend": BACKEND, "old": "a1", "new": "b9", **changes}

    def _answers(self) -> bool:
        try:
            return bool(self.say("show info"))
        except OSError:
            return False
