"""Plays one scenario: real agents, wire, intake, store, tick and workers' claims, on simulated time.

Event-driven: sweeps and heartbeats every 10 s, what the timeline says at its instant, the tick when findings, answers or
observations arrive and when it asked to be woken. Nothing here decides anything. The same seed gives the same play.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, func, select, update

from agent.wire import Reply
from collector import asks, probes, tables
from collector.enrol import enrol
from collector.fleet import Life
from collector.fleet_cache import FleetCache
from collector.intake import Intake, Limits, Rejected, Terms
from collector.observed import observe
from collector.replay.agents import INTERVAL_S, ScriptedAgent
from collector.replay.contracts import contracts_of
from collector.replay.expand import HostScript, Outside, is_seen, shifted
from collector.replay.outside import ANCHORS, ScriptedNetwork
from collector.replay.pairs import ReplayedPair, decision_of
from collector.replay.played import Played, PlayedTicket, Quiet
from collector.replay.recorded import play_recorded
from collector.replay.scenario import COLLECTOR, Entry, Host, Scenario
from collector.store.engine import Store
from collector.tick.context import TickContext
from collector.tick.run import run_tick
from collector.trace import HopOwners
from collector.vantage import Vantage
from ticketing import contracts
from ticketing.contracts import Loaded
from ticketing.model import INTERNAL_CONTRACT, Reason
from ticketing.terms import Contract, HostTerms

START_MS = 1_767_225_600_000
LEAD_MS = 120_000
"""Healthy time before the scenario, so that every fault has a "before"."""
SWEEP_MS = 10_000
TICK_S = 30.0
"""The tick's own rhythm when nothing asks for it sooner; in production a second, which decides nothing else."""
COALESCE_MS = 100
SERVICE_EVERY_MS = 30_000
"""Rhythm of outside probes; between changes of what they would see they are not asked."""
TIMEOUT_S = 3.0
PROBES_AT_ONCE = 1_000
ELSEWHERE = "(elsewhere)"
"""Provider and site of the scenario's second vantage: apart from every host's."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How to play."""

    noise_pct: float = 0.0
    shift_s: float = 0.0
    seed: int = 0
    without: frozenset[str] = frozenset()
    start_ms: int = START_MS


def play(scenario: Scenario, options: Options, folder: Path) -> Played:
    """Play the scenario in an empty folder (the agents' spools live there); a recorded judgement is judged again."""
    if scenario.recorded is not None:
        return play_recorded(scenario, options.without)
    random = Random(f"{options.seed}/{scenario.id}")
    player = _Player(shifted(scenario, options.shift_s, random), options, folder, random)
    try:
        player.run()
        return dataclasses.replace(player.outcome(), scenario=scenario)
    finally:
        player.close()


class _Player:
    """One scenario's world: a heap of what happens when, the store, the intake, the agents."""

    def __init__(self, scenario: Scenario, options: Options, folder: Path, random: Random) -> None:
        self.scenario = scenario
        self.options = options
        self.now_ms = options.start_ms - LEAD_MS
        self.end_ms = options.start_ms + round(scenario.duration_s * 1000)
        self.counts: Counter[str] = Counter()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._tick_at_ms: int | None = None
        self._silence_at_ms: int | None = None
        self._last_tick_ms = self.now_ms
        self._has_probes = False
        self._outside = Outside(scenario)
        topology = scenario.topology
        self._network = ScriptedNetwork(
            self._outside, topology.collector, options.start_ms, topology.host_ids
        )
        self.store = Store.open("sqlite://")
        self.store.write(lambda tx: tables.metadata.create_all(tx))
        self._agents = {host.id: self._agent(host, folder, random) for host in topology.hosts}
        self._enrol()
        self._cache = FleetCache()
        with self.store.read() as conn:
            self._cache.load(conn, self.now_ms)
        self._pair = ReplayedPair(scenario, self._outside, options.start_ms)
        self.store.write(lambda tx: self._pair.rehearsed(tx, self.now_ms))
        self._intake = Intake(self._cache, limits=Limits(), terms=_terms, poke=self._poke)
        self._context = TickContext(
            tick_s=TICK_S,
            anchors=ANCHORS,
            without_rows=options.without,
            wake_probes=self._rang,
            standing=(Vantage(topology.second_vantage, provider=ELSEWHERE, site=ELSEWHERE),),
            is_standing_given=True,
        )

    # time

    def later(self, at_ms: int, act: Callable[[], None]) -> None:
        """Plan something; what is planned for one instant happens in the order of planning."""
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), next(self._numbers), act))

    def run(self) -> None:
        """From the lead to the scenario's end."""
        self._plan_all()
        while self._heap and self._heap[0][0] <= self.end_ms:
            self.now_ms, _, act = heapq.heappop(self._heap)
            self._network.now_ms = self.now_ms
            act()
        self.now_ms = self.end_ms

    def close(self) -> None:
        """Release spools and store."""
        for agent in self._agents.values():
            agent.close()
        self.store.close()

    def _plan_all(self) -> None:
        """Order within an instant: what the world does, then who stops or returns, then sweeps, then the tick."""
        start_ms = self.options.start_ms
        for entry in self.scenario.timeline:
            if is_seen(entry.signal):
                self.later(start_ms + entry.t_ms, self._seeing(entry))
        for agent in self._agents.values():
            self._plan_host(agent)
        for host_id in self._agents:
            for t_ms in self._outside.changes(host_id):
                at_ms = -(-(start_ms + t_ms) // SERVICE_EVERY_MS) * SERVICE_EVERY_MS
                self.later(at_ms, self._asking(host_id))
        self.store.write(self._watch_from_second_vantage)
        self._plan_tick(self.now_ms + COALESCE_MS)

    def _watch_from_second_vantage(self, tx: Connection) -> None:
        """A second vantage watches all along: what it sees of healthy hosts is known before anything happens."""
        vantage = self.scenario.topology.second_vantage
        before_ms = self.now_ms - self.options.start_ms
        for host_id in self._agents:
            for signal in ("ext.icmp", "ext.tcp22", "ext.svc"):
                value = self._outside.seen(host_id, signal, before_ms, vantage)
                if value is not None:
                    observe(tx, host_id, signal, value, self.now_ms, "vantage", vantage=vantage)

    def _plan_host(self, agent: ScriptedAgent) -> None:
        start_ms, script = self.options.start_ms, agent.script
        self.later(self.now_ms, lambda: agent.begin(self.now_ms))
        for stop in script.stops:
            self.later(start_ms + stop.from_ms, lambda s=stop: agent.stops(s, self.now_ms))
            if stop.to_ms is not None:
                self.later(start_ms + stop.to_ms, lambda: agent.returns(self.now_ms))
        for t_ms, _ in script.boots:
            self.later(start_ms + t_ms, lambda: agent.reboots(self.now_ms))
        # Sweeps lie between the round seconds of the timeline: what happens is seen some seconds later, as in life.
        self.later(self.now_ms + SWEEP_MS // 2, lambda: self._sweep(agent))

    def _sweep(self, agent: ScriptedAgent) -> None:
        agent.sweep(self.now_ms)
        self.counts["sweeps"] += 1
        self.later(self.now_ms + SWEEP_MS, lambda: self._sweep(agent))

    # what the collector's side sees

    def _seeing(self, entry: Entry) -> Callable[[], None]:
        def see() -> None:
            if entry.signal == "clk.true_offset_ms" and entry.host in self._agents:
                self._agents[entry.host].offset_moved(round(float(entry.value)))
            self.store.write(lambda tx: self._observe(tx, entry))
            self._poke()

        return see

    def _observe(self, tx: Connection, entry: Entry) -> None:
        """By the one seam. What the collector's own probes see enters through their answers, not here."""
        room = entry.signal.split(".", 1)[0]
        if room != "ext":
            source = {"clk": "clocks", "col": "anchors", "hist": "history"}.get(room, room)
            observe(tx, entry.host, entry.signal, entry.value, self.now_ms, source)
            return
        if entry.signal in ("ext.last_hop", "ext.bmc"):
            vantage = "" if entry.vantage == COLLECTOR else entry.vantage
            source = "trace" if entry.signal == "ext.last_hop" else "bmc"
            observe(tx, entry.host, entry.signal, entry.value, self.now_ms, source, vantage=vantage)
        elif entry.vantage != COLLECTOR:
            t_ms = self.now_ms - self.options.start_ms
            for signal in ("ext.icmp", "ext.tcp22", "ext.svc"):
                value = self._outside.seen(entry.host, signal, t_ms, entry.vantage)
                if value is not None:
                    observe(tx, entry.host, signal, value, self.now_ms, "vantage", vantage=entry.vantage)

    def _asking(self, host_id: str) -> Callable[[], None]:
        def ask() -> None:
            services = tables.services
            due = update(services).where(services.c.host_id == host_id).values(next_due_at_ms=self.now_ms)
            self.store.write(lambda tx: tx.execute(due))
            self._plan_tick(self.now_ms)

        return ask

    # reports

    def _receive(self, token: str, body: bytes) -> Reply | None:
        self.counts["reports"] += 1
        checked = self._intake.check(body, token, self.now_ms)
        if isinstance(checked, Rejected):
            self.counts[f"rejected_{checked.error}"] += 1
            return None
        reply = self._intake.answer(checked)
        if reply is not None:
            return reply
        taken = self.store.write(lambda tx: self._intake.take(tx, [checked], self.now_ms)[0])
        if isinstance(taken, Rejected):
            self.counts[f"rejected_{taken.error}"] += 1
            return Reply(want_n=taken.want_n or 1, error=taken.error, detail=taken.detail)
        return taken

    # the decider and its hands

    def _poke(self) -> None:
        self._plan_tick(self.now_ms + COALESCE_MS)

    def _rang(self) -> None:
        self._has_probes = True

    def _plan_tick(self, at_ms: int) -> None:
        at_ms = max(at_ms, self.now_ms + 1)
        if self._tick_at_ms is not None and self._tick_at_ms <= at_ms:
            return
        self._tick_at_ms = at_ms

        def turn() -> None:
            if self._tick_at_ms == at_ms:
                self._tick_at_ms = None
                self._turn()

        self.later(at_ms, turn)

    def _turn(self) -> None:
        now_ms = self.now_ms
        self.store.write(lambda tx: self._intake.flush(tx, now_ms))
        if self._silence_at_ms is not None and now_ms >= self._silence_at_ms:
            # Woken for a deadline that a report has moved meanwhile: nothing else was due.
            moved = self._next_deadline()
            due_ms = min(self._last_tick_ms + round(TICK_S * 1000), moved or self.end_ms)
            if (moved is None or moved > now_ms) and due_ms > now_ms:
                self._silence_at_ms = moved
                self._plan_tick(due_ms)
                return
        self._pair.look(self.store, now_ms)
        report = self.store.write(lambda tx: run_tick(tx, now_ms, self._context))
        self._last_tick_ms = now_ms
        self.counts["ticks"] += 1
        deadline = self._next_deadline()
        self._silence_at_ms = deadline if deadline == report.next_wake_ms else None
        self._plan_tick(report.next_wake_ms)
        if self._has_probes:
            self._has_probes = False
            self._probe()

    def _next_deadline(self) -> int | None:
        hosts = tables.hosts
        wanted = select(func.min(hosts.c.silent_after_ms)).where(
            hosts.c.is_retired.is_(False), hosts.c.life.in_((Life.ALIVE.value, Life.STOPPED.value))
        )
        with self.store.read() as conn:
            return conn.execute(wanted).scalar()

    def _probe(self) -> None:
        """The workers: each question is claimed now and answered when its answer would be there."""
        now_ms = self.now_ms
        rows = self.store.write(lambda tx: probes.claim(tx, "replay", now_ms, PROBES_AT_ONCE))
        for row in rows:
            self.counts["probes"] += 1
            answer = self._network.answer(row.kind, dict(row.target), TIMEOUT_S)
            self.later(now_ms + round(answer["ms"]), lambda r=row, a=answer: self._answered(r.id, a))
        self._ask_vantage(now_ms)

    def _ask_vantage(self, now_ms: int) -> None:
        """The second vantage on its poll: it takes what it is asked, and answers when its answers would be there."""
        vantage = self.scenario.topology.second_vantage
        while handed := self.store.write(lambda tx: asks.hand_out(tx, vantage, now_ms, lambda _: TIMEOUT_S)):
            for ask in handed:
                self.counts["asks"] += 1
                answer = self._network.answer(ask["kind"], ask["target"], TIMEOUT_S, vantage=vantage)
                told = {**answer, "id": ask["id"]}
                self.later(now_ms + round(answer["ms"]), lambda t=told: self._told_by(vantage, t))

    def _told_by(self, vantage: str, answer: dict[str, Any]) -> None:
        now_ms = self.now_ms
        self.store.write(lambda tx: asks.take_answers(tx, vantage, [answer], now_ms, HopOwners(), 2))
        self._poke()

    def _answered(self, probe_id: int, answer: dict[str, Any]) -> None:
        now_ms = self.now_ms
        self.store.write(lambda tx: probes.settle(tx, "replay", probe_id, answer, now_ms))
        self._poke()

    # how it is set up

    def _agent(self, host: Host, folder: Path, random: Random) -> ScriptedAgent:
        own = folder / f"h{len(list(folder.iterdir()))}"
        own.mkdir()
        return ScriptedAgent(
            HostScript(self.scenario, host),
            self.options.start_ms,
            own,
            self._receive,
            noise_pct=self.options.noise_pct,
            random=Random(random.random()),
        )

    def _enrol(self) -> None:
        loaded = Loaded(contracts_of(self.scenario, self.options.start_ms), ())
        self.store.write(lambda tx: contracts.apply(tx, loaded, self.now_ms, "replay"))
        for contract in loaded.contracts:
            for terms in contract.hosts:
                self.store.write(lambda tx, c=contract, t=terms: self._enrol_one(tx, c, t))

    def _enrol_one(self, tx: Connection, contract: Contract, terms: HostTerms) -> None:
        enrol(
            tx,
            terms.id,
            contract.id,
            self.now_ms,
            addresses=terms.addresses,
            topology={k: v for k, v in contracts.document(terms.topology).items() if v},
            interval_s=INTERVAL_S,
            token=self._agents[terms.id].token,
        )

    # what came of it

    def outcome(self) -> Played:
        """Tickets and quiet findings as the store holds them now."""
        with self.store.read() as conn:
            found = tuple(self._ticket(conn, row) for row in conn.execute(_TICKETS).mappings())
            quiet = tuple(self._quiet(row) for row in conn.execute(_QUIET).mappings())
            failover = decision_of(conn, self.scenario.topology.failover)
        return Played(self.scenario, found, quiet, failover, self.counts)

    def _t_s(self, at_ms: int) -> float:
        return round((at_ms - self.options.start_ms) / 1000, 1)

    def _ticket(self, conn: Connection, row: Any) -> PlayedTicket:
        verdict = row["verdict"] or {}
        events = tables.metadata.tables["ticket_events"]
        first = conn.execute(
            select(events.c.body)
            .where(events.c.ticket_id == row["id"], events.c.kind == "requalify")
            .order_by(events.c.id)
            .limit(1)
        ).scalar()
        before = ((first or {}).get("before") or {}).get("class", row["class"])
        parted = select(events.c.id).where(events.c.ticket_id == row["id"], events.c.kind == "split").limit(1)
        return PlayedTicket(
            id=row["id"],
            role="child" if row["parent_id"] is not None else "parent",
            class_=str(row["class"]),
            kind=f"{row['family']}.{row['root_cause']}",
            scope=row["scope"],
            affected=tuple(sorted(row["affected"])),
            # What stands at its start is seen in the lead already; the scenario's own time begins at 0.
            opened_at_s=max(0.0, self._t_s(row["created_at_ms"])),
            root_cause=row["root_cause"],
            severity=row["severity"],
            state=row["state"],
            confidence=row["confidence"],
            contract=row["contract_id"],
            reasons=tuple(Reason.from_dict(r) for r in verdict.get("reasons", ())),
            summary=Reason.from_dict(verdict["summary"])
            if "summary" in verdict
            else Reason("summary.unknown"),
            first_class=str(before),
            is_parted=conn.execute(parted).scalar() is not None,
        )

    def _quiet(self, row: Any) -> Quiet:
        why = Reason.from_dict(row["why"]) if row["why"] else None
        return Quiet(row["host_id"], row["rule"], row["subject"], self._t_s(row["at_ms"]), why)


def _terms(host_id: str, contract_id: str) -> Terms:
    return Terms(interval_s=INTERVAL_S)


_tickets_table = tables.metadata.tables["tickets"]
_TICKETS = (
    select(_tickets_table)
    .where(
        _tickets_table.c.merged_into.is_(None),
        # What the house opens about itself is no client's ticket.
        ~(
            (_tickets_table.c.contract_id == str(INTERNAL_CONTRACT))
            & _tickets_table.c.problem.like("internal|%")
        ),
    )
    .order_by(_tickets_table.c.id)
)
_QUIET = (
    select(tables.findings)
    .where(tables.findings.c.outcome == "recorded", tables.findings.c.kind == "opened")
    .order_by(tables.findings.c.id)
)
