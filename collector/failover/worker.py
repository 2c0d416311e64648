"""The worker: moves runs by their journals, on whichever collector holds the lease. Every move is read, announced, done, told.

Theory of operation. A turn reads a run's journal and its facts in one snapshot and asks the engine for the one next move.
An act is an intent committed under the term, a last look at the lease, the step, and its result committed under the term;
a probe is the same without the intent. Whoever loses the lease in between writes nothing, and the next decider finds an
intent whose outcome nobody knows: it waits until no act of the old one can be on its way (a lease and the longest act),
and probes. A crash at any line is that same case. Each run has one move in hand at a time; a step that hangs holds up
its own run until its deadline, and nothing else. A move that is done wakes the worker for the next one.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from collector.failover import elsewhere, gather, outcomes, runs
from collector.failover.account import account
from collector.failover.clock_watch import ClockWatch
from collector.failover.engine import Act, Enter, Move, Probe, Wait, next_move
from collector.failover.facts import Facts
from collector.failover.journal import Entry, Run, fold
from collector.failover.orders import Orders, addresses_of
from collector.failover.plan import Step
from collector.failover.settings import FailoverSettings
from collector.failover.states import State
from collector.failover.steps.registry import STEPS
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from collector.failover.terms import PairTerms
from collector.store.engine import Store, StoreError
from collector.store.lease import Lease
from config.clock import Clock
from config.loader import ConfigError
from config.log import fields
from ticketing.contracts import Book
from ticketing.terms import Contract

log = logging.getLogger(__name__)

IDLE_S = 1.0
BUSY_S = 0.05
CHECK_LOOK_S = 2.0

Watch = Callable[[str, str, str], None]
"""Told (boundary, run, step) at each line that a crash could fall on: intent, acting, acted, result, probed, entered."""


class FailoverWorker:
    """Moves every run that is not over, while this collector decides."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        settings: FailoverSettings,
        book: Callable[[], Book],
        *,
        anchors: int = 0,
        vantages: tuple[str, ...] = (),
        ring: Callable[[], None] = lambda: None,
        poke: Callable[[], None] = lambda: None,
        watch: Watch = lambda *_: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._settings = settings
        self._book = book
        self._anchors = anchors
        self._vantages = vantages
        self._ring = ring
        self._poke = poke
        self._watch = watch
        self._orders = Orders(settings, clock)
        self._stopping = self._orders.stopping
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(settings.runs_max, thread_name_prefix="failover")
        self._in_hand: dict[str, Future[None]] = {}
        self._due_mono_ms: dict[str, int] = {}
        self._moved_at: dict[str, int] = {}
        """Run -> the newest entry of its journal when it was looked at last."""
        self._seen_ms: dict[tuple[str, str, int], int] = {}
        self._term_since: tuple[int, int] = (-1, 0)
        self._clock_watch = ClockWatch()
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="failover", daemon=True)
        # Asking is slow where hosts are gone; it must not hold up a run.
        self._checker = threading.Thread(target=self._check_round, name="failover-checks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._checker.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def is_clock_sane(self) -> bool:
        """Whether our own wall clock has gone well for a while. Any thread."""
        return self._clock_watch.is_sane(self._clock.mono_ms())

    def stop(self) -> None:
        """Finish the moves in hand; what waits in a step is told to end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._checker.ident is not None:
            self._checker.join()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                is_busy = self.turn()
            except (StoreError, SQLAlchemyError) as error:
                log.warning("The failover worker waits for the store. %s", fields(error=str(error)[:300]))
                is_busy = False
            self._clock.wait(self._wake, BUSY_S if is_busy else IDLE_S)

    def _check_round(self) -> None:
        while not self._clock.wait(self._stopping, CHECK_LOOK_S):
            try:
                self.check_pairs()
            except Exception:  # the loop's boundary: what could not be asked now is asked at the next look
                self.failures += 1
                log.exception("Pairs could not be checked. %s", fields(failures=self.failures))

    def turn(self) -> bool:
        """Give every run that is due into a hand; whether any run is under way."""
        self._look_at_clock()
        for run_id in [run_id for run_id, future in self._in_hand.items() if future.done()]:
            self._in_hand.pop(run_id).result()
        term, now = self._lease.term, self._clock.mono_ms()
        if term is None or self._lease.left_s(now) <= 0:
            return bool(self._in_hand)
        if self._term_since[0] != term:
            self._term_since = (term, now)
        with self._store.read() as conn:
            rows = runs.moving(conn)
        for row in rows:
            # A person's word is an entry too: whoever waits for one does not sleep over it.
            is_due = self._due_mono_ms.get(row.id, 0) <= now or row.newest_seq != self._moved_at.get(row.id)
            if row.id not in self._in_hand and is_due:
                if len(self._in_hand) >= self._settings.runs_max:
                    break
                self._moved_at[row.id] = row.newest_seq
                self._in_hand[row.id] = self._pool.submit(self._one, row.id, row.contract_id, term)
                self._in_hand[row.id].add_done_callback(lambda _: self._wake.set())
        for gone in set(self._moved_at) - {row.id for row in rows}:
            del self._moved_at[gone]
            self._due_mono_ms.pop(gone, None)
        return any(row.open_mark for row in rows)

    def _one(self, run_id: str, contract_id: str, term: int) -> None:
        try:
            self.move(run_id, contract_id, term)
        except (
            Exception
        ):  # the loop's boundary: one broken run must not stop the others; its journal says how far it came
            self.failures += 1
            log.exception("A move of a failover failed. %s", fields(run=run_id, failures=self.failures))
            self._due_mono_ms[run_id] = self._clock.mono_ms() + 5_000

    def move(self, run_id: str, contract_id: str, term: int) -> None:
        """One move of one run."""
        book = self._book()
        contract = book.contract(contract_id)
        with self._store.read() as conn:
            entries = runs.entries_of(conn, run_id)
            run = fold(entries)
            if run is None:
                return
            pair = next(
                (p for c, p in gather.pairs_of(book) if c.id == contract_id and p.id == run.plan.pair), None
            )
            if pair is None:
                # The contract lost the pair meanwhile: nothing may be done for it any more.
                self._later(run_id, 60_000)
                return
            facts = gather.gather_for(
                conn, book, contract, pair, run.plan.kind, self._clock.now_ms(), self._sight()
            )
            addresses = addresses_of(conn, run.plan)
        if self._is_too_soon(run, entries, term):
            self._later(run_id, 500)
            return
        mono_ms = self._clock.mono_ms()
        move = next_move(run, facts, self._lease.left_s(mono_ms))
        log.debug("A failover moves. %s", fields(run=run_id, state=run.state.value, move=type(move).__name__))
        self._due_mono_ms[run_id] = 0
        self._make(_Turn(run, entries[-1].seq, term, facts, contract, pair, addresses), move)

    def _make(self, turn: _Turn, move: Move) -> None:
        run = turn.run
        if isinstance(move, Enter):
            self._enter(turn, move)
        elif isinstance(move, Act):
            self._act(turn, move)
        elif isinstance(move, Probe):
            self._probe(turn, move.step)
        elif isinstance(move, Wait):
            self._later(run.id, max(100, min(move.until_ms - turn.facts.now_ms, 2_000)))
        else:
            self._later(run.id, 1_000)

    # what a move does

    def _enter(self, turn: _Turn, move: Enter) -> None:
        run, now_ms = turn.run, self._clock.now_ms()
        body: dict[str, Any] = {
            "state": move.state.value,
            "reason": move.reason.to_dict(),
            "level": move.level,
        }
        if move.state in (State.ARMED, State.PROMOTING):
            final = dataclasses.replace(turn.facts, writes_stopped_at_ms=run.fenced_at_ms)
            body |= {"exposure_s": final.exposure_s(), "facts": gather.as_told(turn.facts)}
        if move.state is State.ARMED and run.plan.kind == "failover":
            began_ms = turn.facts.trouble.began_at_ms if turn.facts.trouble is not None else None
            body["outage_at_ms"] = turn.facts.outage_at_ms or began_ms

        def write(tx: Connection) -> Entry | None:
            if not self._holds(turn.term)(tx):
                return None
            if move.state is State.ON_BACKUP and run.plan.kind != "rehearsal":
                body["account"] = account(runs.entries_of(tx, run.id), turn.pair, now_ms)
            epoch = runs.raise_epoch(tx, run.plan.pair) if move.raises_epoch else None
            entry = self._append(tx, turn, "enter", body, now_ms, epoch=epoch)
            if entry is None:
                raise _Overtaken
            outcomes.entered(tx, self._book(), turn.pair, run, move.state, move.reason, now_ms)
            return entry

        try:
            entry = self._store.write(write)
        except _Overtaken:
            return
        if entry is not None:
            told = fields(pair=run.plan.pair, run=run.id, state=move.state.value, why=move.reason.key)
            log.info("A failover goes on. %s", told)
            self._watch("entered", run.id, move.state.value)
            self._poke()

    def _act(self, turn: _Turn, move: Act) -> None:
        run, step = turn.run, move.step
        attempt = run.step(step.key).attempts + 1
        self._watch("intent", run.id, step.key)
        intent = self._write(turn, "intent", {"step": step.key, "type": step.type, "attempt": attempt})
        if intent is None:
            return
        self._seen_ms[(run.id, step.key, attempt)] = self._clock.mono_ms()
        self._watch("acting", run.id, step.key)
        # The lease once more, right before the effect: the commit may have taken longer than the lease had left (I2).
        left_s = self._lease.left_s(self._clock.mono_ms())
        if self._lease.term != turn.term or left_s <= 1.0:
            return
        deadline_s = min(move.deadline_s, left_s - 0.5)
        order = self._order(turn, step, attempt, deadline_s)
        began_ms = self._clock.mono_ms()
        answer = self._do("act", order)
        # The step's own time stands in the journal: what is left of a switch is ours.
        took_ms = self._clock.mono_ms() - began_ms
        self._watch("acted", run.id, step.key)
        turn.seq = intent.seq
        self._write(turn, "result", {"step": step.key, "took_ms": took_ms, **answer.to_dict()})
        self._watch("result", run.id, step.key)

    def _probe(self, turn: _Turn, step: Step) -> None:
        attempt = max(1, turn.run.step(step.key).attempts)
        order = self._order(turn, step, attempt, self._settings.ask_s)
        began_ms = self._clock.mono_ms()
        answer = self._do("probe", order)
        if answer.outcome == DONE and step.phase == "verify" and turn.run.plan.kind != "rehearsal":
            answer = self._seen_elsewhere(turn, order, answer)
        took_ms = self._clock.mono_ms() - began_ms
        self._watch("probed", turn.run.id, step.key)
        self._write(turn, "probe", {"step": step.key, "took_ms": took_ms, **answer.to_dict()})

    def _do(self, verb: str, order: Order) -> Answer:
        """The step's own answer; without effects (a rehearsal on a live pair) only whether it could be done (I15)."""
        kind = STEPS.get(order.step.type)
        if kind is None:
            return Answer(NOT_DONE, f"no step type {order.step.type}")
        try:
            if order.plan.kind == "rehearsal":
                return kind.precheck(order)
            return kind.act(order) if verb == "act" else kind.probe(order)
        except ConfigError as error:
            return Answer(NOT_DONE, f"options: {error}")
        except (
            Exception
        ) as error:  # a bug in a step: nobody knows what it did, and the run must not end with it
            self.failures += 1
            log.exception("A step broke. %s", fields(step=order.step.type, verb=verb))
            return Answer(UNKNOWN, f"{type(error).__name__} in {order.step.type}")

    def _seen_elsewhere(self, turn: _Turn, order: Order, own: Answer) -> Answer:
        """Our own eyes say that it serves: what other vantages say, who may know better (I7)."""
        checks = getattr(order.options(STEPS[order.step.type].Options), "checks", None)
        if checks is None:
            return own
        book, plan = self._book(), turn.run.plan
        host = plan.primary if plan.kind == "failback" else plan.backup
        ids = self._store.write(
            lambda tx: elsewhere.asked(tx, book, self._vantages, host, checks()[0][0], self._clock.now_ms())
        )
        if not ids:
            return dataclasses.replace(own, evidence={**own.evidence, "elsewhere": "nobody could be asked"})
        self._ring()

        def look() -> Mapping[str, str]:
            with self._store.read() as conn:
                return elsewhere.answered(conn, ids)

        words = dict(elsewhere.wait_for(look, len(ids), order.pause))
        told = {**own.evidence, "elsewhere": words or "nobody answered in time"}
        if "dead" in words.values():
            who = ", ".join(sorted(v for v, word in words.items() if word == "dead"))
            return Answer(NOT_DONE, f"{who} is not served", evidence=told)
        return dataclasses.replace(own, evidence=told)

    # small things

    def check_pairs(self) -> None:
        """Ask every step of pairs in trouble, and now and then of all, whether it could be done (facts.Fence)."""
        if self._lease.term is None:
            return
        book, now_ms = self._book(), self._clock.now_ms()
        for contract, pair in gather.pairs_of(book):
            with self._store.read() as conn:
                is_due = gather.checks_due(
                    conn, contract.id, pair, now_ms, int(float(self._settings.check) * 1000)
                )
                if not is_due:
                    continue
                facts = gather.gather(conn, book, contract, pair, now_ms, self._sight())
                plan = gather.plan_of(contract, book.version(contract.id), pair, facts)
                addresses = addresses_of(conn, plan)
            for step in plan.steps:
                order = self._orders.of("check", plan, step, addresses, epoch=facts.pair_epoch)
                answer = self._check(order)
                self._store.write(
                    lambda tx, p=pair, s=step, a=answer: runs.note_check(
                        tx, p.id, s.key, a.outcome, a.level, a.error, self._clock.now_ms()
                    )
                )

    def _check(self, order: Order) -> Answer:
        kind = STEPS.get(order.step.type)
        if kind is None:
            return Answer(NOT_DONE, f"no step type {order.step.type}")
        try:
            return kind.precheck(order)
        except ConfigError as error:
            return Answer(NOT_DONE, f"options: {error}")

    def _order(self, turn: _Turn, step: Step, attempt: int, deadline_s: float) -> Order:
        key = (turn.run.id, step.key, attempt)
        since_ms = self._seen_ms.setdefault(key, self._clock.mono_ms())
        waited_s = (self._clock.mono_ms() - since_ms) / 1000
        return self._orders.for_run(
            turn.run, step, turn.addresses, turn.term, attempt, deadline_s=deadline_s, waited_s=waited_s
        )

    def _is_too_soon(self, run: Run, entries: list[Entry], term: int) -> bool:
        """Whether an act of the decider before us may still be on its way: most interfaces check no epoch (I2)."""
        is_open = any(step.intent_open for step in run.steps.values())
        if not is_open or entries[-1].term == term or self._lease.is_alone:
            return False
        since_ms = self._term_since[1] if self._term_since[0] == term else self._clock.mono_ms()
        return self._clock.mono_ms() - since_ms < 2_000 * self._lease.ttl_s

    def _write(self, turn: _Turn, kind: str, body: dict[str, Any]) -> Entry | None:
        return self._store.write(lambda tx: self._append(tx, turn, kind, body, self._clock.now_ms()))

    def _append(
        self,
        tx: Connection,
        turn: _Turn,
        kind: str,
        body: dict[str, Any],
        now_ms: int,
        epoch: int | None = None,
    ) -> Entry | None:
        return runs.append(
            tx,
            turn.run.id,
            kind,
            body,
            now_ms,
            term=turn.term,
            epoch=epoch,
            after_seq=turn.seq,
            holds=self._holds(turn.term),
        )

    def _holds(self, term: int) -> runs.Holds:
        return lambda tx: self._lease.still_held(tx, term)

    def _later(self, run_id: str, ms: int) -> None:
        self._due_mono_ms[run_id] = self._clock.mono_ms() + ms

    def _sight(self) -> gather.Sight:
        return gather.Sight(self._anchors > 0, self._anchors, clock_ok=self.is_clock_sane())

    def _look_at_clock(self) -> None:
        """A wall clock that does not go well makes lags, dwell and expiries lie: for a while we judge nothing (I7)."""
        moved_ms = self._clock_watch.look(self._clock.now_ms(), self._clock.mono_ms())
        if moved_ms:
            log.warning("Our own clock does not go well: no failover for a while. %s", fields(ms=moved_ms))


class _Turn:
    """What one move was decided from."""

    def __init__(
        self,
        run: Run,
        seq: int,
        term: int,
        facts: Facts,
        contract: Contract,
        pair: PairTerms,
        addresses: dict[str, str],
    ) -> None:
        self.run = run
        self.seq = seq
        self.term = term
        self.facts = facts
        self.contract = contract
        self.pair = pair
        self.addresses = addresses


class _Overtaken(Exception):
    """Somebody wrote into the journal between our reading and our writing: this move is void, with all that it wrote."""
