"""One tick over a large fleet: quiet, and with a provider of 2,000 hosts gone. The real tick on a real SQLite file."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from collector.store.engine import Store
from collector.store.migrate import migrate_store
from collector.tables import hosts, probes
from collector.tick.context import TickContext, TickReport
from collector.tick.run import run_tick
from tests.bench.table import Row
from ticketing import contracts
from ticketing.tables import tickets
from ticketing.terms import Contract, HostTerms, Topology

QUIET_BUDGET_MS = 50.0
GONE_BUDGET_S = 2.0
T0 = 1_767_225_600_000


class Fleet:
    """A store with a fleet whose every fifth host lives with one provider."""

    def __init__(self, folder: Path, size: int) -> None:
        self.store = Store.open(f"sqlite:///{folder / 'tick.db'}")
        migrate_store(self.store)
        self.size = size
        self.now_ms = T0
        self.context = TickContext(can_ping=True)
        self.store.write(self._fill)

    def _fill(self, tx: Any) -> None:
        terms = [
            HostTerms(
                id=f"h{n:05d}",
                addresses=["192.0.2.1"],
                kind="vds",
                web_environment=True,
                exclusive_access=True,
                topology=Topology(provider=f"p{n % 5}", site=f"p{n % 5}-s1", node=f"p{n % 5}-n{n // 100}"),
            )
            for n in range(self.size)
        ]
        contract = Contract(id="acme", title="Acme", hosts=terms)
        contracts.apply(tx, contracts.Loaded((contract,), ()), self.now_ms, "bench")
        rows = [
            {
                "id": one.id,
                "contract_id": "acme",
                "addresses": one.addresses,
                "topology": {
                    "provider": one.topology.provider,
                    "site": one.topology.site,
                    "node": one.topology.node,
                },
                "token_hash": one.id,
                "enrolled_at_ms": self.now_ms,
                "life": "alive",
                "life_since_ms": self.now_ms,
                "silent_after_ms": self.now_ms + 3_600_000,
                "last_report_at_ms": self.now_ms,
                "interval_s": 10.0,
                "vitals": {"cpu.steal_pct": 1.0, "disk.await_ms": 2.0, "load.per_cpu": 0.5},
                "lacks": {},
                "sweep_age_s": {},
            }
            for one in terms
        ]
        tx.execute(insert(hosts), rows)

    def tick(self, after_ms: int = 1000) -> tuple[TickReport, float]:
        """One tick, ``after_ms`` later; its report and its seconds, commit included."""
        self.now_ms += after_ms
        began = time.perf_counter()
        report = self.store.write(lambda tx: run_tick(tx, self.now_ms, self.context), first=True)
        return report, time.perf_counter() - began

    def write(self, fn: Callable[[Any], Any]) -> Any:
        return self.store.write(fn)


def measure(fleet_size: int, gone: int) -> list[Row]:
    """Quiet, then a provider gone."""
    with tempfile.TemporaryDirectory(prefix="vt-bench-") as folder:
        fleet = Fleet(Path(folder), fleet_size)
        for _ in range(5):
            fleet.tick()
        quiet = [fleet.tick()[1] * 1000 for _ in range(40)]
        rows = [
            Row(
                f"tick, {fleet_size:,} hosts, quiet",
                f"median {statistics.median(quiet):.1f} ms, worst {max(quiet):.1f} ms",
                f"≤ {QUIET_BUDGET_MS:g} ms",
            )
        ]
        rows.append(_provider_gone(fleet, gone))
        fleet.store.close()
    return rows


def _provider_gone(fleet: Fleet, gone: int) -> Row:
    """Every deadline of one provider passes; its probes answer nothing; the dearest tick until all is judged."""
    ids = [f"h{n:05d}" for n in range(0, fleet.size, 5)][:gone]
    deadline = fleet.now_ms + 500

    def fall(tx: Any) -> None:
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            tx.execute(update(hosts).where(hosts.c.id.in_(part)).values(silent_after_ms=deadline))

    def answer(tx: Any) -> None:
        values = {
            "answered_at_ms": fleet.now_ms,
            "answer": {"state": "timeout", "detail": "no answer", "ms": 1000},
        }
        tx.execute(update(probes).where(probes.c.answered_at_ms.is_(None)).values(**values))

    fleet.write(fall)
    took, counts = [], {}
    for _ in range(15):
        report, seconds = fleet.tick()
        took.append(seconds)
        for name, count in report.counts.items():
            counts[name] = counts.get(name, 0) + count
        fleet.write(answer)
    with fleet.store.read() as conn:
        opened = conn.execute(select(tickets.c.parent_id)).all()
    parents = sum(1 for row in opened if row.parent_id is None)
    note = f"{len(took)} ticks, {sum(took):.1f} s in all; {parents} tickets without a parent, {len(opened)} in all"
    return Row(
        f"tick, {len(ids):,} of {fleet.size:,} hosts gone: the dearest",
        f"{max(took):.2f} s",
        f"≤ {GONE_BUDGET_S:g} s",
        note,
    )
