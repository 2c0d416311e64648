"""What pages, API and command line read: lists and tickets as one viewer may see them.

Lists page by (updated_at_ms, id) through an index, never by offset, so that they stay fast with a million tickets. One
filter leads, by the index in its order; what the list is narrowed by beside it stands in the same index, so that entries
are passed over without their rows. SQLite, which knows no more of a column than how many values it has, is told which
one leads. A client sees its own contract, public events, and nothing of other clients' hosts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Select, func, or_, select, tuple_, type_coerce

from ticketing import tables
from ticketing.model import ClockKind, Reason, TicketState
from ticketing.tables import RowLike
from ticketing.transitions import acts_for

AnySelect = TypeVar("AnySelect", bound=Select)

MAX_PAGE = 200
MAX_EVENTS = 500
MAX_SEARCHED = 5000

_LIST_COLUMNS = (
    "id",
    "contract_id",
    "class",
    "root_cause",
    "confidence",
    "severity",
    "scope",
    "family",
    "affected",
    "state",
    "line",
    "assignee",
    "profile",
    "title",
    "origin",
    "parent_id",
    "language",
    "began_at_ms",
    "created_at_ms",
    "reacted_at_ms",
    "resolved_at_ms",
    "updated_at_ms",
    "recurrences",
    "version",
)


@dataclasses.dataclass(frozen=True)
class Viewer:
    """Who asks, as the door let them in."""

    person_id: str
    role: str
    contract_id: str | None = None
    language: str = "uk"
    from_address: str = ""

    @property
    def is_client(self) -> bool:
        return self.role == "client"


@dataclasses.dataclass(frozen=True)
class TicketFilter:
    """What a list is narrowed to; empty fields narrow nothing."""

    state: str = ""
    """A state, ``open``, or "" for all."""
    class_: int | None = None
    line: int | None = None
    assignee: str = ""
    contract_id: str = ""
    host_id: str = ""
    parent_id: int | None = None
    text: str = ""
    """Words looked for among the newest MAX_SEARCHED tickets of the rest of the filter: a bound keeps the list fast."""
    causes: tuple[str, ...] = ()
    """With ``text``: root causes whose names hold the words in the reader's language."""


@dataclasses.dataclass(frozen=True)
class ClockView:
    """One SLA clock as a page shows it."""

    kind: str
    state: str
    target_ms: int
    spent_ms: int
    running_since_ms: int | None
    due_at_ms: int | None
    pause_reason: str
    warned_pct: int
    outcome: str


@dataclasses.dataclass(frozen=True)
class EventView:
    """One line of a ticket's history."""

    id: int
    at_ms: int
    actor: str
    kind: str
    is_public: bool
    body: Mapping[str, Any]

    @property
    def reason(self) -> Reason | None:
        raw = self.body.get("reason")
        return None if not raw else Reason.from_dict(raw)


@dataclasses.dataclass(frozen=True)
class TicketLine:
    """One ticket in a list."""

    id: int
    contract_id: str
    class_: int
    root_cause: str
    confidence: str
    severity: str
    scope: str
    family: str
    affected: tuple[str, ...]
    state: str
    line: int
    assignee: str | None
    profile: str
    title: str
    """What a person wrote; "" = render ``summary``."""
    summary: Reason | None
    origin: str
    parent_id: int | None
    language: str
    began_at_ms: int
    created_at_ms: int
    reacted_at_ms: int | None
    resolved_at_ms: int | None
    updated_at_ms: int
    recurrences: int
    version: int
    clocks: tuple[ClockView, ...] = ()


@dataclasses.dataclass(frozen=True)
class TicketView(TicketLine):
    """A ticket with everything that its page shows."""

    body: str = ""
    reasons: tuple[Reason, ...] = ()
    would_change: tuple[Reason, ...] = ()
    provisional: bool = False
    problem: str = ""
    merged_into: int | None = None
    previous_id: int | None = None
    next_step_at_ms: int | None = None
    closed_at_ms: int | None = None
    children: tuple[int, ...] = ()
    events: tuple[EventView, ...] = ()
    acts: tuple[str, ...] = ()
    """What this viewer may do now."""


@dataclasses.dataclass(frozen=True)
class TicketPage:
    """A page of a list; ``after`` continues it."""

    tickets: tuple[TicketLine, ...]
    after: tuple[int, int] | None


def list_tickets(
    conn: Connection,
    viewer: Viewer,
    wanted: TicketFilter | None = None,
    limit: int = 50,
    after: tuple[int, int] | None = None,
) -> TicketPage:
    """Newest change first; ``after`` is the previous page's (updated_at_ms, id)."""
    limit = max(1, min(limit, MAX_PAGE))
    tickets = tables.tickets
    columns = (*(tickets.c[name] for name in _LIST_COLUMNS), tickets.c.verdict)
    query = _newest_first(conn, select(*columns), viewer, wanted or TicketFilter(), after).limit(limit + 1)
    rows = list(conn.execute(query).mappings())
    page = rows[:limit]
    clocks = _clocks(conn, [row["id"] for row in page])
    lines = tuple(TicketLine(**_line_values(row, viewer), clocks=clocks.get(row["id"], ())) for row in page)
    more = (page[-1]["updated_at_ms"], page[-1]["id"]) if len(rows) > limit else None
    return TicketPage(lines, more)


def ticket(
    conn: Connection, viewer: Viewer, ticket_id: int, *, events: int = MAX_EVENTS
) -> TicketView | None:
    """One ticket; None where it does not exist for this viewer (a foreign ticket is not there, rather than forbidden)."""
    tickets = tables.tickets
    row = conn.execute(select(tickets).where(tickets.c.id == ticket_id)).mappings().first()
    if row is None or (viewer.is_client and row["contract_id"] != viewer.contract_id):
        return None
    verdict = row["verdict"] or {}
    children: tuple[int, ...] = ()
    if not viewer.is_client:
        wanted = (
            select(tickets.c.id)
            .where(tickets.c.parent_id == ticket_id)
            .order_by(tickets.c.id)
            .limit(MAX_PAGE)
        )
        children = tuple(conn.execute(wanted).scalars())
    clocks = _clocks(conn, [ticket_id]).get(ticket_id, ())
    is_asked = any(c.kind == ClockKind.PROVIDER.value and c.state == "running" for c in clocks)
    return TicketView(
        **_line_values(row, viewer),
        clocks=clocks,
        body=row["body"],
        reasons=_reasons(verdict, "reasons"),
        would_change=_reasons(verdict, "would_change"),
        provisional=bool(verdict.get("provisional", False)),
        problem=row["problem"],
        merged_into=row["merged_into"],
        previous_id=row["previous_id"],
        next_step_at_ms=row["next_step_at_ms"],
        closed_at_ms=row["closed_at_ms"],
        children=children,
        events=_events(conn, viewer, ticket_id, events),
        acts=acts_for(TicketState(row["state"]), viewer.role, is_provider_asked=is_asked),
    )


def counts(conn: Connection) -> dict[tuple[str, int, int], int]:
    """Open tickets by (state, class, line), for metrics."""
    tickets = tables.tickets
    columns = (tickets.c.state, tickets.c["class"], tickets.c.line)
    rows = conn.execute(select(*columns, func.count()).where(tickets.c.open_mark == 1).group_by(*columns))
    return {(state, class_, line): number for state, class_, line, number in rows}


def outbox_counts(conn: Connection) -> dict[str, int]:
    """Messages that wait or were given up, by state."""
    table = tables.outbox
    rows = conn.execute(
        select(table.c.state, func.count().label("number"))
        .where(table.c.state != "delivered")
        .group_by(table.c.state)
    )
    return {row.state: row.number for row in rows}


def newest_change(conn: Connection, viewer: Viewer) -> int:
    """Instant of the newest change that this viewer can see: tells a live page whether to read again."""
    query = _newest_first(conn, select(tables.tickets.c.updated_at_ms), viewer, TicketFilter())
    return conn.execute(query.limit(1)).scalar() or 0


def _newest_first(
    conn: Connection,
    query: AnySelect,
    viewer: Viewer,
    wanted: TicketFilter,
    after: tuple[int, int] | None = None,
) -> AnySelect:
    """The query narrowed to what the viewer may and wants to see, newest change first, from behind ``after``."""
    tickets, links = tables.tickets, tables.ticket_hosts
    equal = _equalities(viewer, wanted)
    lead = next((name for name in _LEADS if name in equal), "")
    is_of_host = bool(wanted.host_id) and lead != "open_mark"
    order = (tickets.c.updated_at_ms, tickets.c.id)
    for name, value in equal.items():
        is_hidden = (name != lead or is_of_host) and conn.dialect.name == "sqlite"
        query = query.where((_hidden(tickets.c[name]) if is_hidden else tickets.c[name]) == value)
    if is_of_host:
        query = query.join(links, links.c.ticket_id == tickets.c.id).where(links.c.host_id == wanted.host_id)
        order = (links.c.updated_at_ms, links.c.ticket_id)
    elif wanted.host_id:
        is_linked = (links.c.host_id == wanted.host_id) & (links.c.ticket_id == tickets.c.id)
        query = query.where(select(1).where(is_linked).exists())
    elif lead == "parent_id":
        # A parent's children are few and looked up; the order of the whole table would be walked to its end.
        order = (_hidden(tickets.c.updated_at_ms), tickets.c.id)
    if wanted.text:
        query = query.where(tickets.c.id.in_(_with_words(conn, viewer, wanted)))
    if after is not None:
        query = query.where(tuple_(*order) < tuple_(*after))
    return query.order_by(order[0].desc(), order[1].desc())


def _equalities(viewer: Viewer, wanted: TicketFilter) -> dict[str, Any]:
    """Columns that must have one value."""
    equal: dict[str, Any] = {}
    if wanted.state:
        if wanted.state == "open" or wanted.state in _OPEN_NAMES:
            equal["open_mark"] = 1
        if wanted.state != "open":
            equal["state"] = wanted.state
    if wanted.class_ is not None:
        equal["class"] = wanted.class_
    if wanted.line is not None:
        equal["line"] = wanted.line
    if wanted.assignee:
        equal["assignee"] = wanted.assignee
    if wanted.contract_id:
        equal["contract_id"] = wanted.contract_id
    if viewer.is_client:
        own = viewer.contract_id or ""
        equal["contract_id"] = own if equal.get("contract_id", own) == own else _NOBODY
    elif wanted.parent_id is not None:
        equal["parent_id"] = wanted.parent_id
    return equal


def _hidden(column: Column[Any]) -> ColumnElement[Any]:
    """The column so that no index is chosen by it; its value is the same."""
    is_text = column.type.python_type is str
    return type_coerce(column, column.type).concat("") if is_text else column + 0


_LEADS = ("parent_id", "open_mark", "assignee", "contract_id", "class", "line", "state")
"""Which filter's index is walked, the first of these that is there: the one with the fewest entries to pass over."""

_NOBODY = ""
"""No contract has this id."""


def _with_words(conn: Connection, viewer: Viewer, wanted: TicketFilter) -> Select[Any]:
    """Ids of the newest tickets that hold the words in what a person wrote, the problem's subject, or the cause's name."""
    tickets = tables.tickets
    columns = (tickets.c.id, tickets.c.title, tickets.c.problem, tickets.c.root_cause)
    newest = _newest_first(conn, select(*columns), viewer, dataclasses.replace(wanted, text=""))
    near = newest.limit(MAX_SEARCHED).subquery()
    # SQLite folds the case of ASCII only, so a Ukrainian word is tried as people write it.
    spellings = {wanted.text, wanted.text.lower(), wanted.text.capitalize(), wanted.text.upper()}
    hits = [
        near.c[name].icontains(word, autoescape=True)
        for word in sorted(spellings)
        for name in ("title", "problem")
    ]
    return select(near.c.id).where(or_(*hits, near.c.root_cause.in_(wanted.causes)))


_OPEN_NAMES = ("new", "in_work", "waiting_client", "waiting_provider")


def _line_values(row: RowLike, viewer: Viewer) -> dict[str, Any]:
    verdict = row["verdict"] or {}
    values = {name: row[name] for name in _LIST_COLUMNS if name != "class"}
    values["class_"] = row["class"]
    values["affected"] = tuple(row["affected"])
    values["summary"] = Reason.from_dict(verdict["summary"]) if verdict.get("summary") else None
    if viewer.is_client:
        values["parent_id"] = None  # a parent may hold other clients' hosts
    return values


def _reasons(verdict: Mapping[str, Any], key: str) -> tuple[Reason, ...]:
    return tuple(Reason.from_dict(raw) for raw in verdict.get(key, ()))


def _clocks(conn: Connection, ticket_ids: list[int]) -> dict[int, tuple[ClockView, ...]]:
    if not ticket_ids:
        return {}
    table = tables.clocks
    rows = conn.execute(select(table).where(table.c.ticket_id.in_(ticket_ids))).mappings()
    found: dict[int, list[ClockView]] = {}
    for row in rows:
        names = (f.name for f in dataclasses.fields(ClockView))
        found.setdefault(row["ticket_id"], []).append(ClockView(**{name: row[name] for name in names}))
    order = ("reaction", "resolution", "provider")
    return {key: tuple(sorted(clocks, key=lambda c: order.index(c.kind))) for key, clocks in found.items()}


def _events(conn: Connection, viewer: Viewer, ticket_id: int, limit: int) -> tuple[EventView, ...]:
    """The newest events, oldest first. Clients see the public ones without what is said among the staff."""
    table = tables.ticket_events
    query = select(table).where(table.c.ticket_id == ticket_id)
    if viewer.is_client:
        query = query.where(table.c.is_public)
    rows = list(
        conn.execute(query.order_by(table.c.id.desc()).limit(max(1, min(limit, MAX_EVENTS)))).mappings()
    )

    def seen(body: Mapping[str, Any]) -> Mapping[str, Any]:
        # Who of ours is on call, away or lacking is not for clients.
        return {k: v for k, v in body.items() if k != "call"} if viewer.is_client else body

    return tuple(
        EventView(row["id"], row["at_ms"], row["actor"], row["kind"], row["is_public"], seen(row["body"]))
        for row in reversed(rows)
    )
