"""fence.libvirt: the old primary's guest destroyed on its hypervisor, and kept from starting by itself."""

from __future__ import annotations

import dataclasses

from agent.checks.deadline import Deadline
from collector.failover.command import Ran, run
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting

ASK_S = 15.0
OFF = ("shut off", "crashed")


@dataclasses.dataclass(frozen=True)
class Options:
    uri: str = setting(help="libvirt connection", example="qemu+ssh://fence@node7/system")
    domain: str = setting(help="name of the guest", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    uuid: str = setting("", help="its UUID: another guest of that name is refused")


class FenceLibvirt:
    type = "fence.libvirt"
    effect = "irreversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        return _fit(order.options(Options), 2 * ASK_S)

    def act(self, order: Order) -> Answer:
        options, clock = order.options(Options), order.clock()
        fit = _fit(options, order.deadline_s)
        if fit.outcome != DONE:
            return fit
        try:
            # Without autostart first: a node that boots again must not bring the old primary back.
            _virsh(options, "autostart", options.domain, "--disable", deadline_s=min(ASK_S, clock.left_s()))
            told = _virsh(options, "destroy", options.domain, deadline_s=clock.left_s())
        except TimeoutError:
            return Answer(NOT_DONE, "asking the hypervisor took all the time: nothing was destroyed")
        is_off = told.is_done or "not running" in told.err.lower()
        return Answer(DONE if is_off else UNKNOWN, "" if is_off else told.detail)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        told = _virsh(options, "domstate", options.domain)
        if not told.is_done:
            return Answer(UNKNOWN, told.detail)
        is_off = told.out.strip().lower() in OFF
        return Answer(
            DONE if is_off else NOT_DONE, "" if is_off else told.out.strip()[:100], "F4" if is_off else ""
        )

    def undo(self, order: Order) -> Answer:
        told = _virsh(
            order.options(Options), "start", order.options(Options).domain, deadline_s=order.deadline_s
        )
        return Answer(DONE if told.is_done else UNKNOWN, "" if told.is_done else told.detail)


def _fit(options: Options, within_s: float) -> Answer:
    """Whether it is the right guest and the hypervisor answers; within so many seconds."""
    clock = Deadline(within_s)
    try:
        if options.uuid:
            told = _virsh(options, "domuuid", options.domain, deadline_s=min(ASK_S, clock.left_s()))
            if not told.is_done:
                return Answer(NOT_DONE, told.detail)
            if told.out.strip().lower() != options.uuid.lower():
                return Answer(NOT_DONE, f"{options.domain} is another guest: its UUID is not the pinned one")
        told = _virsh(options, "domstate", options.domain, deadline_s=min(ASK_S, clock.left_s()))
    except TimeoutError:
        return Answer(NOT_DONE, "the hypervisor did not answer in time")
    return Answer(DONE if told.is_done else NOT_DONE, "" if told.is_done else told.detail, "F4")


def _virsh(options: Options, *words: str, deadline_s: float = ASK_S) -> Ran:
    return run(["virsh", "--quiet", "-c", options.uri, *words], deadline_s)


STEP = FenceLibvirt()
