"""fence.port: the old primary cut off at its switch port, VLAN or security group, by a command of root's own folder.

The command is an executable of ``/etc/vartovyi/fence.d`` called with ``off``, ``status`` or ``on`` and the port's words:
``status`` prints ``off`` or ``on``. What it logs in with is its own affair and its own root-owned file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from collector.failover.command import Ran, run
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting

FOLDER = Path("/etc/vartovyi/fence.d")
ASK_S = 20.0


@dataclasses.dataclass(frozen=True)
class Options:
    command: str = setting(help="name of the executable", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    args: list[str] = setting([], help="which port: words for the command", max=10)
    folder: Path = setting(FOLDER, help="where allowed commands lie")


class FencePort:
    type = "fence.port"
    effect = "reversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        told = _call(order, "status", ASK_S)
        is_known = told.is_done and told.out.strip() in ("on", "off")
        return Answer(DONE if is_known else NOT_DONE, "" if is_known else told.detail, "F3")

    def act(self, order: Order) -> Answer:
        told = _call(order, "off", order.deadline_s)
        if told.state == "absent":
            return Answer(NOT_DONE, told.detail)
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else told.detail)

    def probe(self, order: Order) -> Answer:
        told = _call(order, "status", ASK_S)
        word = told.out.strip() if told.is_done else ""
        if word not in ("on", "off"):
            return Answer(UNKNOWN, told.detail)
        return Answer(DONE, level="F3") if word == "off" else Answer(NOT_DONE, "the port is open")

    def undo(self, order: Order) -> Answer:
        told = _call(order, "on", order.deadline_s)
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else told.detail)


def _call(order: Order, verb: str, deadline_s: float) -> Ran:
    options = order.options(Options)
    return run([str(options.folder / options.command), verb, *options.args], deadline_s)


STEP = FencePort()
