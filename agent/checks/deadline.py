"""One deadline over a whole exchange, since a socket's own timeout starts anew with every byte that drips in."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import os
import socket
import threading
from typing import Any, Callable, Iterator, List, Tuple

from config.clock import perf_seconds

Address = Tuple[int, Any]
"""(family, sockaddr) as getaddrinfo gives it."""

UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)


class Deadline:
    """Runs from its making."""

    def __init__(self, timeout_s: float) -> None:
        self._begun = perf_seconds()
        self._ends = self._begun + timeout_s

    def left_s(self) -> float:
        """Seconds left; raises socket.timeout when there are none, as the socket itself would."""
        left = self._ends - perf_seconds()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    def spent_ms(self) -> float:
        return (perf_seconds() - self._begun) * 1000.0


class NoSuchName(OSError):
    """The resolver says, or we must assume, that the name has no address."""


_bounds = threading.local()
"""``may_reach`` of this thread: every check finds its addresses through ``resolve``, so here is where a bound holds."""


@contextlib.contextmanager
def only_to(may_reach: Callable[[str], bool]) -> Iterator[None]:
    """Within it this thread's checks reach only addresses for which ``may_reach`` is true, redirects included."""
    _bounds.may_reach = may_reach
    try:
        yield
    finally:
        _bounds.may_reach = None


def resolve(host: str, port: int, deadline: Deadline) -> List[Address]:
    """Addresses of ``host``; a literal costs no look-up. Raises NoSuchName or socket.timeout; PermissionError where
    ``only_to`` forbids one of them.

    getaddrinfo knows no timeout, so it runs in a thread of its own that is left behind when it is late.
    """
    literal = host.strip("[]").split("%", 1)[0]
    try:
        ipaddress.ip_address(literal)
    except ValueError:
        found = _look_up(host, port, deadline)
    else:
        found = _getaddrinfo(host.strip("[]"), port, socket.AI_NUMERICHOST)
    may_reach = getattr(_bounds, "may_reach", None)
    if may_reach is not None and not all(may_reach(sockaddr[0]) for _, sockaddr in found):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return found


def _getaddrinfo(host: str, port: int, flags: int = 0) -> List[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        raise NoSuchName(f"{host!r} does not resolve: {error}") from error
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


def _look_up(host: str, port: int, deadline: Deadline) -> List[Address]:
    answers: List[Any] = []

    def ask() -> None:
        try:
            answers.append(_getaddrinfo(host, port))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline.left_s())
    if not answers:
        raise socket.timeout(f"resolving {host!r} timed out")
    if isinstance(answers[0], OSError):
        raise answers[0]
    return answers[0]


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A connected TCP socket, trying each address within the one deadline. Raises OSError as connect(2) would."""
    last: OSError = NoSuchName(f"{host!r} has no address")
    addresses = resolve(host, port, deadline)
    for place, (family, sockaddr) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # The first of several addresses must not eat the time of the others.
        share = deadline.left_s() / (len(addresses) - place)
        try:
            sock.settimeout(share)
            sock.connect(sockaddr)
            return sock
        except OSError as error:
            sock.close()
            last = error
    raise last


def connect_state(error: OSError) -> Tuple[str, str]:
    """(state, sentence) of a failed connect."""
    if isinstance(error, NoSuchName):
        return "dns", str(error)
    if isinstance(error, socket.timeout):
        return "timeout", "no answer to the connection within the time"
    if isinstance(error, ConnectionRefusedError):
        return "refused", "the connection was refused"
    if error.errno == errno.ETIMEDOUT:
        return "timeout", "no answer to the connection within the time"
    if error.errno in UNREACHABLE:
        return "unreachable", f"no way there: {error.strerror}"
    if isinstance(error, ConnectionResetError):
        return "refused", "the connection was reset"
    if error.errno in (errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOBUFS):
        return "unknown", f"could not ask: {error.strerror}"
    return "dead", f"the connection failed: {error.strerror or error}"


def receive(sock: Any, size: int, deadline: Deadline) -> bytes:
    """One recv within the deadline."""
    sock.settimeout(deadline.left_s())
    return sock.recv(size)


class TimedSocket:
    """What http.client needs of a socket, with every read and write under the one deadline."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, octets: Any) -> None:
        self._sock.settimeout(self._deadline.left_s())
        self._sock.sendall(octets)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_TimedReads(self._sock, self._deadline))

    def close(self) -> None:
        """Nothing: http.client closes its socket as soon as the headers say so, while the body is still to be read.

        A real socket outlives that through the files made of it; here whoever connected closes it.
        """


class _TimedReads(io.RawIOBase):
    def __init__(self, sock: Any, deadline: Deadline) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.left_s())
        return self._sock.recv_into(buffer)
