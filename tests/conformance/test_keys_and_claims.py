"""What the database itself must refuse, and how workers share rows: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from collector.store.engine import Store
from collector.tables import findings
from ticketing import outbox
from ticketing.tables import outbox as outbox_table
from ticketing.tables import tickets

NOW = 1_767_225_600_000


def ticket(**other: Any) -> dict[str, Any]:
    """A ticket's row."""
    row = {
        "contract_id": "acme", "contract_version": 1, "problem": "fs_space|host:a1", "open_mark": 1, "origin": "machine",
        "class": 2, "root_cause": "os.disk_full", "scope": "host:a1", "family": "fs_space", "affected": ["a1"],
        "confidence": "high", "severity": "high", "state": "new", "line": 2, "language": "uk", "began_at_ms": NOW,
        "created_at_ms": NOW, "updated_at_ms": NOW,
    }  # fmt: skip
    return row | other


def finding(n: int, **other: Any) -> dict[str, Any]:
    """A finding's row."""
    row = {
        "host_id": "a1", "stream": "s1", "n": n, "kind": "opened", "opening_n": n, "rule": "fs_full", "subject": "/var",
        "family": "fs_space", "severity": "high", "at_ms": NOW, "received_at_ms": NOW, "body": {},
    }  # fmt: skip
    return row | other


def test_a_second_open_ticket_of_one_contract_and_problem_is_refused(store: Store) -> None:
    store.write(lambda tx: tx.execute(insert(tickets).values(**ticket())))
    with pytest.raises(IntegrityError):
        store.write(lambda tx: tx.execute(insert(tickets).values(**ticket())))


def test_closed_tickets_of_one_problem_do_not_collide_and_other_contracts_or_problems_neither(
    store: Store,
) -> None:
    def run(tx) -> None:
        for row in (
            ticket(),
            ticket(open_mark=None),
            ticket(open_mark=None),
            ticket(contract_id="beta"),
            ticket(problem="fs_space|host:a2"),
        ):
            tx.execute(insert(tickets).values(**row))

    store.write(run)
    with store.read() as conn:
        assert len(conn.execute(select(tickets.c.id)).all()) == 5


def test_of_two_that_open_one_problem_at_once_exactly_one_succeeds(
    store: Store, stores: Callable[..., Store]
) -> None:
    """Two collectors, two processes' worth of connections; the loser learns it by the constraint."""
    both, barrier, outcomes = (store, stores()), threading.Barrier(2), []

    def open_it(one: Store) -> None:
        barrier.wait()
        try:
            one.write(lambda tx: tx.execute(insert(tickets).values(**ticket())) and None)
            outcomes.append("opened")
        except IntegrityError:
            outcomes.append("refused")

    threads = [threading.Thread(target=open_it, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["opened", "refused"]


def test_a_refused_opening_inside_a_savepoint_leaves_the_rest_of_the_transaction(store: Store) -> None:
    """How `open` becomes `join`: the constraint's refusal costs only the savepoint."""
    store.write(lambda tx: tx.execute(insert(tickets).values(**ticket())))

    def join(tx) -> str:
        try:
            with tx.begin_nested():
                tx.execute(insert(tickets).values(**ticket()))
        except IntegrityError:
            tx.execute(update(tickets).values(recurrences=1))
            return "joined"
        return "opened"

    assert store.write(join) == "joined"
    with store.read() as conn:
        assert conn.execute(select(tickets.c.recurrences)).scalars().all() == [1]


def test_one_place_in_a_stream_holds_one_finding(store: Store) -> None:
    store.write(lambda tx: tx.execute(insert(findings).values(**finding(1))))
    with pytest.raises(IntegrityError):
        store.write(lambda tx: tx.execute(insert(findings).values(**finding(1))))


def test_a_row_that_commits_late_with_a_lower_id_is_still_found_as_unhandled(
    store: Store, stores: Callable[..., Store], database: Any
) -> None:
    """On PostgreSQL ids commit out of order: "id greater than the last" would lose the first row for good."""
    unhandled = select(findings.c.n).where(findings.c.handled_at_ms.is_(None)).order_by(findings.c.id)

    def take_unhandled(tx) -> list[int]:
        found = list(tx.execute(unhandled).scalars())
        tx.execute(update(findings).where(findings.c.n.in_(found)).values(handled_at_ms=NOW))
        return found

    if database.kind == "sqlite":
        # One writer: nothing can commit out of order, and the claim is by mark all the same.
        store.write(lambda tx: tx.execute(insert(findings).values(**finding(1))))
        assert store.write(take_unhandled) == [1]
        assert store.write(take_unhandled) == []
        return
    inserted, go_on, slow = threading.Event(), threading.Event(), stores()

    def late(tx) -> None:
        tx.execute(insert(findings).values(**finding(1)))
        inserted.set()
        assert go_on.wait(10)

    first = slow.submit(late)
    assert inserted.wait(10)
    store.write(lambda tx: tx.execute(insert(findings).values(**finding(2))) and None)
    assert store.write(take_unhandled) == [2]
    go_on.set()
    first.result(10)
    assert store.write(take_unhandled) == [1]
    with store.read() as conn:
        by_id = conn.execute(select(findings.c.n).order_by(findings.c.id)).scalars().all()
    assert by_id == [1, 2], "the late one has the lower id"


def _enqueue(store: Store, count: int) -> None:
    def run(tx) -> None:
        for n in range(count):
            outbox.enqueue(
                tx,
                channel="mail",
                destination="a@b.c",
                message_id=f"m{n}",
                payload={},
                now_ms=NOW,
                ticket_id=None,
            )

    store.write(run)


def test_workers_that_claim_at_once_share_the_rows_and_no_row_goes_to_two(
    store: Store, stores: Callable[..., Store]
) -> None:
    _enqueue(store, 40)
    everyone = [store, stores(), stores()]
    barrier, claimed = threading.Barrier(3), []

    def work(one: Store, name: str) -> None:
        barrier.wait()
        for _ in range(10):
            claimed.extend(row["id"] for row in one.write(lambda tx: outbox.claim(tx, name, NOW, 4)))

    threads = [threading.Thread(target=work, args=(one, f"w{n}")) for n, one in enumerate(everyone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 40


def test_a_claim_in_hand_does_not_make_another_worker_wait(
    store: Store, stores: Callable[..., Store], database: Any
) -> None:
    """SKIP LOCKED on PostgreSQL; on SQLite one process claims, and its claims are short transactions of one writer."""
    if database.kind == "sqlite":
        _enqueue(store, 2)
        first = store.write(lambda tx: outbox.claim(tx, "w1", NOW, 1))
        second = store.write(lambda tx: outbox.claim(tx, "w2", NOW, 1))
        assert {row["id"] for row in first}.isdisjoint({row["id"] for row in second})
        return
    _enqueue(store, 2)
    held, go_on, other = threading.Event(), threading.Event(), stores()

    def slow(tx) -> list[int]:
        ids = [row["id"] for row in outbox.claim(tx, "w1", NOW, 1)]
        held.set()
        assert go_on.wait(10)
        return ids

    first = other.submit(slow)
    assert held.wait(10)
    second = [row["id"] for row in store.write(lambda tx: outbox.claim(tx, "w2", NOW, 5))]
    go_on.set()
    assert len(second) == 1
    assert set(second).isdisjoint(first.result(10))


def test_the_claim_of_a_dead_worker_runs_out(store: Store) -> None:
    _enqueue(store, 1)
    assert len(store.write(lambda tx: outbox.claim(tx, "dead", NOW, 5))) == 1
    assert store.write(lambda tx: outbox.claim(tx, "next", NOW + outbox.CLAIM_MS - 1, 5)) == []
    assert len(store.write(lambda tx: outbox.claim(tx, "next", NOW + outbox.CLAIM_MS, 5))) == 1


def test_a_message_id_is_written_once(store: Store) -> None:
    """By the constraint itself: what `enqueue` looks up beforehand could race with another collector."""
    row = {
        "channel": "mail", "destination": "a@b.c", "message_id": "m0", "payload": {}, "state": "pending", "created_at_ms": NOW,
    }  # fmt: skip
    store.write(lambda tx: tx.execute(insert(outbox_table).values(**row)) and None)
    with pytest.raises(IntegrityError):
        store.write(lambda tx: tx.execute(insert(outbox_table).values(**row)) and None)
    with store.read() as conn:
        assert len(conn.execute(select(outbox_table.c.id)).all()) == 1
