"""A month of the desk's life: thousands of tickets, people who act at random by the table of acts, real store and tick steps.

The clock jumps from one thing that happens to the next. What happens to a ticket is noted beside the desk, in the sim's
own words (``tests.sim.desk_laws``), and at the end a counter that asks the wall clock about each minute counts again what
every clock must show, which warnings were due and when. Acts fall on whole minutes, so that counting minutes is exact.

``python -m tests.sim.desk_month --seed 7 --tickets 10000``; the same seed gives the same month.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import heapq
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from collector.store.engine import Store
from collector.tick.auditor import audit
from collector.tick.clocks import run_clocks
from collector.tick.context import TEXTS_FOLDER, TickContext, TickReport
from collector.tick.proof import prove_clocks
from tests.sim import desk_house, desk_laws
from tests.sim.desk_laws import Note, Verdict
from ticketing import acts, clock_step, contracts, intake
from ticketing.causes import CAUSES
from ticketing.model import CLASSES, Confidence, Reason, TicketState
from ticketing.model import Verdict as Judgement
from ticketing.queries import Viewer
from ticketing.tables import clocks, metadata, tickets
from ticketing.texts import register
from ticketing.transitions import acts_for, step

MINUTE_MS = 60_000
DAY_MS = 86_400_000
START_MS = int(dt.datetime(2026, 10, 3, tzinfo=dt.timezone.utc).timestamp() * 1000)
"""With 30 days both Kyiv's change of October and New York's of November fall into it, and Lord Howe's into the first."""

TICK_EVERY_MS = 60_000
"""Ticks that are due closer together are one; what is told so much after its instant is not late yet."""

TICKS_A_MINUTE = 60
"""The real one ticks every second: a contract that changes makes more tickets due than one tick takes."""

ACTS_A_TICKET = 4
MACHINE_CAUSES = ("os.disk_full", "hw.disk", "virt.cpu_contention", "net.provider_edge", "os.fs_error")


@dataclasses.dataclass(frozen=True)
class Variant:
    """Bugs to plant; the real thing plants none."""

    counts_in_utc: bool = False
    """The contracts' time zones are lost on the way into the store."""
    loses_a_step: bool = False
    """Once in a while a ticket that is taken has no next step."""
    forgets_what_was_told: bool = False
    """What was warned of is forgotten now and then."""
    forgets_pauses: bool = False
    """The cached clock of a ticket that waits for the client runs on."""


class Broken(Exception):
    """A law does not hold; the words say which."""


class Desk:
    """The desk of one house, and everybody who works with it."""

    def __init__(self, seed: int, wanted: int, days: int, start_ms: int, variant: Variant) -> None:
        register(TEXTS_FOLDER)
        self.random = random.Random(seed)
        self.wanted, self.end_ms, self.variant = wanted, start_ms + days * DAY_MS, variant
        self.now_ms = start_ms
        self.store = Store.open("sqlite://")
        self.store.write(lambda tx: metadata.create_all(tx))
        self.house = desk_house.House(self.random)
        self.ctx = TickContext(is_first=False)
        self.notes: dict[int, list[Note]] = {}
        self.versions: dict[str, list[tuple[int, Any]]] = {}
        """Contract -> (in force since, terms), as the sim applied them."""
        self.counts: Counter[str] = Counter()
        self.slept: list[tuple[int, int]] = []
        """When we were away: nothing ticked."""
        self.told: Callable[[Desk], None] = lambda desk: None
        """Called once a simulated day."""
        self._things: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._ticked_ms = 0
        self._planned_ms: int | None = None
        self._late: tuple[int, int, int] | None = None
        self._apply()

    def later(self, at_ms: int, thing: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._things, (at_ms, self._order, thing))

    # what is planned

    def live(self) -> Verdict:
        """The whole month; raises Broken with the words of the law."""
        minutes = (self.end_ms - self.now_ms) // MINUTE_MS
        for _ in range(self.wanted):
            self.later(self._minute(minutes), self._arrive)
        for _ in range(self.wanted * ACTS_A_TICKET):
            self.later(self._minute(minutes), self._somebody_acts)
        for _ in range(max(2, self.wanted // 30)):
            self.later(self._minute(minutes), self._machine_acts)
        for _ in range(max(3, (self.end_ms - self.now_ms) // (2 * DAY_MS))):
            self.later(self._minute(minutes), self._change_a_contract)
        for _ in range(2):
            # We were away: nothing ticks, people's acts wait with us.
            begin = self._minute(max(1, minutes - 400))
            self.later(
                begin, lambda until=begin + self.random.randrange(20, 300) * MINUTE_MS: self._sleep(until)
            )
        self._plan_tick()
        while self._things and self._things[0][0] <= self.end_ms:
            at_ms, _, thing = heapq.heappop(self._things)
            if at_ms // DAY_MS != self.now_ms // DAY_MS:
                self.told(self)
            self.now_ms = max(self.now_ms, at_ms)
            thing()
        self.now_ms = self.end_ms
        for _ in range(20):  # what a new contract made due may take more than one tick
            self._tick_now()
        return desk_laws.judge(self)

    def _minute(self, minutes: int) -> int:
        return self.now_ms + self.random.randrange(1, minutes) * MINUTE_MS

    def _sleep(self, until_ms: int) -> None:
        self.counts["we were away"] += 1
        self.slept.append((self.now_ms, until_ms))
        self.now_ms = max(self.now_ms, until_ms)

    # the tick

    def _tick(self) -> None:
        """At what is due next, and not at all closer than TICK_EVERY_MS."""
        if self._planned_ms is None or self.now_ms < self._planned_ms:
            return  # planned anew meanwhile
        self._planned_ms = None
        self._tick_now()
        self._plan_tick()

    def _plan_tick(self) -> None:
        """The next tick, at what is due now: the real one would look every second."""
        with self.store.read() as conn:
            due_ms = clock_step.next_due_ms(conn)
        at_ms = max(self._ticked_ms + TICK_EVERY_MS, self.now_ms if due_ms is None else due_ms)
        at_ms = min(at_ms, max(self.now_ms, self._ticked_ms) + 30 * MINUTE_MS)
        if self._planned_ms is None or at_ms < self._planned_ms:
            self._planned_ms = at_ms
            self.later(at_ms, self._tick)

    def _tick_now(self) -> None:
        for _ in range(TICKS_A_MINUTE):
            if not self._one_tick():
                break
        if self.variant.forgets_what_was_told and self.random.random() < 0.1:
            told = update(clocks).where(
                clocks.c.warned_pct.between(50, 90), clocks.c.running_since_ms.is_not(None)
            )
            self.store.write(lambda tx: tx.execute(told.values(warned_pct=0, next_event_at_ms=self.now_ms)))
        with self.store.read() as conn:
            broken, late = desk_laws.look(conn, self.now_ms)
        # A ticket may have several steps to make up after we were away; it makes one a tick.
        if late is not None and late == self._late:
            broken = f"the next step of ticket {late[0]} is left lying since {late[1]}"
        self._late = late
        if broken:
            raise Broken(broken)

    def _one_tick(self) -> bool:
        """One tick; True where it did as much as a tick may, so that there may be more to do."""
        report = self.store.write(self._steps)
        self._ticked_ms = self.now_ms
        for name, count in report.counts.items():
            self.counts[f"tick {name}"] += count
        if report.counts.get("audit_faults") or report.counts.get("clocks_repaired"):
            raise Broken(f"the auditor or the proof found {dict(report.counts)}: {self._about_ourselves()}")
        done = sum(count for name, count in report.counts.items() if name.startswith(("clock_", "calls")))
        return done >= self.ctx.limits.tickets

    def _steps(self, tx: Connection) -> TickReport:
        """The steps of the tick that the desk lives by; no host is watched here, so the others have nothing to look at."""
        report = TickReport()
        run_clocks(tx, self.now_ms, self.ctx, self.book, report)
        audit(tx, self.now_ms, self.ctx, self.book, report)
        prove_clocks(tx, self.now_ms, self.ctx, self.book, report)
        return report

    def _about_ourselves(self) -> list[Any]:
        """What the tickets of our own house say."""
        ours = select(tickets.c.root_cause, tickets.c.verdict).where(tickets.c.contract_id == "internal")
        with self.store.read() as conn:
            return [(row.root_cause, row.verdict["reasons"]) for row in conn.execute(ours)]

    # people and machine

    def _write(self, done: Callable[[Connection], Any]) -> Any:
        outcome = self.store.write(done)
        self._plan_tick()
        return outcome

    def _arrive(self) -> None:
        contract = self.random.choice(self.house.open_contracts())
        host = self.random.choice(contract.hosts).id
        if self.random.random() < 0.5:
            verdict = self._verdict(host, self.random.choice((1, 2)), self.random.randrange(10**9))
            self._judged(verdict, contract.id)
            return
        class_ = self.random.choice(CLASSES)
        actor = (
            self.house.client(contract.id) if self.random.random() < 0.4 else self.house.somebody(self.random)
        )
        asked_of = host if self.random.random() < 0.6 else None
        done = self._write(
            lambda tx: acts.file(
                tx, self.book, actor, contract.id, class_, "Something is wrong", "Please look.", self.now_ms,
                host_id=asked_of,
            )
        )  # fmt: skip
        if isinstance(done, acts.Refusal):
            self.counts[f"filing refused: {done.code}"] += 1
            return
        self.counts[f"filed class {class_}"] += 1
        self._note(int(done), "start", contract.id)

    def _verdict(self, host: str, class_: int, number: int) -> Judgement:
        cause = self.random.choice(MACHINE_CAUSES)
        return Judgement(
            class_,
            cause,
            f"host:{host}",
            f"host:{host}/{number}",
            "fs_space",
            (host,),
            self.now_ms,
            Confidence.HIGH,
        )

    def _judged(self, verdict: Judgement, contract_id: str) -> None:
        outcome = self._write(
            lambda tx: intake.open_or_join(tx, self.book, verdict, contract_id, self.now_ms)
        )
        self.counts[f"verdict {outcome.verb}"] += 1
        if outcome.ticket_id is None:
            return
        if outcome.verb == "opened":
            self._note(outcome.ticket_id, "start", contract_id)
        elif outcome.verb == "reopened":
            self._note(outcome.ticket_id, "reopen", contract_id)

    def _machine_acts(self) -> None:
        """A fault is over, or comes back, or turns out to be another."""
        found = self._some_ticket(
            (TicketState.NEW.value, TicketState.IN_WORK.value, TicketState.RESOLVED.value)
        )
        if found is None or found["verdict"] is None:
            return
        verdict = Judgement.from_dict(found["verdict"])
        if found["open_mark"] != 1:
            self._judged(verdict, found["contract_id"])
        elif self.random.random() < 0.5:
            proof = Reason("reason.resolved.seeing_again")
            self._write(lambda tx: intake.resolve(tx, self.book, found["id"], proof, self.now_ms))
            self._note(found["id"], "resolve", found["contract_id"])
        else:
            other = dataclasses.replace(verdict, class_=3 - verdict.class_, root_cause="os.disk_full")
            self._write(lambda tx: intake.requalify(tx, self.book, found["id"], other, self.now_ms))
            self._note(found["id"], "class", found["contract_id"])

    def _somebody_acts(self) -> None:
        """One person does one thing that the table lets them do, now and then to what they saw a while ago."""
        found = self._some_ticket(None)
        if found is None:
            return
        is_client = self.random.random() < 0.25
        actor = self.house.client(found["contract_id"]) if is_client else self.house.somebody(self.random)
        state = TicketState(found["state"])
        may = [act for act in acts_for(state, actor.role) for _ in range(WEIGHTS.get(act, 1))]
        if not may:
            return
        act = self.random.choice(may)
        fields = self._fields(act, found)
        seen = found["version"] - (1 if self.random.random() < 0.05 else 0)
        done = self._write(
            lambda tx: acts.perform(tx, self.book, act, found["id"], actor, seen, self.now_ms, **fields)
        )
        if isinstance(done, acts.Refusal):
            self.counts[f"refused: {done.code}"] += 1
            return
        self._told(act, found, actor, fields)

    def _told(self, act: str, found: Any, actor: Viewer, fields: dict[str, Any]) -> None:
        """What a person beside the desk would note of this act."""
        self.counts[act] += 1
        ticket_id, contract_id = found["id"], found["contract_id"]
        if actor.is_client and act == "note" and found["state"] == "waiting_client":
            act = "client_answered"
        rule = step(TicketState(found["state"]), act)
        assert rule is not None
        was_open = found["open_mark"] == 1
        if was_open and not actor.is_client and desk_laws.is_reaction(act, actor.person_id, fields):
            self._note(ticket_id, "react", contract_id)
        if act in desk_laws.MOVES:
            self._note(ticket_id, act, contract_id)
        if act in ("requalify", "qualify"):
            self._note(ticket_id, "class", contract_id)
        if self.variant.loses_a_step and act == "take" and self.random.random() < 0.1:
            lost = update(tickets).where(tickets.c.id == ticket_id).values(next_step_at_ms=None)
            self.store.write(lambda tx: tx.execute(lost))
        if self.variant.forgets_pauses and act == "ask_client" and self.random.random() < 0.5:
            runs = update(clocks).where(clocks.c.ticket_id == ticket_id, clocks.c.kind == "resolution")
            again = {"state": "running", "running_since_ms": self.now_ms, "pause_reason": ""}
            self.store.write(lambda tx: tx.execute(runs.values(**again)))

    def _fields(self, act: str, found: Any) -> dict[str, Any]:
        if act == "note":
            return {"text": "Looked at it.", "is_public": self.random.random() < 0.5}
        if act == "assign":
            return {"assignee": self.house.somebody(self.random).person_id}
        if act in ("requalify", "qualify"):
            class_ = self.random.choice(CLASSES)
            return {"class_": class_, "text": "Not what it seemed."}
        if act == "resolve":
            return {"cause": "a cause", "remedy": "a remedy"}
        if act == "merge":
            other = self._some_ticket(("new", "in_work"))
            return {"into": 0 if other is None else other["id"]}
        return {"text": "As agreed."}

    def _some_ticket(self, states: tuple[str, ...] | None) -> Any:
        """A ticket by dice: one that is open, or ended lately."""
        pivot = self.random.random()
        with self.store.read() as conn:
            if states is None and pivot < 0.93:
                states = ("new", "in_work", "waiting_client", "waiting_provider")
            span = conn.execute(_SPAN, {"b_since": self.now_ms - 4 * DAY_MS}).one()
            if span.last is None:
                return None
            begin = self.random.randint(span.first, span.last)
            wanted = select(tickets).where(tickets.c.id >= begin).order_by(tickets.c.id).limit(1)
            if states is not None:
                wanted = wanted.where(tickets.c.state.in_(states))
            return conn.execute(wanted).mappings().first()

    def _note(self, ticket_id: int, what: str, contract_id: str) -> None:
        self.notes.setdefault(ticket_id, []).append(Note(self.now_ms, what, contract_id))

    # contracts

    def _change_a_contract(self) -> None:
        self.house.change(self.random)
        self.counts["contract changed"] += 1
        self._apply()

    def _apply(self) -> None:
        told = self.house.loaded()
        for contract in told.contracts:
            known = self.versions.setdefault(contract.id, [])
            if not known or known[-1][1] != contract:
                known.append((self.now_ms, contract))
        applied = told
        if self.variant.counts_in_utc:
            applied = dataclasses.replace(
                told,
                contracts=tuple(
                    dataclasses.replace(c, calendar=dataclasses.replace(c.calendar, zone="UTC"))
                    for c in told.contracts
                ),
            )
        self.store.write(lambda tx: contracts.apply(tx, applied, self.now_ms, "sim"))
        with self.store.read() as conn:
            self.book = contracts.current(conn)


WEIGHTS = {
    "take": 4,
    "client_answered": 8,
    "provider_answered": 6,
    "resolve": 9,
    "note": 3,
    "ask_client": 3,
    "merge": 1,
}
_SPAN = select(
    select(tickets.c.id).where(tickets.c.updated_at_ms >= bindparam("b_since")).order_by(tickets.c.id).limit(1)
    .scalar_subquery().label("first"),
    select(tickets.c.id).order_by(tickets.c.id.desc()).limit(1).scalar_subquery().label("last"),
)  # fmt: skip
assert all(cause in CAUSES for cause in MACHINE_CAUSES)


def live(
    seed: int,
    wanted: int,
    days: int = 30,
    start_ms: int = START_MS,
    variant: Variant | None = None,
    told: Callable[[Desk], None] = lambda desk: None,
) -> Verdict:
    """A month by dice: what happened, and what is wrong with it."""
    desk = Desk(seed, wanted, days, start_ms, variant or Variant())
    desk.told = told
    try:
        return desk.live()
    except Broken as broken:
        return Verdict(dict(desk.counts), [f"{_when(desk.now_ms)}: {broken}"])
    finally:
        desk.store.close()


def _say(desk: Desk) -> None:
    print(f"{_when(desk.now_ms)}  {len(desk.notes)} tickets", file=sys.stderr, flush=True)


def _when(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def main() -> int:
    """From the command line; exit status 1 where a law does not hold."""
    parser = argparse.ArgumentParser(description="a month of the desk's life")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--tickets", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    args = parser.parse_args()
    print(f"make sim-desk SEED={args.seed} TICKETS={args.tickets} DAYS={args.days}", flush=True)
    began = time.monotonic()
    verdict = live(args.seed, args.tickets, args.days, told=_say)
    print("\n".join(verdict.lines()))
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
