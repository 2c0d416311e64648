"""What a tick is given beside the transaction and ``now``: settings, the contracts in force, and a bell for workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from collector.qualify.flapping import ICINGA, Constants
from collector.vantage import Vantage
from ticketing.contracts import Book
from ticketing.texts import register

if TYPE_CHECKING:
    from collector.failover.terms import PairTerms
    from collector.settings import CollectorSettings
    from ticketing.terms import Contract

TEXTS_FOLDER = Path(__file__).parent.parent / "texts"
"""Reasons, summaries and sentences of judgement, in both languages."""


@dataclasses.dataclass(frozen=True)
class TickLimits:
    """Bounds of one tick; what is past them waits for the next one, a second later."""

    findings: int = 5000
    overdue_hosts: int = 5000
    services: int = 2000
    answers: int = 5000
    tickets: int = 2000


@dataclasses.dataclass
class TickContext:
    """One decider's own things. ``book`` and ``is_first`` change from tick to tick; the rest is given once."""

    tick_s: float = 1.0
    resolve_after_s: float = 60.0
    flapping: Constants = ICINGA
    anchors: tuple[str, ...] = ()
    """``host:port`` addresses that we should always reach; none by default."""
    can_ping: bool = True
    can_trace: bool = False
    """Ask for a trace to each suspect; the collector does, a replay brings its own."""
    own_vantages: tuple[str, ...] = ()
    """Enrolled hosts of ours that look at others for us."""
    standing: tuple[Vantage, ...] = ()
    """Vantages that can be asked now; made anew each tick, except in a replay, which brings its own."""
    is_standing_given: bool = False
    ask_expires_ms: int = 10_000
    ask_again_ms: int = 30_000
    asks_waiting_max: int = 200
    peers_agree: int = 2
    vantage_asked_ms: dict[str, int] = dataclasses.field(default_factory=dict)
    """Service -> when a vantage was last asked about it."""
    limits: TickLimits = TickLimits()
    wake_probes: Callable[[], None] = lambda: None
    """Called after the commit when probe rows were written."""
    is_clock_sane: Callable[[], bool] = lambda: True
    """Whether our own wall clock has gone well for a while (``collector.failover.clock_watch``)."""
    without_rows: frozenset[str] = frozenset()
    """Evidence rows left out (``replay --without``)."""
    book: Book | None = None
    is_first: bool = True
    """No tick ran in this process yet: whatever was overdue, we were away."""
    judge_failures: int = 0
    """Problems that could not be judged, for a fault of our own, since the auditor last looked."""
    audited_at_ms: int = 0
    overdue_steps: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    """(ticket, instant) of the next steps that were overdue when the auditor last looked."""
    proof_due_ms: int = 0
    """When the nightly proof of the clocks is due; 0 = not read from the store yet."""
    quiet_checked_at_ms: int = 0
    line4_at_ms: int = 0
    told_until_ms: int = 0
    """What was said of hosts and providers up to then has been judged."""
    book_mark: tuple[int, int, int] = (0, 0, 0)
    """What the store said of the contracts when ``book`` was read."""
    book_of_services: Book | None = None
    """The book that the rows of ``services`` were last made from."""
    seen_since_ms: int = 0
    """Observations of clocks that were received before then were looked at."""
    seen_due_ms: int = 0
    """When those are to be looked at again, whatever comes."""

    pairs_book: Book | None = None
    """The book that ``pairs`` was made from."""
    pairs: list[tuple[Contract, PairTerms]] = dataclasses.field(default_factory=list)
    """Primaries and their backups, by the contracts in force."""

    def follows_services_of(self, book: Book) -> None:
        """The rows of ``services`` are durable."""
        self.book_of_services = book

    def has_seen(self, since_ms: int, due_ms: int) -> None:
        """What came of the observations of clocks is durable."""
        self.seen_since_ms, self.seen_due_ms = since_ms, due_ms

    @staticmethod
    def of(settings: CollectorSettings, wake_probes: Callable[[], None] = lambda: None) -> TickContext:
        """The context that the collector's settings ask for; from here on the words of judgement are known."""
        register(TEXTS_FOLDER)
        return TickContext(
            tick_s=settings.tick.every_s,
            resolve_after_s=settings.tick.resolve_after_s,
            flapping=dataclasses.replace(ICINGA, step_ms=round(settings.tick.flapping_step_s * 1000)),
            anchors=tuple(settings.probes.anchors),
            can_ping=settings.probes.icmp,
            can_trace=True,
            own_vantages=tuple(settings.vantages.hosts),
            ask_expires_ms=round(settings.vantages.expire_s * 1000),
            ask_again_ms=round(settings.vantages.every_s * 1000),
            asks_waiting_max=settings.vantages.waiting_max,
            peers_agree=settings.vantages.peers_agree,
            wake_probes=wake_probes,
        )


@dataclasses.dataclass
class TickReport:
    """What one tick did, by name, and when the next one is due."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    next_wake_ms: int = 0

    def count(self, name: str, n: int = 1) -> None:
        if n:
            self.counts[name] = self.counts.get(name, 0) + n

    def wake_at(self, at_ms: int | None) -> None:
        """The next tick is due no later than then."""
        if at_ms is not None and at_ms < self.next_wake_ms:
            self.next_wake_ms = at_ms
