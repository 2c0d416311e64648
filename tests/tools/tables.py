"""The store's tables, quickly: written once a process as SQL, then run as it stands. A thousand tests make them."""

from __future__ import annotations

import functools

from sqlalchemy import Connection, MetaData, create_engine


@functools.cache
def _statements(metadata: MetaData) -> tuple[str, ...]:
    """What SQLite itself keeps of every table and index, in their order."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as tx:
            metadata.create_all(tx)
            made = tx.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
            return tuple(row[0] for row in made)
    finally:
        engine.dispose()


def make_tables(tx: Connection, metadata: MetaData) -> None:
    """As ``metadata.create_all(tx)`` on an empty database; quick where that is SQLite."""
    if tx.dialect.name != "sqlite":
        metadata.create_all(tx)
        return
    for statement in _statements(metadata):
        tx.exec_driver_sql(statement)
