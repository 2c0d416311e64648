"""Vantages in the tick: who can be asked now, asks that ran out, and the words of those who are not heard any more.

Runs before the silence step, so that an ask that nobody answered is settled as "we do not know" in the tick that
decides, and never as an older answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from collector.asks import COLLECTOR, SIGNAL_OF, bounded, forget, rows_of
from collector.store.engine import after_commit
from collector.tables import hosts, probes, services, vantages
from collector.tick.context import TickContext, TickReport
from collector.tick.rows import chunks
from collector.vantage import OWN_ASKED, Vantage, choose, named_in
from ticketing.contracts import Book

LOST_MS = 12_000
"""A vantage on its poll is heard every 5 s; one that was not for so long is not asked."""

EXPIRED_MAX = 2_000
NO_ANSWER = {"state": "unknown", "detail": "no answer of the vantage in time", "ms": 0.0, "facts": {}}


def watch_vantages(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """The whole step."""
    named = named_in(book, ctx.own_vantages)
    if not ctx.is_standing_given:
        ctx.standing = standing(tx, now_ms, named)
    _forget_lost(tx, now_ms, named, report)
    _expire(tx, now_ms, report)


def asks_about(
    now_ms: int,
    ctx: TickContext,
    host: Any,
    questions: Sequence[tuple[str, Mapping[str, Any]]],
    why: str,
    *,
    most: int = OWN_ASKED,
    with_peers: bool = True,
    at_ms: int | None = None,
) -> list[dict[str, Any]]:
    """The asks of vantages about a host (a row with id and topology), not yet written; none where nobody can look."""
    if not ctx.standing or not questions:
        return []
    chosen = choose(host.id, host.topology or {}, ctx.standing, most, with_peers=with_peers)
    return rows_of(host.id, questions, chosen, why, at_ms or now_ms, now_ms + ctx.ask_expires_ms)


def write_asks(tx: Connection, ctx: TickContext, rows: Sequence[dict[str, Any]]) -> int:
    """Write as many of the asks as their vantages have room for; how many."""
    kept = bounded(tx, rows, ctx.asks_waiting_max)
    if kept:
        tx.execute(insert(probes), kept)
        after_commit(tx, ctx.wake_probes)
    return len(kept)


def standing(tx: Connection, now_ms: int, named: Mapping[str, str]) -> tuple[Vantage, ...]:
    """Those of the named hosts that are on their poll now."""
    if not named:
        return ()
    wanted = (
        select(hosts.c.id, hosts.c.topology)
        .join(vantages, vantages.c.host_id == hosts.c.id)
        .where(hosts.c.is_retired.is_(False), vantages.c.polled_at_ms > now_ms - LOST_MS)
        .order_by(hosts.c.id)
    )
    found = []
    for row in tx.execute(wanted):
        if row.id in named:
            place = row.topology or {}
            found.append(
                Vantage(row.id, str(place.get("provider") or ""), str(place.get("site") or ""), named[row.id])
            )
    return tuple(found)


def vantages_of(conn: Connection, now_ms: int, book: Book, own: Iterable[str]) -> dict[str, dict[str, Any]]:
    """For people, host -> ``vantage`` (own, peer, and whether it is on its poll) and ``seen_from`` (who looks at it)."""
    named = named_in(book, own)
    on_poll_now = standing(conn, now_ms, named)
    on_poll = {vantage.id for vantage in on_poll_now}
    found: dict[str, dict[str, Any]] = {}
    for host_id, terms in book.hosts.items():
        word = ""
        if host_id in named:
            word = ("peer" if named[host_id] else "own") + ("" if host_id in on_poll else ", silent")
        place = {"provider": terms.topology.provider, "site": terms.topology.site}
        found[host_id] = {"vantage": word, "seen_from": [v.id for v in choose(host_id, place, on_poll_now)]}
    return found


def _forget_lost(tx: Connection, now_ms: int, named: Mapping[str, str], report: TickReport) -> None:
    """A vantage that is gone, or is none any more, sees nothing: what it saw last must not pass for the present."""
    wanted = select(vantages.c.host_id, vantages.c.polled_at_ms).where(vantages.c.is_lost.is_(False))
    lost = [
        row.host_id
        for row in tx.execute(wanted)
        if row.polled_at_ms <= now_ms - LOST_MS or row.host_id not in named
    ]
    for vantage in lost:
        forget(tx, vantage, now_ms)
    _drop_words(tx, set(lost))
    for part in chunks(lost):
        tx.execute(update(vantages).where(vantages.c.host_id.in_(part)).values(is_lost=True))
    report.count("vantages_lost", len(lost))


def _drop_words(tx: Connection, lost: set[str]) -> None:
    """What lost vantages said of services goes out of the rules' states, so that their next word is news again."""
    for row in tx.execute(select(services.c.id, services.c.rule_state)).all() if lost else ():
        words = (row.rule_state or {}).get("words") or {}
        if lost & words.keys():
            state = {**row.rule_state, "words": {v: w for v, w in words.items() if v not in lost}}
            tx.execute(update(services).where(services.c.id == row.id).values(rule_state=state))


def _expire(tx: Connection, now_ms: int, report: TickReport) -> None:
    wanted = (
        select(probes.c.id, probes.c.host_id, probes.c.kind, probes.c.vantage)
        .where(
            probes.c.vantage != COLLECTOR,
            probes.c.answered_at_ms.is_(None),
            probes.c.expires_at_ms <= now_ms,
        )
        .limit(EXPIRED_MAX)
    )
    rows = tx.execute(wanted).all()
    for part in chunks([row.id for row in rows]):
        tx.execute(
            update(probes)
            .where(probes.c.id.in_(part), probes.c.answered_at_ms.is_(None))
            .values(answered_at_ms=now_ms, answer=NO_ANSWER)
        )
    for row in rows:
        forget(tx, row.vantage, now_ms, row.host_id, SIGNAL_OF.get(row.kind, ""))
    report.count("asks_expired", len(rows))
