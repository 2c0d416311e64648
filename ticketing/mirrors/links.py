"""Rows of mirrors: which ticket is which ticket there, what both sides agreed on, when to look, how a desk fares.

Every function takes the transaction that the collector opened; nothing here asks a desk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from ticketing import ledger, outbox, tables
from ticketing.mirrors.desk import Fault
from ticketing.mirrors.terms import DeskTerms
from ticketing.model import Reason
from ticketing.tables import RowLike

CHANNEL = "mirror:"
SECOND_LOOK_MS = 3_000
"""Desks date their changes by the second: what follows within the same one moves no stamp, so a look is taken twice."""

DOWN_FIRST_S = 5.0
DOWN_MAX_S = 300.0
MAX_PROBLEM = 1000

_M, _D, _C = tables.mirrored, tables.desks, tables.mirrored_comments


def actor_of(desk: str) -> str:
    """Whose acts a desk's are in our history."""
    return f"external:{desk}"[:64]


def begin(tx: Connection, row: Mapping[str, Any], now_ms: int) -> RowMapping:
    """The ticket's link to the desk of an outbox row; written now where there is none, before anything is sent."""
    found = of_ticket(tx, row["ticket_id"], row["destination"])
    if found is None:
        ticket = row["payload"]["ticket"]
        key = outbox.thread_id(ticket["id"], ticket["created_at_ms"])
        values = {
            "ticket_id": row["ticket_id"],
            "desk": row["destination"],
            "key": key,
            "made_by": row["message_id"],
        }
        tx.execute(insert(_M).values(**values, created_at_ms=now_ms))
        found = of_ticket(tx, row["ticket_id"], row["destination"])
    assert found is not None
    return found


def of_ticket(tx: Connection, ticket_id: int, desk: str) -> RowMapping | None:
    """The ticket's link to a desk."""
    return tx.execute(select(_M).where(_M.c.ticket_id == ticket_id, _M.c.desk == desk)).mappings().first()


def by_id(tx: Connection, link_id: int) -> RowMapping | None:
    """A link by its id."""
    return tx.execute(select(_M).where(_M.c.id == link_id)).mappings().first()


def change(tx: Connection, link_id: int, **values: Any) -> None:
    """Write columns of a link."""
    if "problem" in values:
        values["problem"] = values["problem"][:MAX_PROBLEM]
    tx.execute(update(_M).where(_M.c.id == link_id).values(**values))


def made(
    tx: Connection,
    link: RowLike,
    remote_id: str,
    url: str,
    now_ms: int,
    reasons: Iterable[Reason] = (),
    **values: Any,
) -> None:
    """The desk has the ticket: its id there, and a line in our history."""
    made_now = Reason("did.mirror.made", {"desk": link["desk"], "number": remote_id, "url": url})
    agreed(tx, link, [made_now, *reasons], now_ms, remote_id=remote_id, url=url[:512], **values)


def agreed(tx: Connection, link: RowLike, reasons: Iterable[Reason], now_ms: int, **values: Any) -> None:
    """What both sides have now, and lines in our history where something did not go as wanted."""
    change(tx, link["id"], **values)
    for reason in reasons:
        tell(tx, link["ticket_id"], now_ms, reason)


def tell(tx: Connection, ticket_id: int, now_ms: int, reason: Reason, text: str = "") -> int:
    """A line of the ticket's history that only our own people read."""
    body = {"reason": reason.to_dict(), "text": text}
    return ledger.write_event(tx, ticket_id, now_ms, ledger.MACHINE, "mirror", body)


def known_comments(tx: Connection, link_id: int) -> dict[str, str]:
    """Ids of the desk's comments that were taken before, each with the marker of our message where it is ours."""
    wanted = select(_C.c.comment_id, _C.c.marker).where(_C.c.mirrored_id == link_id)
    return {row.comment_id: row.marker for row in tx.execute(wanted)}


def know_comments(tx: Connection, link_id: int, taken: Mapping[str, str]) -> None:
    """These were taken: ids with markers."""
    rows = [{"mirrored_id": link_id, "comment_id": key, "marker": marker} for key, marker in taken.items()]
    if rows:
        tx.execute(insert(_C), rows)


def is_waiting_to_go_out(tx: Connection, link: RowLike) -> bool:
    """Whether something of ours for this ticket has not reached the desk yet."""
    table = tables.outbox
    channel = CHANNEL + link["desk"]
    wanted = select(table.c.id).where(
        table.c.ticket_id == link["ticket_id"], table.c.channel == channel, table.c.state == "pending"
    )
    return tx.execute(wanted.limit(1)).first() is not None


def notice_stamps(tx: Connection, desk: str, stamps: Mapping[str, str], now_ms: int) -> int:
    """Tickets of a desk that changed are to be looked at; how many of ours are."""
    count = 0
    for remote_id, stamp in stamps.items():
        link = tx.execute(select(_M).where(_M.c.desk == desk, _M.c.remote_id == remote_id)).mappings().first()
        if link is not None and link["stamp"] != stamp:
            change(tx, link["id"], stamp=stamp[:64], looks=2, look_at_ms=now_ms)
            count += 1
    return count


def notice_hook(tx: Connection, desk: str, remote_id: str, now_ms: int) -> bool:
    """Somebody says that this ticket changed there; False where it is none of ours."""
    ours = tx.execute(select(_M.c.id).where(_M.c.desk == desk, _M.c.remote_id == remote_id)).scalar()
    if ours is not None:
        change(tx, ours, looks=2, look_at_ms=now_ms)
    return ours is not None


def claim_look(tx: Connection, now_ms: int, hold_ms: int) -> RowMapping | None:
    """A link that is to be looked at now, for this worker; those of a desk that is away wait."""
    is_up = or_(_D.c.down_until_ms.is_(None), _D.c.down_until_ms <= now_ms)
    wanted = (
        select(_M)
        .join(_D, _D.c.name == _M.c.desk)
        .where(
            _M.c.look_at_ms <= now_ms,
            _M.c.remote_id.is_not(None),
            or_(_M.c.claimed_until_ms.is_(None), _M.c.claimed_until_ms <= now_ms),
            is_up,
        )
        .order_by(_M.c.look_at_ms, _M.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=_M)
    )
    link = tx.execute(wanted).mappings().first()
    if link is not None:
        change(tx, link["id"], claimed_until_ms=now_ms + hold_ms)
    return link


def looked(tx: Connection, link: RowLike, now_ms: int, *, again_in_ms: int | None = None) -> None:
    """A look is done; the next one where one is left, or where the caller wants it."""
    fresh = by_id(tx, link["id"])
    if fresh is None:
        return
    if fresh["look_at_ms"] != link["look_at_ms"]:  # told anew while we looked
        change(tx, link["id"], claimed_until_ms=None)
        return
    left = max(0, fresh["looks"] - 1)
    wait_ms = again_in_ms if again_in_ms is not None else (SECOND_LOOK_MS if left else None)
    at_ms = None if wait_ms is None else now_ms + wait_ms
    change(tx, link["id"], looks=left, look_at_ms=at_ms, claimed_until_ms=None)


def follow_desks(tx: Connection, desks: Mapping[str, DeskTerms], now_ms: int) -> None:
    """A row for each desk that settings name."""
    known = set(tx.execute(select(_D.c.name)).scalars())
    for name in desks:
        if name not in known:
            tx.execute(insert(_D).values(name=name, next_at_ms=now_ms))


def claim_desk(tx: Connection, names: Iterable[str], now_ms: int, hold_ms: int) -> RowMapping | None:
    """A desk that is to be asked what changed, for this worker."""
    wanted = (
        select(_D)
        .where(
            _D.c.name.in_(list(names)),
            _D.c.next_at_ms <= now_ms,
            or_(_D.c.claimed_until_ms.is_(None), _D.c.claimed_until_ms <= now_ms),
            or_(_D.c.down_until_ms.is_(None), _D.c.down_until_ms <= now_ms),
        )
        .order_by(_D.c.next_at_ms)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    desk = tx.execute(wanted).mappings().first()
    if desk is not None:
        tx.execute(update(_D).where(_D.c.name == desk["name"]).values(claimed_until_ms=now_ms + hold_ms))
    return desk


def asked(tx: Connection, name: str, cursor: str | None, next_at_ms: int) -> None:
    """A desk was asked; ``cursor`` None leaves it where it was."""
    values: dict[str, Any] = {"next_at_ms": next_at_ms, "claimed_until_ms": None}
    if cursor is not None:
        values["cursor"] = cursor[:200]
    tx.execute(update(_D).where(_D.c.name == name).values(**values))


def well(tx: Connection, name: str) -> None:
    """The desk answered as it should."""
    is_known_ill = or_(_D.c.failures > 0, _D.c.down_until_ms.is_not(None))
    values = {"failures": 0, "down_until_ms": None, "last_error": ""}
    tx.execute(update(_D).where(_D.c.name == name, is_known_ill).values(**values))


def failed(tx: Connection, name: str, fault: Fault, now_ms: int) -> None:
    """Note a failure; where the desk itself is away, all that waits for it waits together, longer each time."""
    row = tx.execute(select(_D).where(_D.c.name == name)).mappings().first()
    failures = (row["failures"] if row is not None else 0) + 1
    values: dict[str, Any] = {"failures": failures, "last_error": str(fault)[:MAX_PROBLEM]}
    if fault.is_down:
        wait_s = min(DOWN_FIRST_S * 2.0 ** min(failures - 1, 10), DOWN_MAX_S)
        until_ms = now_ms + round(1000 * min(max(wait_s, fault.retry_after_s or 0.0), 86_400.0))
        values["down_until_ms"] = until_ms
        outbox.postpone(tx, CHANNEL + name, until_ms)
    if row is None:
        tx.execute(insert(_D).values(name=name, next_at_ms=now_ms, **values))
    else:
        tx.execute(update(_D).where(_D.c.name == name).values(**values))
