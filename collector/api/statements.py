"""GET /contracts/{id}/statements/{month}: the monthly statement as JSON; its stream tells how far the making is.

The stream is for the command line: one JSON object a line, ``{"done": 200, "of": 900}`` while tickets are read, and at
the end ``{"form": ..., "body": ...}``. A stream that ends without a body broke off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream
from sqlalchemy import Connection

from collector.api.answers import READ_ONE
from collector.api.contracts import ContractId
from collector.web import statement_load, statement_pages, ticket_load
from collector.web.context import AppContext
from collector.web.faults import ApiFault
from collector.web.statement_pages import NoSuchMonth
from collector.web.visitor import context_of, known, visitor_of
from ticketing.statement import table
from ticketing.statement.model import Availability, Minutes, Period, Promise, Statement, TicketPart
from ticketing.terms import Contract
from ticketing.texts import Texts, texts

Month = Annotated[
    str, PathParameter(max_length=7, pattern=r"^[0-9]{4}-[0-9]{2}$", description="such as 2026-10")
]
Form = Literal["json", "csv", "html"]
Part = Literal["tickets", "availability", "outages", "pauses", "failovers"]
Spoken = Literal["contract", "uk", "en"]


class AvailabilityShape(msgspec.Struct):
    """How long a host, or one of its services, was down."""

    host: str
    service: str
    available_pct: float
    period_ms: int
    down_ms: int
    planned_ms: int
    outages: int


class PromiseState(msgspec.Struct):
    """A clock at the end of the period; ``is_counted``: it ended, or was broken, within it."""

    target_ms: int
    spent_ms: int
    outcome: str
    is_counted: bool


class MinutesShape(msgspec.Struct):
    """Open time and whose it was; the parts add up to it."""

    ours_ms: int
    client_ms: int
    provider_ms: int
    other_ms: int
    outside_ms: int


class StatementTicket(msgspec.Struct, rename={"class_": "class"}):
    """A ticket of the statement."""

    id: int
    class_: int
    summary: str
    created_at_ms: int
    resolved_at_ms: int | None
    is_open: bool
    is_carried: bool
    reopened: int
    reaction: PromiseState | None
    resolution: PromiseState | None
    minutes: MinutesShape


class PauseShape(msgspec.Struct):
    """A stretch in which a ticket's clock stood, with why."""

    ticket: int
    from_ms: int
    to_ms: int | None
    working_ms: int
    why: str
    said: str


class FailoverShape(msgspec.Struct):
    """A switch between a pair's servers."""

    at_ms: int
    ended_at_ms: int | None
    kind: str
    pair: str
    state: str
    ticket: int | None
    rto_s: float | None = None
    rto_limit_s: float | None = None
    rpo_s: float | None = None
    rpo_limit_s: float | None = None


class StatementShape(msgspec.Struct):
    """A contract's month."""

    contract: str
    title: str
    month: str
    from_ms: int
    until_ms: int
    made_at_ms: int
    is_cut: bool
    availability: list[AvailabilityShape]
    classes: list[dict[str, int | None]]
    tickets: list[StatementTicket]
    minutes: MinutesShape
    pauses: list[PauseShape]
    failovers: list[FailoverShape]
    refused: list[str]


@get(
    "/contracts/{contract_id:str}/statements/{month:str}",
    guards=[known],
    responses=READ_ONE,
    operation_id="statement",
    tags=["contracts"],
)
async def statement(request: Request[Any, Any, Any], contract_id: ContractId, month: Month) -> StatementShape:
    """The month's statement; a month that is not over ends now."""
    context = context_of(request)
    contract, period = await _asked(request, contract_id, month)
    now_ms = context.clock.now_ms()
    made = await context.read(lambda conn: statement_load.load(conn, contract, period, now_ms))
    return shape(texts(visitor_of(request).language).at(period.zone), made)


@get(
    "/contracts/{contract_id:str}/statements/{month:str}/stream",
    guards=[known],
    responses=READ_ONE,
    operation_id="statement_stream",
    tags=["contracts"],
    media_type="application/x-ndjson",
)
async def statement_stream(
    request: Request[Any, Any, Any],
    contract_id: ContractId,
    month: Month,
    form: Annotated[Form, QueryParameter(description="what the last line's body is")] = "json",
    part: Annotated[Part, QueryParameter(description="csv: which table")] = "tickets",
    language: Annotated[Spoken, QueryParameter(description="contract = the contract's own")] = "contract",
) -> Stream:
    """The same, line by line: how far the making is, then the statement as JSON, CSV or one HTML file."""
    contract, period = await _asked(request, contract_id, month)
    words = texts(contract.language if language == "contract" else language).at(period.zone)
    lines = _lines(context_of(request), contract, period, words, form, part)
    return Stream(lines, media_type="application/x-ndjson", headers={"X-Accel-Buffering": "no"})


async def _asked(request: Request[Any, Any, Any], contract_id: str, month: str) -> tuple[Contract, Period]:
    context, viewer = context_of(request), visitor_of(request).viewer
    contract = await context.read(lambda conn: statement_pages.contract_of(conn, viewer, contract_id))
    if contract is None:
        raise ApiFault(404, "not_found", "there is no such contract")
    try:
        return contract, statement_pages.period_of(contract, month, context.clock.now_ms())
    except NoSuchMonth as error:
        raise ApiFault(400, "bad_request", error.detail, fields={"month": error.detail}) from error


async def _lines(
    context: AppContext, contract: Contract, period: Period, words: Texts, form: str, part: str
) -> AsyncIterator[bytes]:
    told: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    now_ms = context.clock.now_ms()

    def progress(done: int, of: int) -> None:
        loop.call_soon_threadsafe(told.put_nowait, (done, of))

    def work(conn: Connection) -> tuple[Statement, dict[str, str]]:
        made = statement_load.load(conn, contract, period, now_ms, progress)
        return made, ticket_load.names_of(conn)

    making = asyncio.create_task(context.read(work))
    making.add_done_callback(lambda _: told.put_nowait(None))
    while (step := await told.get()) is not None:
        yield msgspec.json.encode({"done": step[0], "of": step[1]}) + b"\n"
    made, names = await making
    yield msgspec.json.encode({"form": form, "body": _body(words, made, names, form, part)}) + b"\n"


def _body(words: Texts, made: Statement, names: dict[str, str], form: str, part: str) -> Any:
    if form == "csv":
        return table.as_csv(words, made, part)
    if form == "html":
        return statement_pages.standalone(words, made, names)
    return shape(words, made)


def shape(words: Texts, made: Statement) -> StatementShape:
    """The statement as the API says it."""
    return StatementShape(
        contract=made.contract_id,
        title=made.title,
        month=made.period.label,
        from_ms=made.period.from_ms,
        until_ms=made.until_ms,
        made_at_ms=made.made_at_ms,
        is_cut=made.is_cut,
        availability=[_available(row) for row in (*made.hosts, *made.services)],
        classes=[
            {name.rstrip("_"): getattr(one, name) for name in one.__dataclass_fields__}
            for one in made.classes
        ],
        tickets=[_ticket(words, one) for one in made.tickets],
        minutes=_minutes(made.minutes),
        pauses=[
            PauseShape(one.ticket_id, one.from_ms, one.to_ms, one.working_ms, one.why, one.text)
            for one in made.pauses
        ],
        failovers=[
            FailoverShape(
                one.at_ms,
                one.ended_at_ms,
                one.kind,
                one.pair,
                one.state,
                one.ticket_id,
                one.rto_s,
                one.rto_limit_s,
                one.rpo_s,
                one.rpo_limit_s,
            )
            for one in made.failovers
        ],
        refused=[one.title for one in made.refused],
    )


def _available(row: Availability) -> AvailabilityShape:
    return AvailabilityShape(
        row.host_id, row.service, row.pct, row.whole_ms, row.down_ms, row.planned_ms, row.outages
    )


def _ticket(words: Texts, one: TicketPart) -> StatementTicket:
    return StatementTicket(
        id=one.id,
        class_=one.class_,
        summary=table.summary(words, one),
        created_at_ms=one.created_at_ms,
        resolved_at_ms=one.resolved_at_ms,
        is_open=one.is_open,
        is_carried=one.is_carried,
        reopened=one.reopened,
        reaction=_promise(one.reaction),
        resolution=_promise(one.resolution),
        minutes=_minutes(one.minutes),
    )


def _promise(one: Promise | None) -> PromiseState | None:
    return one and PromiseState(one.target_ms, one.spent_ms, one.outcome, one.is_counted)


def _minutes(one: Minutes) -> MinutesShape:
    return MinutesShape(one.ours_ms, one.client_ms, one.provider_ms, one.other_ms, one.outside_ms)


ROUTES = [statement, statement_stream]
