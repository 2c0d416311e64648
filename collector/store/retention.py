"""Retention: every table has its age from the first day. A sweep deletes a bounded number of rows and says how many.

What is still in force never goes: unhandled findings, current streams, open tickets with everything that hangs on
them. Tables in ``KEPT`` are bounded by the fleet or by people, and hold no history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, exists, func, or_, select

from collector.tables import (
    courses,
    failover_journal,
    failover_links,
    failover_rehearsals,
    failover_runs,
    findings,
    hosts,
    judgements,
    observations,
    open_findings,
    probes,
    roll_outs,
    services,
    streams,
    vitals,
)
from ticketing.tables import (
    audit,
    calls,
    clocks,
    contracts,
    knowledge,
    login_failures,
    mails,
    mirrored,
    mirrored_comments,
    outbox,
    provider_cases,
    sessions,
    ticket_events,
    ticket_hosts,
    tickets,
)

KEPT = {
    "people": "one row a person; disabled, never deleted, since audit rows name them",
    "open_findings": "one row for what holds now; closing deletes it",
    "rosters": "a small row for each change of rota or absences",
    "services": "one row a contracted service; follows the contracts",
    "vantages": "one row a host that looks for us; settings and contracts name them",
    "failover_pairs": "one row a pair: its epoch must never go back",
    "failover_checks": "one row a step of a pair",
    "desks": "one row an external desk; settings name them",
    "lease": "one row",
    "mailboxes": "one row a mailbox: how far it was read",
    "own_state": "a handful of keys",
}
"""Tables without an age, each with its reason."""

WITH_TICKETS = (
    "ticket_events",
    "clocks",
    "ticket_hosts",
    "failover_runs",
    "provider_cases",
    "mirrored",
    "mirrored_comments",
    "calls",
)
"""Tables whose rows go with their ticket, or with their journal."""

BATCH = 500


def sweep(tx: Connection, now_ms: int, ages: Mapping[str, float], batch: int = BATCH) -> dict[str, int]:
    """Delete what outlived its age (seconds by table), at most ``batch`` rows of each table; rows deleted by table."""
    deleted: dict[str, int] = {}
    for name, rule in _RULES:
        if name in ages:
            before_ms = now_ms - round(ages[name] * 1000)
            for table, count in rule(tx, before_ms, batch).items():
                deleted[table] = deleted.get(table, 0) + count
    return deleted


def _delete_ids(tx: Connection, table: Table, wanted: Select[Any]) -> int:
    """Delete the rows whose primary key ``wanted`` selects."""
    keys = [tuple(row) for row in tx.execute(wanted)]
    if not keys:
        return 0
    columns = list(table.primary_key.columns)
    if len(columns) == 1:
        tx.execute(delete(table).where(columns[0].in_([key[0] for key in keys])))
        return len(keys)
    for key in keys:
        tx.execute(
            delete(table).where(*(column == value for column, value in zip(columns, key, strict=True)))
        )
    return len(keys)


def _simple(table: Table, is_old: ColumnElement[bool], tx: Connection, batch: int) -> dict[str, int]:
    wanted = select(*table.primary_key.columns).where(is_old).limit(batch)
    return {table.name: _delete_ids(tx, table, wanted)}


def _findings(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    still_open = exists().where(
        open_findings.c.host_id == findings.c.host_id,
        open_findings.c.stream == findings.c.stream,
        open_findings.c.opening_n == findings.c.opening_n,
    )
    has_open_ticket = exists().where(tickets.c.id == findings.c.ticket_id, tickets.c.open_mark == 1)
    is_old = and_(
        findings.c.received_at_ms < before_ms,
        findings.c.handled_at_ms.is_not(None),
        ~still_open,
        ~has_open_ticket,
    )
    return _simple(findings, is_old, tx, batch)


def _streams(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    has_findings = exists().where(
        findings.c.host_id == streams.c.host_id, findings.c.stream == streams.c.stream
    )
    is_old = and_(~streams.c.is_current, streams.c.announced_at_ms < before_ms, ~has_findings)
    return _simple(streams, is_old, tx, batch)


def _probes(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    # An unanswered probe that old belongs to a worker that died long ago.
    return _simple(probes, probes.c.asked_at_ms < before_ms, tx, batch)


def _outbox(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(outbox, and_(outbox.c.state != "pending", outbox.c.settled_at_ms < before_ms), tx, batch)


def _sessions(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(sessions, sessions.c.expires_at_ms < before_ms, tx, batch)


def _login_failures(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(login_failures, login_failures.c.last_at_ms < before_ms, tx, batch)


def _judgements(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    has_open_ticket = exists().where(tickets.c.id == judgements.c.ticket_id, tickets.c.open_mark == 1)
    return _simple(judgements, and_(judgements.c.at_ms < before_ms, ~has_open_ticket), tx, batch)


def _observations(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    """Old rows that a newer one of the same signal has replaced; what holds now stays, however old."""
    newer = observations.alias("newer")
    is_replaced = exists().where(
        newer.c.host_id == observations.c.host_id,
        newer.c.signal == observations.c.signal,
        newer.c.vantage == observations.c.vantage,
        newer.c.at_ms > observations.c.at_ms,
    )
    return _simple(observations, and_(observations.c.received_at_ms < before_ms, is_replaced), tx, batch)


def _vitals(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(vitals, vitals.c.at_ms < before_ms, tx, batch)


def _courses(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    is_asked_again = courses.c.again_at_ms.is_not(None)
    return _simple(courses, and_(courses.c.changed_at_ms < before_ms, ~is_asked_again), tx, batch)


def _roll_outs(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(roll_outs, roll_outs.c.until_ms < before_ms, tx, batch)


def _failover_journal(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    """Whole runs only: a journal without its beginning could not be verified."""
    has_open_ticket = exists().where(tickets.c.id == failover_runs.c.ticket_id, tickets.c.open_mark == 1)
    is_old = and_(
        failover_runs.c.ended_at_ms < before_ms, failover_runs.c.open_mark.is_(None), ~has_open_ticket
    )
    ids = list(tx.execute(select(failover_runs.c.id).where(is_old).limit(max(1, batch // 100))).scalars())
    if not ids:
        return {"failover_journal": 0}
    gone = tx.execute(delete(failover_journal).where(failover_journal.c.run_id.in_(ids))).rowcount
    done = tx.execute(delete(failover_runs).where(failover_runs.c.id.in_(ids))).rowcount
    return {"failover_journal": gone, "failover_runs": done}


def _failover_rehearsals(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(failover_rehearsals, failover_rehearsals.c.at_ms < before_ms, tx, batch)


def _failover_links(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(failover_links, failover_links.c.expires_at_ms < before_ms, tx, batch)


def _mails(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    """Letters that were dealt with; those of an open ticket and those that wait for a person stay."""
    has_open_ticket = exists().where(tickets.c.id == mails.c.ticket_id, tickets.c.open_mark == 1)
    is_old = and_(
        mails.c.taken_at_ms < before_ms, mails.c.state == "done", mails.c.outcome != "held", ~has_open_ticket
    )
    return _simple(mails, is_old, tx, batch)


def _audit(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(audit, audit.c.at_ms < before_ms, tx, batch)


def _knowledge(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    return _simple(knowledge, knowledge.c.at_ms < before_ms, tx, batch)


def _tickets(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    """Closed tickets with their events, clocks and judgements; a parent goes after its last child."""
    child = tickets.alias("child")
    is_named = exists().where(or_(child.c.parent_id == tickets.c.id, child.c.merged_into == tickets.c.id))
    ended_ms = func.coalesce(tickets.c.closed_at_ms, tickets.c.resolved_at_ms, tickets.c.updated_at_ms)
    old = (
        select(tickets.c.id)
        .where(tickets.c.open_mark.is_(None), ended_ms < before_ms, ~is_named)
        .limit(batch)
    )
    ids = list(tx.execute(old).scalars())
    if not ids:
        return {"tickets": 0}
    deleted: dict[str, int] = {}
    links = select(mirrored.c.id).where(mirrored.c.ticket_id.in_(ids))
    tx.execute(delete(mirrored_comments).where(mirrored_comments.c.mirrored_id.in_(links)))
    for table in (ticket_events, ticket_hosts, clocks, calls, judgements, provider_cases, mirrored):
        deleted[table.name] = tx.execute(delete(table).where(table.c.ticket_id.in_(ids))).rowcount
    deleted["tickets"] = tx.execute(delete(tickets).where(tickets.c.id.in_(ids))).rowcount
    return deleted


def _contracts(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    is_named = exists().where(
        tickets.c.contract_id == contracts.c.id, tickets.c.contract_version == contracts.c.version
    )
    is_old = and_(~contracts.c.is_current, contracts.c.applied_at_ms < before_ms, ~is_named)
    return _simple(contracts, is_old, tx, batch)


def _hosts(tx: Connection, before_ms: int, batch: int) -> dict[str, int]:
    """Retired hosts, with the services and streams that only they had."""
    has_findings = exists().where(findings.c.host_id == hosts.c.id)
    old = (
        select(hosts.c.id)
        .where(hosts.c.is_retired, hosts.c.life_since_ms < before_ms, ~has_findings)
        .limit(batch)
    )
    ids = list(tx.execute(old).scalars())
    if not ids:
        return {"hosts": 0}
    for table in (streams, services, open_findings, courses):
        tx.execute(delete(table).where(table.c.host_id.in_(ids)))
    return {"hosts": tx.execute(delete(hosts).where(hosts.c.id.in_(ids))).rowcount}


_RULES = (
    ("outbox", _outbox),
    ("sessions", _sessions),
    ("login_failures", _login_failures),
    ("failover_journal", _failover_journal),
    ("failover_rehearsals", _failover_rehearsals),
    ("failover_links", _failover_links),
    ("audit", _audit),
    ("mails", _mails),
    ("probes", _probes),
    ("findings", _findings),
    ("streams", _streams),
    ("judgements", _judgements),
    ("observations", _observations),
    ("vitals", _vitals),
    ("courses", _courses),
    ("roll_outs", _roll_outs),
    ("knowledge", _knowledge),
    ("tickets", _tickets),
    ("contracts", _contracts),
    ("hosts", _hosts),
)
