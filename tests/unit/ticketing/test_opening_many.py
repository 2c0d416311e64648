"""Thousands of contracts that one fault strikes get their tickets in a few statements, each as if it stood alone."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from ticketing import intake, opening, tables

NOW_MS = 1_767_600_000_000
TABLES = (tables.tickets, tables.ticket_hosts, tables.clocks, tables.ticket_events, tables.outbox)


@pytest.fixture
def wanted(make):
    shared = make(class_=1, root_cause="net.provider_edge", scope="provider:p", subject="provider:p")
    return [
        ("acme", dataclasses.replace(shared, affected=("a1", "a2"))),
        ("beta", dataclasses.replace(shared, affected=("b1",))),
    ]


def test_many_contracts_open_together_exactly_as_one_by_one(tx, book, make, wanted):
    wanted = [
        *wanted,
        ("acme", dataclasses.replace(wanted[0][1], affected=("a3",))),
        ("beta", make(class_=4, affected=("b1",))),
    ]
    seen = []
    for together in (True, False):
        place = tx.begin_nested()
        if together:
            outcomes = opening.open_many(tx, book, wanted, NOW_MS)
        else:
            outcomes = [intake.open_or_join(tx, book, v, c, NOW_MS) for c, v in wanted]
        rows = [[tuple(row) for row in tx.execute(select(table)).all()] for table in TABLES]
        seen.append((outcomes, rows))
        place.rollback()
    assert [o.verb for o in seen[0][0]] == ["opened", "opened", "joined", "recorded"]
    assert seen[0] == seen[1]


def test_many_join_what_is_open_resume_what_was_resolved_and_follow_what_is_older(tx, book, wanted):
    (acme, beta), later = opening.open_many(tx, book, wanted, NOW_MS), NOW_MS + 1000
    intake.resolve(tx, book, beta.ticket_id, beta.reason, later)
    again = opening.open_many(tx, book, wanted, later)
    assert [(o.verb, o.ticket_id) for o in again] == [
        ("joined", acme.ticket_id),
        ("reopened", beta.ticket_id),
    ]
    intake.resolve(tx, book, beta.ticket_id, beta.reason, later)
    days_later = opening.open_many(tx, book, wanted[1:], later + 3 * 86_400_000)
    row = tx.execute(select(tables.tickets).where(tables.tickets.c.id == days_later[0].ticket_id)).one()
    assert (days_later[0].verb, row.previous_id, row.recurrences) == ("opened", beta.ticket_id, 2)


def test_a_twin_that_comes_between_sends_each_its_own_way(tx, book, wanted):
    first = intake.open_or_join(tx, book, wanted[0][1], "acme", NOW_MS)
    twin = dict(tx.execute(select(tables.tickets)).mappings().one())
    intake.resolve(tx, book, first.ticket_id, first.reason, NOW_MS)
    later, came = NOW_MS + 3 * 86_400_000, []

    def come_between(conn, cursor, statement, *_):
        if statement.startswith("INSERT INTO tickets") and not came:
            came.append(statement)
            conn.execute(tables.tickets.insert(), {k: v for k, v in twin.items() if k != "id"})

    event.listen(tx, "before_cursor_execute", come_between)
    outcomes = opening.open_many(tx, book, wanted, later)
    assert came and [o.verb for o in outcomes] == ["opened", "opened"]
    open_rows = tx.execute(select(tables.tickets).where(tables.tickets.c.open_mark == 1)).mappings().all()
    assert sorted(row["contract_id"] for row in open_rows) == ["acme", "beta"]


def test_a_fault_of_ours_is_not_taken_for_a_twin(tx, book, wanted):
    with pytest.raises(IntegrityError):
        opening.open_many(tx, book, wanted, NOW_MS, parent_id=4711)
