"""GET /tickets, GET /tickets/{id}, and the acts that the ticket's forms send."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect

from collector.api.shapes import MAX_ID
from collector.web import (
    act_forms,
    evidence_view,
    paging,
    render,
    ticket_content,
    ticket_load,
    ticket_search,
    ticket_words,
)
from collector.web.act_forms import Attempt
from collector.web.ticket_load import TicketBundle
from collector.web.tones import BAD, CALM, GOOD, INFO, LIFE_TONES, WARN
from collector.web.visitor import context_of, known, meant, visitor_of
from ticketing import acts
from ticketing.acts import Refusal
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.letters import held
from ticketing.model import Reason
from ticketing.queries import EventView, TicketFilter, Viewer, list_tickets
from ticketing.runbook import page as runbook
from ticketing.texts import Texts, texts

PAGE = 50
CONFIDENCE_TONES = {"low": WARN, "medium": INFO, "high": GOOD}
SIDE_WEIGHT = 0.05
"""Below it a reason argues for neither class."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The list's filter as it stands in the address."""

    q: str = ""
    show: str = "open"
    class_: int | None = None
    line: int | None = None
    contract: str = ""
    mine: bool = False

    @staticmethod
    def of(query: Mapping[str, str]) -> Wanted:
        return Wanted(
            q=ticket_search.clean(query.get("q", "")),
            show="all" if query.get("show") == "all" else "open",
            class_=paging.number(query.get("class"), 1, 6),
            line=paging.number(query.get("line"), 1, 4),
            contract=ticket_search.clean(query.get("contract", ""))[:64],
            mine=query.get("mine") == "1",
        )

    def address(self, after: str | None = None) -> str:
        show = "" if self.show == "open" else self.show
        values = {
            "q": self.q,
            "show": show,
            "class": self.class_,
            "line": self.line,
            "contract": self.contract,
        }
        return paging.url("/tickets", {**values, "mine": "1" if self.mine else ""}, after)

    def narrowed(self, person_id: str) -> TicketFilter:
        return TicketFilter(
            state="open" if self.show == "open" else "",
            class_=self.class_,
            line=self.line,
            contract_id=self.contract,
            assignee=person_id if self.mine else "",
        )


@get("/tickets", guards=[known], include_in_schema=False)
async def ticket_list(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book = visitor.viewer, context.book()
    wanted = Wanted.of(request.query_params)
    if wanted.q.lstrip("#").isdigit() and (ticket_id := paging.number(wanted.q.lstrip("#"), 1, MAX_ID)):
        return Redirect(f"/tickets/{ticket_id}")
    words = texts(visitor.language)
    narrowed = ticket_search.with_text(wanted.narrowed(viewer.person_id), wanted.q, words, book)
    after = ticket_search.mark(request.query_params.get("after"))
    page, names, letters = await context.read(
        lambda conn: (
            list_tickets(conn, viewer, narrowed, PAGE, after),
            ticket_load.names_of(conn),
            0 if viewer.is_client else held.count(conn),
        )
    )
    now_ms = context.clock.now_ms()
    values = {
        "rows": [ticket_words.row(words, ticket, book, names, now_ms) for ticket in page.tickets],
        "wanted": wanted,
        "contracts": contract_choices(book, visitor.viewer.contract_id),
        "is_filtered": wanted != Wanted(),
        "is_narrowed": dataclasses.replace(wanted, q="", show="open") != Wanted(),
        "is_later_page": after is not None,
        "first_url": wanted.address(),
        "next_url": wanted.address(ticket_search.mark_text(page.after)) if page.after else "",
        "live": "tickets",
        "letters": letters,
    }
    return render.page(request, "tickets.html", values)


def contract_choices(book: Book, only: str | None) -> list[tuple[str, str]]:
    """Contracts by title; for a client its own."""
    chosen = [(str(c.id), c.title) for c in book.contracts.values() if only is None or c.id == only]
    return sorted(chosen, key=lambda choice: choice[1].casefold())


@get("/tickets/{ticket_id:int}", guards=[known], include_in_schema=False)
async def ticket_page(request: Request[Any, Any, Any], ticket_id: FromPath[int]) -> Response[Any]:
    return await _page(request, ticket_id)


@get("/tickets/{ticket_id:int}/acts/{act:str}", guards=[known], include_in_schema=False)
async def act_address(
    request: Request[Any, Any, Any], ticket_id: FromPath[int], act: FromPath[str]
) -> Response[Any]:
    """Somebody reloads the page that told of a conflict."""
    del act
    return Redirect(f"/tickets/{ticket_id}")


@post("/tickets/{ticket_id:int}/acts/{act:str}", guards=[known, meant], include_in_schema=False)
async def perform(
    request: Request[Any, Any, Any], ticket_id: FromPath[int], act: FromPath[str]
) -> Response[Any]:
    """Does the act, or shows the ticket again with the reason and everything that was typed."""
    context, visitor = context_of(request), visitor_of(request)
    form = await request.form()
    if act not in act_forms.FIELDS or not 1 <= ticket_id <= MAX_ID:
        raise NotFoundException(detail="there is no such act")
    typed = act_forms.typed_fields(act, form)
    seen_version = paging.number(str(form.get("seen_version", "")), 1, MAX_ID) or 0
    viewer, book, now_ms = visitor.viewer, context.book(), context.clock.now_ms()
    fields = act_forms.act_fields(act, typed)
    done = await context.write(
        lambda tx: acts.perform(tx, book, act, ticket_id, viewer, seen_version, now_ms, **fields)
    )
    if not isinstance(done, Refusal):
        context.bell.ring_ticket(ticket_id)
        return Redirect(f"/tickets/{ticket_id}", status_code=303)
    if done.code == "not_found":
        raise NotFoundException(detail="there is no such ticket")
    words = texts(visitor.language)
    faults = {name: words.reason(reason) for name, reason in done.fields.items()}
    attempt = Attempt(act, typed, "" if done.code == "stale" else words.reason(done.reason), faults)
    seen_event = paging.number(str(form.get("seen_event", "")), 0, MAX_ID) or 0
    status = {"stale": 409, "impossible": 409, "forbidden": 403}.get(done.code, 400)
    return await _page(request, ticket_id, status, attempt, done, seen_event)


async def _page(
    request: Request[Any, Any, Any],
    ticket_id: int,
    status: int = 200,
    attempt: Attempt | None = None,
    refusal: Refusal | None = None,
    seen_event: int = 0,
) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, now_ms = visitor.viewer, context.book(), context.clock.now_ms()
    bundle = None
    if 1 <= ticket_id <= MAX_ID:
        bundle = await context.read(lambda conn: ticket_load.load(conn, book, viewer, ticket_id))
    if bundle is None:
        raise NotFoundException(detail="there is no such ticket")
    zone = book.contract(bundle.ticket.contract_id).calendar.zone
    words = texts(visitor.language).at(zone)
    values = ticket_values(words, bundle, book, viewer, now_ms, attempt)
    values |= {
        "conflict": _conflict(words, bundle, refusal, attempt, seen_event),
        "live": f"ticket:{ticket_id} tickets",
        "live_url": f"/tickets/{ticket_id}" if attempt else "",
    }
    return render.page(request, "ticket.html", values, status=status, zone=zone)


def _conflict(
    words: Texts, bundle: TicketBundle, refusal: Refusal | None, attempt: Attempt | None, seen_event: int
) -> dict[str, Any] | None:
    """What is said above the ticket when an act was not done."""
    if refusal is None or attempt is None:
        return None
    if refusal.code == "stale":
        changes = [e for e in _events(words, bundle) if seen_event and e["id"] > seen_event]
        title, text = words.get("web.ticket.stale"), words.get("web.ticket.stale_text")
        # The act may be gone with the change (somebody resolved the ticket): the words must survive nevertheless.
        if attempt.act not in bundle.ticket.acts:
            text = words.reason(refusal.reason)
        return {"title": title, "text": text, "changes": changes, "kept": _kept(bundle, attempt)}
    title = words.get("web.ticket.refused")
    return {
        "title": title,
        "text": words.reason(refusal.reason),
        "changes": [],
        "kept": _kept(bundle, attempt),
    }


def _kept(bundle: TicketBundle, attempt: Attempt) -> str:
    """Typed words that no form holds any more, to be copied."""
    if attempt.act in bundle.ticket.acts:
        return ""
    return "\n".join(text for text in attempt.typed.values() if text.strip())


def ticket_values(
    words: Texts,
    bundle: TicketBundle,
    book: Book,
    viewer: Viewer,
    now_ms: int,
    attempt: Attempt | None = None,
) -> dict[str, Any]:
    """Everything that ticket.html names."""
    ticket = bundle.ticket
    contract = book.contract(ticket.contract_id)
    kin = {"book": book, "names": bundle.names, "now_ms": now_ms}
    evidence = evidence_view.newest(ticket.events)
    return {
        "ticket": _head(words, bundle, book, now_ms),
        "clocks": _clocks(words, bundle, book, now_ms),
        "meaning": runbook.meaning(words, ticket.root_cause) if ticket.origin == "machine" else "",
        "steps": [] if viewer.is_client else runbook.steps(words, ticket.root_cause),
        "acts": act_forms.act_forms(words, ticket, contract, bundle.staff, viewer, attempt),
        "reasons": [_reason(words, reason) for reason in ticket.reasons],
        "would_change": [words.reason(reason) for reason in ticket.would_change],
        "affected": [
            _affected(words, host, bundle.lives) for host in ticket.affected[: ticket_load.MAX_SHOWN_HOSTS]
        ],
        "affected_total": len(ticket.affected),
        "evidence": evidence_view.evidence_view(words, evidence, ticket.began_at_ms),
        "events": list(reversed(_events(words, bundle))),
        "events_cut": len(ticket.events) >= ticket_load.MAX_EVENTS,
        "parent": ticket_words.row(words, bundle.parent, **kin) if bundle.parent else None,
        "merged_into": ticket.merged_into,
        "is_switch": ticket.origin == "machine" and ticket.root_cause == "request",
        "children": [ticket_words.row(words, child, **kin) for child in bundle.children],
        "similar": [ticket_content.similar(words, one, bundle.names) for one in bundle.similar],
        "earlier": bundle.earlier,
        "changes": [ticket_content.change(words, one, ticket.began_at_ms) for one in bundle.changes],
        "question": ticket_content.question(ticket),
        "proposed": None if viewer.is_client else ticket_content.proposed(words, ticket),
        "open_beside": [ticket_words.row(words, line, **kin) for line in bundle.open_beside],
        "mirrors": [(mirror, words.get(f"mirror.state.{mirror.state}")) for mirror in bundle.mirrors],
    }


def _head(words: Texts, bundle: TicketBundle, book: Book, now_ms: int) -> dict[str, Any]:
    ticket = bundle.ticket
    row = ticket_words.row(words, ticket, book, bundle.names, now_ms)
    shown = {name: getattr(row, name) for name in row.__dataclass_fields__}
    same = ("root_cause", "provisional", "body", "scope", "recurrences", "began_at_ms", "created_at_ms")
    shown |= {
        name: getattr(ticket, name) for name in (*same, "reacted_at_ms", "resolved_at_ms", "closed_at_ms")
    }
    profile = f"web.profile.{ticket.profile}"
    return shown | {
        "next_step_at_ms": ticket.next_step_at_ms,
        "cause_text": ticket_words.cause(words, ticket.root_cause) if ticket.origin == "machine" else "",
        "confidence_text": words.get(
            "web.ticket.confidence", level=words.get(f"confidence.{ticket.confidence}")
        ),
        "confidence_tone": CONFIDENCE_TONES.get(ticket.confidence, ""),
        "origin_text": words.get(f"origin.{ticket.origin}"),
        "profile_text": words.get(profile) if profile in words else ticket.profile,
    }


def _clocks(words: Texts, bundle: TicketBundle, book: Book, now_ms: int) -> list[dict[str, Any]]:
    shown = []
    for line in ticket_words.clocks(words, bundle.ticket, book, now_ms):
        pause = f"pause.{line.pause_reason}"
        pause_text = words.get(pause) if line.pause_reason and pause in words else line.pause_reason
        shown.append(
            {**{name: getattr(line, name) for name in line.__dataclass_fields__}, "pause_text": pause_text}
        )
    return shown


def _reason(words: Texts, reason: Reason) -> dict[str, str]:
    side, tone = "neither", CALM
    if reason.weight > SIDE_WEIGHT:
        side, tone = "class1", INFO
    elif reason.weight < -SIDE_WEIGHT:
        side, tone = "class2", WARN
    return {"text": words.reason(reason), "side_text": words.get(f"web.side.{side}"), "side_tone": tone}


def _affected(words: Texts, host_id: str, lives: Mapping[str, str]) -> dict[str, str]:
    life = lives.get(host_id, "")
    return {
        "id": host_id,
        "life_text": words.get(f"web.life.{life}") if life else "",
        "life_tone": LIFE_TONES.get(life, ""),
    }


def _events(words: Texts, bundle: TicketBundle) -> Sequence[dict[str, Any]]:
    """The history in words, oldest first."""
    return [_event(words, event, bundle) for event in bundle.ticket.events]


def _event(words: Texts, event: EventView, bundle: TicketBundle) -> dict[str, Any]:
    who = ticket_words.who(words, event.actor, bundle.names)
    text = ticket_words.event_text(words, event, bundle.names)
    said = ticket_words.event_words(event)
    return {
        "id": event.id,
        "at_ms": event.at_ms,
        "who": "" if who in text else who,
        "text": text,
        # What was filed stands at the top of the page already.
        "words": "" if event.kind == "file" and said == bundle.ticket.body else said,
        "is_public": event.is_public,
        "tone": BAD if event.kind == "breach" else "" if event.actor == MACHINE else "person",
    }


ROUTES = [ticket_list, ticket_page, act_address, perform]
