"""A proxy that breaks what passes through it: loses answers, cuts before and after, answers 429 and 5xx, and tells.

``plan`` is asked for every request and names what happens to it; requests that it lets pass go on unchanged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

DESK_WITHIN_S = 60
"""How long a desk may take for one request on a machine that others keep busy."""


@dataclasses.dataclass(frozen=True)
class Pass:
    """Nothing happens to it."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """The connection breaks: before the desk got the request, or after it did it."""

    after: bool


@dataclasses.dataclass(frozen=True)
class Silent:
    """The desk does it, and no answer comes until the client has given up."""

    for_s: float


@dataclasses.dataclass(frozen=True)
class Answer:
    """The proxy answers itself, before the desk got the request or after it did it."""

    status: int
    after: bool = False
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Call:
    """Something is called at this point of the request: before it is sent, while it is, after it was done."""

    do: Callable[[], None]
    when: str


Fate = Pass | Cut | Silent | Answer | Call


class FaultProxy:
    """Listens on loopback, forwards to one desk."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urllib.parse.urlsplit(upstream)
        self.plan: Callable[[str, str], Fate] = lambda method, path: Pass()
        self.seen: list[tuple[str, str]] = []
        """Method and path of every request that came."""
        self._lock = threading.Lock()
        self._in_flight = 0
        self._is_idle = threading.Condition(self._lock)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._serve(self)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that was killed is what we are here for

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def break_next(self, *fates: Fate, method: str = "", path: str = "") -> None:
        """The next requests of this method and path prefix meet these fates, one each; then all pass again."""
        left = list(fates)
        lock = threading.Lock()

        def plan(asked: str, at: str) -> Fate:
            with lock:
                if left and (not method or asked == method) and at.startswith(path):
                    return left.pop(0)
            return Pass()

        self.plan = plan

    def wait_until_idle(self, timeout_s: float = 2 * DESK_WITHIN_S) -> None:
        """Until nothing that was sent to the desk is at work there."""
        with self._is_idle:
            assert self._is_idle.wait_for(lambda: self._in_flight == 0, timeout_s), "the desk does not end"

    def _serve(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            self.seen.append((request.command, request.path))
            self._in_flight += 1
        try:
            self._meet_fate(request, body)
        finally:
            with self._is_idle:
                self._in_flight -= 1
                self._is_idle.notify_all()

    def _meet_fate(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        fate = self.plan(request.command, request.path)
        if isinstance(fate, Call) and fate.when == "before":
            fate.do()
            self._drop(request)
        elif isinstance(fate, Cut) and not fate.after:
            self._drop(request)
        elif isinstance(fate, Answer) and not fate.after:
            self._answer(request, fate.status, fate.headers, b"made by the proxy")
        elif isinstance(fate, Call) and fate.when == "during":
            threading.Thread(target=fate.do, daemon=True).start()
            self._forward(request, body)
            self._drop(request)
        else:
            self._pass_on(request, body, fate)

    def _pass_on(self, request: http.server.BaseHTTPRequestHandler, body: bytes, fate: Fate) -> None:
        status, headers, answer = self._forward(request, body)
        if isinstance(fate, Call) and fate.when == "after":
            fate.do()
            self._drop(request)
        elif isinstance(fate, Cut):
            self._drop(request)
        elif isinstance(fate, Silent):
            threading.Event().wait(fate.for_s)
            self._drop(request)
        elif isinstance(fate, Answer):
            self._answer(request, fate.status, fate.headers, b"made by the proxy")
        else:
            self._answer(request, status, headers, answer)
            if isinstance(fate, Call):
                fate.do()

    def _forward(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        where = self._upstream
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=DESK_WITHIN_S)
        with contextlib.closing(connection):
            headers = {k: v for k, v in request.headers.items() if k.lower() not in ("connection", "host")}
            headers["Host"] = where.netloc
            connection.request(request.command, request.path, body=body, headers=headers)
            answer = connection.getresponse()
            kept = ("content-type", "location", "retry-after")
            told = {k: v for k, v in answer.getheaders() if k.lower() in kept}
            return answer.status, told, answer.read()

    @staticmethod
    def _answer(
        request: http.server.BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        if status != 204:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if status != 204:
            request.wfile.write(body)
        request.wfile.flush()

    @staticmethod
    def _drop(request: http.server.BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.connection.shutdown(2)
