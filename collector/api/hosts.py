"""GET /hosts and /hosts/{id}."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Request, get
from litestar.params import FromQuery, PathParameter, QueryParameter
from sqlalchemy import RowMapping

from collector.api import host_queries
from collector.api.answers import READ, READ_ONE
from collector.api.host_queries import MAX_HOSTS, HostFilter, HostLine, HostView
from collector.api.shapes import NO_NUL, FindingShape, HostFull, HostList, HostRow
from collector.web.faults import ApiFault
from collector.web.visitor import context_of, known, visitor_of

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_HOSTS, description="most rows of the answer")]
HostMark = Annotated[
    str, QueryParameter(max_length=64, pattern=NO_NUL, description="`after` of the page before")
]
ContractName = Annotated[str, QueryParameter(max_length=64, pattern=NO_NUL, description="only this contract")]
HostName = Annotated[str, PathParameter(max_length=64, pattern=NO_NUL, description="the host's id")]
LifeName = Literal["any", "awaited", "alive", "suspect", "silent", "stopped", "retired"]


@get("/hosts", guards=[known], responses=READ, operation_id="list_hosts", tags=["hosts"])
async def list_hosts(
    request: Request[Any, Any, Any],
    contract: ContractName = "",
    life: FromQuery[LifeName] = "any",
    q: Annotated[
        str, QueryParameter(max_length=64, pattern=NO_NUL, description="part of the host's id")
    ] = "",
    troubled: Annotated[
        bool, QueryParameter(description="only hosts with open findings or without reports")
    ] = False,
    limit: Limit = 50,
    after: HostMark = "",
) -> HostList:
    """Guarded servers by name."""
    viewer = visitor_of(request).viewer
    wanted = HostFilter(contract, "" if life == "any" else life, q, troubled, is_retired=life == "retired")
    page = await context_of(request).read(
        lambda conn: host_queries.list_hosts(conn, viewer, wanted, limit, after or None)
    )
    return HostList([_row(line) for line in page.lines], page.after)


@get("/hosts/{host_id:str}", guards=[known], responses=READ_ONE, operation_id="host", tags=["hosts"])
async def host(request: Request[Any, Any, Any], host_id: HostName) -> HostFull:
    """One guarded server: its last report, what holds on it now, its latest tickets."""
    viewer = visitor_of(request).viewer
    view = await context_of(request).read(lambda conn: host_queries.host(conn, viewer, host_id))
    if view is None:
        raise ApiFault(404, "not_found", "there is no such host")
    return _full(view)


def _row(line: HostLine) -> HostRow:
    row = line.row
    return HostRow(
        id=row["id"],
        contract=row["contract_id"],
        life=row["life"],
        life_since_ms=row["life_since_ms"],
        last_report_at_ms=row["last_report_at_ms"],
        open_findings=line.open_findings,
        worst=line.worst,
        agent_version=row["agent_version"],
        address=next(iter(row["addresses"]), ""),
    )


def _full(view: HostView) -> HostFull:
    row = view.row
    return HostFull(
        id=row["id"],
        contract=row["contract_id"],
        life=row["life"],
        life_since_ms=row["life_since_ms"],
        is_retired=row["is_retired"],
        addresses=list(row["addresses"]),
        topology=dict(row["topology"]),
        last_report_at_ms=row["last_report_at_ms"],
        silent_after_ms=row["silent_after_ms"],
        interval_s=row["interval_s"],
        wall_offset_ms=row["wall_offset_ms"],
        agent_version=row["agent_version"],
        goodbye=row["goodbye"],
        vitals=dict(row["vitals"]),
        lacks=dict(row["lacks"]),
        sweep_age_s=dict(row["sweep_age_s"]),
        spool_depth=row["spool_depth"],
        spool_dropped=row["spool_dropped"],
        clone_seen_at_ms=row["clone_seen_at_ms"],
        findings=[_finding(finding) for finding in view.findings],
        tickets=list(view.ticket_ids),
    )


def _finding(row: RowMapping) -> FindingShape:
    return FindingShape(
        rule=row["rule"],
        subject=row["subject"],
        family=row["family"],
        severity=row["severity"],
        at_ms=row["at_ms"],
        changed_at_ms=row["changed_at_ms"],
        facts=dict((row["body"] or {}).get("facts") or {}),
        ticket_id=row["ticket_id"],
    )


ROUTES = [list_hosts, host]
