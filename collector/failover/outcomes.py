"""What entering a state means beyond the run: the pair's row, the request's ticket, what a switch took.

Written in the one transaction with the journal's entry, so that none of them can say another thing than it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from collector.failover import runs
from collector.failover.account import told
from collector.failover.journal import Entry, Run
from collector.failover.states import State
from collector.failover.terms import PairTerms
from collector.tables import failover_runs
from ticketing import intake, ledger
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import Reason

FENCES = ("failover", "drill")
"""Kinds of runs that do what a switch does, first fence to verified: their times feed T_switch."""
TOLD = frozenset(State) - {State.PROMOTED, State.HOLD_DOWN}
"""States whose entering stands in the request's history."""


def entered(
    tx: Connection, book: Book, pair: PairTerms, run: Run, state: State, reason: Reason, now_ms: int
) -> None:
    """The run goes from ``run.state`` to ``state`` in this transaction."""
    is_rehearsal = run.plan.kind == "rehearsal"
    entries = runs.entries_of(tx, run.id)
    if state is State.PROMOTED and not is_rehearsal:
        runs.set_pair(tx, pair.id, serving=_serves(run))
    if state is State.ON_BACKUP:
        took_s = seconds_between(entries, (State.FENCING, State.DEMOTING), now_ms)
        if not is_rehearsal:
            hold_ms = now_ms + int(float(pair.hold_down) * 1000)
            runs.set_pair(tx, pair.id, serving=_serves(run), hold_down_until_ms=hold_ms)
        runs.note_rehearsal(
            tx,
            pair.id,
            now_ms,
            is_real=not is_rehearsal,
            is_passed=True,
            # Where nothing was done, or nobody was fenced, it does not tell how long a switch takes.
            seconds=took_s if run.plan.kind in FENCES else None,
            run_id=run.id,
            found=_found(run),
        )
    if _has_failed(run, state):
        runs.note_rehearsal(
            tx, pair.id, now_ms, is_real=not is_rehearsal, is_passed=False, run_id=run.id, found=_found(run)
        )
    row = tx.execute(select(failover_runs).where(failover_runs.c.id == run.id)).one()
    if row.ticket_id is not None:
        _tell(tx, book, row, run, state, reason, entries, now_ms)


def _has_failed(run: Run, state: State) -> bool:
    """Whether this shows that the pair cannot be switched as its contract says: from here on a person is asked (I15).

    A switch that was called off before its point of no return shows nothing; a rehearsal that was called off has not passed.
    """
    if state is State.STUCK:
        return run.plan.kind != "failback"
    return state is State.ABORTED and run.plan.kind in ("rehearsal", "drill")


def seconds_between(entries: list[Entry], since: tuple[State, ...], now_ms: int) -> float | None:
    """Seconds since the first entering of one of these states; None where none was entered."""
    wanted = {state.value for state in since}
    first = next((e.at_ms for e in entries if e.kind == "enter" and e.body["state"] in wanted), None)
    return None if first is None else round((now_ms - first) / 1000, 1)


def _tell(
    tx: Connection,
    book: Book,
    row: Any,
    run: Run,
    state: State,
    reason: Reason,
    entries: list[Entry],
    now_ms: int,
) -> None:
    if state in TOLD:
        body = {"reason": reason.to_dict(), "run": run.id, "state": state.value}
        ledger.write_event(tx, row.ticket_id, now_ms, MACHINE, "failover", body, is_public=True)
    if state is State.ON_BACKUP:
        said = next((e.body["account"] for e in reversed(entries) if "account" in e.body), None)
        intake.resolve(tx, book, row.ticket_id, reason if said is None else told(said), now_ms)
    elif state is State.ABORTED:
        intake.resolve(tx, book, row.ticket_id, reason, now_ms)


def _serves(run: Run) -> str:
    return run.plan.primary if run.plan.kind == "failback" else run.plan.backup


def _found(run: Run) -> dict[str, str]:
    return {
        key: step.outcome if not step.error else f"{step.outcome}: {step.error}"[:200]
        for key, step in run.steps.items()
    }
