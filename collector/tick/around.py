"""What stands around a service that fails from outside while its host reports: asked at its first failure, told as facts.

Is it the program, a filter on the host, large packets, or the way? The collector pings, tries SSH up to its key
exchange and traces; vantages elsewhere try the service itself as well. No finding waits for them longer than
``WAIT_MS``; what nobody answered is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from collector.asks import COLLECTOR, SOURCE, word_of
from collector.observed import observe
from collector.store.engine import after_commit
from collector.tables import hosts, probes, services
from collector.tick.asks import asks_about, write_asks
from collector.tick.context import TickContext, TickReport
from collector.tick.questions import probe_row, questions_about
from collector.tick.rows import chunks

WHY = "outside"
WAIT_MS = 10_000
TOLD_MS = 120_000
"""So long the answers count as facts of a failure: as long as a service may fail before it is judged."""
EARLY = 0.9
"""Rounds of one service lie a tick or two apart from their rhythm; one a little early is its turn all the same."""
_WORST = ("dead", "slow", "ok")


class Host(NamedTuple):
    """A host as vantages are chosen for it."""

    id: str
    topology: Mapping[str, Any]


def ask_around(
    tx: Connection, now_ms: int, ctx: TickContext, failing: Iterable[Any], report: TickReport
) -> None:
    """Ask around these failing services (answered probe rows with host_id and target); once in ``WAIT_MS`` a host."""
    by_host: dict[str, list[Mapping[str, Any]]] = {}
    for row in failing:
        by_host.setdefault(row.host_id, []).append(row.target)
    for host_id in _asked_lately(tx, by_host, now_ms):
        del by_host[host_id]
    asked: list[dict[str, Any]] = []
    asks: list[dict[str, Any]] = []
    for part in chunks(sorted(by_host)):
        wanted = select(hosts.c.id, hosts.c.addresses, hosts.c.topology).where(hosts.c.id.in_(part))
        for host in tx.execute(wanted):
            questions = questions_about(host, ctx, with_trace=True)
            asked += [probe_row(host.id, kind, target, WHY, now_ms) for kind, target in questions]
            theirs = [("service", target) for target in by_host[host.id]]
            asks += asks_about(now_ms, ctx, host, [*theirs, *questions], WHY, with_peers=False)
    if asked:
        tx.execute(insert(probes), asked)
        after_commit(tx, ctx.wake_probes)
    report.count("asks_made", write_asks(tx, ctx, asks))


def look_regularly(
    tx: Connection, now_ms: int, ctx: TickContext, due: Iterable[tuple[str, Host, Mapping[str, Any]]]
) -> int:
    """Let a vantage look at services that are due (service id, host, target), each no oftener than settings say.

    In a replay the timeline says what the second vantage sees all along: it is asked only about suspicions there.
    """
    if ctx.is_standing_given:
        return 0
    rows: list[dict[str, Any]] = []
    for service_id, host, target in due:
        if now_ms - ctx.vantage_asked_ms.get(service_id, 0) < ctx.ask_again_ms * EARLY:
            continue
        asks = asks_about(now_ms, ctx, host, [("service", target)], "schedule", most=1, with_peers=False)
        if asks:
            ctx.vantage_asked_ms[service_id] = now_ms
            rows += asks
    return write_asks(tx, ctx, rows)


def told_around(
    tx: Connection, host_ids: Iterable[str], now_ms: int
) -> dict[str, tuple[bool, dict[str, Any]]]:
    """Host -> (whether answers are still waited for, the facts that have come); hosts that nobody asked about are out."""
    found: dict[str, tuple[bool, dict[str, Any]]] = {}
    for part in chunks(sorted(set(host_ids))):
        wanted = (
            select(
                probes.c.host_id,
                probes.c.kind,
                probes.c.vantage,
                probes.c.asked_at_ms,
                probes.c.answered_at_ms,
                probes.c.answer,
            )
            .where(probes.c.host_id.in_(part), probes.c.why == WHY, probes.c.asked_at_ms > now_ms - TOLD_MS)
            .order_by(probes.c.id)
        )
        for row in tx.execute(wanted):
            is_waiting, facts = found.get(row.host_id, (False, {}))
            if row.answered_at_ms is None:
                is_waiting = is_waiting or now_ms - row.asked_at_ms < WAIT_MS
            else:
                _add(facts, row)
            found[row.host_id] = (is_waiting, facts)
    return found


def write_words(tx: Connection, moved: Iterable[tuple[str, str]], now_ms: int) -> None:
    """``ext.svc`` for these (host, vantage): the worst word over the host's services; what SSH says is ``ext.tcp22``.

    Only where a word moved: what a vantage saw before it was lost still stands in the rule's state, and says nothing.
    """
    wanted = set(moved)
    for part in chunks(sorted({host_id for host_id, _ in wanted})):
        words: dict[tuple[str, str], set[str]] = {}
        rows = select(services.c.host_id, services.c.rule_state, services.c.check)
        for row in tx.execute(rows.where(services.c.host_id.in_(part))):
            if ((row.check or {}).get("check") or {}).get("type") == "ssh":
                continue
            for vantage, word in ((row.rule_state or {}).get("words") or {}).items():
                words.setdefault((row.host_id, vantage), set()).add(word)
        for (host_id, vantage), said in sorted(words.items()):
            word = next((w for w in _WORST if w in said), "")
            if word and (host_id, vantage) in wanted:
                source = SOURCE if vantage else "probe"
                observe(tx, host_id, "ext.svc", word, now_ms, source, vantage=vantage)


def _asked_lately(tx: Connection, host_ids: Iterable[str], now_ms: int) -> list[str]:
    found: list[str] = []
    for part in chunks(sorted(host_ids)):
        wanted = select(probes.c.host_id).where(
            probes.c.host_id.in_(part), probes.c.why == WHY, probes.c.asked_at_ms > now_ms - WAIT_MS
        )
        found += tx.execute(wanted.distinct()).scalars()
    return found


def _add(facts: dict[str, Any], row: Any) -> None:
    word = word_of(row.kind, row.answer or {})
    signal = {"icmp": "ext.icmp", "ssh": "ext.tcp22", "trace": "ext.last_hop", "service": "ext.svc"}[row.kind]
    if not word:
        return
    if row.vantage == COLLECTOR:
        facts[signal] = {"now": word}
        return
    seen = facts.setdefault("ext.elsewhere", {"now": {}})["now"]
    seen.setdefault(row.vantage, {})[signal] = word
