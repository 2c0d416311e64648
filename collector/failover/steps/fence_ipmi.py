"""fence.ipmi: the old primary's power off by its management controller, read back twice. The password goes by a file.

Hard off only: a soft one asks the system that does not answer. The controller's word is believed when it says off twice,
five seconds apart, and nothing of the host answers meanwhile (it is known to report success too early).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from collector.failover.command import Ran, run
from collector.failover.steps.on_host import is_alive
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting

APART_S = 5.0
ASK_S = 10.0


@dataclasses.dataclass(frozen=True)
class Options:
    address: str = setting(help="address of the management controller")
    user: str = setting(help="its user, with the right to switch power")
    password_file: Path = setting(help="file with the password alone, readable by the collector only")
    port: int = setting(623, help="its UDP port", min=1, max=65535)
    cipher: int = setting(17, help="cipher suite", min=0, max=17)
    guid: str = setting("", help="its `mc guid`: a controller of another machine is refused")
    alive_ports: list[int] = setting(
        [22], help="ports of the host that must not answer once it is off", max=8
    )


class FenceIpmi:
    type = "fence.ipmi"
    effect = "irreversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        options = order.options(Options)
        if not options.password_file.is_file():
            return Answer(NOT_DONE, f"{options.password_file} is not there")
        if options.guid:
            told = _tool(options, "mc", "guid")
            if not told.is_done:
                return Answer(NOT_DONE, told.detail)
            if options.guid.lower() not in told.out.lower():
                return Answer(
                    NOT_DONE, "the controller belongs to another machine: its GUID is not the pinned one"
                )
        told = _tool(options, "chassis", "power", "status")
        return Answer(DONE if told.is_done else NOT_DONE, "" if told.is_done else told.detail, "F4")

    def act(self, order: Order) -> Answer:
        options = order.options(Options)
        # The identity is asked again right before the power goes: addresses may have been given away since.
        fit = self.precheck(order)
        if fit.outcome != DONE:
            return fit
        told = _tool(options, "chassis", "power", "off", deadline_s=order.deadline_s)
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else told.detail)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        for pause_s in (0.0, APART_S):
            order.pause(pause_s)
            told = _tool(options, "chassis", "power", "status")
            if not told.is_done:
                return Answer(UNKNOWN, told.detail)
            if "is off" not in told.out.lower():
                return Answer(NOT_DONE, told.out.strip()[:200])
        if is_alive(order.addresses[order.plan.primary], tuple(options.alive_ports)):
            return Answer(NOT_DONE, "the controller says off, but the host answers")
        return Answer(DONE, level="F4", evidence={"status": "off", "read": 2})

    def undo(self, order: Order) -> Answer:
        told = _tool(order.options(Options), "chassis", "power", "on", deadline_s=order.deadline_s)
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else told.detail)


def _tool(options: Options, *words: str, deadline_s: float = ASK_S) -> Ran:
    where = [
        "-H",
        options.address,
        "-p",
        str(options.port),
        "-U",
        options.user,
        "-f",
        str(options.password_file),
    ]
    how = ["-I", "lanplus", "-C", str(options.cipher), "-N", "2", "-R", "2"]
    return run(["ipmitool", *how, *where, *words], deadline_s)


STEP = FenceIpmi()
