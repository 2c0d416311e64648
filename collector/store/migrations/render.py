"""For developers: write a revision from what the tables say and the chain does not (`python -m ... MESSAGE ID`).

    python -m collector.store.migrations.render "first tables" 0001

The result is read and edited by a person before it is committed; a test compares chain and tables.
"""

from __future__ import annotations

import sys

from alembic import command
from sqlalchemy import Connection

from collector.store.engine import Store
from collector.store.migrate import _config, migrate_store


def main(message: str, revision: str) -> int:
    """Migrate an empty in-memory database, compare it with the tables, and write the difference."""
    store = Store.open("sqlite://")
    migrate_store(store)

    def render(tx: Connection) -> None:
        config = _config()
        config.attributes["connection"] = tx
        command.revision(config, message, autogenerate=True, rev_id=revision)

    store.write(render)
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
