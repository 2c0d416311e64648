"""Agent roll-outs as announced: who says goodbye while one runs is expected back within 1,800 s, not within a heartbeat.

An admin announces one for the whole fleet, a contract, a provider or single hosts (``vartovyi-collector roll-out``); every
collector process reads what runs with the contracts, and intake dates each goodbye by it. It ends when the admin says
so or by itself; a host that is away then keeps the rest of its own 1,800 s, and one that does not come back becomes a
suspect like any other. A reboot keeps its own 300 s: a roll-out of agents restarts no server. Every act is an audit row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, insert, select, update

from collector.tables import hosts, roll_outs
from ticketing import audit
from ticketing.contracts import Book

ALL = "all"
KINDS = ("contract", "provider", "host")
LONGEST_S = 7 * 86_400
MAX_RUNNING = 500
MAX_WHY = 300


@dataclasses.dataclass(frozen=True)
class RollOut:
    """One that runs."""

    id: int
    scope: str
    """``all``, ``contract:acme``, ``provider:alfa`` or ``host:a1``."""
    why: str
    announced_by: str
    announced_at_ms: int
    until_ms: int

    def holds(self, host_id: str, contract_id: str, provider: str) -> bool:
        """Whether the host is among those it was announced for."""
        kind, _, name = self.scope.partition(":")
        return kind == ALL or name == {"contract": contract_id, "provider": provider, "host": host_id}[kind]


def announce(
    tx: Connection, book: Book, scopes: Sequence[str], now_ms: int, until_ms: int, by: str, why: str = ""
) -> list[RollOut]:
    """Write the announcements, one a scope, with their audit rows. Raises ValueError with every scope that is unknown."""
    wrong = [scope for scope in scopes if not _is_known(tx, book, scope)]
    if wrong:
        raise ValueError(f"not known here: {', '.join(wrong)}")
    if not now_ms < until_ms <= now_ms + LONGEST_S * 1000:
        raise ValueError(f"a roll-out lasts at most {LONGEST_S // 86_400} days")
    if len(running(tx, now_ms)) + len(scopes) > MAX_RUNNING:
        raise ValueError(
            f"more than {MAX_RUNNING} roll-outs would run at once: end some, or announce a contract"
        )
    found = []
    for scope in dict.fromkeys(scopes):
        values = {"scope": scope, "why": why[:MAX_WHY], "announced_by": by[:64]}
        values_at = {"announced_at_ms": now_ms, "until_ms": until_ms, "ended_at_ms": None}
        done = tx.execute(insert(roll_outs).values(**values, **values_at))
        audit.write(
            tx, now_ms, by, "announce_roll_out", scope, details={"until_ms": until_ms, "why": why[:MAX_WHY]}
        )
        key = done.inserted_primary_key
        assert key is not None
        found.append(RollOut(int(key[0]), scope, values["why"], values["announced_by"], now_ms, until_ms))
    return found


def _is_known(tx: Connection, book: Book, scope: str) -> bool:
    kind, _, name = scope.partition(":")
    if kind == "contract":
        return name in book.contracts
    if kind == "provider":
        return any(terms.topology.provider == name for terms in book.hosts.values())
    if kind == "host":
        enrolled = select(hosts.c.id).where(hosts.c.id == name, hosts.c.is_retired.is_(False))
        return tx.execute(enrolled).first() is not None
    return scope == ALL


def end(tx: Connection, ids: Iterable[int] | None, now_ms: int, by: str) -> list[RollOut]:
    """End these, or all that run (None); those that ended, with their audit rows."""
    wanted = None if ids is None else set(ids)
    ended = [one for one in running(tx, now_ms) if wanted is None or one.id in wanted]
    for one in ended:
        tx.execute(
            update(roll_outs).where(roll_outs.c.id == one.id).values(until_ms=now_ms, ended_at_ms=now_ms)
        )
        audit.write(tx, now_ms, by, "end_roll_out", one.scope)
    return ended


def running(conn: Connection, now_ms: int) -> list[RollOut]:
    """Those that run now, the oldest first."""
    columns = [roll_outs.c[field.name] for field in dataclasses.fields(RollOut)]
    wanted = select(*columns).where(roll_outs.c.announced_at_ms <= now_ms, roll_outs.c.until_ms > now_ms)
    return [RollOut(*row) for row in conn.execute(wanted.order_by(roll_outs.c.id).limit(MAX_RUNNING))]


def held_hosts(running_now: Sequence[RollOut], book: Book) -> frozenset[str]:
    """The hosts of the book for which one runs."""
    if not running_now:
        return frozenset()
    return frozenset(
        host_id
        for host_id, terms in book.hosts.items()
        if any(
            one.holds(host_id, book.host_contract.get(host_id, ""), terms.topology.provider)
            for one in running_now
        )
    )
