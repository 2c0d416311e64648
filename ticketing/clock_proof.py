"""The nightly proof that clocks and events agree: each clock's row against a replay of its ticket's events.

The rows of ``clocks`` are a cache with the next instants; the events are the truth. A clock is replayed under the terms
that its row names (``calendar``: contract and version), so that one that stopped years ago is proved by what held then.
What differs is our own fault: it is repaired from the events, and the repair is an event and an audit row, since past
outcomes never change silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select

from ticketing import audit, clocks, contract_versions, ledger, tables
from ticketing.clocks import Stopwatch
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import ClockKind, ClockState, Reason, TicketState
from ticketing.terms import Contract

WORKED_ON = (
    TicketState.NEW.value,
    TicketState.IN_WORK.value,
    TicketState.WAITING_CLIENT.value,
    TicketState.WAITING_PROVIDER.value,
    TicketState.RESOLVED.value,
)
"""States whose clocks may still be asked for; closed and merged ones were proved in the night after they ended."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One clock whose row is not what the events say."""

    kind: ClockKind
    right: Stopwatch | None
    """What the row must be; None = the events know no such clock."""
    contract: Contract
    version: int
    held: dict[str, Any] | None
    """The row as it stands; None = it is missing."""


def to_prove(tx: Connection, after_id: int, since_ms: int, limit: int) -> list[int]:
    """The next tickets to prove, by number: those worked on, and those that ended since ``since_ms``."""
    tickets = tables.tickets
    wanted = (
        select(tickets.c.id)
        .where(
            tickets.c.id > after_id,
            tickets.c.state.in_(WORKED_ON) | (tickets.c.closed_at_ms >= since_ms),
        )
        .order_by(tickets.c.id)
        .limit(limit)
    )
    return list(tx.execute(wanted).scalars())


def disagreements(tx: Connection, book: Book, ticket_id: int) -> list[ClockKind]:
    """Clocks whose cached row is not what the ticket's events say. [] = they agree."""
    return [difference.kind for difference in differences(tx, book, ticket_id)]


def differences(tx: Connection, book: Book, ticket_id: int) -> list[Difference]:
    """What is wrong with the clocks of a ticket, by kind.

    A ticket that still waits to be re-judged under a changed contract is skipped, and so is a clock under a version
    that the store holds no more.
    """
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or (ledger.is_open(row) and ledger.is_outdated(book, row)):
        return []
    table = tables.clocks
    rows = tx.execute(select(table).where(table.c.ticket_id == ticket_id)).mappings()
    held = {ClockKind(c["kind"]): c for c in rows}
    changes = ledger.changes_of(tx, ticket_id)
    found: list[Difference] = []
    for kind in sorted({*held, *(change.kind for change in changes)}, key=lambda k: k.value):
        terms = _terms(tx, book, row["contract_id"], held.get(kind))
        if terms is None:
            continue
        contract, version = terms
        right = clocks.replay(changes, contract.calendar.calendar).get(kind)
        if not _agree(right, held.get(kind), contract):
            cached = held.get(kind)
            found.append(Difference(kind, right, contract, version, None if cached is None else dict(cached)))
    return found


def repair(tx: Connection, book: Book, ticket_id: int, found: Sequence[Difference], now_ms: int) -> None:
    """Write the rows as the events say, with an event and an audit row; what was told and breached stays told."""
    row = ledger.ticket_row(tx, ticket_id)
    assert row is not None, "only a ticket that is there differs"
    told: dict[str, Any] = {}
    for one in found:
        told[one.kind.value] = {"before": one.held, "after": _put_right(tx, ticket_id, one, now_ms)}
    names = [one.kind.value for one in found]
    reason = Reason("reason.clock.repaired", {"clocks": names})
    ledger.write_event(
        tx, ticket_id, now_ms, MACHINE, "repair", {"reason": reason.to_dict(), "repaired": told}
    )
    audit.write(tx, now_ms, MACHINE, "clock_repair", f"ticket:{ticket_id}", details=told)
    if ledger.is_open(row):
        ledger.plan_next_step(tx, book, row, ledger.watches(tx, ticket_id), now_ms)
    ledger.touch(tx, row, now_ms)


def _put_right(tx: Connection, ticket_id: int, one: Difference, now_ms: int) -> dict[str, Any] | None:
    if one.right is None:
        table = tables.clocks
        tx.execute(delete(table).where(table.c.ticket_id == ticket_id, table.c.kind == one.kind.value))
        return None
    calendar = one.contract.calendar.calendar
    right = one.right
    if one.held is not None:
        right = clocks.rejudged(right, ledger.watch_of(one.held), calendar, now_ms)
    ledger.save_watch(tx, ticket_id, right, one.contract, one.version, is_new=one.held is None)
    return ledger.clock_values(right, calendar, one.contract.id, one.version)


def _terms(
    tx: Connection, book: Book, contract_id: str, cached: RowMapping | None
) -> tuple[Contract, int] | None:
    """The contract and version by which this clock counts; None where the store does not hold them any more."""
    contract = book.contract(contract_id)
    version = book.version(contract.id)
    if cached is None or cached["calendar"] == ledger.calendar_tag(contract.id, version):
        return contract, version
    name, _, number = cached["calendar"].rpartition("@")
    known = contract_versions.read(tx, name, int(number)) if number.isdigit() else None
    return None if known is None else (known[1], known[0].version)


def _agree(right: Stopwatch | None, cached: RowMapping | None, contract: Contract) -> bool:
    if right is None or cached is None:
        return right is None and cached is None
    calendar = contract.calendar.calendar
    held = ledger.watch_of(cached)
    if _core(right) != _core(held):
        return False
    if held.state is ClockState.STOPPED and held.outcome not in (right.outcome, "breached"):
        return False
    upcoming = held.next_threshold(calendar)
    instants = (held.reaches(calendar, 100), None if upcoming is None else upcoming[1])
    return (cached["due_at_ms"], cached["next_event_at_ms"]) == instants


def _core(watch: Stopwatch) -> tuple[Any, ...]:
    """What the events decide; what was told is the row's own."""
    return (
        watch.state,
        watch.started_at_ms,
        watch.target_ms,
        watch.spent_ms,
        watch.running_since_ms,
        watch.stopped_at_ms,
        watch.pause_reason,
    )
