"""Opening a collector's house: the lock on its state folder, its store, its tables, its contracts. Shared by serve and CLI."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, bindparam, select, update

from collector.fleet_cache import bump_fleet_version
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.store.migrate import current_revision, head_revision, migrate_store
from collector.tables import hosts
from config.log import fields
from ticketing import contracts

log = logging.getLogger(__name__)


class StartRefused(Exception):
    """The collector cannot start as things are; the text says what to do."""


class StateLock:
    """One process a state folder, by flock: it ends with the process, however that ends."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = state_dir / "collector.lock"
        self._stream: TextIO = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._stream.seek(0)
            holder = self._stream.read(20).strip() or "unknown"
            self._stream.close()
            raise StartRefused(
                f"another collector (pid {holder}) runs on {state_dir}: stop it first"
            ) from error
        self._stream.truncate(0)
        self._stream.write(f"{os.getpid()}\n")
        self._stream.flush()

    def release(self) -> None:
        """Let the next one in."""
        self._stream.close()


def open_store(settings: CollectorSettings) -> Store:
    """The store that settings name; its folder is made where it is SQLite."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Store.open(
        settings.database_url(), queue_max=settings.database.queue_max, pool_size=settings.database.pool_size
    )


def prepare_tables(store: Store, settings: CollectorSettings) -> None:
    """Bring the tables to this version, or refuse where settings keep that for an admin."""
    before = current_revision(store)
    if before == head_revision():
        return
    if not settings.database.auto_migrate:
        raise StartRefused(
            "the database has other tables than this version wants: run vartovyi-collector migrate"
        )
    before, after = migrate_store(store)
    log.info("The tables were brought to this version. %s", fields(before=before or "none", after=after))


def apply_contracts(store: Store, loaded: contracts.Loaded, now_ms: int, by: str) -> contracts.Applied:
    """Write contracts that changed, and let the hosts follow them."""

    def run(tx: Connection) -> contracts.Applied:
        applied = contracts.apply(tx, loaded, now_ms, by)
        follow_contracts(tx, contracts.current(tx))
        return applied

    return store.write(run)


def follow_contracts(tx: Connection, book: contracts.Book) -> int:
    """Enrolled hosts take contract, addresses and topology from the contracts in force; how many changed."""
    changed: list[dict[str, Any]] = []
    wanted = select(hosts.c.id, hosts.c.contract_id, hosts.c.addresses, hosts.c.topology, hosts.c.interval_s)
    for row in tx.execute(wanted.where(~hosts.c.is_retired)):
        terms = book.hosts.get(row.id)
        if terms is None:
            continue
        values = {
            "contract_id": book.host_contract[row.id],
            "addresses": list(terms.addresses) or row.addresses,
            "topology": {k: v for k, v in contracts.document(terms.topology).items() if v},
            "interval_s": float(terms.interval),
        }
        if any(getattr(row, name) != value for name, value in values.items()):
            changed.append({"b_id": row.id, **values})
    if changed:
        columns = {
            n: bindparam(n, type_=hosts.c[n].type)
            for n in ("contract_id", "addresses", "topology", "interval_s")
        }
        tx.execute(update(hosts).where(hosts.c.id == bindparam("b_id")).values(**columns), changed)
        bump_fleet_version(tx)
    return len(changed)
