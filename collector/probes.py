"""Workers that ask: they claim probe rows, run a check against its own deadline, and write the answer back.

A claim is a compare-and-set with a lease time, so that two collectors never ask the same at once and a worker that
died is replaced. No worker decides anything, and one that hangs holds one thread until its probe's own time-out:
nobody else waits for it. ``ProbeNetwork`` is the seam that the simulation replaces.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, bindparam, or_, select, update

from agent.checks.asks import ask_once, hops_of
from collector.asks import COLLECTOR, write_seen
from collector.tables import probes
from collector.trace import HopOwners, answer_of
from config.clock import Clock
from config.log import fields

if TYPE_CHECKING:
    from collector.store.engine import Store

log = logging.getLogger(__name__)

CLAIM_FOR_MS = 30_000
SUSPICION_TIMEOUT_S = 1.0
"""A suspect is asked briefly: its ticket is due within 3 s at the shortest heartbeat."""

IDLE_S = 1.0


class ProbeNetwork(Protocol):
    """What can be asked of the network."""

    def answer(self, kind: str, target: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask once, for at most ``timeout_s``; ``{"state", "detail", "ms", "facts"}``. Does not raise."""
        ...


class RealNetwork:
    """Asks with the agent's own checks, so that a check means the same from inside and outside."""

    def __init__(self, owners: Callable[[], HopOwners] = HopOwners) -> None:
        self._owners = owners

    def answer(self, kind: str, target: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask once; a target that is no check answers ``unknown`` with the reason."""
        told = ask_once(kind, target, timeout_s)
        return answer_of(hops_of(told), self._owners()) if kind == "trace" else told


def claim(tx: Connection, worker: str, now_ms: int, limit: int) -> Sequence[Any]:
    """Take up to ``limit`` unanswered probes, the longest waiting first, suspicions before routine."""
    free = or_(probes.c.claimed_until_ms.is_(None), probes.c.claimed_until_ms <= now_ms)
    wanted = (
        select(probes.c.id, probes.c.kind, probes.c.target, probes.c.why)
        .where(
            probes.c.vantage == COLLECTOR,
            probes.c.answered_at_ms.is_(None),
            probes.c.handled_at_ms.is_(None),
            free,
        )
        .order_by((probes.c.why != "suspicion"), probes.c.asked_at_ms, probes.c.id)
        .limit(limit)
    )
    if tx.dialect.name == "postgresql":
        wanted = wanted.with_for_update(skip_locked=True)
    rows = tx.execute(wanted).all()
    if rows:
        tx.execute(
            update(probes)
            .where(probes.c.id.in_([row.id for row in rows]), probes.c.answered_at_ms.is_(None), free)
            .values(claimed_by=worker, claimed_until_ms=now_ms + CLAIM_FOR_MS)
        )
    return rows


def settle(tx: Connection, worker: str, probe_id: int, answer: Mapping[str, Any], now_ms: int) -> bool:
    """Write the answer, if the probe is still ours to answer; whether it was. What it saw is an observation as well."""
    values = {"b_id": probe_id, "b_worker": worker, "b_at": now_ms, "b_answer": dict(answer)}
    row = tx.execute(_SETTLE, values).first()
    if row is not None and row.host_id:
        write_seen(tx, row.host_id, row.kind, answer, now_ms)
    return row is not None


_SETTLE = (
    update(probes)
    .where(
        probes.c.id == bindparam("b_id"),
        probes.c.claimed_by == bindparam("b_worker"),
        probes.c.answered_at_ms.is_(None),
    )
    .values(answered_at_ms=bindparam("b_at"), answer=bindparam("b_answer", type_=probes.c.answer.type))
    .returning(probes.c.host_id, probes.c.kind)
)


class ProbeWorkers:
    """A bounded pool: one thread claims as many probes as there are free workers, and sleeps till it is rung."""

    def __init__(
        self,
        store: Store,
        network: ProbeNetwork,
        clock: Clock,
        *,
        name: str,
        workers: int = 8,
        timeout_s: float = 3.0,
        poke: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._network = network
        self._clock = clock
        self._name = name
        self._timeout_s = timeout_s
        self._poke = poke
        self._free = workers
        self._size = workers
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._is_stopping = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="probe")
        self._thread = threading.Thread(target=self._run, name="probe-claims", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There are new rows; safe from any thread."""
        self._bell.set()

    def stop(self) -> None:
        """Finish what is being asked, claim nothing more."""
        self._is_stopping = True
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def busy(self) -> int:
        """Workers that are asking now."""
        return self._size - self._free

    def _run(self) -> None:
        while not self._is_stopping:
            self._bell.clear()
            if not self._claim_some():
                self._clock.wait(self._bell, IDLE_S)

    def _claim_some(self) -> bool:
        """Claim for the free workers; whether there may be more to claim at once."""
        with self._lock:
            free = self._free
        if free == 0:
            return False
        try:
            rows = self._store.write(lambda tx: claim(tx, self._name, self._clock.now_ms(), free))
        except Exception:
            # A loop boundary: the store may be busy or closing; the rows stay and are claimed by the next round.
            log.exception("Probes could not be claimed.")
            return False
        for row in rows:
            with self._lock:
                self._free -= 1
            self._pool.submit(self._ask, row.id, row.kind, row.target, row.why)
        return len(rows) == free and self._free > 0

    def _ask(self, probe_id: int, kind: str, target: Mapping[str, Any], why: str) -> None:
        try:
            limit = min(SUSPICION_TIMEOUT_S, self._timeout_s) if why == "suspicion" else self._timeout_s
            answer = self._network.answer(kind, target, limit)
            now_ms = self._clock.now_ms()
            self._store.write(lambda tx: settle(tx, self._name, probe_id, answer, now_ms))
            self._poke()
        except Exception:
            # A loop boundary: the claim runs out and the probe is asked again, or its suspicion decided without it.
            log.exception("A probe failed. %s", fields(probe=probe_id, kind=kind))
        finally:
            with self._lock:
                self._free += 1
            self._bell.set()
