"""Opening many tickets at once, in a few statements, by the rules that ``ticketing.intake`` has for one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.exc import IntegrityError

from ticketing import effects, intake, tables
from ticketing.contracts import Book
from ticketing.model import Verdict
from ticketing.tables import RowLike
from ticketing.terms import Contract


def open_many(
    tx: Connection,
    book: Book,
    wanted: Sequence[tuple[str, Verdict]],
    now_ms: int,
    *,
    parent_id: int | None = None,
) -> list[intake.Outcome]:
    """``intake.open_or_join`` for many (contract, verdict) at once; the outcomes in order.

    When a provider falls, thousands of contracts get their ticket in one tick. Those that nothing stands before are
    written together; where that fails, and for all others, each goes its own way.
    """
    previous = _newest_of(tx, wanted)
    fresh: dict[tuple[str, str], int] = {}
    for n, (contract_id, verdict) in enumerate(wanted):
        contract, key = book.contract(contract_id), (contract_id, verdict.problem)
        if intake.why_not(contract, verdict) is None and _is_free(contract, previous.get(key), now_ms):
            fresh.setdefault(key, n)
    done: dict[int, intake.Outcome] = {}
    if fresh:
        news = [
            intake.new_ticket(book, book.contract(key[0]), wanted[n][1], now_ms, parent_id, previous.get(key))
            for key, n in fresh.items()
        ]
        try:
            with tx.begin_nested():
                ids = effects.insert_tickets(tx, book, news, now_ms, kind="open")
            done = {n: intake.opened(id_, wanted[n][1]) for n, id_ in zip(fresh.values(), ids, strict=True)}
        except IntegrityError:
            done = {}  # somebody else opened one of them meanwhile: one by one tells which, and joins it
    return [
        done.get(n) or intake.open_or_join(tx, book, verdict, contract_id, now_ms, parent_id=parent_id)
        for n, (contract_id, verdict) in enumerate(wanted)
    ]


def _is_free(contract: Contract, previous: RowLike | None, now_ms: int) -> bool:
    """Whether nothing is open, folded or to be resumed where this ticket would stand."""
    return previous is None or not (
        previous["open_mark"] == 1
        or previous["merged_into"] is not None
        or effects.may_reopen(contract, previous, now_ms)
    )


def _newest_of(tx: Connection, wanted: Sequence[tuple[str, Verdict]]) -> dict[tuple[str, str], RowMapping]:
    """Each problem's open ticket, else its last one, as far as it is asked here; not locked: the constraint decides."""
    tickets = tables.tickets
    found: dict[tuple[str, str], RowMapping] = {}
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        known = select(
            tickets.c.id,
            tickets.c.contract_id,
            tickets.c.problem,
            tickets.c.open_mark,
            tickets.c.merged_into,
            tickets.c.state,
            tickets.c.resolved_at_ms,
            tickets.c.recurrences,
        ).where(
            tickets.c.contract_id.in_({contract_id for contract_id, _ in part}),
            tickets.c.problem.in_({verdict.problem for _, verdict in part}),
        )
        for row in tx.execute(known.order_by(tickets.c.id)).mappings():
            key = (row["contract_id"], row["problem"])
            if key not in found or found[key]["open_mark"] != 1:
                found[key] = row
    return found
