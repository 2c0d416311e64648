"""Who may come in: passwords (argon2), sessions, API tokens, and the throttle of log-ins.

Secrets are shown once and stored as hashes: a password with argon2, since people choose it; sessions and tokens as
sha256, since they are 256 random bits. The throttle counts failures by name and by address and survives a restart.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, delete, insert, select, update

from ticketing import audit, tables
from ticketing.tables import RowLike

SESSION_MS = 12 * 3_600_000
"""A session ends after this long without use."""

SESSION_MAX_MS = 7 * 86_400_000
"""And after this long in any case."""

_SEEN_STEP_MS = 60_000

THROTTLE_FREE = 5
"""Failures that cost nothing; each one after doubles the wait."""

THROTTLE_MAX_MS = 15 * 60_000
THROTTLE_FORGET_MS = 24 * 3_600_000

TOKEN_PREFIX = "vt_"

MIN_PASSWORD = 10
MAX_PASSWORD = 1024

ROLES = ("client", "engineer", "lead", "admin")

# RFC 9106's second profile: 64 MiB, three passes.
_HASHER = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)

# What a wrong name is checked against, so that it takes as long as a wrong password.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$0WRNWXyBWM0NjBcMnFKGQrUJTbaFyKaCiNhGMjkoIko"


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who is logged in, or could be."""

    id: str
    name: str
    role: str
    language: str
    contract_id: str | None
    line: int | None
    profiles: tuple[str, ...]
    email: str = ""
    ways: tuple[Mapping[str, Any], ...] = ()
    """How they are reached, as ``ticketing.duty.Way`` was written down; () = by mail."""
    quiet: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """When reminders wait, as ``ticketing.duty.Quiet`` was written down; {} = never."""

    @property
    def is_staff(self) -> bool:
        return self.role != "client"


def person(conn: Connection, person_id: str) -> Person | None:
    """The person by log-in name; None where there is none or they are disabled."""
    table = tables.people
    row = conn.execute(select(table).where(table.c.id == person_id, ~table.c.is_disabled)).mappings().first()
    return None if row is None else _person(row)


def staff(conn: Connection) -> list[Person]:
    """Everybody who may take tickets, by name."""
    table = tables.people
    wanted = (
        select(table).where(table.c.role != "client", ~table.c.is_disabled).order_by(table.c.name, table.c.id)
    )
    return [_person(row) for row in conn.execute(wanted).mappings()]


def names_of_contract(conn: Connection, contract_id: str) -> dict[str, str]:
    """Log-in name -> name of a client's own people, those who left included: history names them."""
    table = tables.people
    found = conn.execute(select(table.c.id, table.c.name).where(table.c.contract_id == contract_id))
    return {row.id: row.name for row in found}


def add_person(
    tx: Connection,
    person_id: str,
    role: str,
    now_ms: int,
    *,
    name: str = "",
    language: str = "uk",
    contract_id: str | None = None,
    line: int | None = None,
    profiles: tuple[str, ...] = (),
    email: str = "",
) -> None:
    """Add somebody by command; those of people.yaml come with ``contracts.apply``."""
    if role not in ROLES or (role == "client") != (contract_id is not None):
        raise ValueError("a client belongs to a contract, nobody else does")
    tx.execute(
        insert(tables.people).values(
            id=person_id,
            name=name or person_id,
            email=email,
            role=role,
            profiles=list(profiles),
            line=line,
            language=language,
            contract_id=contract_id,
            is_disabled=False,
            created_at_ms=now_ms,
        )
    )


def authenticate(conn: Connection, login: str, password: str) -> Person | None:
    """The person whose password this is; takes as long for a name that nobody has. Ask ``throttled_until`` first."""
    table = tables.people
    row = conn.execute(select(table).where(table.c.id == login, ~table.c.is_disabled)).mappings().first()
    known_hash = row["password_hash"] if row is not None else None
    try:
        is_right = _HASHER.verify(known_hash or _NOBODY, password[:MAX_PASSWORD])
    except (VerificationError, InvalidHashError):
        return None
    return _person(row) if is_right and row is not None and known_hash else None


def set_password(
    tx: Connection, person_id: str, password: str, now_ms: int, by: str, from_address: str = ""
) -> bool:
    """Set a password and end the person's sessions. ValueError when it is too short; False when nobody has the name."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    table = tables.people
    changed = tx.execute(
        update(table).where(table.c.id == person_id).values(password_hash=_HASHER.hash(password))
    )
    if changed.rowcount == 0:
        return False
    tx.execute(delete(tables.sessions).where(tables.sessions.c.person_id == person_id))
    audit.write(tx, now_ms, by, "set_password", f"person:{person_id}", from_address)
    return True


def issue_token(tx: Connection, person_id: str, now_ms: int, by: str, from_address: str = "") -> str | None:
    """A new API token in place of the old one; shown once. None when nobody has the name."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    table = tables.people
    changed = tx.execute(update(table).where(table.c.id == person_id).values(token_hash=_hash(token)))
    if changed.rowcount == 0:
        return None
    audit.write(tx, now_ms, by, "issue_token", f"person:{person_id}", from_address)
    return token


def revoke_token(tx: Connection, person_id: str, now_ms: int, by: str, from_address: str = "") -> None:
    """End the person's API token."""
    tx.execute(update(tables.people).where(tables.people.c.id == person_id).values(token_hash=None))
    audit.write(tx, now_ms, by, "revoke_token", f"person:{person_id}", from_address)


def by_token(conn: Connection, token: str) -> Person | None:
    """The person whose API token this is."""
    table = tables.people
    wanted = select(table).where(table.c.token_hash == _hash(token), ~table.c.is_disabled)
    row = conn.execute(wanted).mappings().first()
    return None if row is None else _person(row)


def open_session(tx: Connection, who: Person, now_ms: int, from_address: str = "") -> str:
    """A new session; the returned secret goes into the cookie and is stored as a hash only."""
    secret = secrets.token_urlsafe(32)
    tx.execute(
        insert(tables.sessions).values(
            id_hash=_hash(secret),
            person_id=who.id,
            created_at_ms=now_ms,
            seen_at_ms=now_ms,
            expires_at_ms=now_ms + SESSION_MS,
            from_address=from_address[:64],
        )
    )
    audit.write(tx, now_ms, who.id, "log_in", f"person:{who.id}", from_address)
    return secret


def session(conn: Connection, secret: str, now_ms: int) -> Person | None:
    """The person of a live session. Reading only: prolong it with ``touch_session`` where ``is_stale`` says so."""
    found = _session_row(conn, secret, now_ms)
    return None if found is None else _person(found)


def is_session_stale(conn: Connection, secret: str, now_ms: int) -> bool:
    """Whether the session was last prolonged so long ago that it is worth a write."""
    found = _session_row(conn, secret, now_ms)
    return found is not None and now_ms - found["seen_at_ms"] >= _SEEN_STEP_MS


def touch_session(tx: Connection, secret: str, now_ms: int) -> None:
    """Prolong a session, within its longest life."""
    table = tables.sessions
    row = tx.execute(select(table).where(table.c.id_hash == _hash(secret))).mappings().first()
    if row is not None:
        expires = min(now_ms + SESSION_MS, row["created_at_ms"] + SESSION_MAX_MS)
        tx.execute(
            update(table)
            .where(table.c.id_hash == row["id_hash"])
            .values(seen_at_ms=now_ms, expires_at_ms=expires)
        )


def close_session(tx: Connection, secret: str, now_ms: int, from_address: str = "") -> None:
    """Log out."""
    table = tables.sessions
    row = tx.execute(select(table).where(table.c.id_hash == _hash(secret))).mappings().first()
    if row is not None:
        tx.execute(delete(table).where(table.c.id_hash == row["id_hash"]))
        audit.write(tx, now_ms, row["person_id"], "log_out", f"person:{row['person_id']}", from_address)


def throttled_until(conn: Connection, login: str, from_address: str, now_ms: int) -> int | None:
    """Before this instant no log-in is tried for this name or from this address; None = go on."""
    table = tables.login_failures
    rows = conn.execute(select(table).where(table.c.key.in_(_throttle_keys(login, from_address)))).mappings()
    until = max((_blocked_until(row) for row in rows), default=0)
    return until if until > now_ms else None


def note_failure(tx: Connection, login: str, from_address: str, now_ms: int) -> None:
    """Count a failed log-in, by name and by address."""
    table = tables.login_failures
    for key in _throttle_keys(login, from_address):
        row = tx.execute(select(table).where(table.c.key == key).with_for_update()).mappings().first()
        if row is None:
            tx.execute(insert(table).values(key=key, failures=1, first_at_ms=now_ms, last_at_ms=now_ms))
            continue
        is_old = now_ms - row["last_at_ms"] > THROTTLE_FORGET_MS
        values = {"failures": 1 if is_old else row["failures"] + 1, "last_at_ms": now_ms}
        tx.execute(update(table).where(table.c.key == key).values(**values))
    audit.write(tx, now_ms, "nobody", "log_in_failed", f"person:{login[:60]}", from_address)


def note_success(tx: Connection, login: str) -> None:
    """Forget the failures of a name; those of the address stay, since others may have made them."""
    table = tables.login_failures
    tx.execute(delete(table).where(table.c.key == _throttle_keys(login, "")[0]))


def _throttle_keys(login: str, from_address: str) -> list[str]:
    # A hash bounds the key's length whatever was typed as a name (and people type passwords there).
    keys = ["login:" + hashlib.sha256(login.encode()).hexdigest()[:32]]
    return [*keys, "from:" + from_address[:64]] if from_address else keys


def _blocked_until(row: RowLike) -> int:
    # An address may hold a whole office behind one router, so it has four times the patience of a name.
    free = THROTTLE_FREE if row["key"].startswith("login:") else 4 * THROTTLE_FREE
    over = row["failures"] - free
    if over < 0:
        return 0
    return row["last_at_ms"] + min(THROTTLE_MAX_MS, 1000 * 2 ** min(over, 20))


def _session_row(conn: Connection, secret: str, now_ms: int) -> RowLike | None:
    people, sessions = tables.people, tables.sessions
    wanted = (
        select(people, sessions.c.seen_at_ms)
        .join(sessions, sessions.c.person_id == people.c.id)
        .where(sessions.c.id_hash == _hash(secret), sessions.c.expires_at_ms > now_ms, ~people.c.is_disabled)
    )
    return conn.execute(wanted).mappings().first()


def _person(row: RowLike) -> Person:
    return Person(
        id=row["id"],
        name=row["name"],
        role=row["role"],
        language=row["language"],
        contract_id=row["contract_id"],
        line=row["line"],
        profiles=tuple(row["profiles"]),
        email=row["email"],
        ways=tuple(row["ways"]),
        quiet=row["quiet"],
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
