"""The decider's lease: at most one holder of the term that counts, whoever races."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import insert, select

from collector.store.engine import Store
from collector.store.lease import Held, Lease, Standby
from collector.tables import lease as lease_table
from collector.tables import own_state

TTL_S = 10.0
TTL_MS = 10_000


def test_the_first_to_ask_holds_it_and_the_second_stands_by(
    store: Store, stores: Callable[..., Store]
) -> None:
    first, second = Lease(store, "a", TTL_S), Lease(stores(), "b", TTL_S)
    assert first.try_hold(0) == Held(1)
    assert second.try_hold(0) == Standby("a", 1)
    assert first.try_hold(1000) == Held(1)


def test_a_holder_that_renews_is_never_overtaken(store: Store, stores: Callable[..., Store]) -> None:
    """The challenger's clock runs from an own zero, as on another machine."""
    holder, challenger = Lease(store, "a", TTL_S), Lease(stores(), "b", TTL_S)
    holder.try_hold(0)
    for step in range(60):
        assert holder.try_hold(step * 1000) == Held(1)
        assert challenger.try_hold(77_000_000 + step * 1000) == Standby("a", 1)


def test_a_counter_that_stands_still_for_the_time_to_live_is_taken_over_with_a_higher_term(
    store: Store, stores: Callable[..., Store]
) -> None:
    dead, challenger = Lease(store, "a", TTL_S), Lease(stores(), "b", TTL_S)
    dead.try_hold(0)
    assert challenger.try_hold(500_000) == Standby("a", 1)
    assert challenger.try_hold(500_000 + TTL_MS - 1) == Standby("a", 1)
    assert challenger.try_hold(500_000 + TTL_MS) == Held(2)


def test_a_holder_that_was_overtaken_learns_it_at_its_next_renewal(
    store: Store, stores: Callable[..., Store]
) -> None:
    paused, challenger = Lease(store, "a", TTL_S), Lease(stores(), "b", TTL_S)
    paused.try_hold(0)
    challenger.try_hold(0)
    assert challenger.try_hold(TTL_MS) == Held(2)
    assert paused.try_hold(TTL_MS + 5000) == Standby("b", 2)
    assert not store.write(lambda tx: paused.still_held(tx, 1))


def test_the_term_is_checked_inside_the_decisions_own_transaction(
    store: Store, stores: Callable[..., Store]
) -> None:
    """A holder that slept through its time-to-live still believes in its term; its decision must not be written."""
    other = stores()
    paused, challenger = Lease(store, "a", TTL_S), Lease(other, "b", TTL_S)
    held = paused.try_hold(0)
    assert isinstance(held, Held)
    challenger.try_hold(0)
    challenger.try_hold(TTL_MS)

    def decide(tx) -> bool:
        if not paused.still_held(tx, held.term):
            return False
        tx.execute(insert(own_state).values(key="decided-by-a", value="1"))
        return True

    assert store.write(decide) is False
    with store.read() as conn:
        assert conn.execute(select(own_state)).all() == []


def test_two_challengers_that_wake_at_the_same_moment_yield_one_holder(
    store: Store, stores: Callable[..., Store]
) -> None:
    Lease(store, "dead", TTL_S).try_hold(0)
    for round_ in range(5):
        challengers = [Lease(stores(pool_size=2), f"c{round_}-{n}", TTL_S) for n in range(2)]
        for one in challengers:
            one.try_hold(0)
        barrier, results = threading.Barrier(2), []

        def race(one: Lease, barrier: threading.Barrier = barrier, results: list = results) -> None:
            barrier.wait()
            results.append(one.try_hold(TTL_MS))

        threads = [threading.Thread(target=race, args=(one,)) for one in challengers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(r).__name__ for r in results) == ["Held", "Standby"]
        assert next(r.term for r in results if isinstance(r, Held)) == 2 + round_


def test_a_takeover_waits_for_a_decision_that_has_checked_the_term(
    store: Store, stores: Callable[..., Store]
) -> None:
    """The check locks the row: a decision that passed it commits before the new term can begin, never after."""
    other = stores()
    holder, challenger = Lease(store, "a", TTL_S), Lease(other, "b", TTL_S)
    held = holder.try_hold(0)
    assert isinstance(held, Held)
    challenger.try_hold(0)
    checked, go_on, order = threading.Event(), threading.Event(), []

    def decide(tx) -> None:
        assert holder.still_held(tx, held.term)
        checked.set()
        assert go_on.wait(10)
        order.append("decided")

    deciding = store.submit(decide)
    deciding.add_done_callback(lambda _: order.append("committed"))
    assert checked.wait(10)
    taking = threading.Thread(target=lambda: order.append(type(challenger.try_hold(TTL_MS)).__name__))
    taking.start()
    taking.join(0.2)
    assert order == [], "the takeover went past a decision in hand"
    go_on.set()
    deciding.result(10)
    taking.join(10)
    assert order.index("decided") < order.index("Held")


def test_a_holder_that_leaves_in_order_is_followed_at_once(
    store: Store, stores: Callable[..., Store]
) -> None:
    first, second = Lease(store, "a", TTL_S), Lease(stores(), "b", TTL_S)
    first.try_hold(0)
    assert second.try_hold(0) == Standby("a", 1)
    first.release()
    assert second.try_hold(1) == Held(2)
    assert first.try_hold(2) == Standby("b", 2)


def test_a_process_that_knows_itself_alone_waits_for_nobody(store: Store) -> None:
    Lease(store, "killed", TTL_S).try_hold(0)
    assert Lease(store, "restarted", TTL_S, is_alone=True).try_hold(0) == Held(2)


def test_renewals_are_rarer_than_turns(store: Store) -> None:
    one = Lease(store, "a", TTL_S)
    for step in range(10):
        one.try_hold(step * 100)
    with store.read() as conn:
        assert conn.execute(select(lease_table.c.counter)).scalar_one() == 1
