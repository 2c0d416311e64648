"""The decider's lease: one row, one holder, a term that only grows.

The holder moves the row's counter. A challenger takes over when the counter has stood still for the time-to-live on
the challenger's *own* monotonic clock: no two machines' clocks are ever compared. Each decision's transaction asks
``still_held``, which locks the row for share, so that a decision and a takeover cannot pass each other.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from collector.store.engine import Store
from collector.tables import lease

NOBODY = ""


@dataclasses.dataclass(frozen=True)
class Held:
    """We decide, in this term."""

    term: int


@dataclasses.dataclass(frozen=True)
class Standby:
    """Somebody else decides."""

    holder: str
    term: int


class Lease:
    """One process's view of the lease; used by one thread."""

    def __init__(self, store: Store, holder: str, ttl_s: float, *, is_alone: bool = False) -> None:
        """``is_alone``: a lock on the state folder proves that no other process lives, so nobody is waited for."""
        if not holder:
            raise ValueError("a holder needs a name")
        self._store = store
        self.holder = holder
        self._ttl_ms = round(ttl_s * 1000)
        self._is_alone = is_alone
        self._term: int | None = None
        self._renewed_mono_ms = 0
        self._seen: tuple[int, int] | None = None
        self._seen_mono_ms = 0

    def try_hold(self, mono_ms: int) -> Held | Standby:
        """Renew, take over, or stand by. Writes at most every third of the time-to-live."""
        if self._term is not None and mono_ms - self._renewed_mono_ms < self._ttl_ms // 3:
            return Held(self._term)
        return self._store.write(lambda tx: self._turn(tx, mono_ms), first=True)

    @property
    def term(self) -> int | None:
        """The term that we believe to hold; only ``still_held`` proves it. Readable from any thread."""
        return self._term

    @property
    def ttl_s(self) -> float:
        """Time-to-live."""
        return self._ttl_ms / 1000

    @property
    def is_alone(self) -> bool:
        """Whether no other process can hold it."""
        return self._is_alone

    def left_s(self, mono_ms: int) -> float:
        """Seconds for which nobody can have taken it over, counted from before the last renewal was sent; 0 = not ours."""
        if self._term is None:
            return 0.0
        return max(0.0, (self._ttl_ms - (mono_ms - self._renewed_mono_ms)) / 1000)

    def still_held(self, tx: Connection, term: int) -> bool:
        """Whether ``term`` is still ours inside this transaction; keeps it so until the transaction ends."""
        return still_held(tx, self.holder, term)

    def release(self) -> None:
        """Let the next one begin at once; for an orderly end."""
        term, self._term = self._term, None
        if term is not None:
            self._store.write(
                lambda tx: tx.execute(update(lease).where(*_is(self.holder, term)).values(holder=NOBODY)),
                first=True,
            )

    def _turn(self, tx: Connection, mono_ms: int) -> Held | Standby:
        if self._term is not None:
            renewed = tx.execute(
                update(lease).where(*_is(self.holder, self._term)).values(counter=lease.c.counter + 1)
            ).rowcount
            if renewed:
                self._renewed_mono_ms = mono_ms
                return Held(self._term)
            self._term = None
        row = tx.execute(select(lease).where(lease.c.id == 1)).first() or _first_row(tx)
        if not self._may_take(row, mono_ms):
            return Standby(row.holder, row.term)
        taken = tx.execute(
            update(lease)
            .where(lease.c.id == 1, lease.c.term == row.term, lease.c.counter == row.counter)
            .values(term=row.term + 1, counter=row.counter + 1, holder=self.holder)
        ).rowcount
        if not taken:
            return Standby(row.holder, row.term)
        term = int(row.term) + 1
        self._term, self._renewed_mono_ms, self._seen = term, mono_ms, None
        return Held(term)

    def _may_take(self, row: Row, mono_ms: int) -> bool:
        if self._is_alone or row.holder == NOBODY:
            return True
        if self._seen != (row.term, row.counter):
            self._seen, self._seen_mono_ms = (row.term, row.counter), mono_ms
            return False
        return mono_ms - self._seen_mono_ms >= self._ttl_ms


def still_held(tx: Connection, holder: str, term: int) -> bool:
    """Whether the holder's term still stands, with the row locked for share until the transaction ends."""
    row = tx.execute(
        select(lease.c.holder, lease.c.term).where(lease.c.id == 1).with_for_update(read=True)
    ).first()
    return row is not None and row.holder == holder and row.term == term


def _is(holder: str, term: int) -> tuple:
    return (lease.c.id == 1, lease.c.holder == holder, lease.c.term == term)


def _first_row(tx: Connection) -> Row:
    kind = postgresql if tx.dialect.name == "postgresql" else sqlite
    tx.execute(kind.insert(lease).values(id=1, term=0, holder=NOBODY, counter=0).on_conflict_do_nothing())
    return tx.execute(select(lease).where(lease.c.id == 1)).one()
