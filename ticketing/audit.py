"""Every act of a person is a row: who, when, what, from where (invariant 11). Never a secret in the details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select

from ticketing import tables


def write(
    tx: Connection,
    now_ms: int,
    actor: str,
    act: str,
    object_: str,
    from_address: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append one row; ``object_`` is ``ticket:12``, ``host:a1``, ``person:olena``, ``contract:acme``."""
    tx.execute(
        insert(tables.audit).values(
            at_ms=now_ms,
            actor=actor[:64],
            act=act[:64],
            object=object_[:128],
            from_address=from_address[:64],
            details=dict(details or {}),
        )
    )


def plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as an audit row keeps them: short."""
    return {
        key: value if isinstance(value, int | bool) else str(value)[:200] for key, value in fields.items()
    }


def of(conn: Connection, object_: str, limit: int = 200) -> list[RowMapping]:
    """The newest rows about one object."""
    table = tables.audit
    wanted = select(table).where(table.c.object == object_).order_by(table.c.id.desc()).limit(limit)
    return list(conn.execute(wanted).mappings())
