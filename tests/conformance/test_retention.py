"""Every table has its age; what is in force stays; on both databases."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import func, insert, select

from collector.settings import Retention
from collector.store import retention
from collector.store.engine import Store
from collector.tables import findings, hosts, judgements, open_findings, probes, services, streams
from ticketing.tables import (
    audit,
    clocks,
    contracts,
    login_failures,
    metadata,
    outbox,
    people,
    sessions,
    ticket_events,
    ticket_hosts,
    tickets,
)

DAY_MS = 86_400_000
NOW = 1_767_225_600_000
OLD = NOW - 40 * DAY_MS
NEW = NOW - DAY_MS
AGES = dict.fromkeys(
    (
        "findings",
        "streams",
        "probes",
        "outbox",
        "sessions",
        "judgements",
        "observations",
        "audit",
        "tickets",
        "contracts",
        "hosts",
        "login_failures",
    ),
    30 * 86_400.0,
)


def put(store: Store, table: Any, *rows: dict[str, Any]) -> None:
    store.write(lambda tx: [tx.execute(insert(table).values(**row)) for row in rows] and None)


def left(store: Store, column: Any) -> list[Any]:
    with store.read() as conn:
        return sorted(conn.execute(select(column)).scalars())


def sweep(store: Store, batch: int = 500) -> dict[str, int]:
    return store.write(lambda tx: retention.sweep(tx, NOW, AGES, batch))


def finding(n: int, at_ms: int, **other: Any) -> dict[str, Any]:
    row = {
        "host_id": "a1", "stream": "s1", "n": n, "kind": "opened", "opening_n": n, "rule": "r", "subject": "", "family": "cpu",
        "severity": "low", "at_ms": at_ms, "received_at_ms": at_ms, "body": {}, "handled_at_ms": at_ms,
    }  # fmt: skip
    return row | other


def ticket(id: int, at_ms: int, **other: Any) -> dict[str, Any]:
    row = {
        "id": id, "contract_id": "acme", "contract_version": 1, "problem": f"p{id}", "open_mark": None, "origin": "machine",
        "class": 2, "root_cause": "x", "scope": "host:a1", "family": "cpu", "affected": [], "confidence": "low",
        "severity": "low", "state": "closed", "line": 1, "language": "uk", "began_at_ms": at_ms, "created_at_ms": at_ms,
        "updated_at_ms": at_ms, "closed_at_ms": at_ms,
    }  # fmt: skip
    return row | other


def test_every_table_has_an_age_in_the_settings_or_a_reason_to_stay() -> None:
    swept = {field.name for field in dataclasses.fields(Retention)} - {"sweep_s", "batch"}
    named = swept | set(retention.KEPT) | set(retention.WITH_TICKETS)
    assert named == set(metadata.tables)
    assert swept == {name for name, _ in retention._RULES}


def test_findings_go_when_old_but_not_while_unhandled_open_or_on_an_open_ticket(store: Store) -> None:
    put(store, tickets, ticket(1, OLD, open_mark=1, state="new", closed_at_ms=None), ticket(2, NEW))
    put(
        store,
        findings,
        finding(1, OLD),
        finding(2, NEW),
        finding(3, OLD, handled_at_ms=None),
        finding(4, OLD),
        finding(5, OLD, kind="changed", opening_n=4),
        finding(6, OLD, ticket_id=1),
        finding(7, OLD, ticket_id=2),
    )
    put(
        store,
        open_findings,
        {"host_id": "a1", "rule": "r", "subject": "", "stream": "s1", "opening_n": 4, "family": "cpu", "severity": "low",
         "at_ms": OLD, "changed_at_ms": OLD, "body": {}},
    )  # fmt: skip
    assert sweep(store)["findings"] == 2
    assert left(store, findings.c.n) == [2, 3, 4, 5, 6]


def test_a_sweep_is_bounded_and_the_next_one_goes_on(store: Store) -> None:
    put(
        store,
        audit,
        *({"at_ms": OLD, "actor": "x", "act": "y", "object": "z", "details": {}} for _ in range(7)),
    )
    assert [sweep(store, batch=3)["audit"] for _ in range(4)] == [3, 3, 1, 0]


def test_streams_left_behind_go_once_their_findings_are_gone(store: Store) -> None:
    row = {"host_id": "a1", "next_n": 5, "announced_at_ms": OLD}
    put(
        store,
        streams,
        row | {"stream": "s1", "is_current": True},
        row | {"stream": "s2", "is_current": False},
        row | {"stream": "s3", "is_current": False},
        row | {"stream": "s4", "is_current": False, "announced_at_ms": NEW},
    )
    put(store, findings, finding(1, NEW, stream="s3"))
    sweep(store)
    assert left(store, streams.c.stream) == ["s1", "s3", "s4"]


def test_probes_messages_sessions_and_judgements_go_when_they_are_over(store: Store) -> None:
    probe = {"host_id": "a1", "kind": "icmp", "target": {}, "why": "suspicion"}
    put(store, probes, probe | {"asked_at_ms": OLD}, probe | {"asked_at_ms": NEW})
    message = {"channel": "mail", "destination": "a", "payload": {}, "created_at_ms": OLD}
    put(
        store,
        outbox,
        message | {"message_id": "1", "state": "delivered", "settled_at_ms": OLD},
        message | {"message_id": "2", "state": "pending"},
        message | {"message_id": "3", "state": "given_up", "settled_at_ms": NEW},
    )
    put(store, people, {"id": "o", "name": "O", "role": "admin", "created_at_ms": OLD})
    session = {"person_id": "o", "created_at_ms": OLD, "seen_at_ms": OLD}
    put(
        store,
        sessions,
        session | {"id_hash": "1", "expires_at_ms": OLD},
        session | {"id_hash": "2", "expires_at_ms": NOW},
    )
    failure = {"failures": 1, "first_at_ms": OLD}
    put(
        store,
        login_failures,
        failure | {"key": "a", "last_at_ms": OLD},
        failure | {"key": "b", "last_at_ms": NEW},
    )
    put(store, tickets, ticket(1, OLD, open_mark=1, closed_at_ms=None), ticket(2, NEW))
    judgement = {"at_ms": OLD, "verdict": {}, "case": {}}
    put(store, judgements, judgement | {"ticket_id": 1}, judgement | {"ticket_id": 2})
    sweep(store)
    assert left(store, probes.c.asked_at_ms) == [NEW]
    assert left(store, outbox.c.message_id) == ["2", "3"]
    assert left(store, sessions.c.id_hash) == ["2"]
    assert left(store, judgements.c.ticket_id) == [1]
    assert left(store, login_failures.c.key) == ["b"]


def test_a_closed_ticket_goes_with_all_that_hangs_on_it_and_a_parent_after_its_children(store: Store) -> None:
    put(
        store,
        tickets,
        ticket(1, OLD),
        ticket(2, OLD, parent_id=1),
        ticket(3, NEW),
        ticket(4, OLD, open_mark=1),
    )
    put(
        store,
        ticket_events,
        *({"ticket_id": n, "at_ms": OLD, "actor": "m", "kind": "note", "body": {}} for n in (1, 2, 3, 4)),
    )
    put(store, ticket_hosts, *({"host_id": "a1", "ticket_id": n, "updated_at_ms": 1} for n in (2, 4)))
    put(
        store,
        clocks,
        *(
            {
                "ticket_id": n,
                "kind": "reaction",
                "state": "stopped",
                "started_at_ms": 1,
                "target_ms": 1,
                "calendar": "x",
            }
            for n in (1, 2, 4)
        ),
    )
    assert sweep(store)["tickets"] == 1
    assert left(store, tickets.c.id) == [1, 3, 4]
    assert sweep(store)["tickets"] == 1
    assert left(store, tickets.c.id) == [3, 4]
    assert left(store, ticket_events.c.ticket_id) == [3, 4]
    assert left(store, clocks.c.ticket_id) == [4]
    assert left(store, ticket_hosts.c.ticket_id) == [4]


def test_old_contract_versions_go_unless_a_ticket_was_made_under_them(store: Store) -> None:
    row = {"id": "acme", "document": {}, "applied_at_ms": OLD, "applied_by": "x", "is_current": False}
    put(
        store,
        contracts,
        row | {"version": 1},
        row | {"version": 2},
        row | {"version": 3, "is_current": True},
    )
    put(store, tickets, ticket(1, NEW, contract_version=1))
    sweep(store)
    assert left(store, contracts.c.version) == [1, 3]


def test_a_retired_host_goes_with_its_streams_and_services_once_no_finding_names_it(store: Store) -> None:
    def host(id: str, **other: Any) -> dict[str, Any]:
        row = {
            "id": id, "contract_id": "acme", "addresses": [], "topology": {}, "token_hash": id, "enrolled_at_ms": OLD,
            "life": "retired", "life_since_ms": OLD, "is_retired": True,
        }  # fmt: skip
        return row | other

    put(
        store,
        hosts,
        host("gone"),
        host("named"),
        host("new", life_since_ms=NEW),
        host("live", is_retired=False, life="alive"),
    )
    put(
        store,
        streams,
        {"host_id": "gone", "stream": "s", "next_n": 1, "announced_at_ms": OLD, "is_current": True},
    )
    put(
        store,
        services,
        {
            "id": "gone/x",
            "host_id": "gone",
            "contract_id": "acme",
            "check": {},
            "interval_s": 1.0,
            "next_due_at_ms": 1,
        },
    )
    put(store, findings, finding(1, NEW, host_id="named"))
    sweep(store)
    assert left(store, hosts.c.id) == ["live", "named", "new"]
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(services)).scalar() == 0
        assert conn.execute(select(func.count()).select_from(streams)).scalar() == 0
