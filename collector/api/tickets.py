"""The tickets of the API: list, one, file, act."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from litestar import Request, Response, get, post, route
from litestar.params import Body, FromPath, PathParameter, QueryParameter
from sqlalchemy import Connection

from collector.api.answers import FILE, READ, READ_ONE, WRITE
from collector.api.shapes import (
    MAX_ID,
    NO_NUL,
    ActRequest,
    ActShape,
    ChangeShape,
    ClockShape,
    EventShape,
    Filed,
    FileTicket,
    MirrorShape,
    ProposalShape,
    ReasonShape,
    SimilarShape,
    TicketFull,
    TicketList,
    TicketRow,
)
from collector.web import changes, evidence_view, ticket_load, ticket_search, ticket_words
from collector.web.clock_lines import ClockLine
from collector.web.faults import ApiFault
from collector.web.ticket_load import TicketBundle
from collector.web.visitor import context_of, known, meant, visitor_of
from ticketing import acts, filing
from ticketing.acts import Refusal
from ticketing.contracts import Book
from ticketing.knowledge import Similar
from ticketing.model import Reason, TicketState
from ticketing.queries import MAX_PAGE, EventView, TicketFilter, TicketLine, TicketView, Viewer, list_tickets
from ticketing.queries import ticket as load_ticket
from ticketing.runbook import page as runbook
from ticketing.texts import Texts, texts
from ticketing.transitions import PERSON_ACTS, step

TicketNumber = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="the ticket's number")]
Text = Annotated[str, QueryParameter(max_length=200, pattern=NO_NUL, description="words, a host's name")]
Id64 = Annotated[str, QueryParameter(max_length=64, pattern=NO_NUL)]
Assignee = Annotated[str, QueryParameter(max_length=64, pattern=NO_NUL, description="a log-in name, or `me`")]
Mark = Annotated[
    str,
    QueryParameter(
        max_length=32, pattern=r"^([0-9]{1,15}\.[0-9]{1,16})?$", description="`after` of the page before"
    ),
]
# Nothing here may be None: an address knows no null, and the word "null" would be read as one.
AnyClass = Annotated[int, QueryParameter(name="class", ge=0, le=6, description="0 = any")]
AnyLine = Annotated[int, QueryParameter(ge=0, le=4, description="0 = any")]
ActName = Literal[
    "take",
    "note",
    "ask_client",
    "client_answered",
    "ask_provider",
    "provider_answered",
    "escalate",
    "consult",
    "advise",
    "assign",
    "qualify",
    "requalify",
    "resolve",
    "merge",
    "reopen",
    "close",
]
assert set(ActName.__args__) == set(PERSON_ACTS), "the API names every act that a person has"

StateName = Literal[
    "open", "all", "new", "in_work", "waiting_client", "waiting_provider", "resolved", "closed", "merged"
]


@route(
    "/tickets",
    http_method=["OPTIONS"],
    include_in_schema=False,
    opt={"exclude_from_auth": True},
    status_code=204,
)
async def list_options() -> Response[None]:
    """Said by hand: for a path with two handlers the framework names the first one's methods only."""
    return Response(None, headers={"Allow": "GET, OPTIONS, POST"}, status_code=204)


@get("/tickets", guards=[known], responses=READ, operation_id="list_tickets", tags=["tickets"])
async def list_(
    request: Request[Any, Any, Any],
    state_: Annotated[StateName, QueryParameter(name="state")] = "open",
    class_: AnyClass = 0,
    line: AnyLine = 0,
    contract: Id64 = "",
    host: Id64 = "",
    assignee: Assignee = "",
    q: Text = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
    after: Mark = "",
) -> TicketList:
    """Tickets, the newest change first."""
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, words = visitor.viewer, context.book(), texts(visitor.language)
    wanted = TicketFilter(
        state="" if state_ == "all" else state_,
        class_=class_ or None,
        line=line or None,
        assignee=viewer.person_id if assignee == "me" else assignee,
        contract_id=contract,
        host_id=host,
    )
    wanted = ticket_search.with_text(wanted, ticket_search.clean(q), words, book)
    mark = ticket_search.mark(after)
    page = await context.read(lambda conn: list_tickets(conn, viewer, wanted, limit, mark))
    now_ms = context.clock.now_ms()
    rows = [_row(words, ticket, book, now_ms) for ticket in page.tickets]
    return TicketList(rows, ticket_search.mark_text(page.after) if page.after else None)


@get("/tickets/{ticket_id:int}", guards=[known], responses=READ_ONE, operation_id="ticket", tags=["tickets"])
async def ticket(request: Request[Any, Any, Any], ticket_id: TicketNumber) -> TicketFull:
    """One ticket with its reasons, evidence and history, and the acts that this person may do now."""
    return await _full(request, ticket_id)


@post(
    "/tickets",
    guards=[known, meant],
    responses=FILE,
    operation_id="file_ticket",
    tags=["tickets"],
    status_code=201,
    response_description="Filed",
)
async def file_ticket(request: Request[Any, Any, Any], data: Annotated[FileTicket, Body()]) -> Filed:
    """File a ticket of any class; class 2 is taken only where the contract holds it, else recorded and refused."""
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, now_ms = visitor.viewer, context.book(), context.clock.now_ms()

    def work(tx: Connection) -> TicketView | Refusal:
        done = acts.file(
            tx,
            book,
            viewer,
            data.contract or "",
            data.class_,
            data.title,
            data.body,
            now_ms,
            host_id=data.host,
            is_preventive=data.preventive,
            application=data.application,
            wish=data.wish,
            line=data.line,
        )
        return done if isinstance(done, Refusal) else _written(tx, viewer, done)

    words = texts(visitor.language)
    done = await context.write(work)
    if isinstance(done, Refusal):
        raise _refused(words, done)
    context.bell.ring_ticket(done.id)
    told = done.events[0].body
    proposed = _proposed(words, told["proposal"])
    assert proposed is not None
    return Filed(done.id, done.version, done.class_, done.line, bool(told["is_confirmed"]), proposed)


def _written(tx: Connection, viewer: Viewer, ticket_id: int) -> TicketView:
    view = load_ticket(tx, viewer, ticket_id, events=1)
    assert view is not None, "who files a ticket may see it"
    return view


@post(
    "/tickets/{ticket_id:int}/acts/{act:str}",
    guards=[known, meant],
    responses=WRITE,
    operation_id="act",
    tags=["tickets"],
    status_code=200,
    response_description="Done; the ticket as it stands now",
)
async def perform(
    request: Request[Any, Any, Any],
    ticket_id: TicketNumber,
    act: FromPath[ActName],
    data: Annotated[ActRequest, Body()],
) -> TicketFull:
    """Do one act against the version of the ticket that was seen."""
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, now_ms = visitor.viewer, context.book(), context.clock.now_ms()
    given = {name: getattr(data, name) for name in data.__struct_fields__ if name != "seen_version"}
    fields = {name: value for name, value in given.items() if value is not None}
    done = await context.write(
        lambda tx: acts.perform(tx, book, act, ticket_id, viewer, data.seen_version, now_ms, **fields)
    )
    if isinstance(done, Refusal):
        raise _refused(texts(visitor.language), done)
    context.bell.ring_ticket(ticket_id)
    return await _full(request, ticket_id)


REFUSED_STATUS = {
    "not_found": 404,
    "forbidden": 403,
    "stale": 409,
    "impossible": 409,
    "not_eligible": 409,
    "invalid": 400,
}
FIELD_NAMES = {"contract_id": "contract", "host_id": "host", "class_": "class"}


def _refused(words: Texts, refusal: Refusal) -> ApiFault:
    fields = {FIELD_NAMES.get(name, name): words.reason(reason) for name, reason in refusal.fields.items()}
    version = refusal.reason.params.get("version") if refusal.code == "stale" else None
    status = REFUSED_STATUS[refusal.code]
    return ApiFault(status, refusal.code, words.reason(refusal.reason), fields=fields, version=version)


async def _full(request: Request[Any, Any, Any], ticket_id: int) -> TicketFull:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book = visitor.viewer, context.book()
    bundle = await context.read(lambda conn: ticket_load.load(conn, book, viewer, ticket_id))
    if bundle is None:
        raise ApiFault(404, "not_found", "there is no such ticket")
    zone = book.contract(bundle.ticket.contract_id).calendar.zone
    words = texts(visitor.language).at(zone)
    return full(words, bundle, book, context.clock.now_ms(), is_client=viewer.is_client)


def _row(words: Texts, line: TicketLine, book: Book, now_ms: int) -> TicketRow:
    return TicketRow(
        id=line.id,
        contract=line.contract_id,
        class_=line.class_,
        state=line.state,
        severity=line.severity,
        summary=ticket_words.summary(words, line),
        root_cause=line.root_cause,
        cause=ticket_words.cause(words, line.root_cause),
        confidence=line.confidence,
        line=line.line,
        assignee=line.assignee,
        affected=list(line.affected),
        parent_id=line.parent_id,
        began_at_ms=line.began_at_ms,
        created_at_ms=line.created_at_ms,
        updated_at_ms=line.updated_at_ms,
        version=line.version,
        clocks=[_clock(clock) for clock in ticket_words.clocks(words, line, book, now_ms)],
    )


def full(
    words: Texts, bundle: TicketBundle, book: Book, now_ms: int, *, is_client: bool = False
) -> TicketFull:
    """The whole ticket as the API says it; the steps of the runbook are the staff's."""
    view, names = bundle.ticket, bundle.names
    row = _row(words, view, book, now_ms)
    return TicketFull(
        **{name: getattr(row, name) for name in row.__struct_fields__},
        provisional=view.provisional,
        scope=view.scope,
        family=view.family,
        origin=view.origin,
        title=view.title,
        body=view.body,
        merged_into=view.merged_into,
        children=list(view.children),
        reacted_at_ms=view.reacted_at_ms,
        resolved_at_ms=view.resolved_at_ms,
        closed_at_ms=view.closed_at_ms,
        recurrences=view.recurrences,
        reasons=[_reason(words, reason) for reason in view.reasons],
        would_change=[_reason(words, reason) for reason in view.would_change],
        next_steps=[] if is_client else runbook.steps(words, view.root_cause),
        similar=[_similar(one) for one in bundle.similar],
        changed_before=[
            ChangeShape(one.at_ms, one.kind, one.where, changes.in_words(words, one))
            for one in bundle.changes
        ],
        proposed=_proposed(words, filing.unconfirmed(view.origin, view.events)),
        evidence=dict(evidence_view.newest(view.events)),
        events=[_event(words, event, names) for event in view.events],
        acts=[_act(words, view.state, act) for act in view.acts],
        mirrors=[MirrorShape(**dataclasses.asdict(mirror)) for mirror in bundle.mirrors],
    )


def _similar(one: Similar) -> SimilarShape:
    told = one.lesson
    return SimilarShape(
        told.ticket_id, told.at_ms, told.cause, told.remedy, list(one.common), told.refuted_at_ms
    )


def _proposed(words: Texts, raw: Mapping[str, Any] | None) -> ProposalShape | None:
    if raw is None:
        return None
    reasons = [words.reason(Reason.from_dict(reason)) for reason in raw["reasons"]]
    return ProposalShape(raw["class"], raw["line"], reasons)


def _clock(line: ClockLine) -> ClockShape:
    return ClockShape(
        kind=line.kind,
        state=line.state,
        target_ms=line.target_ms,
        spent_ms=line.spent_ms,
        left_ms=line.left_ms,
        due_at_ms=line.due_at_ms,
        pause_reason=line.pause_reason,
        outcome=line.outcome,
        warned_pct=line.warned_pct,
    )


def _reason(words: Texts, reason: Reason) -> ReasonShape:
    return ReasonShape(reason.key, words.reason(reason), reason.group, reason.weight, dict(reason.params))


def _event(words: Texts, event: EventView, names: dict[str, str]) -> EventShape:
    return EventShape(
        id=event.id,
        at_ms=event.at_ms,
        actor=event.actor,
        kind=event.kind,
        text=ticket_words.event_text(words, event, names),
        words=ticket_words.event_words(event),
        is_public=event.is_public,
    )


def _act(words: Texts, state: str, act: str) -> ActShape:
    row = step(TicketState(state), act)
    return ActShape(act, words.get(f"act.{act}"), list(row.needs) if row else [])


ROUTES = [list_options, list_, ticket, file_ticket, perform]
