"""traffic.haproxy: clients led to the backup by HAProxy's runtime interface, on every balancer named here.

The order is: the backup ready, the old one in maintenance, its sessions ended. The runtime interface forgets at a reload:
where ``state_file`` is on, the balancer's own ``show servers state`` must be kept by it, and verification sees a loss.
"""

from __future__ import annotations

import dataclasses
import socket

from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.clock import perf_seconds
from config.loader import setting

ASK_S = 5.0
BODY_MAX = 1024 * 1024
_NAME = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
OUT_OF_USE = 0x01 | 0x02 | 0x08 | 0x10 | 0x20 | 0x40
"""Bits of srv_admin_state that keep new clients away: maintenance (by order, inherited, no address) and draining.

Not 0x04: it says that the file has ``disabled`` for the server, as it should for a backup, and stays when it is made ready.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    sockets: list[str] = setting(help="runtime interfaces: host:port, or the path of a unix socket", max=16)
    backend: str = setting(help="backend", pattern=_NAME)
    old: str = setting(help="name of the old primary's server line", pattern=_NAME)
    new: str = setting(help="name of the backup's server line", pattern=_NAME)


class TrafficHaproxy:
    type = "traffic.haproxy"
    effect = "reversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        options = order.options(Options)
        for place in options.sockets:
            states = _states(place, options.backend)
            missing = [
                name for name in (options.old, options.new) if states is not None and name not in states
            ]
            if states is None or missing:
                return Answer(
                    NOT_DONE, f"{place}: {'no answer' if states is None else f'no server {missing[0]}'}"
                )
        return Answer(DONE)

    def act(self, order: Order) -> Answer:
        return _set(order, back=False)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        wrong = []
        for place in options.sockets:
            states = _states(place, options.backend)
            if states is None:
                return Answer(UNKNOWN, f"{place}: no answer")
            if states.get(options.new) is not True or states.get(options.old) is not False:
                wrong.append(place)
        return Answer(NOT_DONE, f"{wrong[0]}: the servers stand otherwise") if wrong else Answer(DONE)

    def undo(self, order: Order) -> Answer:
        return _set(order, back=True)


def _set(order: Order, *, back: bool) -> Answer:
    options, ends_s = order.options(Options), perf_seconds() + order.deadline_s
    old, new = (options.new, options.old) if back else (options.old, options.new)
    for place in options.sockets:
        for words in (
            f"set server {options.backend}/{new} state ready",
            f"set server {options.backend}/{old} state maint",
            f"shutdown sessions server {options.backend}/{old}",
        ):
            told = _say(place, words, ends_s - perf_seconds())
            if told is None:
                return Answer(UNKNOWN, f"{place}: no answer to {words.split(' ')[0]}")
            if told.strip():
                return Answer(NOT_DONE, f"{place}: {told.strip()}"[:200])
    return Answer(DONE)


def _states(place: str, backend: str) -> dict[str, bool] | None:
    """Server -> whether it is in use; None without an answer."""
    told = _say(place, f"show servers state {backend}")
    if told is None:
        return None
    found = {}
    for line in told.splitlines():
        words = line.split()
        # be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state ...
        if len(words) > 6 and words[1] == backend and words[6].isdecimal():
            found[words[3]] = not int(words[6]) & OUT_OF_USE
    return found


def _say(place: str, words: str, within_s: float = ASK_S) -> str | None:
    """One command; its answer, None where none came whole in time."""
    ends_s = perf_seconds() + min(ASK_S, within_s)
    got = bytearray()
    try:
        with _connected(place, ends_s - perf_seconds()) as sock:
            sock.sendall(words.encode("ascii") + b"\n")
            while (part := sock.recv(64 * 1024)) and len(got) < BODY_MAX:
                got += part
                if perf_seconds() > ends_s:
                    return None
    except (OSError, ValueError):  # ValueError: no time is left
        return None
    return got.decode(errors="replace")


def _connected(place: str, timeout_s: float) -> socket.socket:
    if place.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout_s)
            sock.connect(place)
        except (OSError, ValueError):
            sock.close()
            raise
        return sock
    host, _, port = place.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s)


STEP = TrafficHaproxy()
