"""promote.unit and promote.script: make the backup the primary, by an allowed step there; the role is asked, never assumed.

Both are one act of the host's wrapper, which refuses a lower epoch and does a key once. The shipped steps are idempotent:
a primary that is asked to become one says so and ends well.
"""

from __future__ import annotations

import dataclasses

from collector.failover.steps.gate_epoch import name_primary, new_primary
from collector.failover.steps.on_host import ask, can_speak, ended, pair_word, run_there, speak
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.clock import perf_seconds
from config.loader import setting
from ticketing.terms import Faults

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclasses.dataclass(frozen=True)
class UnitOptions:
    unit: str = setting(help="systemd unit that is started", pattern=r"[A-Za-z0-9][A-Za-z0-9@:._-]*")

    def words(self) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
        """Step with its words, ask with its words."""
        return "promote-unit", (self.unit,), "role-unit", (self.unit,)


@dataclasses.dataclass(frozen=True)
class ScriptOptions:
    script: str = setting(help="executable of ETC/steps on the host; gets VARTOVYI_EPOCH", pattern=_NAME)
    role: str = setting(help="executable of ETC/asks that prints primary, standby or unknown", pattern=_NAME)
    args: list[str] = setting([], help="the script's words", max=10)
    role_args: list[str] = setting([], help="the ask's words", max=10)

    def words(self) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
        """Step with its words, ask with its words."""
        return self.script, tuple(self.args), self.role, tuple(self.role_args)

    def faults(self) -> Faults:
        return [("script", "asks for its own role")] if self.script == self.role else []


class Promote:
    """Either kind; they differ in their options alone."""

    effect = "irreversible"

    def __init__(self, kind: str, options: type) -> None:
        self.type = kind
        self.Options = options

    def precheck(self, order: Order) -> Answer:
        fit = can_speak(order, new_primary(order), max(order.epoch, 1))
        if fit.outcome != DONE:
            return fit
        _, _, role, words = order.options(self.Options).words()
        word = ask(order, new_primary(order), role, *words)
        return Answer(DONE if word in ("primary", "standby") else NOT_DONE, f"role: {word}")

    def act(self, order: Order) -> Answer:
        step, words, _, _ = order.options(self.Options).words()
        began_s = perf_seconds()
        # Here and no sooner: a run that is given up before this leaves the old primary in its place.
        named = name_primary(dataclasses.replace(order, deadline_s=order.deadline_s / 2))
        if named.outcome != DONE:
            return named
        left_s = order.deadline_s - (perf_seconds() - began_s)
        return run_there(dataclasses.replace(order, deadline_s=left_s), new_primary(order), step, *words)

    def probe(self, order: Order) -> Answer:
        host = new_primary(order)
        said = speak(order, host, "status", pair_word(order.plan.pair), order.key)
        is_running = said.state == "ok" and said.out.startswith("running")
        _, _, role, words = order.options(self.Options).words()
        word = ask(order, host, role, *words)
        if is_running:
            # Half-way it may call itself either: only a step that is over has a role that counts.
            return Answer(UNKNOWN, "the step runs still")
        if word == "primary":
            return Answer(DONE, evidence={"role": word})
        done = ended(said, host)
        if word == "standby" and said.state == "ok":
            return Answer(NOT_DONE, done.error if done is not None else "the role is standby")
        return Answer(UNKNOWN, f"role: {word}; {done.error if done is not None else said.state}")

    def undo(self, order: Order) -> None:
        return None  # From here on only forward.


UNIT = Promote("promote.unit", UnitOptions)
SCRIPT = Promote("promote.script", ScriptOptions)
