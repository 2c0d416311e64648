"""GET and POST /tickets/new: a person files a ticket. Without a class the form proposes class and line with the reason,
shows what is open about the same server already, and files on the second yes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.response import Redirect

from collector.web import paging, render, ticket_search, ticket_words
from collector.web.ticket_pages import contract_choices
from collector.web.visitor import context_of, known, meant, visitor_of
from ticketing import acts, filing
from ticketing.acts import MAX_TEXT, MAX_TITLE, Refusal
from ticketing.contracts import Book
from ticketing.proposal import WISHES, Proposal
from ticketing.queries import TicketFilter, TicketLine, Viewer, list_tickets
from ticketing.texts import Texts, texts

MAX_OFFERED_HOSTS = 500
MAX_OPEN_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Typed:
    """What stands in the form."""

    contract: str = ""
    title: str = ""
    body: str = ""
    host: str = ""
    application: str = ""
    wish: str = ""
    class_: int | None = None
    line: int | None = None
    preventive: bool = False

    @staticmethod
    def of(form: Mapping[str, Any]) -> Typed:
        def text(name: str, most: int) -> str:
            return str(form.get(name, "")).replace("\x00", "").strip()[:most]

        return Typed(
            contract=text("contract", 64),
            title=text("title", MAX_TITLE),
            body=text("body", MAX_TEXT),
            host=text("host", 64),
            application=text("application", 200),
            wish=text("wish", 40),
            class_=paging.number(str(form.get("class", "")), 1, 6),
            line=paging.number(str(form.get("line", "")), 1, 4),
            preventive=form.get("preventive") == "1",
        )


@get("/tickets/new", guards=[known], include_in_schema=False)
async def new_form(request: Request[Any, Any, Any]) -> Response[Any]:
    host = ticket_search.clean(request.query_params.get("host", ""))[:64]
    viewer = visitor_of(request).viewer
    contract = context_of(request).book().host_contract.get(host, "")
    # Whether another client's server exists is nobody's business.
    is_own = bool(contract) and (not viewer.is_client or contract == viewer.contract_id)
    return _form(request, Typed(host=host, contract=contract) if is_own else Typed())


@post("/tickets/new", guards=[known, meant], include_in_schema=False)
async def file_ticket(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    words, book, viewer = texts(visitor.language), context.book(), visitor.viewer
    typed = Typed.of(await request.form())
    if typed.title and typed.class_ is None and not typed.wish:
        return await _propose(request, typed)
    now_ms = context.clock.now_ms()
    done = await context.write(
        lambda tx: acts.file(
            tx,
            book,
            viewer,
            typed.contract,
            typed.class_,
            typed.title,
            typed.body,
            now_ms,
            host_id=typed.host or None,
            application=typed.application,
            wish=typed.wish,
            line=typed.line,
            is_preventive=typed.preventive,
        )
    )
    if isinstance(done, Refusal):
        faults = {name: words.reason(reason) for name, reason in done.fields.items()}
        more = {"is_not_eligible": done.code == "not_eligible"}
        return _form(request, typed, words.reason(done.reason), faults, status=400, more=more)
    context.bell.ring_ticket(done)
    return Redirect(f"/tickets/{done}", status_code=303)


async def _propose(request: Request[Any, Any, Any], typed: Typed) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    book, viewer, words = context.book(), visitor.viewer, texts(visitor.language)
    contract_id = viewer.contract_id or typed.contract
    proposal = filing.proposal_for(
        book,
        viewer,
        typed.contract,
        typed.title,
        typed.body,
        host_id=typed.host,
        application=typed.application,
    )
    is_ours = bool(typed.host) and book.host_contract.get(typed.host) == contract_id
    open_now: Sequence[TicketLine] = ()
    if is_ours:
        open_now = await context.read(lambda conn: _open_about(conn, viewer, contract_id, typed.host))
    chosen = dataclasses.replace(typed, class_=proposal.class_, line=proposal.line)
    more = {
        "proposal": _proposed(words, proposal, book, contract_id, typed),
        "open_now": [{"id": line.id, "summary": ticket_words.summary(words, line)} for line in open_now],
    }
    return _form(request, chosen, more=more)


def _open_about(conn: Any, viewer: Viewer, contract_id: str, host_id: str) -> Sequence[TicketLine]:
    wanted = TicketFilter(state="open", contract_id=contract_id, host_id=host_id)
    return list_tickets(conn, viewer, wanted, MAX_OPEN_SHOWN).tickets


def _form(
    request: Request[Any, Any, Any],
    typed: Typed,
    fault: str = "",
    faults: Mapping[str, str] | None = None,
    *,
    status: int = 200,
    more: Mapping[str, Any] | None = None,
) -> Response[Any]:
    visitor, book = visitor_of(request), context_of(request).book()
    only = visitor.viewer.contract_id
    contract = book.contracts.get(only or typed.contract)
    values = {
        "typed": typed,
        "fault": fault,
        "faults": faults or {},
        "proposal": None,
        "open_now": [],
        "is_not_eligible": False,
        "wishes": WISHES,
        "contracts": contract_choices(book, only),
        "known_hosts": _hosts(book, only or typed.contract),
        "applications": _applications(book, only, typed.contract),
        "lines": range(1, (contract.lines if contract else 4) + 1),
    }
    return render.page(request, "new_ticket.html", {**values, **(more or {})}, status=status)


def _hosts(book: Book, contract_id: str) -> list[str]:
    """Names to choose from: the contract's, or all where none is chosen yet."""
    chosen = (
        [h for h, c in book.host_contract.items() if c == contract_id]
        if contract_id
        else list(book.host_contract)
    )
    return sorted(chosen)[:MAX_OFFERED_HOSTS]


def _applications(book: Book, only: str | None, chosen: str) -> list[str]:
    """Names to choose from: the contract's; the staff, before they choose a contract, sees none."""
    contract = book.contracts.get(only or chosen)
    return sorted(contract.applications, key=str.casefold) if contract else []


def _proposed(words: Texts, proposal: Proposal, book: Book, contract_id: str, typed: Typed) -> dict[str, Any]:
    contract = book.contracts.get(contract_id)
    refusal = None
    if contract is not None and proposal.class_ == 2:
        refusal = contract.class2_refusal([typed.host] if typed.host else [h.id for h in contract.hosts])
    return {
        "class_": proposal.class_,
        "class_text": words.get(f"class.{proposal.class_}"),
        "line": proposal.line,
        "reasons": [words.reason(reason) for reason in proposal.reasons],
        "refusal": words.reason(refusal) if refusal else "",
    }


ROUTES = [new_form, file_ticket]
