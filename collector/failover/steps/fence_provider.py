"""fence.provider: power off by the provider's interface, counted only when it reads back off.

An interface that is down fences nothing, and its own word for an order counts for nothing.
"""

from __future__ import annotations

from collector.failover.steps.on_host import is_alive
from collector.failover.steps.provider_api import ApiOptions, ordered, read, undone
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order


class FenceProvider:
    type = "fence.provider"
    effect = "irreversible"
    Options = ApiOptions

    def precheck(self, order: Order) -> Answer:
        told = read(order.options(ApiOptions))
        return (
            Answer(NOT_DONE, told.fault)
            if told.fault
            else Answer(DONE, level="F4", evidence={"state": told.word})
        )

    def act(self, order: Order) -> Answer:
        return ordered(order, order.options(ApiOptions), must_read=True)[0]

    def probe(self, order: Order) -> Answer:
        options = order.options(ApiOptions)
        told = read(options)
        if told.word is None:
            return Answer(UNKNOWN, told.fault)
        if told.word in options.done:
            if is_alive(order.addresses[order.plan.primary]):
                return Answer(NOT_DONE, f"the provider says {told.word}, but the host answers")
            return Answer(DONE, level="F4", evidence={"state": told.word})
        is_known = not options.not_done or told.word in options.not_done
        return Answer(NOT_DONE if is_known else UNKNOWN, f"state {told.word}"[:100])

    def undo(self, order: Order) -> Answer | None:
        return undone(order)


STEP = FenceProvider()
