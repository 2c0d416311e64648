"""demote.ssh: ask the old primary in order to stop (planned switchover only): it proves nothing about a host that hangs (F1)."""

from __future__ import annotations

import dataclasses

from collector.failover.steps.on_host import ask, can_speak, run_there
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting


@dataclasses.dataclass(frozen=True)
class Options:
    step: str = setting(
        "demote-unit", help="executable of ETC/steps on the host", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*"
    )
    args: list[str] = setting([], help="its words, e.g. the unit", max=10)
    role: str = setting("role-unit", help="executable of ETC/asks that prints primary or standby")
    role_args: list[str] = setting([], help="its words", max=10)


class DemoteSsh:
    type = "demote.ssh"
    effect = "reversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        return can_speak(order, leaving(order), max(order.epoch, 1))

    def act(self, order: Order) -> Answer:
        options = order.options(Options)
        return run_there(order, leaving(order), options.step, *options.args)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        word = ask(order, leaving(order), options.role, *options.role_args)
        if word is None or word not in ("primary", "standby"):
            return Answer(UNKNOWN, f"role: {word}")
        return Answer(DONE, level="F1") if word == "standby" else Answer(NOT_DONE, "it is the primary still")

    def undo(self, order: Order) -> None:
        return None  # The same promotion as of any primary, and a person's to order.


def leaving(order: Order) -> str:
    """The host that serves until now."""
    return order.plan.backup if order.plan.kind == "failback" else order.plan.primary


STEP = DemoteSsh()
