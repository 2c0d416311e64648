"""fence.ipmi: the old primary's power off by its management controller, read back twice. The password goes by a file.

Hard off only: a soft one asks the system that does not answer. The controller's word is believed when it says off twice,
five seconds apart, and nothing of the host answers meanwhile (it is known to report success too early).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from agent.checks.deadline import Deadline
from collector.failover.command import Ran, run
from collector.failover.steps.on_host import is_alive
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting

APART_S = 5.0
ASK_S = 11.0
"""ipmitool gives up a controller that says nothing after ten seconds (-N 2 -R 2), and then says so itself."""
HINTS = {
    "invalid authentication algorithm": "it does not offer cipher suite {cipher}: set `cipher` (older ones offer 3)",
    "invalid integrity algorithm": "it does not offer cipher suite {cipher}: set `cipher` (older ones offer 3)",
    "RAKP 2 HMAC is invalid": "the password is wrong",
    "unauthorized name": "it knows no user {user}",
}
"""What its messages mean for the settings of this step."""


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
        return _fit(order.options(Options), 2 * ASK_S)

    def act(self, order: Order) -> Answer:
        options, clock = order.options(Options), order.clock()
        # The identity is asked again right before the power goes: addresses may have been given away since.
        fit = _fit(options, order.deadline_s)
        if fit.outcome != DONE:
            return fit
        try:
            told = _tool(options, "chassis", "power", "off", deadline_s=clock.left_s())
        except TimeoutError:
            return Answer(NOT_DONE, "asking the controller who it is took all the time: nothing was ordered")
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else _why(options, told))

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        for pause_s in (0.0, APART_S):
            order.pause(pause_s)
            told = _tool(options, "chassis", "power", "status")
            if not told.is_done:
                return Answer(UNKNOWN, _why(options, told))
            if "is off" not in told.out.lower():
                return Answer(NOT_DONE, told.out.strip()[:200])
        if is_alive(order.addresses[order.plan.primary], tuple(options.alive_ports)):
            return Answer(NOT_DONE, "the controller says off, but the host answers")
        return Answer(DONE, level="F4", evidence={"status": "off", "read": 2})

    def undo(self, order: Order) -> Answer:
        options = order.options(Options)
        told = _tool(options, "chassis", "power", "on", deadline_s=order.deadline_s)
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else _why(options, told))


def _fit(options: Options, within_s: float) -> Answer:
    """Whether it is the right controller and answers; within so many seconds."""
    clock = Deadline(within_s)
    if not options.password_file.is_file():
        return Answer(NOT_DONE, f"{options.password_file} is not there")
    try:
        if options.guid:
            told = _tool(options, "mc", "guid", deadline_s=min(ASK_S, clock.left_s()))
            if not told.is_done:
                return Answer(NOT_DONE, _why(options, told))
            if _plain(options.guid) not in _plain(told.out):
                return Answer(
                    NOT_DONE, "the controller belongs to another machine: its GUID is not the pinned one"
                )
        told = _tool(options, "chassis", "power", "status", deadline_s=min(ASK_S, clock.left_s()))
    except TimeoutError:
        return Answer(NOT_DONE, "the controller did not answer in time")
    return Answer(DONE if told.is_done else NOT_DONE, "" if told.is_done else _why(options, told), "F4")


def _plain(text: str) -> str:
    return text.lower().replace("-", "")


def _why(options: Options, told: Ran) -> str:
    """What the tool said, and what it means for the settings of this step."""
    for words, meaning in HINTS.items():
        if words in told.err:
            return f"{options.address}: " + meaning.format(cipher=options.cipher, user=options.user)
    return f"{options.address}: {told.detail}"


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
    how = ["-I", "lanplus", "-C", str(options.cipher), "-N", "2", "-R", "2", "-v"]
    return run(["ipmitool", *how, *where, *words], deadline_s)


STEP = FenceIpmi()
