"""Orders for single steps inside a house of the laboratory, and a step asked from the collector's place."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from collector.failover.plan import Plan, Step
from collector.failover.steps.registry import STEPS
from collector.failover.steps.step_type import Answer, Order
from tests.lab.house import ADDRESS, ROUTER, House

PRIMARY, BACKUP = "a1", "b9"
"""The hosts as the contract names them (tests.unit.collector.failover.houses): they stand at prim and at back."""
PLACE = {PRIMARY: "prim", BACKUP: "back"}
PAIR, WORD = "a1>b9", "a1+b9"
"""The pair, and its name in the hosts' files."""


def order(house: House, kind: str, options: dict[str, Any], **changes: Any) -> Order:
    """An order of that step type for the pair a1>b9; ``plan_kind``, ``epoch``, ``deadline_s`` ... as said."""
    phase = "demote" if kind.startswith("demote") else kind.partition(".")[0].replace("gate", "arm")
    step = Step(f"{phase}-0", phase, kind, options, float(changes.get("deadline_s", 60.0)), 1)
    fence_min, plan_kind = "F4", changes.pop("plan_kind", "failover")
    plan = Plan(PAIR, PRIMARY, BACKUP, 7, "hw.power", "acme", 1, plan_kind, fence_min, (step,))
    whole: dict[str, Any] = {
        "step": step,
        "plan": plan,
        "run_id": "r1",
        "epoch": 1,
        "term": 1,
        "attempt": 1,
        "deadline_s": 60.0,
        "addresses": {host: ADDRESS[place] for host, place in PLACE.items()},
        "ssh": lambda host: house.sshd(PLACE[host]).target(),
        "pause": lambda seconds: threading.Event().wait(seconds) and None,
    }
    return Order(**{**whole, **changes})


def ask(house: House, verb: str, mine: Order) -> Answer:
    """``precheck``, ``act``, ``probe`` or ``undo`` of the order's step, done at the collector's place."""
    step = STEPS[mine.step.type]
    answer = house.inside("coll", lambda: getattr(step, verb)(mine))
    assert answer is not None, f"{mine.step.type} has no {verb}"
    return answer


def power_off(house: House, place: str) -> None:
    """The host is off: everything that ran there is gone at once, and its cable is dead."""
    for line in off_words(house, place):
        with contextlib.suppress(Exception):
            house.exec("prov", ["sh", "-c", line])


def off_words(house: House, place: str) -> list[str]:
    """The same as shell lines, for a controller that does it itself."""
    netns = house.netns(place)
    return [
        f"ip -n {netns} link set to-prov down",
        f"for i in 1 2 3; do ip netns pids {netns} | grep -vx {os.getpid()} | xargs -r kill -9 2>/dev/null; sleep 0.1; done",
    ]


def power_on(house: House, place: str) -> None:
    """The cable is alive again; what starts there is the test's."""
    house.ip(place, "link", "set", "to-prov", "up")
    house.ip(place, "route", "replace", "default", "via", ROUTER[place])
    if place in house.sshds:
        sshd = house.sshds[place]
        sshd.start(lambda: house.inside(place, sshd.answers))
