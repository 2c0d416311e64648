"""traffic.floating_ip: the address that clients use, moved to the backup by the provider's interface. First read, then order."""

from __future__ import annotations

from collector.failover.steps.provider_api import ApiOptions, ordered, read, undone
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.clock import perf_seconds

MOST_PEACE_S = 20.0


class TrafficFloatingIp:
    type = "traffic.floating_ip"
    effect = "reversible"
    Options = ApiOptions

    def precheck(self, order: Order) -> Answer:
        told = read(order.options(ApiOptions))
        return Answer(NOT_DONE, told.fault) if told.fault else Answer(DONE, evidence={"routed_to": told.word})

    def act(self, order: Order) -> Answer:
        ends_s = perf_seconds() + order.deadline_s
        answer, told = ordered(order, order.options(ApiOptions), must_read=False)
        if answer.outcome != DONE and told.after_s:
            # Limits are the rule with these interfaces: the next try comes after the peace that it asks for.
            order.pause(min(told.after_s, MOST_PEACE_S, max(0.0, ends_s - perf_seconds())))
        return answer

    def probe(self, order: Order) -> Answer:
        options = order.options(ApiOptions)
        told = read(options)
        if told.word is None:
            return Answer(UNKNOWN, told.fault)
        if told.word in options.done:
            return Answer(DONE, evidence={"routed_to": told.word})
        is_known = not options.not_done or told.word in options.not_done
        return Answer(NOT_DONE if is_known else UNKNOWN, f"routed to {told.word}"[:100])

    def undo(self, order: Order) -> Answer | None:
        return undone(order)


STEP = TrafficFloatingIp()
