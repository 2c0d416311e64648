"""A whole run of the product's engine over real parts: store, journal, worker and steps, as the collector has them, in coll."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlalchemy import update

from collector.failover import gather, runs
from collector.failover.journal import Run
from collector.failover.settings import FailoverSettings
from collector.failover.worker import FailoverWorker
from collector.observed import keep_newest
from collector.store.lease import Lease
from collector.tables import hosts
from config.clock import SystemClock
from config.loader import parse
from tests.lab.house import ADDRESS, House
from tests.lab.parts.orders import BACKUP, PLACE
from tests.unit.collector.failover.houses import House as Desk
from ticketing.model import Reason

RESTS = ("stuck", "hold_down", "aborted", "failback_ready")
RUN_S = 240.0


class Switch:
    """The contract of the pair, its hosts known and well, and a worker that moves its runs."""

    def __init__(self, house: House, **terms: Any) -> None:
        self._house, self.folder = house, house.folder
        known = self.folder / "known_hosts"
        known.write_text("".join(f"{host} {house.sshd(place).host_key}\n" for host, place in PLACE.items()))
        keys = [house.sshd(place).folder / "user" for place in PLACE.values()]
        # One log-in key for both hosts, as a collector has.
        for place in PLACE.values():
            house.sshd(place).let_in(*[key.with_name("user.pub") for key in keys])
        self._settings = parse(
            f"ssh_user: root\nssh_key: {keys[0]}\nknown_hosts: {known}\nask_s: 15\n", FailoverSettings
        )
        self.desk = Desk(f"sqlite:///{self.folder}/store.db", now_ms=SystemClock().now_ms() - 70_000, **terms)
        self.desk.store.write(self._place_hosts)
        self.desk.well()

    def _place_hosts(self, tx: Any) -> None:
        for host, place in PLACE.items():
            tx.execute(update(hosts).where(hosts.c.id == host).values(addresses=[ADDRESS[place]]))

    def note_lag(self, lag_s: float, host: str = BACKUP) -> None:
        """What the agent of that standby reported just now."""
        now_ms = SystemClock().now_ms()
        self.desk.store.write(lambda tx: keep_newest(tx, host, "repl.lag_s", lag_s, now_ms, "agent", now_ms))

    def note_alive(self, host: str) -> None:
        """Its agent reports again."""
        alive = update(hosts).where(hosts.c.id == host).values(life="alive")
        self.desk.store.write(lambda tx: tx.execute(alive))

    def fails_over(self) -> Run:
        """The primary's outage was confirmed a dwell ago: decided, and run to its rest."""
        self.desk.falls()
        self.desk.now_ms = SystemClock().now_ms()
        self.desk.asked(level="F4")
        self.desk.tick()
        (row,) = self.desk.runs()
        return self._moved(row.id)

    def by_person(self, kind: str) -> Run:
        """What a person orders (failback, switchover), run to its rest."""
        now_ms = SystemClock().now_ms()
        with self.desk.store.read() as conn:
            facts = gather.gather_for(
                conn, self.desk.book, self.desk.contract, self.desk.pair, kind, now_ms, gather.Sight()
            )
        plan = gather.plan_of(self.desk.contract, 1, self.desk.pair, facts, kind)
        began = runs.Began("manual", Reason("failover.by_person", {"kind": kind}), "person:olena")
        run_id = self.desk.store.write(lambda tx: runs.begin(tx, plan, began, now_ms))
        return self._moved(run_id)

    def _moved(self, run_id: str) -> Run:
        return self._house.inside("coll", lambda: self._move(run_id))

    def _move(self, run_id: str) -> Run:
        clock, store = SystemClock(), self.desk.store
        lease = Lease(store, "one", 15.0, is_alone=True)
        worker = FailoverWorker(store, clock, lease, self._settings, lambda: self.desk.book)
        run, ends_s = self.run(run_id), time.monotonic() + RUN_S
        try:
            while time.monotonic() < ends_s:
                lease.try_hold(clock.mono_ms())
                worker.turn()
                run = self.run(run_id)
                if run.state.value in RESTS:
                    return run
                threading.Event().wait(0.05)
        finally:
            worker.stop()
        raise AssertionError(f"the run is still {run.state.value}:\n{self.told(run_id)}")

    def run(self, run_id: str) -> Run:
        with self.desk.store.read() as conn:
            found = runs.load(conn, run_id)
        assert found is not None
        return found

    def told(self, run_id: str) -> str:
        """The journal, for a person."""
        with self.desk.store.read() as conn:
            entries = runs.entries_of(conn, run_id)
        return "\n".join(f"{e.at_ms} {e.kind} {str(e.body)[:300]}" for e in entries if e.kind != "begin")

    def faults(self) -> list[str]:
        """Chains that are broken."""
        with self.desk.store.read() as conn:
            ids = [row.run_id for row in conn.exec_driver_sql("SELECT DISTINCT run_id FROM failover_journal")]
            return [run_id for run_id in ids if runs.broken_at(conn, run_id) is not None]

    def close(self) -> None:
        self.desk.store.close()
