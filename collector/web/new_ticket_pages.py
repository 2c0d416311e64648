"""GET and POST /tickets/new: a person files a ticket. Without a class the form proposes one, and files on the second yes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.response import Redirect

from collector.web import paging, render, ticket_search
from collector.web.proposal import Proposal, propose
from collector.web.ticket_pages import contract_choices
from collector.web.visitor import context_of, known, meant, visitor_of
from ticketing import acts
from ticketing.acts import MAX_TEXT, MAX_TITLE, Refusal
from ticketing.contracts import Book
from ticketing.texts import Texts, texts

MAX_OFFERED_HOSTS = 500


@dataclasses.dataclass(frozen=True)
class Typed:
    """What stands in the form."""

    contract: str = ""
    title: str = ""
    body: str = ""
    host: str = ""
    class_: int | None = None

    @staticmethod
    def of(form: Mapping[str, Any]) -> Typed:
        def text(name: str, most: int) -> str:
            return str(form.get(name, "")).replace("\x00", "").strip()[:most]

        return Typed(
            contract=text("contract", 64),
            title=text("title", MAX_TITLE),
            body=text("body", MAX_TEXT),
            host=text("host", 64),
            class_=paging.number(str(form.get("class", "")), 1, 6),
        )


@get("/tickets/new", guards=[known], include_in_schema=False)
async def new_form(request: Request[Any, Any, Any]) -> Response[Any]:
    host = ticket_search.clean(request.query_params.get("host", ""))[:64]
    book = context_of(request).book()
    contract = book.host_contract.get(host, "")
    return _form(request, Typed(host=host if contract else "", contract=contract))


@post("/tickets/new", guards=[known, meant], include_in_schema=False)
async def file_ticket(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    words, book, viewer = texts(visitor.language), context.book(), visitor.viewer
    typed = Typed.of(await request.form())
    if typed.title and typed.class_ is None:
        proposal = propose(typed.title, typed.body)
        return _form(request, dataclasses.replace(typed, class_=proposal.class_), proposal=proposal)
    now_ms = context.clock.now_ms()
    done = await context.write(
        lambda tx: acts.file(
            tx,
            book,
            viewer,
            typed.contract,
            typed.class_ or 0,
            typed.title,
            typed.body,
            now_ms,
            host_id=typed.host or None,
        )
    )
    if isinstance(done, Refusal):
        faults = {name: words.reason(reason) for name, reason in done.fields.items()}
        return _form(request, typed, words.reason(done.reason), faults, status=400)
    context.bell.ring_ticket(done)
    return Redirect(f"/tickets/{done}", status_code=303)


def _form(
    request: Request[Any, Any, Any],
    typed: Typed,
    fault: str = "",
    faults: Mapping[str, str] | None = None,
    *,
    proposal: Proposal | None = None,
    status: int = 200,
) -> Response[Any]:
    visitor, book = visitor_of(request), context_of(request).book()
    words = texts(visitor.language)
    only = visitor.viewer.contract_id
    values = {
        "typed": typed,
        "fault": fault,
        "faults": faults or {},
        "proposal": _proposed(words, proposal) if proposal else None,
        "contracts": contract_choices(book, only),
        "known_hosts": _hosts(book, only or typed.contract),
        "applications": book.contract(only).applications if only else [],
    }
    return render.page(request, "new_ticket.html", values, status=status)


def _hosts(book: Book, contract_id: str) -> list[str]:
    """Names to choose from: the contract's, or all where none is chosen yet."""
    chosen = (
        [h for h, c in book.host_contract.items() if c == contract_id]
        if contract_id
        else list(book.host_contract)
    )
    return sorted(chosen)[:MAX_OFFERED_HOSTS]


def _proposed(words: Texts, proposal: Proposal) -> dict[str, Any]:
    if proposal.words:
        reason = words.get("web.new.because", words=", ".join(proposal.words))
    else:
        reason = words.get("web.new.because_nothing")
    return {"class_": proposal.class_, "class_text": words.get(f"class.{proposal.class_}"), "reason": reason}


ROUTES = [new_form, file_ticket]
