"""The collector's own /metrics: an own registry, filled from counters in memory and from a few counting queries.

The page is built off the event loop, at most once a second, however many scrape it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy import Connection, func, select

from collector.tables import findings, hosts, probes
from config.clock import Clock
from ticketing.tables import outbox, tickets

PAGE_FOR_MS = 1000
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

TICK_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Numbers = dict[str, float]


class Page:
    """The exposition page, kept for a second."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._made_at_ms: int | None = None
        self._text = b""

    def text(self) -> bytes:
        """The page; call it on a worker thread."""
        with self._lock:
            now = self._clock.mono_ms()
            if self._made_at_ms is None or now - self._made_at_ms >= PAGE_FOR_MS:
                self._text = generate_latest(self._registry)
                self._made_at_ms = now
            return self._text


class TickMetrics:
    """How long ticks take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "vartovyi_tick_duration_seconds",
            "Time of one tick, commit included.",
            buckets=TICK_BUCKETS,
            registry=registry,
        )
        self._lock = threading.Lock()
        self.counts: dict[str, int] = {}

    def told(self, counts: dict[str, int], seconds: float) -> None:
        """Take up one tick's report."""
        self._seconds.observe(seconds)
        with self._lock:
            for name, count in counts.items():
                self.counts[name] = self.counts.get(name, 0) + count


class Live:
    """Everything that is read at the moment of the scrape; a prometheus_client collector."""

    def __init__(
        self,
        *,
        reports: Callable[[], dict[str, int]],
        intake_findings: Callable[[], dict[str, int]],
        tick_counts: Callable[[], dict[str, int]],
        gauges: Callable[[], Numbers],
        tick_failures: Callable[[], int],
        query: Callable[[Callable[[Connection], list[Metric]]], list[Metric]],
    ) -> None:
        self._reports = reports
        self._findings = intake_findings
        self._tick_counts = tick_counts
        self._gauges = gauges
        self._tick_failures = tick_failures
        self._query = query

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry then asks no database when we are registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield _counter("vartovyi_reports", "Reports by result.", "result", self._reports())
        yield _counter(
            "vartovyi_intake_findings", "Findings by what the intake did.", "what", self._findings()
        )
        yield _counter("vartovyi_tick_events", "What ticks did, by name.", "event", self._tick_counts())
        yield CounterMetricFamily(
            "vartovyi_tick_failures", "Ticks that failed since the start.", value=self._tick_failures()
        )
        for name, value in sorted(self._gauges().items()):
            yield GaugeMetricFamily(f"vartovyi_{name}", _GAUGE_HELP.get(name, name), value=value)
        yield from self._query(_from_store)


_GAUGE_HELP = {
    "hosts_in_cache": "Hosts whose tokens are known.",
    "intake_waiting": "Reports that wait for their commit.",
    "heartbeats_unwritten": "Hosts whose newest heartbeat is not in the store yet.",
    "store_queue": "Functions that wait for the store's writer.",
    "tick_age_seconds": "Seconds since a tick last ended well; -1 before the first.",
    "lease_held": "1 while this process decides.",
    "live_pages": "Open pages that are told of changes.",
    "vantages_polling": "Vantages that wait for asks now.",
}


def _from_store(conn: Connection) -> list[Metric]:
    life = GaugeMetricFamily("vartovyi_hosts", "Hosts by life.", labels=["life"])
    for name, count in conn.execute(select(hosts.c.life, func.count()).group_by(hosts.c.life)):
        life.add_metric([name], count)
    classes = GaugeMetricFamily("vartovyi_tickets_open", "Open tickets by class.", labels=["class"])
    open_by_class = (
        select(tickets.c["class"], func.count()).where(tickets.c.open_mark == 1).group_by(tickets.c["class"])
    )
    for class_, count in conn.execute(open_by_class):
        classes.add_metric([str(class_)], count)
    messages = GaugeMetricFamily("vartovyi_outbox", "Outgoing messages by state.", labels=["state"])
    counted = dict.fromkeys(("pending", "given_up"), 0)
    waiting = (
        select(outbox.c.state, func.count()).where(outbox.c.state.in_(list(counted))).group_by(outbox.c.state)
    )
    for state, count in conn.execute(waiting):
        counted[state] = count
    for state, count in counted.items():
        messages.add_metric([state], count)
    unhandled = select(func.count()).select_from(findings).where(findings.c.handled_at_ms.is_(None))
    unanswered = select(func.count()).select_from(probes).where(probes.c.answered_at_ms.is_(None))
    return [
        life,
        classes,
        messages,
        GaugeMetricFamily(
            "vartovyi_findings_unhandled",
            "Findings the tick has not judged yet.",
            value=_one(conn, unhandled),
        ),
        GaugeMetricFamily(
            "vartovyi_probes_unanswered", "Probes without an answer yet.", value=_one(conn, unanswered)
        ),
    ]


def make_registry() -> CollectorRegistry:
    """A registry of our own, with the process's weight in it."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return registry


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _one(conn: Connection, statement: Any) -> float:
    return float(conn.execute(statement).scalar() or 0)
