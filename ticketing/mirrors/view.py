"""What people see of a ticket's mirrors: where each is, whether it is up to date, what its desk would not take."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, func, select

from ticketing import tables
from ticketing.mirrors.links import CHANNEL


@dataclasses.dataclass(frozen=True)
class MirrorView:
    """One mirror of a ticket."""

    desk: str
    number: str
    """Its id there; "" until the desk has it."""
    url: str
    state: str
    """level (all was delivered), waiting (something is on its way), behind (an attempt failed)."""
    waiting: int
    """Messages that wait."""
    problem: str


def of_ticket(conn: Connection, ticket_id: int) -> list[MirrorView]:
    """The ticket's mirrors, by desk; those whose first message still waits among them."""
    rows, links = tables.outbox, tables.mirrored
    waiting = (
        select(rows.c.destination, func.count(), func.max(rows.c.attempts), func.max(rows.c.last_error))
        .where(rows.c.ticket_id == ticket_id, rows.c.channel.like(f"{CHANNEL}%"), rows.c.state == "pending")
        .group_by(rows.c.destination)
    )
    pending = {desk: (count, attempts, error) for desk, count, attempts, error in conn.execute(waiting)}
    known = {
        row["desk"]: row
        for row in conn.execute(select(links).where(links.c.ticket_id == ticket_id)).mappings()
    }
    views: list[MirrorView] = []
    for desk in sorted({*known, *pending}):
        link = known.get(desk)
        count, attempts, error = pending.get(desk, (0, 0, ""))
        state = "level" if not count else "behind" if attempts else "waiting"
        views.append(
            MirrorView(
                desk,
                "" if link is None else link["remote_id"] or "",
                "" if link is None else link["url"],
                state,
                count,
                (error if attempts else "") or ("" if link is None else link["problem"]),
            )
        )
    return views
