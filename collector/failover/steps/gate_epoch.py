"""gate.epoch: the run's epoch on the host that takes over, before anything else, so that it refuses every older order.

Who is the primary is not said yet: the old one's gate would stop its service for a run that may still be given up. That
word is the promotion's own first act (``name_primary``), and a lease's.
"""

from __future__ import annotations

import dataclasses

from collector.failover.steps.on_host import REFUSED_EPOCH, can_speak, pair_word, speak
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from collector.ssh import NOT_BEGUN
from config.loader import setting


@dataclasses.dataclass(frozen=True)
class Options:
    host: str = setting(help="where the epoch is written; the plan says so")


class GateEpoch:
    """Written by ``expect``, read back by ``epoch``."""

    type = "gate.epoch"
    effect = "reversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        return can_speak(order, order.options(Options).host, max(order.epoch, 1))

    def act(self, order: Order) -> Answer:
        return _told(
            order, order.options(Options).host, "expect", pair_word(order.plan.pair), str(order.epoch)
        )

    def probe(self, order: Order) -> Answer:
        host = order.options(Options).host
        said = speak(order, host, "epoch", pair_word(order.plan.pair))
        if said.state != "ok" or said.rc != 0:
            return Answer(UNKNOWN, f"{host}: {said.state}: {said.detail}")
        is_ours = said.out.split()[4:] == ["orders", str(order.epoch)]
        return Answer(DONE if is_ours else NOT_DONE, "" if is_ours else said.out.strip()[:200])

    def undo(self, order: Order) -> None:
        return None  # An epoch never goes back; the next plan's is higher.


def new_primary(order: Order) -> str:
    """Who serves when the plan is done."""
    return order.plan.primary if order.plan.kind == "failback" else order.plan.backup


def name_primary(order: Order) -> Answer:
    """Tell the host that takes over that it is the primary of the run's epoch; the other's gate learns it from there."""
    host = new_primary(order)
    return _told(order, host, "arm", pair_word(order.plan.pair), str(order.epoch), host)


def is_named(order: Order) -> Answer:
    """Whether that word stands there."""
    host = new_primary(order)
    said = speak(order, host, "epoch", pair_word(order.plan.pair))
    if said.state != "ok" or said.rc != 0:
        return Answer(UNKNOWN, f"{host}: {said.state}: {said.detail}")
    is_ours = said.out.split()[:4] == ["epoch", str(order.epoch), "primary", host]
    return Answer(DONE if is_ours else NOT_DONE, "" if is_ours else said.out.strip()[:200])


def _told(order: Order, host: str, *words: str) -> Answer:
    said = speak(order, host, *words, deadline_s=order.deadline_s)
    if said.state == "ok" and said.rc == 0:
        return Answer(DONE)
    is_sure = said.state in NOT_BEGUN or said.rc == REFUSED_EPOCH
    return Answer(NOT_DONE if is_sure else UNKNOWN, f"{host}: {said.state}: {said.detail}{said.out.strip()}")


STEP = GateEpoch()
