"""The short memory of vitals: a host that fell silent still shows its last quarter of an hour; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, insert, select

from agent.wire import Report, to_json
from collector.enrol import Enrolled, enrol
from collector.fleet_cache import FleetCache
from collector.intake import Accepted, Intake, Limits
from collector.store import retention
from collector.store.engine import Store
from collector.tables import vitals
from collector.vitals import BLOCKS, BLOCKS_A_FLUSH, WINDOW_MS, series_of

NOW = 1_767_225_600_000


class Collector:
    """One process: its intake, on a store that outlives it."""

    def __init__(self, store: Store, tokens: dict[str, str] | None = None) -> None:
        self.store = store
        self.tokens = tokens or {}
        self.cache = FleetCache()
        self.intake = Intake(self.cache, limits=Limits(reports_per_host_s=10_000))
        self._load()

    def enrol(self, *host_ids: str) -> None:
        for host_id in host_ids:
            done = self.store.write(lambda tx, h=host_id: enrol(tx, h, "acme", NOW))
            assert isinstance(done, Enrolled)
            self.tokens[host_id] = done.token
        self._load()

    def _load(self) -> None:
        with self.store.read() as conn:
            self.cache.load(conn, NOW)

    def beat(self, host_id: str, at_ms: int, **numbers: float | None) -> None:
        """One heartbeat, and the flush after it."""
        mono_ms = at_ms - NOW + 1_000_000_000
        given = {name.replace("__", "."): value for name, value in numbers.items()}
        report = Report(1, "0.1", "b1", "r1", at_ms, mono_ms, mono_ms, 10.0, "s1", vitals=given)
        accepted = self.intake.check(to_json(report), self.tokens[host_id], at_ms)
        assert isinstance(accepted, Accepted), accepted
        if self.intake.answer(accepted) is None:
            self.store.write(lambda tx: self.intake.take(tx, [accepted], at_ms))

    def flush(self, at_ms: int) -> None:
        self.store.write(lambda tx: self.intake.flush(tx, at_ms))

    def series(self, host_id: str, to_ms: int) -> dict[str, list[list[float]]]:
        with self.store.read() as conn:
            return series_of(conn, host_id, to_ms - WINDOW_MS, to_ms)


@pytest.fixture
def collector(store: Store) -> Collector:
    made = Collector(store)
    made.enrol("a1", "a2")
    return made


def live(collector: Collector, host_id: str, seconds: int, *, begins_s: int = 0) -> int:
    """A heartbeat every ten seconds; when the last one was."""
    at_ms = NOW
    for second in range(begins_s, begins_s + seconds, 10):
        at_ms = NOW + second * 1000
        collector.beat(host_id, at_ms, load__per_cpu=second / 10, cpu__steal_pct=0.0)
        collector.flush(at_ms)
    return at_ms


def test_the_last_quarter_of_an_hour_is_there_thinned_to_half_minutes_up_to_the_last_heartbeat(
    collector: Collector,
) -> None:
    last_ms = live(collector, "a1", 2400)
    line = collector.series("a1", last_ms)["load.per_cpu"]
    times = [at for at, _ in line]
    assert times == sorted(times)
    assert times[-1] == last_ms, "the newest heartbeat is the most telling one"
    assert times[0] <= last_ms - WINDOW_MS + 30_000
    assert 30 <= len(times) <= 32
    assert all(value == (at - NOW) / 10_000 for at, value in line)


def test_a_series_that_is_all_zero_comes_after_those_that_say_something(collector: Collector) -> None:
    last_ms = live(collector, "a1", 120)
    assert list(collector.series("a1", last_ms)) == ["load.per_cpu", "cpu.steal_pct"]


def test_hosts_are_not_mixed_and_one_that_never_reported_has_no_series(collector: Collector) -> None:
    last_ms = live(collector, "a1", 120)
    assert collector.series("a2", last_ms) == {}
    live(collector, "a2", 60)
    assert len(collector.series("a1", last_ms)["load.per_cpu"]) == 5


def test_a_restart_of_the_collector_loses_no_more_than_the_last_seconds(collector: Collector) -> None:
    live(collector, "a1", 600)
    after = Collector(collector.store, collector.tokens)
    last_ms = live(after, "a1", 60, begins_s=600)
    times = [at for at, _ in after.series("a1", last_ms)["load.per_cpu"]]
    assert times[0] == NOW
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= 40_000


def test_what_an_undone_flush_took_waits_for_the_next_one(collector: Collector) -> None:
    collector.beat("a1", NOW, load__per_cpu=1.0)

    def undone(tx: Any) -> None:
        collector.intake.flush(tx, NOW)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        collector.store.write(undone)
    collector.beat("a1", NOW + 10_000, load__per_cpu=2.0)
    collector.flush(NOW + 10_000)
    assert collector.series("a1", NOW + 10_000)["load.per_cpu"] == [[NOW, 1.0], [NOW + 10_000, 2.0]]


def test_numbers_that_are_unknown_leave_a_gap_and_not_a_zero(collector: Collector) -> None:
    for second, value in ((0, 3.0), (30, None), (60, 5.0)):
        collector.beat("a1", NOW + second * 1000, disk__await_ms=value)
        collector.flush(NOW + second * 1000)
    assert collector.series("a1", NOW + 60_000)["disk.await_ms"] == [[NOW, 3.0], [NOW + 60_000, 5.0]]


def test_a_large_fleet_is_written_in_bites_and_every_host_keeps_its_points(store: Store) -> None:
    collector = Collector(store)
    names = [f"h{n:03}" for n in range(120)]
    collector.enrol(*names)
    for second in (0, 30, 60):
        for name in names:
            collector.beat(name, NOW + second * 1000, load__per_cpu=float(second))
    before = 0
    for second in range(60, 80):
        collector.flush(NOW + second * 1000)
        with store.read() as conn:
            rows = conn.execute(select(func.count()).select_from(vitals)).scalar_one()
        assert rows - before <= BLOCKS_A_FLUSH
        before = rows
    assert all(len(collector.series(name, NOW + 60_000)["load.per_cpu"]) == 3 for name in names)


def test_rows_of_another_list_of_vitals_are_passed_over(collector: Collector) -> None:
    foreign = [{"block": n, "at_ms": NOW, "form": "older", "points": b"no map"} for n in range(BLOCKS)]
    collector.store.write(lambda tx: tx.execute(insert(vitals), foreign))
    last_ms = live(collector, "a1", 60)
    assert collector.series("a1", last_ms)["load.per_cpu"]


def test_old_points_go_with_retention_and_young_ones_stay(collector: Collector) -> None:
    last_ms = live(collector, "a1", 3600)
    collector.store.write(lambda tx: retention.sweep(tx, last_ms, {"vitals": 1800.0}))
    with collector.store.read() as conn:
        oldest = conn.execute(select(func.min(vitals.c.at_ms))).scalar_one()
    assert last_ms - 1_800_000 <= oldest <= last_ms - 1_760_000
    assert len(collector.series("a1", last_ms)["load.per_cpu"]) >= 30
