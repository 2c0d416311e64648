"""The composition root: settings in, a running collector out. The only module that knows every room.

Order of birth: lock, store, tables, contracts, fleet, intake, decider, workers, web. Death goes the other way. Nothing
here decides anything.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from collector import metrics, roll_outs
from collector.asks_asgi import AsksApp
from collector.chores import Chore, Chores, ping
from collector.decider import Decider
from collector.failover.worker import FailoverWorker
from collector.fleet_cache import FleetCache
from collector.front import App, Front
from collector.intake import Intake, Limits, Terms
from collector.intake_asgi import Bounds, IntakeApp
from collector.mail_intake import MailIntake, replies_of
from collector.mirror_hooks import HooksApp
from collector.mirrors import MirrorLooks
from collector.opening import StateLock, apply_contracts, open_store, prepare_tables
from collector.outlook import Outlook
from collector.probes import SUSPICION_TIMEOUT_S, ProbeWorkers, RealNetwork
from collector.settings import CollectorSettings, networks
from collector.store import retention
from collector.store.lease import Lease
from collector.tick.context import TickContext, TickReport
from collector.tick.run import run_slice, run_tick
from collector.vantage import named_in
from collector.web.app import make_app
from collector.web.context import AppContext, Bell, WebOptions
from collector.workers import OutboxWorkers
from config.clock import Clock
from config.loader import ConfigError, Fault
from config.log import fields
from ticketing import contracts
from ticketing.mirrors.delivery import Mirrors
from ticketing.mirrors.desks import Desks

log = logging.getLogger(__name__)

CLOCKS_S = 1.0
FLEET_LOOK_S = 1.0
BOOK_LOOK_S = 5.0


class Collector:
    """One collector process, from its settings."""

    def __init__(self, settings: CollectorSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.lock = StateLock(settings.state_dir)
        self.bell = Bell()
        self.registry: CollectorRegistry = metrics.make_registry()
        self.cache = FleetCache()
        self._terms: dict[str, Terms] = {}
        self.store = open_store(settings)
        prepare_tables(self.store, settings)
        loaded = contracts.load_folder(settings.contracts)
        apply_contracts(self.store, loaded, clock.now_ms(), "start")
        with self.store.read() as conn:
            self._book = contracts.current(conn)
            self.cache.load(conn, clock.now_ms())
            self._take_terms(roll_outs.running(conn, clock.now_ms()))
        self.intake = self._make_intake()
        self.intake_app = self._make_intake_app()
        self.tick_metrics = metrics.TickMetrics(self.registry)
        worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"[:64]
        self.probes = ProbeWorkers(
            self.store,
            RealNetwork(lambda: self.outlook.owners()),
            clock,
            name=worker,
            workers=settings.probes.workers,
            timeout_s=settings.probes.timeout_s,
            poke=lambda: self.decider.poke(),
        )
        self.asks_app = self._make_asks_app()
        self.mirrors, self.hooks_app, self.outbox = self._make_ways_out(worker)
        self.lease = Lease(
            self.store, worker, settings.database.lease_s, is_alone=self.store.dialect == "sqlite"
        )
        self.decider = self._make_decider()
        self.failover = self._make_failover()
        self.outlook = Outlook(
            self.store,
            clock,
            settings,
            self.book,
            decides=lambda: self.decider.holds_lease,
            poke=lambda: self.decider.poke(),
        )
        self.mail_intake = self._make_mail_intake()
        self.chores = Chores(self._chores(), clock)
        self.page = metrics.Page(self.registry, clock)
        self.registry.register(self._live())
        self.on_turn = _nothing
        """Called after each turn of the tick (the watchdog)."""

    def _make_failover(self) -> FailoverWorker:
        return FailoverWorker(
            self.store,
            self.clock,
            self.lease,
            self.settings.failover,
            self.book,
            anchors=len(self.settings.probes.anchors),
            vantages=tuple(self.settings.vantages.hosts),
            ring=lambda: self.asks_app.ring(),
            poke=lambda: self.decider.poke(),
        )

    def book(self) -> contracts.Book:
        """The contracts in force."""
        return self._book

    def asgi(self) -> Front:
        """The front door."""
        options = WebOptions(
            public_url=self.settings.public_url,
            session_s=round(self.settings.web.session_s),
            threads=self.settings.web.threads,
            zone=self.settings.web.zone,
        )
        context = AppContext(
            self.store,
            self.book,
            self.clock,
            options=options,
            bell=self.bell,
            settings=self.settings,
            registry=self.registry,
        )
        return Front(
            self.intake_app,
            self.page,
            cast("App", make_app(context)),
            asks=self.asks_app,
            hooks=self.hooks_app,
            metrics_from=networks(self.settings.metrics.allow_from),
            trusted_proxies=networks(self.settings.listen.trusted_proxies),
        )

    def start(self) -> None:
        """Start the threads."""
        self.probes.start()
        self.outbox.start()
        self.mirrors.start()
        self.decider.start()
        self.chores.start()
        self.outlook.start()
        self.mail_intake.start()
        self.failover.start()

    def stop(self) -> None:
        """Stop the threads, write what is in memory, close the store."""
        self.failover.stop()
        self.mail_intake.stop()
        self.outlook.stop()
        self.chores.stop()
        self.decider.stop()
        self.probes.stop()
        self.mirrors.stop()
        self.outbox.stop()
        self.store.close()
        self.lock.release()

    def reload_contracts(self, by: str = "reload") -> contracts.Applied:
        """Read contracts and providers again; raises ConfigError with every fault of both, and then keeps the old ones."""
        faults: list[Fault] = []
        loaded, providers = None, None
        try:
            loaded = contracts.load_folder(self.settings.contracts)
        except ConfigError as error:
            faults += error.faults
        try:
            providers = self.outlook.read_providers()
        except ConfigError as error:
            faults += error.faults
        if loaded is None or providers is None:
            raise ConfigError(faults)
        applied = apply_contracts(self.store, loaded, self.clock.now_ms(), by)
        if self.outlook.follow_providers(providers):
            log.info("Providers are asked anew. %s", fields(providers=len(providers)))
        self._look_at_book()
        self._look_at_fleet()
        return applied

    def _make_intake(self) -> Intake:
        bounds = self.settings.intake
        limits = Limits(
            body_max=bounds.body_max,
            reports_per_host_s=bounds.reports_per_host_s,
            absurd_clock_ms=round(bounds.absurd_clock_s * 1000),
            clone_quiet_ms=round(bounds.clone_quiet_s * 1000),
            vitals_every_ms=round(bounds.vitals_every_s * 1000),
        )
        terms, default = self._terms, Terms()
        return Intake(
            self.cache,
            limits=limits,
            terms=lambda host_id, contract_id: terms.get(host_id, default),
            is_shared=self.store.dialect == "postgresql",
            poke=lambda: self.decider.poke(),
        )

    def _make_intake_app(self) -> IntakeApp:
        bounds = self.settings.intake
        return IntakeApp(
            self.intake,
            self.store,
            self.clock,
            bounds=Bounds(
                body_max=bounds.body_max,
                waiting_max=bounds.waiting_max,
                waiting_bytes_max=bounds.waiting_bytes_max,
                batch_max=bounds.batch_max,
                body_s=bounds.body_s,
            ),
            reload_fleet=self._look_at_fleet,
        )

    def _make_mail_intake(self) -> MailIntake:
        return MailIntake(
            self.store,
            self.clock,
            self.settings,
            self.book,
            decides=lambda: self.decider.holds_lease,
            poke=lambda: self.decider.poke(),
        )

    def _make_decider(self) -> Decider:
        settings = self.settings
        return Decider(
            self.store,
            self.lease,
            self.intake,
            run_tick,
            run_slice,
            dataclasses.replace(
                TickContext.of(settings, wake_probes=self._wake_probes),
                is_clock_sane=lambda: self.failover.is_clock_sane(),
            ),
            self.clock,
            every_s=settings.tick.every_s,
            coalesce_s=settings.tick.coalesce_s,
            pressure=lambda: self.intake_app.waiting,
            told=self._told,
            turned=lambda: self.on_turn(),
        )

    def _make_asks_app(self) -> AsksApp:
        return AsksApp(
            self.intake,
            self.store,
            self.clock,
            self.settings.vantages,
            named=self._vantages,
            owners=lambda: self.outlook.owners(),
            timeout_s=self._ask_timeout_s,
            poke=lambda: self.decider.poke(),
        )

    def _make_ways_out(self, worker: str) -> tuple[MirrorLooks, HooksApp, OutboxWorkers]:
        settings, clock, desks = self.settings, self.clock, Desks(self.settings.desks, self.clock)
        mirrors = Mirrors(self.store.write, self.book, desks, clock, settings.public_url)
        looks = MirrorLooks(self.store, clock, mirrors, settings.outbox)
        replies = replies_of(settings)
        sends = OutboxWorkers(
            self.store, clock, settings, worker, replies=replies, mirrors=mirrors, book=self.book
        )
        return looks, HooksApp(self.store, clock, desks, looks.wake), sends

    def _wake_probes(self) -> None:
        self.probes.wake()
        self.asks_app.ring()

    def _vantages(self) -> dict[str, str]:
        return named_in(self._book, self.settings.vantages.hosts)

    def _ask_timeout_s(self, why: str) -> float:
        timeout_s = float(self.settings.probes.timeout_s)
        return min(SUSPICION_TIMEOUT_S, timeout_s) if why == "suspicion" else timeout_s

    def _told(self, report: TickReport, seconds: float) -> None:
        self.tick_metrics.told(report.counts, seconds)
        if report.counts:
            self.bell.ring("tickets", "hosts")
        if report.counts.get("outbox_due"):
            self.outbox.wake()
        if report.counts.get("failover_auto") or report.counts.get("failover_requests"):
            self.failover.wake()

    def _chores(self) -> list[Chore]:
        settings = self.settings
        found = [
            Chore("clocks", CLOCKS_S, self._read_own_clocks),
            Chore("fleet", FLEET_LOOK_S, self._look_at_fleet),
            Chore("contracts", BOOK_LOOK_S, self._look_at_book),
            Chore("retention", settings.retention.sweep_s, self._sweep),
        ]
        if settings.dead_man.url:
            found.append(Chore("dead_man", settings.dead_man.every_s, self._ping))
        return found

    def _read_own_clocks(self) -> None:
        """A step of our own clock is nobody else's."""
        self.intake.own_clocks(self.clock.now_ms(), self.clock.mono_ms())

    def _look_at_fleet(self) -> None:
        with self.store.read() as conn:
            self.cache.load_if_moved(conn, self.clock.now_ms())

    def _look_at_book(self) -> None:
        with self.store.read() as conn:
            self._book = contracts.current(conn, self._book)
            self._take_terms(roll_outs.running(conn, self.clock.now_ms()))

    def _take_terms(self, running: Sequence[roll_outs.RollOut]) -> None:
        rolling = roll_outs.held_hosts(running, self._book)
        fresh = {
            host_id: Terms(interval_s=float(terms.interval), is_roll_out_announced=host_id in rolling)
            for host_id, terms in self._book.hosts.items()
        }
        for gone in set(self._terms) - set(fresh):
            del self._terms[gone]
        self._terms.update(fresh)

    def _sweep(self) -> None:
        if not self.decider.holds_lease:
            return
        kept = dataclasses.asdict(self.settings.retention)
        batch = int(kept.pop("batch"))
        kept.pop("sweep_s")
        deleted = self.store.write(lambda tx: retention.sweep(tx, self.clock.now_ms(), kept, batch))
        gone = {table: count for table, count in deleted.items() if count}
        if gone:
            log.info("Old rows were deleted. %s", fields(**gone))

    def _ping(self) -> None:
        last = self.decider.last_turn_ms
        if last is not None and self.clock.now_ms() - last < max(
            5000, round(3000 * self.settings.tick.every_s)
        ):
            ping(self.settings.dead_man.url, self.settings.dead_man.timeout_s)

    def _live(self) -> metrics.Live:
        def query(fn: Any) -> Any:
            with self.store.read() as conn:
                return fn(conn)

        return metrics.Live(
            reports=lambda: dict(self.intake.counts),
            intake_findings=lambda: dict(self.intake.finding_counts),
            tick_counts=lambda: dict(self.tick_metrics.counts),
            gauges=self._gauges,
            tick_failures=lambda: self.decider.failures,
            query=query,
        )

    def _gauges(self) -> metrics.Numbers:
        last = self.decider.last_turn_ms
        return {
            "hosts_in_cache": len(self.cache),
            "intake_waiting": self.intake_app.waiting,
            "heartbeats_unwritten": self.intake.pending(),
            "store_queue": self.store.depth(),
            "tick_age_seconds": -1.0 if last is None else max(0, self.clock.now_ms() - last) / 1000,
            "lease_held": int(self.decider.holds_lease),
            "live_pages": self.bell.listeners,
            "vantages_polling": self.asks_app.waiting,
        }


def _nothing() -> None:
    """Nobody watches."""
