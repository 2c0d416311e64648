"""fence.lease: wait until the old primary must have stopped itself (``vartovyi-gate watch`` with a watchdog behind it).

F2: the backup is named as the new primary first, so an old one that still reaches it stops at its word, and one that reaches
nobody by its lease; the wait is counted from there. On a guest whose clock may stand still it is not enough by itself;
contracts with state demand more (terms).
"""

from __future__ import annotations

import dataclasses
import socket

from collector.failover.steps.gate_epoch import is_named, name_primary
from collector.failover.steps.on_host import SAY_S
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import Duration, setting

NAMED_WITHIN_S = SAY_S
"""The wait is counted from before the word was given; an old primary may hear it so much later."""


@dataclasses.dataclass(frozen=True)
class Options:
    ports: list[int] = setting(help="the service's ports: they must be closed", max=8)
    ttl: Duration = setting(
        Duration(60), help="the host stops its service after so long without anybody", min=10, max=600
    )
    margin: Duration = setting(Duration(35), help="for its loop, its stop and its watchdog", min=10, max=300)


class FenceLease:
    type = "fence.lease"
    effect = "none"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        options = order.options(Options)
        longest = _longest_s(options)
        is_room = order.step.deadline_s >= longest
        return Answer(
            DONE if is_room else NOT_DONE, "" if is_room else f"the deadline is below {longest:g} s", "F2"
        )

    def act(self, order: Order) -> Answer:
        named = name_primary(order)
        if named.outcome == NOT_DONE:
            return named
        # The wait is the probes': no act may outlast the lease, and this one would.
        return Answer(UNKNOWN, f"waiting {_longest_s(order.options(Options)):g} s")

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        left_s = _longest_s(options) - order.waited_s
        if left_s > 0:
            return Answer(UNKNOWN, f"{left_s:.0f} s are left to wait")
        named = is_named(order)
        if named.outcome != DONE:
            return named
        open_ports = [port for port in options.ports if _is_open(order.addresses[order.plan.primary], port)]
        if open_ports:
            return Answer(NOT_DONE, f"the old primary still serves on {open_ports[0]}")
        return Answer(DONE, level="F2", evidence={"waited_s": round(order.waited_s)})

    def undo(self, order: Order) -> None:
        return None


def _longest_s(options: Options) -> float:
    return NAMED_WITHIN_S + float(options.ttl) + float(options.margin)


def _is_open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2.0).close()
    except OSError:
        return False
    return True


STEP = FenceLease()
