"""Do resolvers answer? Our own small query to each server by itself, so that neither libc's cache nor its patience hides one.

Each server is asked over a socket of its own, all at once, and again when half of the time is over: one lost packet is
no dead resolver. A server that hangs costs the time-out and nothing else. Answers are taken only from the server that
was asked, to the number and the name that were asked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline, NoSuchName, resolve
from agent.checks.spec import CheckSettings
from agent.signals.parsers.dns import DnsReply, parse_reply, question
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.resolv import parse_resolvers

PORT = 53
ROUNDS = 2
RESOLV_CONF = "etc/resolv.conf"


class Said(NamedTuple):
    """What one server answered."""

    server: str
    reply: Optional[DnsReply]
    """None: no answer that counts."""
    why: str
    ms: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.reply is not None and self.reply.is_resolved


def resolvers(root: Path = Path("/")) -> List[str]:
    """The servers of resolv.conf; [] where it names none. A symbolic link is followed from the host's own root."""
    try:
        with open(root / RESOLV_CONF, encoding="utf-8", errors="replace") as stream:
            return parse_resolvers(stream.read(64 * 1024))
    except OSError:
        return []


def ask_all(
    servers: Sequence[str], name: str, timeout_s: float, record: str = "A", port: int = PORT
) -> List[Said]:
    """Ask every server at once for at most ``timeout_s``; one entry a server, in order. Raises ValueError for a bad name."""
    deadline = Deadline(timeout_s)
    asked = [_Asked(server, name, record, port) for server in servers]
    try:
        for round_ in range(ROUNDS):
            share = Deadline(timeout_s / ROUNDS) if round_ < ROUNDS - 1 else deadline
            open_ = [one for one in asked if one.said is None]
            for one in open_:
                one.send(deadline)
            _listen(open_, share, deadline)
        return [one.said or Said(one.server, None, "no answer in time", deadline.spent_ms()) for one in asked]
    finally:
        for one in asked:
            one.close()


class _Asked:
    """One server under way."""

    def __init__(self, server: str, name: str, record: str, port: int) -> None:
        self.server = server
        self.said: Optional[Said] = None
        self.sock: Optional[socket.socket] = None
        self._name, self._record = name, record
        self._number = int.from_bytes(os.urandom(2), "big")
        self._query = question(self._number, name, record)
        self._port = port

    def send(self, deadline: Deadline) -> None:
        try:
            if self.sock is None:
                family, sockaddr = resolve(self.server, self._port, deadline)[0]
                self.sock = socket.socket(
                    family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
                )
                self.sock.connect(sockaddr)
            self.sock.send(self._query)
        except NoSuchName as error:
            self.said = Said(self.server, None, str(error))
        except OSError as error:
            self._take_error(error, deadline)

    def take(self, deadline: Deadline) -> None:
        """Read what came; an answer to another question is passed over."""
        assert self.sock is not None
        try:
            octets = self.sock.recv(4096)
            reply = parse_reply(octets, self._number, self._name, self._record)
        except BlockingIOError:
            return
        except OSError as error:
            self._take_error(error, deadline)
        except ParseError:
            return
        else:
            self.said = Said(self.server, reply, reply.rcode, deadline.spent_ms())

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()

    def _take_error(self, error: OSError, deadline: Deadline) -> None:
        """A refusal ends the question; a way that is missing now may be there at the second try."""
        if error.errno == errno.ECONNREFUSED:
            self.said = Said(self.server, None, "nobody listens there", deadline.spent_ms())


def _listen(asked: Sequence[_Asked], share: Deadline, deadline: Deadline) -> None:
    poller = select.poll()
    by_fd: Dict[int, _Asked] = {}
    for one in asked:
        if one.sock is not None and one.said is None:
            by_fd[one.sock.fileno()] = one
            poller.register(one.sock, select.POLLIN)
    with contextlib.suppress(socket.timeout):
        while any(one.said is None for one in by_fd.values()):
            for fd, _ in poller.poll(max(1.0, share.left_s() * 1000)):
                one = by_fd[fd]
                one.take(deadline)
                if one.said is not None:
                    poller.unregister(fd)
    # A server whose socket could not even be opened waits with the others for the second round.


def run(spec: CheckSettings, timeout_s: float, root: Path = Path("/")) -> CheckAnswer:
    """Does the name resolve (by ``spec.host``, else by the host's own resolvers)? Facts: server, rcode, records."""
    deadline = Deadline(timeout_s)
    servers = [spec.host] if spec.host else resolvers(root)
    if not servers:
        return CheckAnswer("unknown", "no resolver is set on this host", deadline.spent_ms())
    said = ask_all(servers, spec.query, timeout_s, spec.record, spec.port or PORT)
    answered = [one for one in said if one.reply is not None]
    if not answered:
        why = "; ".join(f"{one.server}: {one.why}" for one in said)
        return CheckAnswer("timeout", f"no resolver answers ({why})", deadline.spent_ms())
    best = next((one for one in answered if one.is_good), answered[0])
    assert best.reply is not None
    facts = {"server": best.server, "rcode": best.reply.rcode, "records": list(best.reply.records[:10])}
    if not best.reply.is_resolved or best.reply.rcode == "NXDOMAIN" or not best.reply.records:
        what = "has no such record" if best.reply.rcode == "NOERROR" else f"answered {best.reply.rcode}"
        return CheckAnswer("dns", f"{best.server} {what}", best.ms, facts)
    if spec.text and spec.text not in best.reply.records:
        return CheckAnswer("text", f"{best.server} answered with something else", best.ms, facts)
    return CheckAnswer("ok", f"{best.server} answered", best.ms, facts)
