"""The chain of revisions and the tables must say the same, on both databases."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from collector.store import migrate as migration
from collector.store.engine import Store
from ticketing.tables import metadata


def test_the_migrated_schema_is_what_the_tables_say(store: Store) -> None:
    """Regenerate with `python -m collector.store.migrations.render` when this fails after a change of tables.py."""
    with store.read() as conn:
        assert migration.differences(conn) == []


def test_every_index_and_unique_constraint_of_the_tables_is_there(store: Store) -> None:
    """Alembic's comparer passes over some; the database's own inspector does not."""
    with store.read() as conn:
        inspector = sa.inspect(conn)
        for table in metadata.tables.values():
            known = {i["name"] for i in inspector.get_indexes(table.name)}
            known |= {u["name"] for u in inspector.get_unique_constraints(table.name)}
            assert {str(i.name) for i in table.indexes} <= known, table.name


def test_an_old_database_with_nothing_in_it_is_brought_up_and_then_left_alone(empty_database: Any) -> None:
    head = migration.head_revision()
    assert migration.migrate(empty_database.url) == (None, head)
    assert migration.migrate(empty_database.url) == (head, head)


def test_collectors_that_start_together_migrate_once(empty_database: Any) -> None:
    results: list[tuple[str | None, str]] = []
    errors: list[Exception] = []

    def start() -> None:
        try:
            results.append(migration.migrate(empty_database.url))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted((before or "") for before, _ in results) == [
        "",
        migration.head_revision(),
        migration.head_revision(),
    ]


@pytest.mark.postgres
def test_a_collector_waits_for_anothers_long_migration_past_the_bounds_of_its_everyday_work(
    request: pytest.FixtureRequest,
) -> None:
    server = request.getfixturevalue("postgres_server")
    url = server.url(server.create())
    started: list[tuple[str | None, str]] = []
    other = Store.open(url)
    try:
        with other.read() as conn:
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({migration.ADVISORY_LOCK})")
            waiting = threading.Thread(target=lambda: started.append(migration.migrate(url)))
            waiting.start()
            waiting.join(12)  # the engine's lock_timeout is 10 s
            assert waiting.is_alive() and started == []
        waiting.join(60)
        assert started == [(None, migration.head_revision())]
    finally:
        other.close()


def test_a_migration_that_breaks_leaves_the_old_schema(
    empty_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alembic's own upgrade is made to fail after its work: what a kill -9 in the middle leaves must be nothing."""
    upgrade = command.upgrade

    def breaks(*args: Any) -> None:
        upgrade(*args)
        raise RuntimeError("killed")

    monkeypatch.setattr(command, "upgrade", breaks)
    store = empty_database.open()
    try:
        with pytest.raises(RuntimeError, match="killed"):
            migration.migrate_store(store)
        with store.read() as conn:
            assert sa.inspect(conn).get_table_names() == []
    finally:
        store.close()
