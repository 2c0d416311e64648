"""What a transaction of the store promises, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from collector.store.engine import Store, StoreBusy, StoreClosed, after_commit, after_undo
from collector.tables import findings, own_state


def _remember(key: str) -> Callable:
    return lambda tx: tx.execute(insert(own_state).values(key=key, value="1"))


def _keys(store: Store) -> list[str]:
    with store.read() as conn:
        return sorted(conn.execute(select(own_state.c.key)).scalars())


def test_write_returns_the_value_after_the_commit_so_that_another_store_sees_it(
    store: Store, stores: Callable[..., Store]
) -> None:
    other = stores()
    assert (
        store.write(lambda tx: tx.execute(insert(own_state).values(key="a", value="1")) and "done") == "done"
    )
    assert _keys(other) == ["a"]


def test_an_error_undoes_everything_its_function_wrote_and_reaches_the_caller(store: Store) -> None:
    def broken(tx) -> None:
        tx.execute(insert(own_state).values(key="half", value="1"))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        store.write(broken)
    assert _keys(store) == []


def test_a_function_that_fails_takes_nobody_with_it_that_shares_its_commit(store: Store) -> None:
    """Functions are queued behind one that waits, so that on SQLite they share one group commit."""
    gate = threading.Event()
    blocker = store.submit(lambda tx: gate.wait(10))
    good = [store.submit(_remember(f"k{n}")) for n in range(5)]
    store_twice = [store.submit(_remember("k0")), store.submit(_remember("k9"))]
    gate.set()
    wait([blocker, *good, *store_twice], timeout=20)
    failures = [f for f in (*good, *store_twice) if f.exception() is not None]
    assert [type(f.exception()) for f in failures] == [IntegrityError]
    assert _keys(store) == ["k0", "k1", "k2", "k3", "k4", "k9"]


def test_hooks_follow_the_fate_of_their_own_function(store: Store) -> None:
    told: list[str] = []

    def good(tx) -> None:
        after_commit(tx, lambda: told.append("committed"))
        after_undo(tx, lambda: told.append("wrong"))

    def bad(tx) -> None:
        after_commit(tx, lambda: told.append("wrong"))
        after_undo(tx, lambda: told.append("undone"))
        raise ValueError

    store.write(good)
    with pytest.raises(ValueError):
        store.write(bad)
    assert told == ["committed", "undone"]


def test_a_hook_runs_only_when_the_row_is_visible_to_others(
    store: Store, stores: Callable[..., Store]
) -> None:
    other, seen = stores(), []

    def write(tx) -> None:
        tx.execute(insert(own_state).values(key="a", value="1"))
        after_commit(tx, lambda: seen.append(_keys(other)))

    store.write(write)
    assert seen == [["a"]]


def test_a_read_sees_one_state_and_no_half_of_a_write(store: Store) -> None:
    """Two keys are always written together; a reader that loops beside the writer never sees one of them alone."""
    stop = threading.Event()
    odd: list[int] = []

    def watch() -> None:
        while not stop.is_set():
            with store.read() as conn:
                count = conn.execute(select(func.count()).select_from(own_state)).scalar_one()
            if count % 2:
                odd.append(count)

    reader = threading.Thread(target=watch)
    reader.start()
    for n in range(50):
        store.write(
            lambda tx, n=n: tx.execute(
                insert(own_state), [{"key": f"a{n}", "value": ""}, {"key": f"b{n}", "value": ""}]
            )
        )
    stop.set()
    reader.join()
    assert odd == []


def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(DBAPIError), store.read() as conn:
        conn.execute(insert(own_state).values(key="a", value="1"))
    assert _keys(store) == []


def test_many_threads_write_and_nothing_is_lost(store: Store) -> None:
    def work(thread: int) -> None:
        for n in range(20):
            store.write(_remember(f"{thread}-{n}"))

    threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_keys(store)) == 160


def test_a_full_queue_refuses_instead_of_growing(stores: Callable[..., Store]) -> None:
    store = stores(queue_max=3, pool_size=2)
    gate, futures, refused = threading.Event(), [], 0
    try:
        for _ in range(12):
            try:
                futures.append(store.submit(lambda tx: gate.wait(10)))
            except StoreBusy:
                refused += 1
    finally:
        gate.set()
    wait(futures, timeout=20)
    assert refused >= 8
    assert all(f.exception() is None for f in futures)


def test_close_finishes_what_was_queued_and_then_refuses(stores: Callable[..., Store]) -> None:
    store, other = stores(), stores()
    futures = [store.submit(_remember(f"k{n}")) for n in range(10)]
    store.close()
    assert all(f.done() and f.exception() is None for f in futures)
    assert len(_keys(other)) == 10
    with pytest.raises(StoreClosed):
        store.write(_remember("late"))
    store.close()


def test_json_columns_keep_text_of_any_script_and_every_plain_value(store: Store) -> None:
    body = {
        "a": [1, 2.5, None, True, "ґанок \U0001f6d1 \\ \" ' ; --"],
        "b": {"c": {}},
        "big": 2**53 - 1,
        "z": "x\u0000y",
    }
    row = {
        "host_id": "h", "stream": "s", "n": 1, "kind": "opened", "opening_n": 1, "rule": "r", "subject": "", "family": "cpu",
        "severity": "low", "at_ms": 1, "received_at_ms": 1, "body": body,
    }  # fmt: skip
    store.write(lambda tx: tx.execute(insert(findings).values(**row)))
    with store.read() as conn:
        assert conn.execute(select(findings.c.body)).scalar_one() == body


def test_foreign_keys_are_enforced(store: Store) -> None:
    from ticketing.tables import ticket_events

    with pytest.raises(IntegrityError):
        store.write(
            lambda tx: tx.execute(
                insert(ticket_events).values(ticket_id=404, at_ms=1, actor="machine", kind="note", body={})
            )
        )
