"""A pair of servers in one value: what the steps really did to it, whatever was answered. For the engine's tests."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

from collector.failover import journal
from collector.failover.engine import Act, Enter, Probe, Wait, next_move
from collector.failover.facts import Backup, Facts, Fence, Judge, LagSample, Trouble, View
from collector.failover.plan import Step, Subject, make
from collector.failover.states import TABLE, State, may_follow
from collector.failover.terms import PairTerms, StepTerms
from ticketing.model import Reason

T0 = 1_700_000_000_000
MINUTE = 60_000


def pair(**changes: Any) -> PairTerms:
    """An automatic pair with two fence levels, one step a phase."""
    terms = {
        "primary": "a1",
        "backup": "b9",
        "mode": "auto",
        "rto": 1800,
        "rpo": 60,
        "fence_min": "F3",
        "fence": [[StepTerms("fence.ipmi", {})], [StepTerms("fence.provider", {})]],
        "promote": [StepTerms("promote.unit", {})],
        "traffic": [StepTerms("traffic.dns", {})],
        "verify": [StepTerms("verify.http", {})],
    }
    return PairTerms(**{**terms, **changes})


def facts(now_ms: int = T0 + 2 * MINUTE, **changes: Any) -> Facts:
    """An outage that an automatic contract may act upon; every change of one thing shows what that thing is for."""
    whole = {
        "pair": pair(),
        "trouble": Trouble(7, "virt.node_failure", 1, "host:a1", T0, T0 + 20_000),
        "views": (View("collector", now_ms, "dead"), View("probe2", now_ms, "dead")),
        "backup": Backup(is_alive=True, lag=LagSample(2.0, T0 - 8_000), rehearsed_at_ms=T0 - 86_400_000),
        "judge": Judge(anchors_ok=True, witnesses=5),
        "fences": (Fence("F4", True, "fence.ipmi"),),
    }
    return Facts(now_ms=now_ms, **{**whole, **changes})


@dataclasses.dataclass
class Pair:
    """What is true of the two servers."""

    primary_on: bool = True
    backup_is_primary: bool = False
    backup_epoch: int = 0
    clients_at_backup: bool = False
    promotions: int = 0
    unsafe_promotions: int = 0


class Story:
    """One run of the engine over a world that fails by the dice; every entry is kept, every law watched."""

    def __init__(self, dice: Random, trouble: float = 0.3, *, planted: str = "") -> None:
        self.dice = dice
        self.trouble = trouble
        self.planted = planted
        self.world = Pair()
        self.now_ms = T0 + 2 * MINUTE
        self.term = 1
        self.epoch = 0
        self.entries: list[journal.Entry] = []
        self.effects: list[tuple[str, int]] = []
        """(step key, sequence number of the newest entry when it took effect)."""
        self.faults: list[str] = []
        plan = make(pair(), Subject(7, "virt.node_failure", "acme", 1))
        self.write("begin", {"plan": plan.to_dict(), "mode": "auto"})

    def write(self, kind: str, body: dict[str, Any], epoch: int | None = None) -> None:
        last = self.entries[-1] if self.entries else None
        entry = journal.following(last, "r1", self.now_ms, kind, body, term=self.term, epoch=epoch)
        self.entries.append(entry)

    @property
    def run(self) -> journal.Run:
        run = journal.fold(self.entries)
        assert run is not None
        return run

    def facts(self) -> Facts:
        changes: dict[str, Any] = {"pair_epoch": self.epoch}
        if self.dice.random() < self.trouble * 0.2:
            changes["judge"] = Judge(anchors_ok=self.dice.random() < 0.5, witnesses=5)
        if self.dice.random() < self.trouble * 0.1:
            changes["backup"] = Backup(is_alive=False)
        return facts(self.now_ms, **changes)

    def play(self, moves: int = 400) -> journal.Run:
        """Moves until the run rests, waits for the hold-down, or has had its chances."""
        for _ in range(moves):
            run = self.run
            if TABLE[run.state].is_end or run.state is State.HOLD_DOWN:
                break
            self.one(run)
            self.now_ms += self.dice.choice((200, 1_000, 3_000))
        return self.run

    def one(self, run: journal.Run) -> None:
        move = next_move(run, self.facts(), lease_left_s=self.dice.choice((1.0, 15.0)))
        if isinstance(move, Enter):
            self.enter(run, move)
        elif isinstance(move, Act):
            self.act(move.step)
        elif isinstance(move, Probe):
            self.write("probe", {"step": move.step.key, **self.asked(move.step)})
        elif isinstance(move, Wait):
            self.now_ms = max(self.now_ms, min(move.until_ms, self.now_ms + 5_000))

    def enter(self, run: journal.Run, move: Enter) -> None:
        if not may_follow(run.state, move.state):
            self.faults.append(f"{run.state.value} cannot lead to {move.state.value}")
        if move.raises_epoch:
            self.epoch += 1
        if move.state is State.ABORTED and TABLE[run.state].is_past_no_return:
            self.faults.append("went back after the point of no return")
        body = {"state": move.state.value, "reason": move.reason.to_dict(), "level": move.level}
        self.write("enter", body, epoch=self.epoch if move.raises_epoch else None)

    def crashes(self) -> bool:
        return self.dice.random() < self.trouble * 0.3

    def act(self, step: Step) -> None:
        """Intent, act, result: the process may die between any two, and the next move is another collector's."""
        if self.crashes():
            return
        if self.planted != "intent after act":
            self.write("intent", {"step": step.key})
        if self.crashes():
            return
        term_then = self.term
        if self.dice.random() < self.trouble * 0.1:
            self.term += 1  # another collector took the lease while this one slept
        if self.term != term_then and self.planted != "no term check":
            return
        if self.term != term_then:
            self.faults.append("an effect without the lease")
        answer = self.effect(step)
        if self.planted == "intent after act":
            self.write("intent", {"step": step.key})
        if self.crashes():
            return
        self.write("result", {"step": step.key, **answer})

    def effect(self, step: Step) -> dict[str, Any]:
        """Whether it worked, and what it says about that: two things."""
        if not any(e.kind == "intent" and e.body["step"] == step.key for e in self.entries):
            self.faults.append(f"{step.key} took effect without an intent")
        works = self.dice.random() >= self.trouble
        self.effects.append((step.key, self.entries[-1].seq))
        if works:
            self.really(step)
        if self.dice.random() < self.trouble:
            return {"outcome": "unknown", "error": "no answer"}
        says_done = works or (step.phase == "fence" and self.dice.random() < 0.3)
        return (
            {"outcome": "done", "level": "F4"} if says_done else {"outcome": "not_done", "error": "refused"}
        )

    def really(self, step: Step) -> None:
        if step.phase == "arm":
            self.world.backup_epoch = self.epoch
        elif step.phase == "fence":
            self.world.primary_on = False
        elif step.phase == "promote":
            self.world.promotions += 0 if self.world.backup_is_primary else 1
            self.world.backup_is_primary = True
            if self.world.primary_on:
                self.faults.append("promoted while the old primary could write")
        elif step.phase == "traffic":
            self.world.clients_at_backup = True

    def asked(self, step: Step) -> dict[str, Any]:
        """A probe reads what is true, or nothing at all."""
        if self.dice.random() < self.trouble * 0.5:
            return {"outcome": "unknown"}
        truth = {
            "arm": self.world.backup_epoch == self.epoch,
            "fence": not self.world.primary_on,
            "promote": self.world.backup_is_primary,
            "traffic": self.world.clients_at_backup,
            "verify": self.world.clients_at_backup and self.world.backup_is_primary,
        }[step.phase]
        return {"outcome": "done", "level": "F4"} if truth else {"outcome": "not_done"}


def reason(key: str) -> Reason:
    return Reason(key)
