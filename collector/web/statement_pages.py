"""GET /contracts/{id}/statements/{month}: the monthly statement as a page that prints well, as a file, and as CSV."""

from __future__ import annotations

import functools
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import FromPath
from sqlalchemy import Connection

from collector.web import contract_pages, render, statement_load, statement_view, static_files, ticket_load
from collector.web.render import Moments
from collector.web.visitor import context_of, known, visitor_of
from ticketing.queries import Viewer
from ticketing.statement import table
from ticketing.statement.model import Period, Statement
from ticketing.terms import Contract
from ticketing.texts import Texts, texts


class NoSuchMonth(ClientException):
    """The month is none, or has not begun; 400 with the sentence."""


def period_of(contract: Contract, month: str, now_ms: int) -> Period:
    """The month of an address; NoSuchMonth for one that is none or has not begun."""
    try:
        period = Period.month(month, contract.calendar.zone)
    except ValueError as error:
        raise NoSuchMonth(detail=str(error)) from error
    if period.from_ms > now_ms:
        raise NoSuchMonth(detail=f"{month} has not begun")
    return period


def contract_of(conn: Connection, viewer: Viewer, contract_id: str) -> Contract | None:
    """The newest terms, also of a contract that was retired; None where this person may see none."""
    found = contract_pages.find(conn, viewer, contract_id)
    return None if found is None else found[1]


async def _made(
    request: Request[Any, Any, Any], contract_id: str, month: str
) -> tuple[Contract, Statement, dict[str, str]]:
    context, viewer = context_of(request), visitor_of(request).viewer
    now_ms = context.clock.now_ms()

    def work(conn: Connection) -> tuple[Contract, Statement, dict[str, str]] | None:
        contract = contract_of(conn, viewer, contract_id[:64])
        if contract is None:
            return None
        period = period_of(contract, month, now_ms)
        return contract, statement_load.load(conn, contract, period, now_ms), ticket_load.names_of(conn)

    found = await context.read(work)
    if found is None:
        raise NotFoundException(detail="there is no such contract")
    return found


@get("/contracts/{contract_id:str}/statements/{month:str}", guards=[known], include_in_schema=False)
async def statement_page(
    request: Request[Any, Any, Any], contract_id: FromPath[str], month: FromPath[str]
) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    contract, made, names = await _made(request, contract_id, month)
    zone = contract.calendar.zone
    words = texts(visitor.language).at(zone)
    values = statement_view.values(words, made, names) | {
        "months": [
            (one, statement_view.month_name(words, one))
            for one in statement_view.months(context.clock.now_ms(), zone)
        ],
        "parts": list(table.PARTS),
    }
    return render.page(request, "statement.html", values, zone=zone)


@get("/contracts/{contract_id:str}/statements/{month:str}/csv", guards=[known], include_in_schema=False)
async def statement_csv(
    request: Request[Any, Any, Any], contract_id: FromPath[str], month: FromPath[str]
) -> Response[Any]:
    part = request.query_params.get("part", "tickets")
    if part not in table.PARTS:
        raise NotFoundException(detail="there is no such part of a statement")
    contract, made, _ = await _made(request, contract_id, month)
    words = texts(visitor_of(request).language).at(contract.calendar.zone)
    name = f"{contract.id}-{made.period.label}-{part}.csv"
    return _file(table.as_csv(words, made, part), "text/csv; charset=utf-8", name)


@get("/contracts/{contract_id:str}/statements/{month:str}/html", guards=[known], include_in_schema=False)
async def statement_html(
    request: Request[Any, Any, Any], contract_id: FromPath[str], month: FromPath[str]
) -> Response[Any]:
    contract, made, names = await _made(request, contract_id, month)
    words = texts(visitor_of(request).language).at(contract.calendar.zone)
    name = f"{contract.id}-{made.period.label}.html"
    return _file(standalone(words, made, names), "text/html; charset=utf-8", name)


def _file(body: str, kind: str, name: str) -> Response[Any]:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=kind, headers=headers)


def standalone(words: Texts, made: Statement, names: dict[str, str]) -> str:
    """The statement as one HTML file with its sheet in it: to be kept, mailed and printed."""
    sheet = (static_files.FOLDER / "app.css").read_text(encoding="utf-8")
    values = statement_view.values(words, made, names)
    moments = Moments(words, made.period.zone, made.made_at_ms)
    return (
        render.environment()
        .get_template("statement_file.html")
        .render(
            **values,
            t=words.get,
            words=words,
            short=functools.partial(_short, words),
            moments=moments,
            sheet=sheet,
            zone=made.period.zone,
            is_file=True,
        )
    )


def _short(words: Texts, ms: float) -> str:
    return statement_view.short(words, ms)


ROUTES = [statement_page, statement_csv, statement_html]
