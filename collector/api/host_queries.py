"""What pages and API ask about hosts: keyset pages by name, one host with its findings and tickets.

Each function is one or a few statements, none per row; every list is bounded. A client sees its own contract only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, or_, select, true

from collector.tables import hosts, open_findings
from ticketing.model import SEVERITIES
from ticketing.queries import Viewer
from ticketing.tables import ticket_hosts

MAX_HOSTS = 200
MAX_FINDINGS = 200
MAX_HOST_TICKETS = 20

TROUBLED = ("suspect", "silent")


@dataclasses.dataclass(frozen=True)
class HostFilter:
    """Empty fields filter nothing."""

    contract_id: str = ""
    life: str = ""
    text: str = ""
    with_findings: bool = False
    is_retired: bool = False


@dataclasses.dataclass(frozen=True)
class HostLine:
    """One host of a list."""

    row: RowMapping
    open_findings: int
    worst: str


@dataclasses.dataclass(frozen=True)
class HostPage:
    lines: Sequence[HostLine]
    after: str | None


@dataclasses.dataclass(frozen=True)
class HostView:
    """One host with what holds on it now and the tickets that it took part in, newest first."""

    row: RowMapping
    findings: Sequence[RowMapping]
    ticket_ids: Sequence[int]


def list_hosts(
    conn: Connection, viewer: Viewer, wanted: HostFilter, limit: int, after: str | None
) -> HostPage:
    """Hosts by name after the mark ``after``."""
    limit = max(1, min(limit, MAX_HOSTS))
    query = select(*_list_columns()).where(_own(viewer)).where(hosts.c.is_retired == wanted.is_retired)
    if wanted.contract_id:
        query = query.where(hosts.c.contract_id == wanted.contract_id)
    if wanted.life:
        query = query.where(hosts.c.life == wanted.life)
    if wanted.text:
        query = query.where(hosts.c.id.contains(wanted.text, autoescape=True))
    if wanted.with_findings:
        has_finding = select(1).where(open_findings.c.host_id == hosts.c.id).exists()
        query = query.where(or_(has_finding, hosts.c.life.in_(TROUBLED)))
    if after:
        query = query.where(hosts.c.id > after)
    rows = conn.execute(query.order_by(hosts.c.id).limit(limit + 1)).mappings().all()
    page = rows[:limit]
    counted = _counts(conn, [row["id"] for row in page])
    lines = [HostLine(row, *counted.get(row["id"], (0, ""))) for row in page]
    return HostPage(lines, page[-1]["id"] if len(rows) > limit else None)


def _list_columns() -> list[Any]:
    names = (
        "id",
        "contract_id",
        "life",
        "life_since_ms",
        "last_report_at_ms",
        "agent_version",
        "addresses",
        "vitals",
    )
    return [hosts.c[name] for name in names]


def _own(viewer: Viewer) -> ColumnElement[bool]:
    """Hosts that this person may see."""
    return hosts.c.contract_id == (viewer.contract_id or "") if viewer.is_client else true()


def _counts(conn: Connection, host_ids: Sequence[str]) -> Mapping[str, tuple[int, str]]:
    """Open findings and the worst severity of each host, in one statement."""
    if not host_ids:
        return {}
    query = (
        select(open_findings.c.host_id, open_findings.c.severity, func.count())
        .where(open_findings.c.host_id.in_(host_ids))
        .group_by(open_findings.c.host_id, open_findings.c.severity)
    )
    counted: dict[str, tuple[int, str]] = {}
    for host_id, severity, number in conn.execute(query):
        total, worst = counted.get(host_id, (0, ""))
        counted[host_id] = (total + number, max(worst, severity, key=severity_rank))
    return counted


def severity_rank(severity: str) -> int:
    """Greater is worse; -1 for none."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def host(conn: Connection, viewer: Viewer, host_id: str) -> HostView | None:
    """The host, or None where there is none that this person may see."""
    row = conn.execute(select(hosts).where(_own(viewer)).where(hosts.c.id == host_id)).mappings().first()
    if row is None:
        return None
    query = (
        select(open_findings)
        .where(open_findings.c.host_id == host_id)
        .order_by(open_findings.c.at_ms.desc())
        .limit(MAX_FINDINGS)
    )
    return HostView(row, conn.execute(query).mappings().all(), _ticket_ids(conn, host_id))


def _ticket_ids(conn: Connection, host_id: str) -> list[int]:
    """The latest tickets that the host took part in, newest first."""
    query = (
        select(ticket_hosts.c.ticket_id)
        .where(ticket_hosts.c.host_id == host_id)
        .order_by(ticket_hosts.c.ticket_id.desc())
        .limit(MAX_HOST_TICKETS)
    )
    return list(conn.scalars(query))


def by_host(conn: Connection, viewer: Viewer, host_ids: Sequence[str]) -> Mapping[str, str]:
    """Life of each named host that this person may see: for a ticket's list of affected hosts."""
    if not host_ids:
        return {}
    query = (
        select(hosts.c.id, hosts.c.life).where(_own(viewer)).where(hosts.c.id.in_(list(host_ids)[:MAX_HOSTS]))
    )
    return {row.id: row.life for row in conn.execute(query)}
