"""Brings a database to the tables of this version, with Alembic; also inside an installed package.

One chain of revisions covers both rooms' tables. On both databases a migration is one transaction: a kill in the
middle leaves the old schema. Several collectors that start at once queue behind an advisory lock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import collector.tables  # noqa: F401  (joins the collector's tables to the metadata)
from collector.store.engine import Store
from ticketing.tables import metadata

FOLDER = Path(__file__).parent / "migrations"

ADVISORY_LOCK = 0x7661_7274
"""PostgreSQL advisory lock that a migration holds."""
WAIT_FOR_ANOTHER = "30min"
"""How long a collector that starts waits for one that migrates, and a migration for whoever holds its tables."""


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the database at ``url`` to the newest revision; (revision before, revision after)."""
    store = Store.open(url)
    try:
        return migrate_store(store)
    finally:
        store.close()


def migrate_store(store: Store) -> tuple[str | None, str]:
    """As ``migrate``, on an open store; an in-memory one is migrated like any other."""

    def run(tx: Connection) -> tuple[str | None, str]:
        if store.dialect == "postgresql":
            # The engine's bounds are for a tick and a page. Another collector's migration, or one of our own on tables
            # of a million rows, takes as long as it takes; whoever gave up here would not start.
            tx.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_FOR_ANOTHER}'")
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
            tx.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        before = _revision(tx)
        config = _config()
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        return before, _revision(tx) or ""

    return store.write(run)


def current_revision(store: Store) -> str | None:
    """The database's revision; None before the first migration."""
    with store.read() as conn:
        return _revision(conn)


def head_revision() -> str:
    """The revision that this program wants."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def differences(conn: Connection) -> list[Any]:
    """What Alembic's comparer finds between the database and the tables; empty when they agree."""
    return compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata)


def _revision(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
