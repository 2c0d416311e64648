"""A replay's failover pair: what its fence and its replication would say, and what was decided about it.

The world's side only: no step is ever done in a replay. The fence goes by the provider's interface, so it can work while
the provider tells the machine's state and is in no incident of its own; that of a machine of its own by its controller, where
the scenario tells of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from collector.failover import runs
from collector.observed import keep_newest
from collector.replay.contracts import FENCE
from collector.replay.expand import Outside
from collector.replay.played import Failover
from collector.replay.scenario import Scenario
from collector.store.engine import Store
from collector.tables import failover_runs
from ticketing.model import Reason
from ticketing.tables import ticket_events

DAY_MS = 86_400_000
STRENGTH = ("auto", "request", "forbidden_auto", "none")


class ReplayedPair:
    """The pair of one scenario, or none."""

    def __init__(self, scenario: Scenario, outside: Outside, start_ms: int) -> None:
        raw = scenario.topology.failover
        self._outside = outside
        self._start_ms = start_ms
        self._primary, self._backup = (str(raw["primary"]), str(raw["backup"])) if raw else ("", "")
        hosts = {host.id: host for host in scenario.topology.hosts}
        self._provider = hosts[self._primary].provider if self._primary in hosts else ""
        self._is_metal = self._primary in hosts and hosts[self._primary].virt == "none"
        self._repl = [
            (entry.t_ms, entry.signal, float(entry.value))
            for entry in scenario.timeline
            if raw and entry.host == self._backup and entry.signal.startswith("repl.")
        ]

    @property
    def pair(self) -> str:
        """Its name; "" where the scenario has none."""
        return f"{self._primary}>{self._backup}" if self._primary else ""

    def rehearsed(self, tx: Connection, now_ms: int) -> None:
        """The pair was rehearsed the day before: a scenario says what is the matter, not what was neglected."""
        if self.pair:
            runs.note_rehearsal(tx, self.pair, now_ms - DAY_MS, is_real=False, is_passed=True)

    def look(self, store: Store, now_ms: int) -> None:
        """The fence's precheck as a worker would have it now, and the backup's lag as its agent told it last."""
        if self.pair:
            store.write(lambda tx: self._look(tx, now_ms))

    def _look(self, tx: Connection, now_ms: int) -> None:
        t_ms = now_ms - self._start_ms
        status = self._outside.seen(self._provider, "prov.status", t_ms) or "ok"
        state = self._outside.seen(self._primary, "prov.vm_state", t_ms) or "running"
        bmc = self._outside.seen(self._primary, "ext.bmc", t_ms) if self._is_metal else None
        can = status != "incident" and state != "unknown" and bmc != "dead"
        outcome, level = ("done", "F4") if can else ("not_done", "")
        runs.note_check(tx, self.pair, "fence-0-0", outcome, level, f"{FENCE}: {status}, {state}", now_ms)
        lag, age = self._said("repl.lag_s", t_ms, 1.0), self._said("repl.sample_age_s", t_ms, 5.0)
        told_ms = self._start_ms + min(t_ms, max([at for at, _, _ in self._repl if at <= t_ms], default=t_ms))
        taken_ms = told_ms - round(age * 1000)
        keep_newest(tx, self._backup, "repl.lag_s", lag, taken_ms, "agent", told_ms)

    def _said(self, signal: str, t_ms: int, otherwise: float) -> float:
        return next(
            (value for at, name, value in reversed(self._repl) if name == signal and at <= t_ms), otherwise
        )


def decision_of(conn: Connection, raw: Mapping[str, Any] | None) -> Failover:
    """The boldest decision of the whole play, with its reason's key and inputs.

    Under a contract that says auto, a run that asks a person is a gate's refusal, as the scenarios' vocabulary has it.
    """
    if raw is None:
        return Failover("none", "no failover pair in this contract")
    found = [Failover("none", "nothing to switch")]
    asked = "forbidden_auto" if raw.get("mode") == "auto" else "request"
    wanted = select(failover_runs.c.id, failover_runs.c.mode).order_by(failover_runs.c.began_at_ms)
    for row in conn.execute(wanted):
        run = runs.load(conn, row.id)
        reason = Reason.from_dict(dict(run.reason)) if run is not None else Reason("failover.began")
        found.append(Failover("auto" if row.mode == "auto" else asked, _words(reason)))
    told = select(ticket_events.c.body).where(ticket_events.c.kind == "failover").order_by(ticket_events.c.id)
    for body in conn.execute(told).scalars():
        if "run" not in body:
            found.append(Failover("forbidden_auto", _words(Reason.from_dict(body["reason"]))))
    return min(found, key=lambda one: STRENGTH.index(one.decision))


def _words(reason: Reason) -> str:
    params = ", ".join(f"{key} {value}" for key, value in reason.params.items() if value not in ("", 0))
    return f"{reason.key}: {params}" if params else reason.key
