"""The provider of the laboratory: power of the two hosts and the clients' address, over HTTP in ``oob``, with faults to order.

    GET /servers/HOST   POST /servers/HOST/poweroff   POST /servers/HOST/poweron
    GET /ip             POST /ip {"server": HOST}
    GET /ports/HOST     POST /ports/HOST/off|on        (a switch port, asked by the fence command)

What is ordered really happens: power off kills everything of the host and takes its wire away.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8443
FAULTS = ("down", "busy", "forbidden", "lies", "hangs", "late", "answer_lost", "wrong_machine")
"""down: 503. busy: 429. forbidden: 403. lies: says yes and does nothing. hangs: takes ``hang_s`` and does nothing. late: does
it after ``late_s``. answer_lost: does it, and the answer is lost. wrong_machine: speaks of another server."""


class Provider:
    """Serves on a socket that lies in the laboratory; ``power``, ``port`` and ``route`` do what is ordered."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        power: Callable[[str, bool], None],
        is_powered: Callable[[str], bool],
        port: Callable[[str, bool], None],
        is_port_open: Callable[[str], bool],
        route: Callable[[str], None],
        routed: Callable[[], str],
    ) -> None:
        self.power, self.is_powered = power, is_powered
        self.port, self.is_port_open = port, is_port_open
        self.route, self.routed = route, routed
        self.orders: list[str] = []
        """Every order that came, in order: what and for whom."""
        self.done: list[tuple[str, int]] = []
        """Of these, what a plan does: (phase, Unix ms)."""
        self.faults: dict[str, str] = {}
        """Beginning of ``VERB /path`` -> fault; ``""`` stands for all."""
        self.hang_s, self.late_s = 20.0, 5.0
        self.hung = self.refused = 0
        """How often it hung or was late; how often it refused an order."""
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = sock
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def fault_of(self, request: str) -> str:
        fits = [start for start in self.faults if request.startswith(start)]
        return self.faults[max(fits, key=len)] if fits else ""

    def read(self, path: str) -> Any:
        kind, _, rest = path.strip("/").partition("/")
        if kind == "servers":
            is_on = self.is_powered(rest)
            name = "other" if self.fault_of(f"GET {path}") == "wrong_machine" else rest
            return {"server": {"name": name, "status": "running" if is_on else "off"}}
        if kind == "ports":
            return {"port": "on" if self.is_port_open(rest) else "off"}
        return {"ip": {"server": self.routed()}}

    def order(self, path: str, body: Any) -> None:
        kind, _, rest = path.strip("/").partition("/")
        with self._lock:
            if kind == "ip":
                self.orders.append(f"ip {body['server']}")
                self.done.append(("traffic", round(time.time() * 1000)))
                self.route(body["server"])
                return
            host, _, word = rest.partition("/")
            self.orders.append(f"{word} {host}")
            if word in ("poweroff", "off"):
                self.done.append(("fence", round(time.time() * 1000)))
            if kind == "servers":
                self.power(host, word == "poweron")
            else:
                self.port(host, word == "on")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._fails("GET"):
                self._say(200, provider.read(self.path))

        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = provider.fault_of(f"POST {self.path}")
            if fault == "answer_lost":
                provider.order(self.path, json.loads(octets or b"null"))
                self.close_connection = True
                return
            if fault == "late":
                provider.hung += 1
                time.sleep(provider.late_s)
            if fault == "lies":
                provider.orders.append(f"ignored {self.path}")
                self._say(200, {})
                return
            if not self._fails("POST"):
                provider.order(self.path, json.loads(octets or b"null"))
                self._say(200, {})

        def _fails(self, verb: str) -> bool:
            fault = provider.fault_of(f"{verb} {self.path}")
            if fault == "hangs":
                provider.hung += 1
                time.sleep(provider.hang_s)
                self.close_connection = True
                return True
            status = {"down": 503, "busy": 429, "forbidden": 403}.get(fault)
            if status is not None:
                provider.refused += verb == "POST"
                self._say(status, {"error": fault})
            return status is not None

        def _say(self, status: int, value: Any) -> None:
            octets = json.dumps(value).encode()
            try:
                self.send_response(status)
                if status in (429, 503):
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            return

    return Answers
