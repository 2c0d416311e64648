"""The collector of the simulation: the real intake, store, tick and workers' claims, in one thread, with its own bad days.

It can be paused (nothing of it runs, messages wait in its socket), killed at any commit, and started again on the same
store. What only lived in its memory is then gone, as with kill -9.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
from sqlalchemy import Connection, MetaData, UniqueConstraint

from agent.wire import Reply
from collector import probes, tables
from collector.fleet_cache import FleetCache
from collector.intake import Accepted, Intake, Limits, Rejected, Terms
from collector.store.engine import Store
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import remember
from collector.tick.run import run_tick
from collector.tick.silence import LAST_TICK
from ticketing import contracts, outbox

if TYPE_CHECKING:
    from tests.sim.world import World

T = TypeVar("T")
AnswerTo = Callable[[int, bytes], None]

CLAIMED_AT_ONCE = 50


@dataclasses.dataclass(frozen=True)
class Variant:
    """Bugs to plant; the real thing plants none."""

    answers_before_commit: bool = False
    has_no_unique_constraint: bool = False
    forgets_its_own_pause: bool = False


class Killed(BaseException):
    """kill -9 of the collector: no handler of ours may see it."""


class Collector:
    """One collector process on the world's store."""

    def __init__(self, world: World, variant: Variant) -> None:
        self.world = world
        self.variant = variant
        self.store = Store.open("sqlite://")
        self.store.write(lambda tx: _make_tables(tx, variant))
        self.is_up = False
        self.is_paused = False
        self.commits = 0
        """Counts every commit, so that laws are checked only where something changed."""
        self.deaths = 0
        self.repeats = 0
        """Findings that came again, and were dropped."""
        self._die_in: int | None = None
        self._dies_before_commit = False
        self._dies_at_report = False
        self._life = 0
        self._backlog: list[tuple[bytes, str, AnswerTo]] = []
        self._tick_planned_ms: int | None = None

    # its life

    def start(self) -> None:
        """A new process on the old store."""
        if self.is_up:
            return
        self.is_up, self.is_paused = True, False
        self._life += 1
        self._die_in = None
        self.cache = FleetCache()
        with self.store.read() as conn:
            self.cache.load(conn, self.world.now_ms)
            self.book = contracts.current(conn)
        self.intake = Intake(self.cache, limits=Limits(), terms=self._terms, poke=self._poke)
        self.context = TickContext(
            tick_s=self.world.tick_ms / 1000, resolve_after_s=60.0, wake_probes=self._probes_rang
        )
        # As the real hands, which look once when they start and then when they are rung.
        self._has_probes = self._has_messages = True
        self._tick_planned_ms = None
        self._plan_tick(200)

    def kill(self) -> None:
        """kill -9: everything in memory is gone."""
        if self.is_up:
            self.deaths += 1
            self.repeats += self.intake.finding_counts["repeated"]
        self.is_up = self.is_paused = False
        self._die_in = None
        self._life += 1
        self._backlog.clear()
        self.world.note("collector killed")

    def die_at_commit(self, commits: int, *, before: bool) -> None:
        """Be killed at the n-th commit from now, just before or just after it."""
        self._die_in, self._dies_before_commit = commits, before

    def die_at_report(self, *, before: bool) -> None:
        """Be killed at the commit of the next report that brings findings."""
        self._dies_at_report, self._dies_before_commit = True, before

    def pause(self) -> None:
        """SIGSTOP, or a host that stands still."""
        self.is_paused = self.is_up

    def resume(self) -> None:
        """SIGCONT: first what waited in the socket, then the tick."""
        if not self.is_paused:
            return
        self.is_paused = False
        backlog, self._backlog = self._backlog, []
        # The tick's timer ran out long ago: it may come before or after the socket.
        if self.world.random.random() < 0.5:
            self._plan_tick(0)
        for body, token, answer in backlog:
            self.world.later(0, lambda b=body, t=token, a=answer: self.receive(b, t, a), "backlog")
        self._plan_tick(1)

    # its doors

    def receive(self, body: bytes, token: str, answer: AnswerTo) -> None:
        """One POST of a report."""
        if not self.is_up:
            answer(0, b"")
            return
        if self.is_paused:
            self._backlog.append((body, token, answer))
            return
        self.alive(lambda: self._take(body, token, answer))

    def _take(self, body: bytes, token: str, answer: AnswerTo) -> None:
        now_ms = self.world.now_ms
        checked = self.intake.check(body, token, now_ms)
        if isinstance(checked, Rejected):
            answer(checked.status, checked.to_json())
            return
        self.world.heard(checked.entry.id)
        reply = self.intake.answer(checked)
        if reply is None:
            reply = self._written(checked, now_ms, answer)
        if reply is not None:
            answer(*_encoded(reply))

    def _written(self, checked: Accepted, now_ms: int, answer: AnswerTo) -> Reply | Rejected | None:
        def take(tx: Connection) -> Reply | Rejected:
            reply = self.intake.take(tx, [checked], now_ms)[0]
            if self.variant.answers_before_commit:
                answer(*_encoded(reply))
            return reply

        if self._dies_at_report and checked.report.findings:
            self._die_in, self._dies_at_report = 1, False
        reply = self.write(take)
        return None if self.variant.answers_before_commit else reply

    # its decider and its hands

    def _plan_tick(self, after_ms: int) -> None:
        at_ms = self.world.now_ms + after_ms
        if self._tick_planned_ms is not None and self._tick_planned_ms <= at_ms:
            return
        self._tick_planned_ms = at_ms
        life = self._life

        def turn() -> None:
            if life != self._life or self._tick_planned_ms != at_ms:
                return
            self._tick_planned_ms = None
            if self.is_up and not self.is_paused:
                self.alive(self._turn)

        self.world.later(after_ms, turn, "tick")

    def _poke(self) -> None:
        self._plan_tick(100)

    def _turn(self) -> None:
        now_ms = self.world.now_ms
        self._plan_tick(self.world.tick_ms)
        if self.variant.forgets_its_own_pause:
            self.context.is_first = False
            self.write(lambda tx: remember(tx, LAST_TICK, str(now_ms - 1)))
        report = self.write(lambda tx: self._flush_and_tick(tx, now_ms))
        if report.next_wake_ms:
            self._plan_tick(max(10, report.next_wake_ms - now_ms))
        self._has_messages |= bool(report.counts.get("outbox_due"))
        if self._has_probes:
            self._ask(now_ms)
        if self._has_messages:
            self._deliver(now_ms)

    def _flush_and_tick(self, tx: Connection, now_ms: int) -> TickReport:
        """On SQLite the two share a commit (collector.decider)."""
        self.intake.flush(tx, now_ms)
        return run_tick(tx, now_ms, self.context)

    def _probes_rang(self) -> None:
        self._has_probes = True

    def _ask(self, now_ms: int) -> None:
        """The probes' workers, inline: they claim in one transaction, ask, and write each answer in another."""
        claimed = self.write(lambda tx: probes.claim(tx, "sim", now_ms, CLAIMED_AT_ONCE))
        self._has_probes = len(claimed) == CLAIMED_AT_ONCE
        for row in claimed:
            answer = self.world.network.answer(row.kind, dict(row.target), 3.0)
            self.write(lambda tx, row=row, answer=answer: probes.settle(tx, "sim", row.id, answer, now_ms))
        if claimed:
            self._plan_tick(100)

    def _deliver(self, now_ms: int) -> None:
        """The outbox' workers, likewise."""
        claimed = self.write(lambda tx: outbox.claim(tx, "sim", now_ms, CLAIMED_AT_ONCE))
        self._has_messages = len(claimed) == CLAIMED_AT_ONCE
        for row in claimed:
            if self.world.random.random() < 0.1:
                result: outbox.Result = outbox.Later("the mail server is busy")
            else:
                result = outbox.Delivered()
                self.world.delivered(str(row["message_id"]))
            self.write(lambda tx, row=row, result=result: outbox.settle(tx, row["id"], result, now_ms))

    # its store

    def write(self, fn: Callable[[Connection], T]) -> T:
        """One transaction; where the world says so, the process dies before or after its commit."""
        dies = False
        if self._die_in is not None:
            self._die_in -= 1
            dies = self._die_in <= 0

        def run(tx: Connection) -> T:
            value = fn(tx)
            if dies and self._dies_before_commit:
                raise Killed
            return value

        value = self.store.write(run)
        self.commits += 1
        if dies:
            raise Killed
        return value

    def spare(self) -> None:
        """No death is planned any more."""
        self._die_in = None
        self._dies_at_report = False

    def alive(self, act: Callable[[], object]) -> None:
        """Run an act inside the process; it may be the one at which the process is killed."""
        try:
            act()
        except Killed:
            self.kill()
            self.world.later(self.world.random.randint(500, 40_000), self.start, "collector.start")

    def _terms(self, host_id: str, contract_id: str) -> Terms:
        return Terms(interval_s=self.world.interval_s)


def _encoded(reply: Reply | Rejected) -> tuple[int, bytes]:
    if isinstance(reply, Rejected):
        return reply.status, reply.to_json()
    return 200, msgspec.json.encode(reply)


def _make_tables(tx: Connection, variant: Variant) -> None:
    """The real tables; the planted bug leaves out the constraint that keeps tickets single."""
    if not variant.has_no_unique_constraint:
        tables.metadata.create_all(tx)
        return
    changed = MetaData()
    for table in tables.metadata.sorted_tables:
        copy = table.to_metadata(changed)
        if table.name == "tickets":
            copy.constraints = {c for c in copy.constraints if not isinstance(c, UniqueConstraint)}
    changed.create_all(tx)
