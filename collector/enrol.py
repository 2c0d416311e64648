"""Enrolment: gives a host its token, once, and keeps only the token's hash. Retiring takes it away.

The token is 256 random bits; the store holds its sha256, which is enough for a secret of that entropy and cheap
enough to compute for every report. Writes an audit-worthy change; the caller writes the audit row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from collector.fleet import Life
from collector.fleet_cache import bump_fleet_version
from collector.tables import hosts

HOST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a host may be called: it stands in tickets, metrics and addresses of pages."""


@dataclasses.dataclass(frozen=True)
class Enrolled:
    """A host and its token, which is never seen again."""

    host_id: str
    contract_id: str
    token: str = dataclasses.field(repr=False)
    is_new: bool = True


@dataclasses.dataclass(frozen=True)
class NotEnrolled:
    """Why not: a short code and a sentence."""

    error: str
    detail: str


def hash_token(token: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", errors="replace")).hexdigest()


def enrol(
    tx: Connection,
    host_id: str,
    contract_id: str,
    now_ms: int,
    *,
    addresses: Sequence[str] = (),
    topology: Mapping[str, Any] | None = None,
    interval_s: float = 10.0,
    new_token: bool = False,
    token: str | None = None,
) -> Enrolled | NotEnrolled:
    """Write the host's row and return its token. A known host is refused unless ``new_token`` asks for another one."""
    if not HOST_ID.fullmatch(host_id):
        return NotEnrolled(
            "bad_host", f"{host_id!r} is not a host id: letters, digits, dot, dash and underscore, at most 64"
        )
    token = token or secrets.token_urlsafe(32)
    known = tx.execute(select(hosts.c.id, hosts.c.contract_id).where(hosts.c.id == host_id)).first()
    if known is not None and not new_token:
        return NotEnrolled(
            "already_enrolled",
            f"{host_id} is enrolled in {known.contract_id}; --new-token replaces its token",
        )
    values: dict[str, Any] = {
        "contract_id": contract_id,
        "token_hash": hash_token(token),
        "is_retired": False,
    }
    if addresses:
        values["addresses"] = list(addresses)
    if topology is not None:
        values["topology"] = dict(topology)
    if known is not None:
        tx.execute(hosts.update().where(hosts.c.id == host_id).values(**values))
    else:
        values.setdefault("addresses", [])
        values.setdefault("topology", {})
        tx.execute(
            hosts.insert().values(
                id=host_id,
                enrolled_at_ms=now_ms,
                life=Life.AWAITED.value,
                life_since_ms=now_ms,
                interval_s=interval_s,
                **values,
            )
        )
    bump_fleet_version(tx)
    return Enrolled(host_id, contract_id, token, is_new=known is None)


def retire(tx: Connection, host_id: str, now_ms: int) -> bool:
    """Take a host out of service: its token is refused and nothing watches it. False when there is none."""
    changed = tx.execute(
        hosts.update()
        .where(hosts.c.id == host_id, ~hosts.c.is_retired)
        .values(is_retired=True, life=Life.RETIRED.value, life_since_ms=now_ms, silent_after_ms=None)
    ).rowcount
    if changed:
        bump_fleet_version(tx)
    return bool(changed)
