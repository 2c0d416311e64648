"""GET /contracts and /contracts/{id}: what is agreed, in words, with its versions; the way to the monthly statements.

Read-only: contracts are changed in their files (``vartovyi-collector contract``). A client sees its own contract, without
addresses of other people and without keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy import Connection

from collector.web import paging, render, statement_view, ticket_search
from collector.web.durations import short, working
from collector.web.visitor import context_of, known, visitor_of
from ticketing import contract_versions, filing
from ticketing.calendar import DAYS
from ticketing.contract_versions import Version
from ticketing.model import CLASSES, INTERNAL_CONTRACT
from ticketing.queries import Viewer
from ticketing.terms import Contract
from ticketing.texts import Texts, texts

MAX_SHOWN_CHANGES = 20
MAX_VERSIONS = 30
MAX_HOSTS = 500
MAX_REFUSED = 20
MAX_VALUE = 120


def may_see(viewer: Viewer, contract_id: str) -> bool:
    """A client's user: its own contract and no other."""
    return not viewer.is_client or contract_id == viewer.contract_id


def find(
    conn: Connection, viewer: Viewer, contract_id: str, version: int | None = None
) -> tuple[Version, Contract] | None:
    """A version of a contract; None where there is none that this person may see."""
    return contract_versions.read(conn, contract_id, version) if may_see(viewer, contract_id) else None


@get("/contracts", guards=[known], include_in_schema=False)
async def contract_list(request: Request[Any, Any, Any]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, book = visitor.viewer, context.book()
    if viewer.is_client:
        return Redirect(f"/contracts/{viewer.contract_id}")
    newest = await context.read(contract_versions.newest)
    lines = []
    for version in newest:
        contract = book.contracts.get(version.contract_id)
        lines.append(
            {
                "id": version.contract_id,
                "title": contract.title if contract else version.contract_id,
                "version": version.version,
                "applied_at_ms": version.applied_at_ms,
                "is_current": version.is_current,
                "hosts": len(contract.hosts) if contract else 0,
                "lines": contract.lines if contract else 0,
            }
        )
    lines.sort(
        key=lambda line: (not line["is_current"], line["id"] == INTERNAL_CONTRACT, line["title"].casefold())
    )
    return render.page(request, "contracts.html", {"lines": lines})


@get("/contracts/{contract_id:str}", guards=[known], include_in_schema=False)
async def contract_page(request: Request[Any, Any, Any], contract_id: FromPath[str]) -> Response[Any]:
    context, visitor = context_of(request), visitor_of(request)
    viewer, wanted_id = visitor.viewer, ticket_search.clean(contract_id)[:64]
    version = paging.number(request.query_params.get("version"), 1, 10**9)

    def ask(conn: Connection) -> tuple[Any, ...] | None:
        found = find(conn, viewer, wanted_id, version)
        if found is None:
            return None
        history = contract_versions.history(conn, wanted_id, MAX_VERSIONS)
        return (*found, history, filing.not_taken(conn, wanted_id, MAX_REFUSED))

    found = await context.read(ask)
    if found is None:
        raise NotFoundException(detail="there is no such contract")
    shown, contract, history, refused = found
    zone = contract.calendar.zone
    words = texts(visitor.language).at(zone)
    now_ms = context.clock.now_ms()
    values = contract_values(words, contract) | {
        "shown": shown,
        "history": [_version(words, one, viewer) for one in history],
        "refused": [{"at_ms": r.at_ms, "title": r.title, "why": words.reason(r.reason)} for r in refused],
        "months": [(m, statement_view.month_name(words, m)) for m in statement_view.months(now_ms, zone)],
    }
    return render.page(request, "contract.html", values, zone=zone)


def contract_values(words: Texts, contract: Contract) -> dict[str, Any]:
    """The terms in words."""
    calendar = contract.calendar
    return {
        "contract": contract,
        "promises": [
            {
                "class_": class_,
                "class_text": words.get(f"class.{class_}"),
                "reaction": working(words, contract.times(class_).reaction * 1000),
                "resolution": working(words, contract.times(class_).resolution * 1000),
                "is_own": str(class_) in contract.sla,
            }
            for class_ in CLASSES
        ],
        "hours": [(words.get(f"web.day.{day}"), ", ".join(calendar.hours.get(day, ()))) for day in DAYS]
        if calendar.hours
        else [],
        "holidays": sorted(calendar.holidays),
        "working_days": sorted((day, ", ".join(hours)) for day, hours in calendar.working_days.items()),
        "hosts": [_host(words, contract, host.id) for host in contract.hosts[:MAX_HOSTS]],
        "hosts_cut": max(0, len(contract.hosts) - MAX_HOSTS),
        "provider_sla": working(words, contract.provider_sla * 1000),
        "reopen_window": short(words, contract.reopen_window * 1000),
        "class2_refusal": _class2(words, contract),
        "windows": [
            {"from_ms": span[0], "to_ms": span[1], "title": one.title, "hosts": ", ".join(one.hosts)}
            for one in contract.windows
            for span in [one.span_ms(calendar.zone)]
        ],
        "channels": [
            {"type": words.get(f"web.channel.{one.type}") if f"web.channel.{one.type}" in words else one.type,
             "on": [words.get(f"notice.{notice}") for notice in one.on]}
            for one in contract.channels
        ],
    }  # fmt: skip


def _class2(words: Texts, contract: Contract) -> str:
    """Why no server of the contract is worked on; "" where at least one is."""
    refusal = contract.class2_refusal([host.id for host in contract.hosts])
    return words.reason(refusal) if refusal else ""


def _host(words: Texts, contract: Contract, host_id: str) -> dict[str, Any]:
    host = contract.host(host_id)
    assert host is not None
    refusal = contract.class2_refusal([host_id])
    kind = f"web.kind.{host.kind}"
    return {
        "id": host.id,
        "kind": words.get(kind) if kind in words else host.kind,
        "plan": host.topology.plan,
        "provider": host.topology.provider,
        "services": [service.name for service in host.services],
        "is_eligible": refusal is None,
        "why_not": words.reason(refusal) if refusal else "",
    }


def _version(words: Texts, one: Version, viewer: Viewer) -> dict[str, Any]:
    changes = [_change(change) for change in one.changes[:MAX_SHOWN_CHANGES]]
    if viewer.is_client:
        changes = [change for change in changes if not change["key"].startswith(_STAFF_KEYS)]
    return {
        "version": one.version,
        "applied_at_ms": one.applied_at_ms,
        "applied_by": "" if viewer.is_client else one.applied_by,
        "is_current": one.is_current,
        "changes": changes,
        "more": max(0, len(one.changes) - MAX_SHOWN_CHANGES),
    }


_STAFF_KEYS = ("channels", "mirrors", "escalation", "failover", "peers")


def _change(raw: Mapping[str, Any]) -> dict[str, str]:
    def shown(side: str) -> str:
        return str(raw[side])[:MAX_VALUE] if side in raw else "–"

    return {"key": str(raw.get("key", "")), "before": shown("before"), "after": shown("after")}


ROUTES = [contract_list, contract_page]
