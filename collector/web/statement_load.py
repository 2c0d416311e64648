"""What a contract's monthly statement is made from, read from the store in bounded parts, with a word of progress.

The computation itself is ``ticketing.statement`` and pure. A month of a busy contract holds thousands of tickets, so their
events come in chunks, without the evidence, which is large and says nothing about time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from collector.tables import failover_journal, failover_runs, findings, observations
from collector.tick.rows import OUTSIDE_STREAM
from ticketing import filing
from ticketing.model import Reason, TicketState
from ticketing.statement.make import statement
from ticketing.statement.model import Failover, History, Outage, Period, Refused, Statement, Told
from ticketing.statement.spans import Span
from ticketing.tables import ticket_events, tickets
from ticketing.terms import Contract

MAX_TICKETS = 20_000
CHUNK = 200
MAX_FAILOVERS = 500
ACCOUNT = ("rto_s", "rto_limit_s", "rpo_s", "rpo_limit_s")
MAX_REFUSED = 200
MAX_SEEN = 20_000
HOSTS_IN_ONE_SELECT = 500
LOOK_BACK_MS = 60 * 86_400_000
"""An outage that outside probes began to see earlier than this before the month is taken from its ticket alone."""

SILENT_KINDS = ("evidence", "warn", "escalate", "assign", "note", "delivery", "join", "widen", "propose")
"""Events that change no clock and end nothing."""

Progress = Callable[[int, int], None]
"""(tickets read, tickets in all)."""


def load(
    conn: Connection, contract: Contract, period: Period, now_ms: int, progress: Progress = lambda *_: None
) -> Statement:
    """The statement of a month, as it stood at its end."""
    hosts = [str(host.id) for host in contract.hosts]
    histories, is_cut = _histories(conn, str(contract.id), period, progress)
    return statement(
        contract,
        period,
        histories,
        now_ms,
        probed=_probed(conn, hosts, period, now_ms),
        planned=_planned(conn, contract, hosts, period),
        failovers=_failovers(conn, str(contract.id), period),
        refused=_refused(conn, str(contract.id), period),
        is_cut=is_cut,
    )


def _histories(
    conn: Connection, contract_id: str, period: Period, progress: Progress
) -> tuple[list[History], bool]:
    """Tickets that were open at any time of the month, the oldest first, with their events."""
    table = tickets
    is_past = (table.c.state == TicketState.MERGED.value) & (table.c.closed_at_ms < period.from_ms)
    wanted = (
        select(table.c.id)
        .where(
            table.c.contract_id == contract_id,
            table.c.created_at_ms < period.to_ms,
            or_(table.c.resolved_at_ms.is_(None), table.c.resolved_at_ms >= period.from_ms),
            ~is_past,
        )
        .order_by(table.c.id)
        .limit(MAX_TICKETS + 1)
    )
    ids = list(conn.execute(wanted).scalars())
    kept = ids[:MAX_TICKETS]
    found: list[History] = []
    progress(0, len(kept))
    for part in _chunks(kept, CHUNK):
        events = _events(conn, part)
        rows = conn.execute(select(table).where(table.c.id.in_(part)).order_by(table.c.id)).mappings()
        found += [_history(row, events.get(row["id"], ())) for row in rows]
        progress(len(found), len(kept))
    return found, len(ids) > MAX_TICKETS


def _events(conn: Connection, ids: Sequence[int]) -> dict[int, list[Told]]:
    table = ticket_events
    wanted = (
        select(table.c.ticket_id, table.c.at_ms, table.c.actor, table.c.kind, table.c.body)
        .where(table.c.ticket_id.in_(ids), table.c.kind.not_in(SILENT_KINDS))
        .order_by(table.c.ticket_id, table.c.id)
    )
    found: dict[int, list[Told]] = {}
    for row in conn.execute(wanted):
        found.setdefault(row.ticket_id, []).append(Told(row.at_ms, row.actor, row.kind, row.body))
    return found


def _history(row: Mapping[Any, Any], events: Sequence[Told]) -> History:
    summary = (row["verdict"] or {}).get("summary")
    return History(
        id=row["id"],
        class_=row["class"],
        root_cause=row["root_cause"],
        family=row["family"],
        subject=row["problem"].partition("|")[2],
        origin=row["origin"],
        affected=tuple(row["affected"]),
        title=row["title"],
        summary=Reason.from_dict(summary) if summary else None,
        began_at_ms=row["began_at_ms"],
        created_at_ms=row["created_at_ms"],
        events=events,
    )


def _probed(conn: Connection, hosts: Sequence[str], period: Period, now_ms: int) -> list[Outage]:
    """Outages of contracted services as outside probes saw them, whether or not a ticket came of it."""
    table = findings
    found: list[Outage] = []
    for part in _chunks(hosts, HOSTS_IN_ONE_SELECT):
        wanted = (
            select(
                table.c.host_id, table.c.subject, table.c.kind, table.c.n, table.c.opening_n, table.c.at_ms
            )
            .where(
                table.c.host_id.in_(part),
                table.c.stream == OUTSIDE_STREAM,
                table.c.kind.in_(("opened", "closed")),
                table.c.at_ms.between(period.from_ms - LOOK_BACK_MS, period.to_ms + LOOK_BACK_MS),
            )
            .order_by(table.c.host_id, table.c.n)
            .limit(MAX_SEEN)
        )
        begun: dict[tuple[str, int], tuple[str, int]] = {}
        for row in conn.execute(wanted):
            if row.kind == "opened":
                begun[row.host_id, row.n] = (row.subject, row.at_ms)
                continue
            opening = begun.pop((row.host_id, row.opening_n), None)
            if opening is not None and row.at_ms > period.from_ms:
                found.append(Outage(row.host_id, opening[0], (opening[1], row.at_ms)))
        found += [Outage(host, name, (at_ms, now_ms)) for (host, _), (name, at_ms) in begun.items()]
    return [outage for outage in found if outage.span[0] < period.to_ms]


def _planned(
    conn: Connection, contract: Contract, hosts: Sequence[str], period: Period
) -> dict[str, list[Span]]:
    """Planned windows of each host: the contract's own, and those that calendars told (``ops.window``)."""
    found: dict[str, list[Span]] = {}
    for window in contract.windows:
        span = window.span_ms(contract.calendar.zone)
        for host in window.hosts or hosts:
            found.setdefault(str(host), []).append(span)
    table = observations
    for part in _chunks(hosts, HOSTS_IN_ONE_SELECT):
        wanted = (
            select(table.c.host_id, table.c.value, table.c.at_ms)
            .where(
                table.c.host_id.in_(part),
                table.c.signal == "ops.window",
                table.c.at_ms.between(period.from_ms - LOOK_BACK_MS, period.to_ms),
            )
            .order_by(table.c.host_id, table.c.at_ms)
            .limit(MAX_SEEN)
        )
        opened: dict[str, int] = {}
        for row in conn.execute(wanted):
            if row.value:
                opened.setdefault(row.host_id, row.at_ms)
            elif row.host_id in opened:
                found.setdefault(row.host_id, []).append((opened.pop(row.host_id), row.at_ms))
        for host, since_ms in opened.items():
            found.setdefault(host, []).append((since_ms, period.to_ms))
    return found


def _failovers(conn: Connection, contract_id: str, period: Period) -> list[Failover]:
    """The switches that acted; a run that was refused or waits for a yes changed nothing."""
    table = failover_runs
    wanted = (
        select(table)
        .where(
            table.c.contract_id == contract_id,
            table.c.acted_at_ms.is_not(None),
            table.c.began_at_ms.between(period.from_ms, period.to_ms - 1),
        )
        .order_by(table.c.began_at_ms)
        .limit(MAX_FAILOVERS)
    )
    rows = conn.execute(wanted).mappings().all()
    accounts = _accounts(conn, [row["id"] for row in rows])
    return [
        Failover(
            row["began_at_ms"], row["ended_at_ms"], row["kind"], row["pair"], row["state"], row["ticket_id"],
            **{name: accounts.get(row["id"], {}).get(name) for name in ACCOUNT},
        )
        for row in rows
    ]  # fmt: skip


def _accounts(conn: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Run -> what it cost, as its own journal says."""
    table, found = failover_journal, {}
    for part in _chunks(ids, CHUNK):
        wanted = select(table.c.run_id, table.c.body).where(table.c.run_id.in_(part), table.c.kind == "enter")
        found |= {row.run_id: row.body["account"] for row in conn.execute(wanted) if "account" in row.body}
    return found


def _refused(conn: Connection, contract_id: str, period: Period) -> list[Refused]:
    found = filing.not_taken(conn, contract_id, limit=MAX_REFUSED)
    return [
        Refused(one.at_ms, one.title, one.reason)
        for one in reversed(found)
        if period.from_ms <= one.at_ms < period.to_ms
    ]


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
