"""Asks as rows: what vantage hosts are asked, what they answered, and when one was last heard.

An ask is a row of ``probes`` whose vantage is a host: made by the tick, handed out on that host's long poll, answered
once by that host's own token, and past its expiry by nobody. An answer is an observation (``ext.*``, with the vantage
that saw it); what peers say becomes one only when they agree. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from agent.checks.answer import service_word
from agent.checks.asks import ASKS_MAX, KINDS, answer_from_dict, hops_of
from collector.observed import observe
from collector.qualify.silence import PEERS, icmp_word, ssh_word
from collector.tables import observations, probes, vantages
from collector.trace import HopOwners, answer_of, write_last_hop
from collector.vantage import Vantage, agreed

COLLECTOR = "collector"
"""``probes.vantage`` of what we ask ourselves."""

SOURCE = "vantage"
SIGNAL_OF = {"icmp": "ext.icmp", "ssh": "ext.tcp22", "service": "ext.svc", "trace": "ext.last_hop"}
SHUT = frozenset({"refused", "timeout"})
HEARD_EVERY_MS = 5_000
"""A poll that goes on is written down no more often than this."""


def rows_of(
    host_id: str,
    questions: Sequence[tuple[str, Mapping[str, Any]]],
    asked_of: Sequence[Vantage],
    why: str,
    now_ms: int,
    expires_at_ms: int,
) -> list[dict[str, Any]]:
    """The rows that ask these (kind, target) of these vantages."""
    return [
        {
            "host_id": host_id,
            "kind": kind,
            "vantage": vantage.id,
            "target": {**target, "peer_of": vantage.peer_of} if vantage.peer_of else dict(target),
            "why": why,
            "asked_at_ms": now_ms,
            "expires_at_ms": expires_at_ms,
        }
        for vantage in asked_of
        for kind, target in questions
        if kind in KINDS
    ]


def bounded(tx: Connection, rows: Sequence[dict[str, Any]], waiting_max: int) -> list[dict[str, Any]]:
    """Those of the rows that still have room in their vantage's line; the rest is not asked."""
    room: dict[str, int] = {}
    kept = []
    for row in rows:
        vantage = row["vantage"]
        if vantage not in room:
            room[vantage] = waiting_max - _waiting(tx, vantage)
        if room[vantage] > 0:
            room[vantage] -= 1
            kept.append(row)
    return kept


def _waiting(tx: Connection, vantage: str) -> int:
    wanted = (
        select(func.count())
        .select_from(probes)
        .where(probes.c.vantage == vantage, probes.c.answered_at_ms.is_(None))
    )
    return tx.execute(wanted).scalar_one()


def heard(tx: Connection, host_id: str, now_ms: int) -> None:
    """This vantage is on its long poll."""
    values = {"polled_at_ms": now_ms, "is_lost": False}
    done = tx.execute(update(vantages).where(vantages.c.host_id == host_id).values(**values))
    if done.rowcount == 0:
        tx.execute(insert(vantages).values(host_id=host_id, **values))


def is_asked(conn: Connection, host_id: str, now_ms: int) -> bool:
    """Whether an ask waits for this vantage."""
    return conn.execute(_open(host_id, now_ms).limit(1)).first() is not None


def hand_out(
    tx: Connection, host_id: str, now_ms: int, timeout_s: Callable[[str], float]
) -> list[dict[str, Any]]:
    """The asks that wait for this vantage, each handed out once; suspicions first. As the wire writes them."""
    wanted = _open(host_id, now_ms).order_by(probes.c.why != "suspicion", probes.c.id).limit(ASKS_MAX)
    if tx.dialect.name == "postgresql":
        wanted = wanted.with_for_update(skip_locked=True)
    rows = tx.execute(wanted).all()
    if rows:
        ids = [row.id for row in rows]
        tx.execute(
            update(probes)
            .where(probes.c.id.in_(ids))
            .values(claimed_by=host_id[:64], claimed_until_ms=probes.c.expires_at_ms)
        )
    found = []
    for row in rows:
        target = {key: value for key, value in row.target.items() if key not in ("peer_of", "service")}
        found.append({"id": row.id, "kind": row.kind, "target": target, "timeout_s": timeout_s(row.why)})
    return found


def _open(host_id: str, now_ms: int) -> Any:
    return select(probes.c.id, probes.c.kind, probes.c.target, probes.c.why).where(
        probes.c.vantage == host_id,
        probes.c.answered_at_ms.is_(None),
        probes.c.claimed_by.is_(None),
        probes.c.expires_at_ms > now_ms,
    )


def take_answers(
    tx: Connection,
    host_id: str,
    raw: Sequence[Any],
    now_ms: int,
    owners: HopOwners,
    peers_agree: int,
) -> int:
    """Write a vantage's answers to its own asks; how many were taken. What is not its own, late or misshapen is not."""
    by_id = {one["id"]: one for one in raw[:ASKS_MAX] if isinstance(one, dict) and _is_number(one.get("id"))}
    wanted = select(probes).where(
        probes.c.id.in_(sorted(by_id)),
        probes.c.vantage == host_id,
        probes.c.claimed_by == host_id[:64],
        probes.c.answered_at_ms.is_(None),
        probes.c.expires_at_ms > now_ms,
    )
    taken = 0
    for row in tx.execute(wanted).all():
        answer = _answer(row.kind, by_id[row.id], owners)
        if answer is None:
            continue
        done = tx.execute(
            update(probes)
            .where(probes.c.id == row.id, probes.c.answered_at_ms.is_(None))
            .values(answered_at_ms=now_ms, answer=answer)
        )
        if done.rowcount != 1:
            continue
        taken += 1
        if row.target.get("peer_of"):
            _heed_peers(tx, row, peers_agree, now_ms)
        else:
            write_seen(tx, row.host_id, row.kind, answer, now_ms, host_id)
    return taken


def write_seen(
    tx: Connection, host_id: str, kind: str, answer: Mapping[str, Any], now_ms: int, vantage: str = ""
) -> bool:
    """An answer as an observation in the vocabulary's words; False where it tells nothing, or nothing new.

    Not of services: ``ext.svc`` is one word over all services of a host, and the tick knows them all.
    """
    if kind == "trace":
        return write_last_hop(tx, host_id, answer, now_ms, vantage)
    if kind == "bmc":
        return _write_bmc(tx, host_id, str(answer.get("state", "")), now_ms)
    word = word_of(kind, answer)
    if not word or kind not in ("icmp", "ssh"):
        return False
    if vantage and word in SHUT and not _was_seen(tx, host_id, SIGNAL_OF[kind], vantage):
        # Many let no stranger near their SSH: shut is news only where this vantage once came through.
        return False
    source = SOURCE if vantage else "probe"
    return observe(tx, host_id, SIGNAL_OF[kind], word, now_ms, source, vantage=vantage)


def _was_seen(tx: Connection, host_id: str, signal: str, vantage: str) -> bool:
    wanted = select(observations.c.id).where(
        observations.c.host_id == host_id, observations.c.signal == signal, observations.c.vantage == vantage
    )
    return tx.execute(wanted.limit(1)).first() is not None


def _write_bmc(tx: Connection, host_id: str, state: str, now_ms: int) -> bool:
    """``ext.bmc``; dead only of one that has answered before, since many are told to answer no stranger."""
    if state == "ok":
        return observe(tx, host_id, "ext.bmc", "ok", now_ms, "bmc")
    if state != "dead":
        return False
    if not _was_seen(tx, host_id, "ext.bmc", ""):
        return False
    return observe(tx, host_id, "ext.bmc", "dead", now_ms, "bmc")


def word_of(kind: str, answer: Mapping[str, Any]) -> str:
    """An answer's word of the vocabulary; "" where we could not ask."""
    state = str(answer.get("state", "unknown"))
    if state in ("", "unknown"):
        return ""
    if kind == "icmp":
        return icmp_word(state)
    if kind == "ssh":
        return ssh_word(state)
    if kind == "trace":
        return str((answer.get("facts") or {}).get("last_hop") or "")
    return service_word(state)


def forget(tx: Connection, vantage: str, now_ms: int, host_id: str = "", signal: str = "") -> int:
    """What this vantage saw last (of one host, of one signal) holds no more: nobody looks from there. How many."""
    newest = select(func.max(observations.c.id)).where(observations.c.vantage == vantage)
    if host_id:
        newest = newest.where(observations.c.host_id == host_id)
    if signal:
        newest = newest.where(observations.c.signal == signal)
    newest = newest.group_by(observations.c.host_id, observations.c.signal)
    held = select(observations.c.host_id, observations.c.signal, observations.c.value).where(
        observations.c.id.in_(newest), observations.c.signal.like("ext.%")
    )
    count = 0
    for row in tx.execute(held).all():
        count += observe(tx, row.host_id, row.signal, "unknown", now_ms, SOURCE, vantage=vantage)
    return count


def _heed_peers(tx: Connection, row: Any, contracts: int, now_ms: int) -> None:
    """One more peer has answered: where peers of enough contracts saw the same, that is an observation."""
    wanted = select(probes.c.target, probes.c.answer).where(
        probes.c.host_id == row.host_id,
        probes.c.kind == row.kind,
        probes.c.asked_at_ms == row.asked_at_ms,
        probes.c.answered_at_ms.is_not(None),
    )
    words = [
        (str(other.target["peer_of"]), word_of(row.kind, other.answer or {}))
        for other in tx.execute(wanted)
        if other.target.get("peer_of")
    ]
    word = agreed(words, contracts)
    if word and row.kind in SIGNAL_OF:
        observe(tx, row.host_id, SIGNAL_OF[row.kind], word, now_ms, PEERS, vantage=PEERS)


def _answer(kind: str, raw: Mapping[str, Any], owners: HopOwners) -> dict[str, Any] | None:
    try:
        return answer_of(hops_of(raw), owners) if kind == "trace" else answer_from_dict(kind, raw)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
