"""What a ticket's page needs from the store, in one read transaction of a fixed number of statements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select

from collector.api.host_queries import by_host
from ticketing import people
from ticketing.people import Person
from ticketing.queries import TicketFilter, TicketLine, TicketView, Viewer, list_tickets, ticket
from ticketing.tables import ticket_events, tickets

MAX_SHOWN_HOSTS = 40
MAX_EVENTS = 200
MAX_CHILDREN = 50
MAX_SIMILAR = 5


@dataclasses.dataclass(frozen=True)
class Similar:
    """An earlier ticket of the same problem, and what helped then."""

    id: int
    at_ms: int
    remedy: str


@dataclasses.dataclass(frozen=True)
class TicketBundle:
    """A ticket with its surroundings."""

    ticket: TicketView
    parent: TicketView | None
    children: Sequence[TicketLine]
    similar: Sequence[Similar]
    lives: Mapping[str, str]
    staff: Sequence[Person]

    @property
    def names(self) -> dict[str, str]:
        return {person.id: person.name for person in self.staff}


def load(conn: Connection, viewer: Viewer, ticket_id: int) -> TicketBundle | None:
    """None where there is no such ticket for this person."""
    view = ticket(conn, viewer, ticket_id, events=MAX_EVENTS)
    if view is None:
        return None
    parent = None
    if view.parent_id is not None and not viewer.is_client:
        parent = ticket(conn, viewer, view.parent_id, events=1)
    children: Sequence[TicketLine] = ()
    if view.children:
        children = list_tickets(conn, viewer, TicketFilter(parent_id=view.id), limit=MAX_CHILDREN).tickets
    return TicketBundle(
        ticket=view,
        parent=parent,
        children=children,
        similar=_similar(conn, view),
        lives=by_host(conn, viewer, view.affected[:MAX_SHOWN_HOSTS]),
        staff=people.staff(conn),
    )


def names_of(conn: Connection) -> dict[str, str]:
    """Log-in name -> name of everybody on the staff: a few dozen people, one statement."""
    return {person.id: person.name for person in people.staff(conn)}


def _similar(conn: Connection, view: TicketView) -> list[Similar]:
    """Earlier tickets of the same problem under the same contract: an index holds exactly these."""
    wanted = (
        select(tickets.c.id, tickets.c.created_at_ms)
        .where(
            tickets.c.contract_id == view.contract_id,
            tickets.c.problem == view.problem,
            tickets.c.id != view.id,
        )
        .order_by(tickets.c.id.desc())
        .limit(MAX_SIMILAR)
    )
    found = {row.id: row.created_at_ms for row in conn.execute(wanted)}
    if not found:
        return []
    resolved = select(ticket_events.c.ticket_id, ticket_events.c.body).where(
        ticket_events.c.ticket_id.in_(found), ticket_events.c.kind == "resolve"
    )
    remedies = {row.ticket_id: str(row.body.get("remedy") or "") for row in conn.execute(resolved)}
    return [Similar(ticket_id, at_ms, remedies.get(ticket_id, "")) for ticket_id, at_ms in found.items()]
