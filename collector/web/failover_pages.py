"""GET and POST /failover/{run}: a switch with its plan and journal, and the buttons of who may decide; one-time links to it.

A link from a message opens a page and changes nothing; only the page's own button counts, once, for its person and plan.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy import Connection, select

from collector.failover import approvals, runs, telling
from collector.failover.approvals import Asker
from collector.failover.journal import Run
from collector.failover.states import TABLE, State
from collector.tables import failover_runs
from collector.web import render, safety
from collector.web.context import AppContext
from collector.web.visitor import VISIT_COOKIE, context_of, is_https, known, meant, visitor_of
from ticketing import people
from ticketing.model import Reason
from ticketing.texts import Texts, texts

WORDS = ("approve", "abort", "promote", "acknowledge")
SHOWN_MAX = 400
MAX_ID = 2**53


@get("/tickets/{ticket_id:int}/failover", guards=[known], include_in_schema=False)
async def of_ticket(request: Request[Any, Any, Any], ticket_id: FromPath[int]) -> Response[Any]:
    """The newest switch that a request speaks of."""
    wanted = (
        select(failover_runs.c.id)
        .where(failover_runs.c.ticket_id == min(ticket_id, MAX_ID))
        .order_by(failover_runs.c.began_at_ms.desc())
        .limit(1)
    )
    run_id = await context_of(request).read(lambda conn: conn.execute(wanted).scalar())
    if run_id is None:
        raise NotFoundException(detail="this ticket asks for no switch")
    return Redirect(f"/failover/{run_id}")


@get("/failover/{run_id:str}", guards=[known], include_in_schema=False)
async def run_page(request: Request[Any, Any, Any], run_id: FromPath[str]) -> Response[Any]:
    return await _page(request, run_id)


@post("/failover/{run_id:str}", guards=[known, meant], include_in_schema=False)
async def decide(request: Request[Any, Any, Any], run_id: FromPath[str]) -> Response[Any]:
    """Does what the button says, against the plan that was shown; else the page again with the reason."""
    context, visitor = context_of(request), visitor_of(request)
    form = await request.form()
    word, seen = str(form.get("word", "")), str(form.get("plan", ""))[:64]
    if word not in WORDS:
        raise NotFoundException(detail="there is no such act")
    # Whose contract it is, is asked before anything else is said about it.
    await _loaded(request, run_id)
    assert visitor.person is not None, "the route let a stranger through"
    asker = Asker.of(visitor.person, "token" if visitor.is_token else "page", visitor.address)
    why = await context.write(lambda tx: _speak(tx, context, run_id, word, seen, asker))
    if why:
        return await _page(request, run_id, fault=why, status=403 if why == "not_yours" else 409)
    return Redirect(f"/failover/{run_id}", status_code=303)


@get("/failover/link/{secret:str}", include_in_schema=False)
async def link_page(request: Request[Any, Any, Any], secret: FromPath[str]) -> Response[Any]:
    return await _link(request, secret)


@post("/failover/link/{secret:str}", include_in_schema=False, status_code=200)
async def confirm(request: Request[Any, Any, Any], secret: FromPath[str]) -> Response[Any]:
    """The button of a link's page: the link is used up with it, whatever the answer."""
    context, visitor = context_of(request), visitor_of(request)
    form = await request.form()
    word = str(form.get("word", ""))
    visit = request.cookies.get(VISIT_COOKIE, "")
    if not visit or not safety.is_csrf_token(visit, str(form.get(safety.CSRF_FIELD, ""))):
        return await _link(request, secret, fault="again", status=403)
    if word not in ("approve", "abort"):
        raise NotFoundException(detail="there is no such act")
    now_ms = context.clock.now_ms()

    def act(tx: Connection) -> str:
        found = approvals.read_link(tx, secret[:200], now_ms)
        if found is None or not approvals.spend_link(tx, secret[:200], now_ms):
            return "link"
        run_id, person_id, plan_hash = found
        person = people.person(tx, person_id)
        if person is None:
            return "link"
        return _speak(tx, context, run_id, word, plan_hash, Asker.of(person, "link", visitor.address))

    why = await context.write(act)
    return await _link(request, secret, fault=why, done="" if why else word, status=409 if why else 200)


def _speak(tx: Connection, context: Any, run_id: str, word: str, seen: str, asker: Asker) -> str:
    book, now_ms = context.book(), context.clock.now_ms()
    if word == "approve":
        return approvals.approve(tx, book, run_id, seen, asker, now_ms)
    return approvals.order(tx, book, run_id, word, asker, now_ms)


@dataclasses.dataclass(frozen=True)
class _Shown:
    """A run as the page shows it."""

    row: Any
    run: Run
    entries: list[Any]
    client: str
    risk: Reason | None
    """How many writes are lost if the backup takes over now; only while that is still to be decided."""


def _load(conn: Connection, context: AppContext, run_id: str) -> _Shown | None:
    row = conn.execute(select(failover_runs).where(failover_runs.c.id == run_id)).first()
    run = runs.load(conn, run_id)
    if row is None or run is None:
        return None
    book = context.book()
    contract = book.contracts.get(row.contract_id)
    client = contract.title if contract is not None else row.contract_id
    return _Shown(row, run, runs.entries_of(conn, run_id), client, _risk(conn, context, row.contract_id, run))


def _risk(conn: Connection, context: AppContext, contract_id: str, run: Run) -> Reason | None:
    pair = approvals.pair_of_run(context.book(), contract_id, run)
    if pair is None or not _acts(run) or TABLE[run.state].is_past_no_return:
        return None
    seconds = approvals.exposure_s(conn, context.book(), contract_id, pair, run, context.clock.now_ms())
    limit = {"limit": round(float(pair.rpo))}
    if seconds is None:
        return Reason("failover.request.exposure_unknown", limit)
    return Reason("failover.request.exposure", {"exposure": round(seconds), **limit})


async def _loaded(request: Request[Any, Any, Any], run_id: str) -> _Shown:
    """The run, for who may see its contract; else it is not there."""
    viewer, context = visitor_of(request).viewer, context_of(request)
    shown = await context.read(lambda conn: _load(conn, context, run_id[:40]))
    if shown is None or (viewer.is_client and shown.row.contract_id != viewer.contract_id):
        raise NotFoundException(detail="there is no such switch")
    return shown


async def _page(
    request: Request[Any, Any, Any], run_id: str, fault: str = "", status: int = 200
) -> Response[Any]:
    shown = await _loaded(request, run_id)
    words = texts(visitor_of(request).language)
    values = _values(words, shown) | {"fault": _fault(words, fault), "done": "", "link": ""}
    return render.page(request, "failover.html", values, status=status)


async def _link(
    request: Request[Any, Any, Any], secret: str, fault: str = "", done: str = "", status: int = 200
) -> Response[Any]:
    context, words = context_of(request), texts(visitor_of(request).language)
    now_ms = context.clock.now_ms()

    def load(conn: Connection) -> _Shown | None:
        found = approvals.read_link(conn, secret[:200], now_ms)
        return None if found is None else _load(conn, context, found[0])

    loaded = await context.read(load)
    visit = request.cookies.get(VISIT_COOKIE, "") or safety.new_visit_secret()
    shown = (
        _values(words, loaded) if loaded is not None else {"run": None, "lines": [], "acts": [], "steps": []}
    )
    is_spent = loaded is None and not done and not fault
    values = shown | {
        "fault": _fault(words, "link" if is_spent else fault),
        "done": done,
        "link": safety.csrf_token(visit) if loaded is not None else "",
    }
    values["acts"] = [act for act in values["acts"] if act in ("approve", "abort")]
    cookie = Cookie(
        key=VISIT_COOKIE, value=visit, path="/", httponly=True, secure=is_https(request), samesite="lax"
    )
    return render.page(request, "failover.html", values, status=410 if is_spent else status, cookies=[cookie])


def _acts(run: Run) -> list[str]:
    """What a person may say now."""
    table = TABLE[run.state]
    acts = ["approve"] if run.state is State.AWAIT_APPROVAL and run.approval is None else []
    if State.ABORTED in table.leads_to and not table.is_past_no_return:
        acts.append("abort")
    if run.state is State.STUCK and run.fenced_at_ms is not None:
        acts.append("promote")
    if run.state in (State.STUCK, State.HOLD_DOWN):
        acts.append("acknowledge")
    return acts


def _values(words: Texts, shown: _Shown) -> dict[str, Any]:
    run = shown.run
    cause = f"cause.{run.plan.cause}"
    return {
        "run": shown.row,
        "plan": run.plan,
        "client": shown.client,
        "cause_text": words.get(cause) if cause in words else run.plan.cause,
        "risk_text": words.reason(shown.risk) if shown.risk else "",
        "plan_hash": run.plan.hash,
        "state_text": words.get(TABLE[run.state].sentence),
        "reason_text": words.reason(Reason.from_dict(dict(run.reason))) if run.reason else "",
        "until_ms": run.approve_until_ms if run.state is State.AWAIT_APPROVAL else None,
        "steps": [
            (words.get(f"failover.phase.{s.phase}"), s.type, run.step(s.key).outcome) for s in run.plan.steps
        ],
        "lines": [(entry.at_ms, telling.said(entry, words)) for entry in shown.entries[-SHOWN_MAX:]],
        "acts": _acts(run),
    }


def _fault(words: Texts, tail: str) -> str:
    return words.get(f"failover.refused.{tail}") if tail else ""


ROUTES = [of_ticket, run_page, decide, link_page, confirm]
