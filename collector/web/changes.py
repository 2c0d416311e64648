"""What changed just before a fault began: operators' acts, packages, windows, providers' events, roll-outs, contract versions.

Most faults follow a change, so an engineer asks this first. One bounded look at what is written down anyway; it decides
nothing and blames nobody. A client sees what concerns it (windows, the provider, its contract), not who typed what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from collector.tables import observations, roll_outs
from ticketing.contracts import Book
from ticketing.queries import TicketView, Viewer
from ticketing.tables import contracts, ticket_hosts, tickets
from ticketing.texts import Texts

BEFORE_MS = 24 * 3_600_000
AFTER_MS = 10 * 60_000
"""A change is written down a little after it worked, and clocks of servers differ."""
MAX_SHOWN = 25
MAX_LOOKED_AT = 400
MAX_HOSTS = 40
MAX_TEXT = 300

ACT, PACKAGE, WINDOW, PROVIDER, ROLL_OUT, CONTRACT, TICKET = (
    "act",
    "package",
    "window",
    "provider",
    "roll_out",
    "contract",
    "ticket",
)
_SIGNALS = {"ops.action": ACT, "ops.window": WINDOW, "prov.event": PROVIDER, "prov.status": PROVIDER}
_PACKAGES = ("packages ", "package ", "dnf ", "yum ", "rpm ")
STAFF_ONLY = (ACT, PACKAGE)


@dataclasses.dataclass(frozen=True)
class Changed:
    """One thing that changed; ``text`` is data, its kind is said in words by ``web.changed.<kind>``."""

    at_ms: int
    kind: str
    where: str
    text: str
    ticket_id: int | None = None


def just_before(conn: Connection, book: Book, viewer: Viewer, ticket: TicketView) -> list[Changed]:
    """What changed in the day before the fault began, the nearest to it first, at most MAX_SHOWN."""
    since_ms, until_ms = ticket.began_at_ms - BEFORE_MS, ticket.began_at_ms + AFTER_MS
    hosts = list(ticket.affected[:MAX_HOSTS])
    found = [
        *_observed(conn, book, hosts, since_ms, until_ms),
        *_rolled_out(conn, book, ticket, hosts, since_ms, until_ms),
        *_applied(conn, ticket.contract_id, since_ms, until_ms),
        *_other_tickets(conn, viewer, ticket, hosts, since_ms),
    ]
    if viewer.is_client:
        found = [one for one in found if one.kind not in STAFF_ONLY]
    found.sort(key=lambda one: (-one.at_ms, one.kind, one.text))
    return list(dict.fromkeys(found))[:MAX_SHOWN]


def _observed(
    conn: Connection, book: Book, hosts: Iterable[str], since_ms: int, until_ms: int
) -> list[Changed]:
    hosts = list(hosts)
    providers = {book.hosts[host].topology.provider for host in hosts if host in book.hosts} - {""}
    table = observations
    wanted = (
        select(table.c.host_id, table.c.signal, table.c.value, table.c.at_ms)
        .where(
            table.c.host_id.in_([*hosts, *sorted(providers)]),
            table.c.signal.in_(_SIGNALS),
            table.c.at_ms.between(since_ms, until_ms),
        )
        .order_by(table.c.at_ms.desc())
        .limit(MAX_LOOKED_AT)
    )
    return [
        Changed(row.at_ms, _kind(row.signal, row.value), row.host_id, _text(row.signal, row.value))
        for row in conn.execute(wanted)
    ]


def _kind(signal: str, value: Any) -> str:
    is_package = signal == "ops.action" and str(value).startswith(_PACKAGES)
    return PACKAGE if is_package else _SIGNALS[signal]


def _text(signal: str, value: Any) -> str:
    if signal == "ops.window":
        return "open" if value else "closed"
    return str(value)[:MAX_TEXT]


def _rolled_out(
    conn: Connection, book: Book, ticket: TicketView, hosts: Iterable[str], since_ms: int, until_ms: int
) -> list[Changed]:
    providers = {book.hosts[host].topology.provider for host in hosts if host in book.hosts}
    scopes = {"all", f"contract:{ticket.contract_id}", *(f"host:{host}" for host in hosts)}
    scopes |= {f"provider:{name}" for name in providers if name}
    wanted = (
        select(roll_outs.c.scope, roll_outs.c.why, roll_outs.c.announced_at_ms)
        .where(roll_outs.c.scope.in_(scopes), roll_outs.c.announced_at_ms.between(since_ms, until_ms))
        .order_by(roll_outs.c.announced_at_ms.desc())
        .limit(MAX_SHOWN)
    )
    return [Changed(r.announced_at_ms, ROLL_OUT, r.scope, r.why[:MAX_TEXT]) for r in conn.execute(wanted)]


def _applied(conn: Connection, contract_id: str, since_ms: int, until_ms: int) -> list[Changed]:
    wanted = (
        select(contracts.c.version, contracts.c.applied_at_ms)
        .where(contracts.c.id == contract_id, contracts.c.applied_at_ms.between(since_ms, until_ms))
        .order_by(contracts.c.version.desc())
        .limit(MAX_SHOWN)
    )
    return [Changed(r.applied_at_ms, CONTRACT, contract_id, str(r.version)) for r in conn.execute(wanted)]


def _other_tickets(
    conn: Connection, viewer: Viewer, ticket: TicketView, hosts: Iterable[str], since_ms: int
) -> list[Changed]:
    """Faults that the same hosts had begun to have before this one."""
    wanted = (
        select(tickets.c.id, tickets.c.began_at_ms, tickets.c.root_cause, ticket_hosts.c.host_id)
        .join(ticket_hosts, ticket_hosts.c.ticket_id == tickets.c.id)
        .where(
            ticket_hosts.c.host_id.in_(list(hosts)),
            ticket_hosts.c.updated_at_ms >= since_ms,
            tickets.c.began_at_ms.between(since_ms, ticket.began_at_ms),
            tickets.c.id != ticket.id,
            tickets.c.id != (ticket.parent_id or 0),
        )
        .order_by(ticket_hosts.c.updated_at_ms.desc())
        .limit(MAX_SHOWN)
    )
    own = viewer.contract_id if viewer.is_client else ticket.contract_id
    wanted = wanted.where(tickets.c.contract_id == own)
    return [Changed(r.began_at_ms, TICKET, r.host_id, r.root_cause, r.id) for r in conn.execute(wanted)]


def in_words(words: Texts, one: Changed) -> str:
    """One change as a sentence's end: what it was; where and when stand beside it."""
    text = one.text
    if one.kind == WINDOW:
        text = words.get(f"web.changed.window_{one.text}")
    elif one.kind == TICKET:
        text = f"#{one.ticket_id} " + (words.get(f"cause.{text}") if f"cause.{text}" in words else text)
    elif one.kind == CONTRACT:
        text = words.get("web.changed.version", version=text)
    return text
