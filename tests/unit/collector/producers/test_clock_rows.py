"""A flush of folds says the same as each fold said by itself, in a few statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select

from collector.clock_fold import Fold
from collector.clock_rows import ROWS_MAX, write_folds
from collector.observed import observe
from collector.store.engine import Store
from collector.tables import observations
from tests.tools.examples import examples
from tests.tools.tables import make_tables
from ticketing.tables import metadata

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store.open("sqlite://")
    store.write(lambda tx: make_tables(tx, metadata))
    yield store
    store.close()


folds = st.builds(
    Fold,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["clk.true_offset_ms", "clk.offset_step_s"]),
    st.sampled_from([1.0, 1.2, 2000.0]),
    st.sampled_from([T0, T0 + 60_000, T0 + 120_000, T0 + 300_000]),
)


def written(store: Store, flushes: list[list[Fold]]) -> tuple[list[int], list[tuple[object, ...]]]:
    def run(tx):
        tx.execute(delete(observations))
        counts = [write_folds(tx, flush, T0 + 400_000) for flush in flushes]
        columns = (observations.c.host_id, observations.c.signal, observations.c.value, observations.c.at_ms)
        return counts, [tuple(row) for row in tx.execute(select(*columns).order_by(observations.c.id))]

    return store.write(run)


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(before=st.lists(folds, max_size=4), flush=st.lists(folds, max_size=8))
def test_a_flush_writes_what_its_folds_would_write_one_by_one(
    store: Store, before: list[Fold], flush: list[Fold]
) -> None:
    together, rows = written(store, [before, flush])
    alone, same = written(store, [[fold] for fold in before + flush])
    assert rows == same and sum(together) == sum(alone) == len(rows)


def test_what_another_source_said_last_is_what_holds(store: Store) -> None:
    def run(tx):
        tx.execute(delete(observations))
        observe(tx, "a", "clk.true_offset_ms", 5.0, T0, "person")
        return write_folds(tx, [Fold("a", "clk.true_offset_ms", 5.0, T0 + 1)], T0)

    assert store.write(run) == 0


def test_a_full_flush_takes_tens_of_statements_and_not_a_thousand(store: Store) -> None:
    full = [Fold(f"h{n}", "clk.true_offset_ms", float(n), T0) for n in range(ROWS_MAX)]
    said: list[str] = []

    def run(tx):
        tx.execute(delete(observations))
        event.listen(tx, "before_cursor_execute", lambda *told: said.append(told[2]))
        return write_folds(tx, full, T0)

    assert store.write(run) == ROWS_MAX
    assert len(said) <= 12
