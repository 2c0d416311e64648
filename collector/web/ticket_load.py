"""What a ticket's page needs from the store, in one read transaction of a fixed number of statements."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence

from sqlalchemy import Connection, select

from collector.api.host_queries import by_host
from collector.web import changes
from collector.web.changes import Changed
from ticketing import knowledge, people
from ticketing.contracts import Book
from ticketing.knowledge import Similar
from ticketing.mirrors import view as mirror_view
from ticketing.mirrors.view import MirrorView
from ticketing.people import Person
from ticketing.queries import TicketFilter, TicketLine, TicketView, Viewer, list_tickets, ticket
from ticketing.tables import tickets

MAX_SHOWN_HOSTS = 40
MAX_EVENTS = 200
MAX_CHILDREN = 50
MAX_SIMILAR = 5


@dataclasses.dataclass(frozen=True)
class Earlier:
    """An earlier ticket of the very same problem that nobody had to solve: it passed by itself, or was merged."""

    id: int
    at_ms: int


@dataclasses.dataclass(frozen=True)
class TicketBundle:
    """A ticket with its surroundings."""

    ticket: TicketView
    parent: TicketView | None
    children: Sequence[TicketLine]
    similar: Sequence[Similar]
    earlier: Sequence[Earlier]
    changes: Sequence[Changed]
    open_beside: Sequence[TicketLine]
    """Of a filed ticket: open tickets of the machine about the same host."""
    lives: Mapping[str, str]
    staff: Sequence[Person]
    clients: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Log-in name -> name of the client's own people."""
    mirrors: Sequence[MirrorView] = ()
    """Where it stands in external desks; for our own people only."""

    @property
    def names(self) -> dict[str, str]:
        return {**self.clients, **{person.id: person.name for person in self.staff}}


def load(conn: Connection, book: Book, viewer: Viewer, ticket_id: int) -> TicketBundle | None:
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
    similar = knowledge.similar(conn, book, viewer, _about(book, view))
    return TicketBundle(
        ticket=view,
        parent=parent,
        children=children,
        similar=similar,
        earlier=_earlier(conn, view, {one.lesson.ticket_id for one in similar}),
        changes=changes.just_before(conn, book, viewer, view),
        open_beside=_open_beside(conn, viewer, view),
        lives=by_host(conn, viewer, view.affected[:MAX_SHOWN_HOSTS]),
        staff=people.staff(conn),
        clients=people.names_of_contract(conn, view.contract_id),
        mirrors=() if viewer.is_client else mirror_view.of_ticket(conn, ticket_id),
    )


def names_of(conn: Connection) -> dict[str, str]:
    """Log-in name -> name of everybody on the staff: a few dozen people, one statement."""
    return {person.id: person.name for person in people.staff(conn)}


def _about(book: Book, view: TicketView) -> knowledge.About:
    names = ("id", "contract_id", "root_cause", "affected", "scope", "title")
    return knowledge.about(book, {name: getattr(view, name) for name in names})


def _earlier(conn: Connection, view: TicketView, known: Container[int]) -> list[Earlier]:
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
    return [Earlier(row.id, row.created_at_ms) for row in conn.execute(wanted) if row.id not in known]


def _open_beside(conn: Connection, viewer: Viewer, view: TicketView) -> Sequence[TicketLine]:
    if view.origin == "machine" or not view.affected:
        return ()
    wanted = TicketFilter(state="open", contract_id=view.contract_id, host_id=view.affected[0])
    found = list_tickets(conn, viewer, wanted, limit=MAX_SIMILAR + 1).tickets
    return [line for line in found if line.id != view.id][:MAX_SIMILAR]
