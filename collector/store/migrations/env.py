"""Alembic's entry: runs revisions on the connection that ``collector.store.migrate`` hands over, and nothing else."""

from __future__ import annotations

from alembic import context

import collector.tables  # noqa: F401  (joins the collector's tables to the metadata)
from ticketing.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    compare_type=True,
)
context.run_migrations()
