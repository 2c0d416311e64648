"""A recording collector of few words, and real agents started against it: for tests of the agent as a process.

It speaks the wire as far as an agent needs it: takes only the change that it wants next, and answers the number that it
wants then. It judges nothing. The agent runs on the Python of the tests, or on the one that is named.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, Callable, List

from tests.tools.ports import free_port


class Desk(http.server.BaseHTTPRequestHandler):
    """Takes reports for its server's stage."""

    protocol_version = "HTTP/1.1"
    stage: Stage

    def do_POST(self) -> None:
        desk = self.stage
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if desk.is_away:
            self.close_connection = True
            return
        with desk.lock:
            desk.reports.append(report)
            desk.arrived.append(time.monotonic())
            want = desk.want.setdefault(report["stream"], 1)
            for change in report["findings"]:
                if change["n"] == want:
                    desk.changes.append(change)
                    want += 1
            desk.want[report["stream"]] = want
            reply = {"v": 1, "want_n": want, "interval_s": 1.0, **desk.more}
        raw = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Stage:
    """A collector of few words, and agents started against it."""

    def __init__(self, folder: Any, context: Any = None) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.reports: List[Any] = []
        self.arrived: List[float] = []
        """When each report came, on the monotonic clock."""
        self.changes: List[Any] = []
        self.want: dict = {}
        self.more: dict = {}
        self.listen(context=context)
        self.free_port = free_port()
        self.children: List[subprocess.Popen] = []
        (folder / "token").write_text("secret\n", encoding="ascii")
        self.write()

    def leave(self) -> None:
        """The collector is gone: nobody listens, and whoever is connected is cut off at the next word."""
        self.is_away = True
        self.server.shutdown()
        self.server.server_close()

    def listen(self, port: int = 0, context: Any = None) -> None:
        """Take reports from now on."""
        self.serve(self.receiver(port), context)

    def receiver(self, port: int = 0) -> http.server.ThreadingHTTPServer:
        """A server that takes reports for this stage; its socket belongs to the network of the calling thread."""
        desk = type("DeskOfStage", (Desk,), {"stage": self})
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), desk)

    def serve(self, server: http.server.ThreadingHTTPServer, context: Any = None) -> None:
        """Take reports at this server."""
        self.server = server
        self.is_away = False
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def write(self, more: str = "", scheme: str = "http", trust: str = "") -> None:
        url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        (self.folder / "agent.yaml").write_text(
            f"state_dir: {self.folder}/state\nperiod: 0.5\ninterval: 1\nmetrics: {{listen: ''}}\n"
            f"collector: {{url: '{url}', token_file: '{self.folder}/token'{trust}}}\n"
            f"checks: [{{name: shop, type: tcp, host: 127.0.0.1, port: {self.free_port}, interval_s: 1}}]\n"
            "rules: {check_fails: {raise: {all: ['check.state == refused'], for: 2}, "
            "clear: {all: ['check.state == ok'], for: 2}}}\n" + more,
            encoding="utf-8",
        )

    def start(self, **environment: str) -> subprocess.Popen:
        child = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", "run", "--config", str(self.folder / "agent.yaml")],
            stderr=(self.folder / "log").open("ab"), env={**os.environ, **environment},
        )  # fmt: skip
        self.children.append(child)
        return child

    def until(self, what: Callable[[], Any], seconds: float = 60.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.lock:
                found = what()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(
            f"not within {seconds} s; the agent said: {(self.folder / 'log').read_text()[-3000:]}"
        )

    def kinds(self) -> List[str]:
        return [f"{c['kind']} {c['rule']} {c['subject']}" for c in self.of_shop()]

    def of_shop(self) -> List[Any]:
        """Changes about the check; what the machine of the tests suffers itself is no part of the story."""
        return [c for c in self.changes if c["rule"] == "check_fails"]

    def stop(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait(10)
        self.server.shutdown()
        self.server.server_close()
