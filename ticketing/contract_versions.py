"""The history of a contract: which terms were in force when, who applied them, and what changed. Reading only.

Every ``contracts.apply`` that changes a contract leaves a row in ``contracts`` that nobody changes again; a ticket names
the version under which its clocks count, so that what was judged can be explained years later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from ticketing import tables
from ticketing.documents import from_document
from ticketing.terms import Contract

MAX_HISTORY = 200


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a contract, as pages show it."""

    contract_id: str
    version: int
    applied_at_ms: int
    applied_by: str
    digest: str
    """sha256 of the document, hex; "" for one that was applied before digests were kept."""
    changes: Sequence[Mapping[str, Any]]
    """``documents.difference`` from the version before; [] for the first."""
    is_current: bool


def history(conn: Connection, contract_id: str, limit: int = MAX_HISTORY) -> list[Version]:
    """The versions of a contract, the newest first; [] where nobody knows it."""
    table = tables.contracts
    wanted = (
        select(*_COLUMNS)
        .where(table.c.id == contract_id)
        .order_by(table.c.version.desc())
        .limit(max(1, min(limit, MAX_HISTORY)))
    )
    return [_version(row) for row in conn.execute(wanted).mappings()]


def read(conn: Connection, contract_id: str, version: int | None = None) -> tuple[Version, Contract] | None:
    """One version with its terms; without a number the newest, also of a contract that was retired."""
    table = tables.contracts
    wanted = select(*_COLUMNS, table.c.document).where(table.c.id == contract_id)
    if version is not None:
        wanted = wanted.where(table.c.version == version)
    row = conn.execute(wanted.order_by(table.c.version.desc()).limit(1)).mappings().first()
    return None if row is None else (_version(row), from_document(Contract, row["document"]))


def newest(conn: Connection) -> list[Version]:
    """The newest version of every contract that the house ever had, by id; retired ones are not current."""
    table = tables.contracts
    last = select(table.c.id, func.max(table.c.version).label("last")).group_by(table.c.id).subquery()
    wanted = (
        select(*_COLUMNS)
        .join(last, (table.c.id == last.c.id) & (table.c.version == last.c.last))
        .order_by(table.c.id)
    )
    return [_version(row) for row in conn.execute(wanted).mappings()]


_COLUMNS = tuple(
    tables.contracts.c[name]
    for name in ("id", "version", "applied_at_ms", "applied_by", "digest", "changes", "is_current")
)


def _version(row: RowMapping) -> Version:
    return Version(
        contract_id=row["id"],
        version=row["version"],
        applied_at_ms=row["applied_at_ms"],
        applied_by=row["applied_by"],
        digest=row["digest"],
        changes=tuple(row["changes"]),
        is_current=row["is_current"],
    )
