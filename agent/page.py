"""A tiny HTTP server for ready bytes: /metrics for Prometheus, /status for `vartovyi-agent status`.

The main loop puts pages up; a scrape is a write of bytes that stand ready, in a thread of its own, and cannot hold
anybody up. Bounded: connections, request size, time without a request. Loopback by default; the status page is also
served on a socket file in the state folder, so that `status` works where no port is open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

from config.clock import perf_seconds
from config.log import fields

LOG = logging.getLogger("agent.page")

TEXT = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json"
REQUEST_MAX_BYTES = 8 * 1024
IDLE_S = 90.0
"""A kept connection that asks nothing for longer than a scrape interval and a half is closed."""
READ_S = 600.0
"""Scrapers come at least each few minutes; one that has not come for so long is gone."""
SOCKET_NAME = "status.sock"


class _Peer:
    """One scraper's connection."""

    __slots__ = ("at_s", "request", "sock", "unsent")

    def __init__(self, sock: socket.socket, at_s: float) -> None:
        self.sock = sock
        self.at_s = at_s
        self.request = b""
        self.unsent = b""


class Page:
    """One thread for all readers."""

    def __init__(self, listeners: List[socket.socket], max_connections: int = 16) -> None:
        self._max = max_connections
        self._pages: Dict[bytes, bytes] = {}
        self._listeners = listeners
        self._selector = selectors.DefaultSelector()
        for listener in listeners:
            listener.listen(16)
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._peers: Set[_Peer] = set()
        self._asked_s: Dict[bytes, float] = {}
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    def show(self, path: str, content: bytes, content_type: str) -> None:
        """Put a page up; readers under way finish with the old one."""
        self._pages[path.encode("ascii")] = _answer(content, "200 OK", content_type)

    def is_read(self, path: str) -> bool:
        """Whether anybody asked for the page within READ_S; else rendering it with each sweep is for nobody."""
        asked_s = self._asked_s.get(path.encode("ascii"))
        return asked_s is not None and perf_seconds() - asked_s < READ_S

    def close(self) -> None:
        """Stop serving."""
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._waker.send(b"x")
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._is_closing:
            ready = self._selector.select(IDLE_S if self._peers else None)
            now_s = perf_seconds()
            for key, mask in ready:
                if key.fileobj in self._listeners:
                    self._accept(key.fileobj, now_s)
                elif isinstance(key.data, _Peer):
                    self._serve(key.data, mask, now_s)
            for peer in [p for p in self._peers if now_s - p.at_s > IDLE_S]:
                self._drop(peer)
        for peer in list(self._peers):
            self._drop(peer)
        self._selector.close()
        for sock in (*self._listeners, self._waker, self._woken):
            sock.close()

    def _accept(self, listener: Any, now_s: float) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # gone before we looked, or out of descriptors: the next select says
        sock.setblocking(False)
        if len(self._peers) >= self._max:
            self._drop(min(self._peers, key=lambda p: p.at_s))
        peer = _Peer(sock, now_s)
        self._peers.add(peer)
        self._selector.register(sock, selectors.EVENT_READ, peer)

    def _serve(self, peer: _Peer, mask: int, now_s: float) -> None:
        peer.at_s = now_s
        try:
            if mask & selectors.EVENT_READ and not self._read(peer):
                self._drop(peer)
                return
            if peer.unsent:
                peer.unsent = peer.unsent[peer.sock.send(peer.unsent) :]
        except BlockingIOError:
            pass  # the scraper reads slowly: select tells when there is room again
        except OSError:
            self._drop(peer)
            return
        wanted = selectors.EVENT_WRITE if peer.unsent else selectors.EVENT_READ
        self._selector.modify(peer.sock, wanted, peer)

    def _read(self, peer: _Peer) -> bool:
        """Take what arrived; False ends the connection."""
        chunk = peer.sock.recv(REQUEST_MAX_BYTES)
        peer.request += chunk
        if not chunk or len(peer.request) > REQUEST_MAX_BYTES:
            return False
        end = peer.request.find(b"\r\n\r\n")
        if end >= 0:
            line = peer.request[: peer.request.find(b"\r\n")]
            peer.request = peer.request[end + 4 :]
            peer.unsent = self._respond(line)
        return True

    def _drop(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(peer.sock)
        peer.sock.close()

    def _respond(self, line: bytes) -> bytes:
        words = line.split(b" ")
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
            return _answer(b"only GET is served here\n", "405 Method Not Allowed", TEXT)
        path = words[1].split(b"?")[0]
        answer = self._pages.get(path)
        if answer is None:
            return _answer(b"the metrics are at /metrics\n", "404 Not Found", TEXT)
        self._asked_s[path] = perf_seconds()
        return answer if words[0] == b"GET" else answer[: answer.find(b"\r\n\r\n") + 4]


def open_page(folder: Path, listen: str, max_connections: int) -> Page:
    """The page on its socket file and on ``listen`` ("" = none); a place that cannot be had is said, and is no reason to
    stop."""
    opened = []
    try:
        opened.append(file_listener(folder))
    except OSError as error:
        LOG.warning("`status` will find no socket %s", fields(error=error))
    if listen:
        host, _, port = listen.rpartition(":")
        try:
            opened.append(tcp_listener(host.strip("[]"), int(port)))
        except (OSError, OverflowError) as error:
            LOG.error("the metrics page cannot be served %s", fields(listen=listen, error=error))
    return Page(opened, max_connections)


def tcp_listener(host: str, port: int) -> socket.socket:
    """A bound socket; raises OSError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def file_listener(folder: Path) -> socket.socket:
    """A socket file in the folder, readable by its owner only. Goes through a descriptor: paths may be long."""
    with _short(folder) as short:
        path = f"{short}/{SOCKET_NAME}"
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            before = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(before)
        except OSError:
            listener.close()
            raise
    return listener


def ask_status(folder: Path, timeout_s: float = 5.0) -> bytes:
    """The status page of the agent that works in this folder; raises OSError when none does."""
    with _short(folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(f"{short}/{SOCKET_NAME}")
        sock.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        with sock.makefile("rb") as stream:
            length = 0
            for line in iter(stream.readline, b"\r\n"):
                if not line:
                    raise ConnectionError("the agent hung up")
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return stream.read(length)


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A name of the folder that fits the 108 bytes of a socket address."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _answer(content: bytes, status: str, content_type: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode("ascii") + content
