"""GET /hosts and /hosts/{id}."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from sqlalchemy import Connection, RowMapping

from agent.wire import VITALS
from collector.api import host_queries
from collector.api.host_queries import HostFilter, HostLine, HostView
from collector.fleet import Life
from collector.web import evidence_view, paging, render, ticket_load, ticket_search, ticket_words
from collector.web.ticket_pages import contract_choices
from collector.web.tones import LIFE_TONES, SEVERITY_TONES
from collector.web.visitor import context_of, known, visitor_of
from ticketing.contracts import Book
from ticketing.queries import TicketFilter, TicketPage, Viewer, list_tickets
from ticketing.texts import Texts, texts

PAGE = 100
LIVES = tuple(life.value for life in Life)
OFFSET_WORTH_SHOWING_MS = 2000
TOPOLOGY = ("provider", "site", "rack", "node", "storage", "virt", "os", "plan", "resolver", "ntp")
MAX_FACTS_IN_LINE = 3


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The list's filter as it stands in the address."""

    q: str = ""
    life: str = ""
    contract: str = ""
    troubled: bool = False

    @staticmethod
    def of(query: Mapping[str, str]) -> Wanted:
        life = query.get("life", "")
        return Wanted(
            q=ticket_search.clean(query.get("q", ""))[:64],
            life=life if life in LIVES else "",
            contract=ticket_search.clean(query.get("contract", ""))[:64],
            troubled=query.get("troubled") == "1",
        )

    def address(self, after: str | None = None) -> str:
        values = {"q": self.q, "life": self.life, "contract": self.contract}
        return paging.url("/hosts", {**values, "troubled": "1" if self.troubled else ""}, after)

    def narrowed(self) -> HostFilter:
        is_retired = self.life == Life.RETIRED.value
        return HostFilter(self.contract, self.life, self.q, self.troubled, is_retired)


@get("/hosts", guards=[known], include_in_schema=False)
async def host_list(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, words = visitor.viewer, context.book(), texts(visitor.language)
    wanted = Wanted.of(request.query_params)
    after = ticket_search.clean(request.query_params.get("after", ""))[:64] or None
    page = await context.read(
        lambda conn: host_queries.list_hosts(conn, viewer, wanted.narrowed(), PAGE, after)
    )
    values = {
        "lines": [_line(words, line, book) for line in page.lines],
        "wanted": wanted,
        "lives": LIVES,
        "contracts": contract_choices(book, viewer.contract_id),
        "is_filtered": wanted != Wanted(),
        "is_later_page": after is not None,
        "first_url": wanted.address(),
        "next_url": wanted.address(page.after) if page.after else "",
        "live": "hosts",
    }
    return render.page(request, "hosts.html", values)


@get("/hosts/{host_id:str}", guards=[known], include_in_schema=False)
async def host_page(request: Request[Any, Any, Any], host_id: FromPath[str]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book, now_ms = visitor.viewer, context.book(), context.clock.now_ms()
    wanted_id = ticket_search.clean(host_id)[:64]

    def ask(conn: Connection) -> tuple[HostView | None, TicketPage, dict[str, str]]:
        return _ask(conn, viewer, wanted_id)

    view, tickets, names = await context.read(ask)
    if view is None:
        raise NotFoundException(detail="there is no such host")
    row = view.row
    zone = book.contract(row["contract_id"]).calendar.zone
    words = texts(visitor.language).at(zone)
    offset_ms = row["wall_offset_ms"] or 0
    values = {
        "host": row,
        "life_text": words.get(f"web.life.{row['life']}"),
        "life_tone": LIFE_TONES.get(row["life"], ""),
        "contract_title": ticket_words.contract_title(book, row["contract_id"]),
        "findings": [_finding(words, finding) for finding in view.findings],
        "tickets": [ticket_words.row(words, ticket, book, names, now_ms) for ticket in tickets.tickets],
        "vitals": _vitals(words, row["vitals"] or {}),
        "lacks": sorted((row["lacks"] or {}).items()),
        "topology": [(key, row["topology"][key]) for key in TOPOLOGY if (row["topology"] or {}).get(key)],
        "clock_offset": words.duration(abs(offset_ms)) if abs(offset_ms) >= OFFSET_WORTH_SHOWING_MS else "",
        "live": "hosts",
    }
    return render.page(request, "host.html", values, zone=zone)


def _ask(
    conn: Connection, viewer: Viewer, host_id: str
) -> tuple[HostView | None, TicketPage, dict[str, str]]:
    view = host_queries.host(conn, viewer, host_id)
    if view is None:
        return None, TicketPage((), None), {}
    tickets = list_tickets(conn, viewer, TicketFilter(host_id=host_id), host_queries.MAX_HOST_TICKETS)
    return view, tickets, ticket_load.names_of(conn)


def _line(words: Texts, line: HostLine, book: Book) -> dict[str, Any]:
    row = line.row
    return {
        "id": row["id"],
        "contract_title": ticket_words.contract_title(book, row["contract_id"]),
        "address": next(iter(row["addresses"]), ""),
        "life_text": words.get(f"web.life.{row['life']}"),
        "life_tone": LIFE_TONES.get(row["life"], ""),
        "open_findings": line.open_findings,
        "worst_tone": SEVERITY_TONES.get(line.worst, ""),
        "last_report_at_ms": row["last_report_at_ms"],
        "agent_version": row["agent_version"],
    }


def _finding(words: Texts, row: RowMapping) -> dict[str, Any]:
    name = f"rule.{row['rule']}"
    title = words.get(name) if name in words else row["rule"]
    facts = list(((row["body"] or {}).get("facts") or {}).items())[:MAX_FACTS_IN_LINE]
    told = [f"{evidence_view.meaning(words, signal)} {_now(words, signal, fact)}" for signal, fact in facts]
    return {
        "title": f"{title} {row['subject']}".strip(),
        "family_text": words.get(f"web.family.{row['family']}"),
        "facts": ", ".join(told),
        "severity": row["severity"],
        "severity_text": words.get(f"severity.{row['severity']}"),
        "severity_tone": SEVERITY_TONES.get(row["severity"], ""),
        "at_ms": row["at_ms"],
        "ticket_id": row["ticket_id"],
    }


def _now(words: Texts, signal: str, fact: Any) -> str:
    parts = fact if isinstance(fact, Mapping) else {"now": fact}
    return evidence_view.signal_value(words, signal, parts.get("now"), str(parts.get("unit") or ""))


def _vitals(words: Texts, vitals: Mapping[str, Any]) -> list[dict[str, str]]:
    """In the wire's own order, which goes from CPU to network."""
    return [
        {
            "name": name,
            "meaning": evidence_view.meaning(words, name),
            "text": _ladder(words, vitals[name])
            if name == "net.ladder"
            else evidence_view.signal_value(words, name, vitals[name]),
        }
        for name in VITALS
        if name in vitals
    ]


LADDER = ("link", "gateway", "hop2", "collector", "resolver")


def _ladder(words: Texts, packed: Any) -> str:
    """The rungs that hold: bit 0 link, 1 gateway, 2 hop 2, 3 collector, 4 resolver, bits 5 and 6 anchors."""
    if not isinstance(packed, int | float):
        return "–"
    bits = int(packed)
    rungs = [words.get(f"web.ladder.{rung}") for at, rung in enumerate(LADDER) if bits >> at & 1]
    rungs.append(words.get("web.ladder.anchors", count=bits >> 5 & 3))
    return ", ".join(rungs)


ROUTES = [host_list, host_page]
