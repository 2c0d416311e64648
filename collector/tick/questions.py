"""What is asked about one host, and the rows that ask it: the same questions from the collector and from vantages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from collector.asks import COLLECTOR
from collector.store.engine import after_commit
from collector.tables import hosts, probes, services
from collector.tick.asks import asks_about, write_asks
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import chunks
from ticketing.contracts import Book
from ticketing.terms import HostTerms

Question = tuple[str, dict[str, Any]]
"""(kind, target)."""

SERVICES_ASKED = 4
"""Most contracted services asked of one suspect."""

CONTROLLERS_MAX = 2_000

MANY = 300
"""Past so many suspects at once services are not asked as well: workers are few and the group speaks for itself."""


def questions_about(
    host: Any, ctx: TickContext, book: Book | None = None, *, is_crowd: bool = False, with_trace: bool = False
) -> list[Question]:
    """What is asked about a host (a row with id and addresses); its contracted services too where a book is given."""
    if not host.addresses:
        return []
    address = host.addresses[0]
    asked: list[Question] = [("ssh", {"address": address, "port": 22})]
    if ctx.can_ping:
        asked.append(("icmp", {"address": address}))
    if with_trace and ctx.can_trace:
        asked.append(("trace", {"address": address}))
    terms = book.hosts.get(host.id) if book is not None else None
    if terms is not None and not is_crowd:
        for service in [s for s in terms.services if s.from_outside][:SERVICES_ASKED]:
            asked.append(("service", {"name": service.name, "check": service.check, "address": address}))
    return asked + bmc_question(terms)


def bmc_question(terms: HostTerms | None) -> list[Question]:
    """The management controller of a host that has one; never asked of a vantage."""
    return [("bmc", {"address": terms.bmc})] if terms is not None and terms.bmc else []


def meet_controllers(tx: Connection, now_ms: int, ctx: TickContext, book: Book) -> None:
    """Ask every management controller once, when contracts come into force: one that never answered is never dead."""
    rows = [
        probe_row(host.id, kind, target, "return", now_ms)
        for host in list(book.hosts.values())
        for kind, target in bmc_question(host)
    ][:CONTROLLERS_MAX]
    if rows:
        tx.execute(insert(probes), rows)
        after_commit(tx, ctx.wake_probes)


def probe_row(
    host_id: str, kind: str, target: Mapping[str, Any], why: str, asked_at_ms: int
) -> dict[str, Any]:
    """One question of ours, for our own workers."""
    return {
        "host_id": host_id,
        "kind": kind,
        "vantage": COLLECTOR,
        "target": dict(target),
        "why": why,
        "asked_at_ms": asked_at_ms,
    }


def look_again(
    tx: Connection, now_ms: int, ctx: TickContext, host_ids: Sequence[str], report: TickReport
) -> None:
    """Whoever saw a host dead looks once more when it is back: no later case may take that for the present."""
    asked: list[dict[str, Any]] = []
    asks: list[dict[str, Any]] = []
    for part in chunks(host_ids[:MANY]):
        _forget_words(tx, part)
        served = _services_of(tx, part)
        wanted = select(hosts.c.id, hosts.c.addresses, hosts.c.topology).where(hosts.c.id.in_(part))
        for host in tx.execute(wanted):
            questions = questions_about(host, ctx, with_trace=True)
            questions += bmc_question(ctx.book.hosts.get(host.id) if ctx.book else None)
            asked += [probe_row(host.id, kind, target, "return", now_ms) for kind, target in questions]
            asks += asks_about(now_ms, ctx, host, questions, "return", with_peers=False)
            # A vantage's word on a service is folded with the scheduled ones (outside).
            asks += asks_about(
                now_ms, ctx, host, served.get(host.id, ()), "schedule", most=1, with_peers=False
            )
    if asked:
        tx.execute(insert(probes), asked)
        after_commit(tx, ctx.wake_probes)
    report.count("asks_made", write_asks(tx, ctx, asks))


def _services_of(tx: Connection, host_ids: Sequence[str]) -> dict[str, list[Question]]:
    """Host -> the first of its contracted services as a vantage is asked about them."""
    wanted = (
        select(services.c.id, services.c.host_id, services.c.check, hosts.c.addresses)
        .join(hosts, hosts.c.id == services.c.host_id)
        .where(services.c.host_id.in_(host_ids))
        .order_by(services.c.id)
    )
    found: dict[str, list[Question]] = {}
    for row in tx.execute(wanted):
        mine = found.setdefault(row.host_id, [])
        if row.addresses and len(mine) < SERVICES_ASKED:
            mine.append(("service", {"service": row.id, "address": row.addresses[0], **row.check}))
    return found


def _forget_words(tx: Connection, host_ids: Sequence[str]) -> None:
    """The silence step wrote words on these hosts' services: the next answer is news, whatever it was before."""
    wanted = select(services.c.id, services.c.rule_state).where(services.c.host_id.in_(host_ids))
    for row in tx.execute(wanted).all():
        state = {**(row.rule_state or {}), "words": {}}
        if state != row.rule_state:
            tx.execute(update(services).where(services.c.id == row.id).values(rule_state=state))
