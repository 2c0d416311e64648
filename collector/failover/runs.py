"""Runs, their journal and their pairs as rows. The journal alone is the truth; ``failover_runs`` is what it adds up to.

Every function takes an open transaction. What the engine writes goes through ``append`` with the term that it holds,
compared in that very transaction (I2), and with the number of the entry that it has folded: who has read less than was
written, or holds the lease no more, writes nothing. Entries are never changed and never deleted before their age.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from collector.failover import journal
from collector.failover.journal import Entry, Run
from collector.failover.plan import Plan
from collector.failover.states import TABLE, State
from collector.tables import (
    failover_checks,
    failover_journal,
    failover_pairs,
    failover_rehearsals,
    failover_runs,
)
from ticketing.model import Reason

ENTRIES_MAX = 5_000
"""A run's time-outs end it far below this."""
STILL_OPEN = frozenset(s for s, row in TABLE.items() if not row.is_end) - {
    State.ON_BACKUP,
    State.HOLD_DOWN,
} | {State.STUCK}
"""Another run of the pair may not begin meanwhile; a person may still lead out of STUCK."""
MOVING = frozenset(s.value for s, row in TABLE.items() if not row.is_end) | {State.STUCK.value}

Holds = Callable[[Connection], bool]
"""Whether the writer still holds the lease, asked inside the transaction (``Lease.still_held``)."""


@dataclasses.dataclass(frozen=True)
class PairState:
    """What outlives a run."""

    epoch: int = 0
    serving: str = ""
    hold_down_until_ms: int | None = None
    said: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Began:
    """Why and by whom a run begins."""

    mode: str
    reason: Reason
    actor: str = "engine"
    cause_id: int | None = None
    ticket_id: int | None = None
    approve_until_ms: int | None = None
    checked: tuple[Mapping[str, Any], ...] = ()


def begin(tx: Connection, plan: Plan, began: Began, now_ms: int, term: int = 0) -> str:
    """A new run in state DECIDED; its id. IntegrityError where the pair has one that is not over."""
    run_id = hashlib.sha256(f"{plan.pair} {plan.kind} {now_ms}".encode()).hexdigest()[:20]
    body = {
        "plan": plan.to_dict(),
        "mode": began.mode,
        "reason": began.reason.to_dict(),
        "approve_until_ms": began.approve_until_ms,
        "guards": [dict(one) for one in began.checked],
    }
    epoch = pair_state(tx, plan.pair).epoch
    tx.execute(
        insert(failover_runs).values(
            id=run_id,
            pair=plan.pair,
            contract_id=plan.contract_id,
            cause_id=began.cause_id,
            ticket_id=began.ticket_id,
            kind=plan.kind,
            mode=began.mode,
            state=State.DECIDED.value,
            plan_hash=plan.hash,
            epoch=epoch,
            began_at_ms=now_ms,
            open_mark=1,
        )
    )
    entry = journal.following(
        None, run_id, now_ms, "begin", _plain(body), actor=began.actor, term=term, epoch=epoch
    )
    _insert(tx, entry)
    return run_id


def append(
    tx: Connection,
    run_id: str,
    kind: str,
    body: Mapping[str, Any],
    now_ms: int,
    *,
    actor: str = "engine",
    term: int = 0,
    epoch: int | None = None,
    after_seq: int | None = None,
    holds: Holds | None = None,
) -> Entry | None:
    """The next entry of the run, and its row brought up to date; None where the writer has lost the right to write it.

    The engine gives ``holds`` and ``after_seq`` (the last entry that it has read); a person's word gives neither.
    """
    tx.execute(select(failover_runs.c.id).where(failover_runs.c.id == run_id).with_for_update())
    if holds is not None and not holds(tx):
        return None
    entries = entries_of(tx, run_id)
    if not entries or (after_seq is not None and entries[-1].seq != after_seq):
        return None
    # A wall clock may step back between two collectors; the journal's own time does not.
    at_ms = max(now_ms, entries[-1].at_ms)
    entry = journal.following(
        entries[-1], run_id, at_ms, kind, _plain(body), actor=actor, term=term, epoch=epoch
    )
    _insert(tx, entry)
    run = journal.fold([*entries, entry])
    assert run is not None, "a run with entries folds"
    _follow(tx, run, entry)
    return entry


def entries_of(conn: Connection, run_id: str) -> list[Entry]:
    """The run's journal, oldest first."""
    wanted = (
        select(failover_journal)
        .where(failover_journal.c.run_id == run_id)
        .order_by(failover_journal.c.seq)
        .limit(ENTRIES_MAX)
    )
    return [
        Entry(r.run_id, r.seq, r.at_ms, r.kind, r.actor, r.term, r.epoch, r.body, r.prev_sha256)
        for r in conn.execute(wanted)
    ]


def load(conn: Connection, run_id: str) -> Run | None:
    """The run as its journal tells it."""
    return journal.fold(entries_of(conn, run_id))


def broken_at(conn: Connection, run_id: str) -> int | None:
    """The first entry that does not follow from the one before, or whose stored link is not its own; None = whole."""
    kept = dict(
        conn.execute(
            select(failover_journal.c.seq, failover_journal.c.sha256).where(
                failover_journal.c.run_id == run_id
            )
        ).all()
    )
    entries = entries_of(conn, run_id)
    at = journal.broken_at(entries)
    wrong = [entry.seq for entry in entries if kept.get(entry.seq) != entry.sha256]
    return min([*wrong, *([] if at is None else [at])], default=None)


def pair_state(conn: Connection, pair: str) -> PairState:
    """The pair's row, or what holds of a pair that never switched."""
    row = conn.execute(select(failover_pairs).where(failover_pairs.c.pair == pair)).first()
    if row is None:
        return PairState()
    said = tuple(json.loads(row.said)) if row.said else ()
    return PairState(row.epoch, row.serving, row.hold_down_until_ms, said)


def raise_epoch(tx: Connection, pair: str) -> int:
    """The pair's next epoch; it never goes back."""
    _ensure_pair(tx, pair)
    tx.execute(
        update(failover_pairs).where(failover_pairs.c.pair == pair).values(epoch=failover_pairs.c.epoch + 1)
    )
    return tx.execute(select(failover_pairs.c.epoch).where(failover_pairs.c.pair == pair)).scalar_one()


def set_pair(tx: Connection, pair: str, **values: Any) -> None:
    """Write values of the pair's row."""
    _ensure_pair(tx, pair)
    if "said" in values:
        values["said"] = json.dumps(list(values["said"]))
    tx.execute(update(failover_pairs).where(failover_pairs.c.pair == pair).values(**values))


def set_ticket(tx: Connection, run_id: str, ticket_id: int) -> None:
    """The switch request that speaks of this run."""
    tx.execute(update(failover_runs).where(failover_runs.c.id == run_id).values(ticket_id=ticket_id))


def moving(conn: Connection) -> list[Any]:
    """Rows of the runs that are not over, oldest first, each with the number of its newest entry (``newest_seq``)."""
    newest = (
        select(func.max(failover_journal.c.seq))
        .where(failover_journal.c.run_id == failover_runs.c.id)
        .scalar_subquery()
    )
    wanted = (
        select(failover_runs, newest.label("newest_seq"))
        .where(failover_runs.c.state.in_(MOVING))
        .order_by(failover_runs.c.began_at_ms)
    )
    return list(conn.execute(wanted.limit(500)))


def open_run(conn: Connection, pair: str) -> Any | None:
    """The row of the pair's run that is not over; at most one exists."""
    wanted = select(failover_runs).where(failover_runs.c.pair == pair, failover_runs.c.open_mark == 1)
    return conn.execute(wanted).first()


def note_check(
    tx: Connection, pair: str, step: str, outcome: str, level: str, detail: str, now_ms: int
) -> None:
    """What a step's precheck said just now."""
    values = {"outcome": outcome, "level": level, "detail": detail[:300], "at_ms": now_ms}
    key = (failover_checks.c.pair == pair, failover_checks.c.step == step)
    if tx.execute(update(failover_checks).where(*key).values(**values)).rowcount == 0:
        tx.execute(insert(failover_checks).values(pair=pair, step=step, **values))


def note_rehearsal(
    tx: Connection,
    pair: str,
    now_ms: int,
    *,
    is_real: bool,
    is_passed: bool,
    seconds: float | None = None,
    run_id: str = "",
    found: Mapping[str, Any] | None = None,
) -> None:
    """A rehearsal, or a real switch, that was done."""
    tx.execute(
        insert(failover_rehearsals).values(
            pair=pair,
            at_ms=now_ms,
            is_real=is_real,
            is_passed=is_passed,
            seconds=seconds,
            run_id=run_id,
            found=dict(found or {}),
        )
    )


def _follow(tx: Connection, run: Run, entry: Entry) -> None:
    values: dict[str, Any] = {"state": run.state.value, "epoch": run.epoch}
    if entry.kind == "enter":
        is_stuck_rehearsal = run.plan.kind == "rehearsal" and run.state is State.STUCK
        is_open = run.state in STILL_OPEN and not is_stuck_rehearsal
        values["open_mark"] = 1 if is_open else None
        if run.state is State.ARMED:
            values["acted_at_ms"] = entry.at_ms
        if not is_open:
            values["ended_at_ms"] = entry.at_ms
    tx.execute(update(failover_runs).where(failover_runs.c.id == run.id).values(**values))


def _ensure_pair(tx: Connection, pair: str) -> None:
    if tx.execute(select(failover_pairs.c.pair).where(failover_pairs.c.pair == pair)).first() is None:
        tx.execute(insert(failover_pairs).values(pair=pair, epoch=0, serving="", said=""))


def _insert(tx: Connection, entry: Entry) -> None:
    tx.execute(insert(failover_journal).values(**dataclasses.asdict(entry), sha256=entry.sha256))


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read again, so that the link is over what the store keeps."""
    return json.loads(json.dumps(body, ensure_ascii=False))
