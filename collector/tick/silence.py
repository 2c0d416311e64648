"""Step 1: hosts whose deadline passed are asked, and judged only when they (or the time) have answered.

An event is dated by its deadline, not by the tick that saw it. Whether *we* were the ones asleep or cut off is asked
first: after a gap in ticks every deadline is lifted, and with our own anchors unreachable nobody is judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, update

from collector.asks import COLLECTOR, SOURCE
from collector.fleet import Life, Sign, decide_by_ms, lifted_deadline_ms, step, was_asleep
from collector.observed import observe, recent
from collector.qualify.correlate import groups_of
from collector.qualify.silence import (
    Asked,
    Outcome,
    Witness,
    are_we_cut_off,
    is_maimed,
    looks_isolated,
    outcome,
    witness,
)
from collector.store.engine import after_commit
from collector.tables import hosts, open_findings, probes
from collector.tick.asks import asks_about, write_asks
from collector.tick.context import TickContext, TickReport
from collector.tick.questions import MANY, look_again, probe_row, questions_about
from collector.tick.replaced import wait_for_roll_outs
from collector.tick.rows import (
    CUT_OFF_SINCE,
    CUT_OFF_UNTIL,
    SILENCE_STREAM,
    OwnFinding,
    append_own,
    chunks,
    remember,
    remembered,
)
from ticketing.contracts import Book

BACK_FOR_MS = 30_000
"""So long after we were cut off ourselves nobody is judged yet."""

PATH_GROUP = "path:collector"
OUR_HOPS = "col-"
OUR_EDGE_FOR_MS = 3_600_000
SEEN_FOR_MS = 600_000
LAST_TICK = "last_tick_ms"
RULE = "silence"
ANCHOR_HOST = ""
"""host_id of probes of our own anchors."""

SHORT_INTERVAL_S = 2.0
"""Hosts that beat this fast have a budget of 3 s in all: they wait for no sibling."""

ASKED_WHY = ("suspicion", "trace")
"""What a suspicion is decided by. The trace (collector.tick.traces) says where the way ends: a second well waited."""

SHORT_WAIT_MS = 1_300
"""So long after its deadline such a host's own answers are enough, and another vantage is waited for no more."""


def watch_silence(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """Suspect, decide, and see who came back."""
    wait_for_roll_outs(tx, now_ms, report)
    fresh = _suspect(tx, now_ms, ctx, book, report)
    _decide(tx, now_ms, ctx, report, fresh)
    _see_returned(tx, now_ms, ctx, report)


def lift_after_gap(
    tx: Connection, now_ms: int, ctx: TickContext, last_tick: str | None, report: TickReport
) -> None:
    """Lift every deadline where we ourselves were away since ``last_tick``; before anything is judged."""
    last_ms = int(last_tick) if last_tick is not None and not ctx.is_first else None
    if was_asleep(last_ms, now_ms, ctx.tick_s):
        waiting = select(
            hosts.c.id, hosts.c.life, hosts.c.goodbye, hosts.c.interval_s, hosts.c.silent_after_ms
        ).where(hosts.c.silent_after_ms.is_not(None), hosts.c.is_retired.is_(False))
        report.count("lifted", _lift(tx, tx.execute(waiting).all(), now_ms))
    remember(tx, LAST_TICK, str(now_ms))


def _lift(tx: Connection, rows: Sequence[Any], now_ms: int) -> int:
    """New deadlines for these hosts, where theirs would pass too soon; their suspicions are withdrawn."""
    changed: list[dict[str, Any]] = []
    for row in rows:
        deadline = lifted_deadline_ms(row.silent_after_ms, row.interval_s, now_ms)
        life = Life(row.life)
        edge = step(life, Sign.LIFTED)
        if edge is None or (deadline == row.silent_after_ms and edge.becomes is life):
            continue
        # A host that had said goodbye is again one that is to return, not one that ought to be reporting.
        becomes = Life.STOPPED if row.goodbye and life is Life.SUSPECT else edge.becomes
        changed.append({"b_id": row.id, "b_life": becomes.value, "b_deadline": deadline})
    if changed:
        tx.execute(
            update(hosts)
            .where(hosts.c.id == bindparam("b_id"))
            .values(life=bindparam("b_life"), silent_after_ms=bindparam("b_deadline")),
            changed,
        )
        for part in chunks([row["b_id"] for row in changed]):
            _spend(tx, part, now_ms)
    return len(changed)


def _spend(tx: Connection, host_ids: Sequence[str], now_ms: int) -> None:
    """The questions of a suspicion are done with, also those that nobody answered."""
    tx.execute(
        update(probes)
        .where(probes.c.host_id.in_(host_ids), probes.c.why.in_(ASKED_WHY), probes.c.handled_at_ms.is_(None))
        .values(handled_at_ms=now_ms, answered_at_ms=func.coalesce(probes.c.answered_at_ms, now_ms))
    )


def _suspect(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> frozenset[str]:
    """Ask those that are overdue; who was asked just now."""
    overdue = (
        select(hosts.c.id, hosts.c.addresses, hosts.c.topology, hosts.c.silent_after_ms)
        .where(
            hosts.c.silent_after_ms <= now_ms,
            hosts.c.is_retired.is_(False),
            hosts.c.life.in_((Life.ALIVE.value, Life.STOPPED.value)),
        )
        .order_by(hosts.c.silent_after_ms)
        .limit(ctx.limits.overdue_hosts)
    )
    rows = tx.execute(overdue).all()
    if not rows:
        return frozenset()
    for part in chunks([row.id for row in rows]):
        tx.execute(
            update(hosts)
            .where(hosts.c.id.in_(part), hosts.c.silent_after_ms <= now_ms)
            .values(life=Life.SUSPECT.value, life_since_ms=hosts.c.silent_after_ms)
        )
        # What was answered to an earlier suspicion, which a late report ended, says nothing of this one.
        _spend(tx, part, now_ms)
    asked: list[dict[str, Any]] = []
    asks: list[dict[str, Any]] = []
    for row in rows:
        questions = questions_about(row, ctx, book, is_crowd=len(rows) > MANY)
        asked += [
            probe_row(row.id, kind, target, "suspicion", row.silent_after_ms) for kind, target in questions
        ]
        asks += asks_about(now_ms, ctx, row, questions, "suspicion", at_ms=row.silent_after_ms)
    report.count("asks_made", write_asks(tx, ctx, asks))
    asked += _anchor_questions(ctx, min(row.silent_after_ms for row in rows))
    if asked:
        tx.execute(insert(probes), asked)
        after_commit(tx, ctx.wake_probes)
    report.count("suspected", len(rows))
    return frozenset(row["host_id"] for row in asked)


def _anchor_questions(ctx: TickContext, at_ms: int) -> list[dict[str, Any]]:
    asked = []
    for anchor in ctx.anchors:
        host, _, port = anchor.rpartition(":")
        target = {"address": host.strip("[]"), "port": int(port), "anchor": anchor}
        asked.append(probe_row(ANCHOR_HOST, "tcp", target, "suspicion", at_ms))
    return asked


@dataclasses.dataclass(frozen=True)
class _Suspect:
    """A suspect with its answers so far."""

    row: Any
    asked: tuple[Asked, ...]
    is_due: bool
    """All have answered, or the time for answers is over."""
    outcome: Outcome
    witness: Witness
    """What the other vantages make of it."""


def _decide(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport, fresh: frozenset[str]) -> None:
    rows = tx.execute(
        select(
            hosts.c.id,
            hosts.c.life,
            hosts.c.goodbye,
            hosts.c.interval_s,
            hosts.c.silent_after_ms,
            hosts.c.last_report_at_ms,
            hosts.c.topology,
        )
        .where(
            hosts.c.silent_after_ms <= now_ms,
            hosts.c.life == Life.SUSPECT.value,
            hosts.c.is_retired.is_(False),
        )
        .limit(ctx.limits.overdue_hosts)
    ).all()
    if not rows:
        return
    suspects = _with_answers(tx, rows, now_ms, ctx, fresh)
    for suspect in suspects:
        report.wake_at(decide_by_ms(suspect.row.silent_after_ms))
    due = _ready(suspects, now_ms)
    if not due:
        return
    if _must_judge_nobody(tx, suspects, now_ms, ctx, report):
        return
    _confirm(tx, due, now_ms)
    report.count("confirmed", len(due))


def _with_answers(
    tx: Connection, rows: Sequence[Any], now_ms: int, ctx: TickContext, fresh: frozenset[str]
) -> list[_Suspect]:
    answers: dict[str, list[Asked]] = {}
    for part in chunks([row.id for row in rows]):
        wanted = select(
            probes.c.host_id,
            probes.c.kind,
            probes.c.vantage,
            probes.c.target,
            probes.c.answered_at_ms,
            probes.c.answer,
        ).where(probes.c.host_id.in_(part), probes.c.why.in_(ASKED_WHY), probes.c.handled_at_ms.is_(None))
        for probe in tx.execute(wanted):
            answer = probe.answer or {}
            state = str(answer.get("state", "unknown")) if probe.answered_at_ms is not None else ""
            vantage = "" if probe.vantage == COLLECTOR else probe.vantage
            peer_of = str(probe.target.get("peer_of") or "") if vantage else ""
            detail = str(answer.get("detail", ""))
            is_ssh = (probe.target.get("check") or {}).get("type") == "ssh"
            asked_one = Asked(probe.kind, state, detail, vantage, peer_of, is_ssh)
            answers.setdefault(probe.host_id, []).append(asked_one)
    found = []
    for row in rows:
        asked = tuple(answers.get(row.id, ()))
        heard = witness(asked, ctx.peers_agree)
        # A host that announced its end is expected to be away, whatever another vantage saw of it before.
        word = outcome(asked, Witness() if row.goodbye else heard)
        found.append(_Suspect(row, asked, _is_due(row, asked, now_ms, fresh), word, heard))
    return found


def _is_due(row: Any, asked: Sequence[Asked], now_ms: int, fresh: frozenset[str]) -> bool:
    """Whether all that was asked has been answered, or will be waited for no longer."""
    if row.id in fresh:
        # Asked a moment ago: nobody had time to answer, however late the deadline was seen. Then we were slow.
        return all(a.state for a in asked)
    if now_ms >= decide_by_ms(row.silent_after_ms):
        return True
    if row.interval_s <= SHORT_INTERVAL_S and now_ms >= row.silent_after_ms + SHORT_WAIT_MS:
        return all(a.state for a in asked if not a.vantage and a.kind != "trace")
    return all(a.state for a in asked)


def _ready(suspects: Sequence[_Suspect], now_ms: int) -> list[_Suspect]:
    """Who can be decided now: a host found dead waits a little while neighbours are still being asked.

    So that an outage of a whole group opens as what it is, and not as its first host. Never past the end of its own
    time, and not at all for a host that must have its ticket within 3 s.
    """
    asking = {group for s in suspects if not s.is_due for group in groups_of(s.row.topology or {})}
    ready = []
    for suspect in suspects:
        may_wait = (
            suspect.outcome.word in ("down", "unknown")
            and suspect.row.interval_s > SHORT_INTERVAL_S
            and now_ms < decide_by_ms(suspect.row.silent_after_ms)
        )
        has_company = asking.intersection(groups_of(suspect.row.topology or {}))
        if suspect.is_due and not (may_wait and has_company):
            ready.append(suspect)
    return ready


def _must_judge_nobody(
    tx: Connection, suspects: Sequence[_Suspect], now_ms: int, ctx: TickContext, report: TickReport
) -> bool:
    """Whether we are the ones cut off, or do not know yet: then every suspicion is lifted, or waits."""
    anchors = _anchor_answers(tx, ctx)
    ends_at_us = _end_at_our_edge(tx, suspects, now_ms)
    is_late = all(now_ms >= decide_by_ms(s.row.silent_after_ms) for s in suspects)
    if anchors and not all(anchors.values()) and not is_late:
        return True
    answers = sum(
        1 for s in suspects for a in s.asked if a.state and s.outcome.word not in ("down", "unknown")
    )
    providers = {(s.row.topology or {}).get("provider") for s in suspects} - {None, ""}
    alive = select(
        exists().where(
            hosts.c.life == Life.ALIVE.value, hosts.c.is_retired.is_(False), hosts.c.silent_after_ms > now_ms
        )
    )
    is_cut_off = (
        are_we_cut_off(anchors)
        or ends_at_us
        or (
            is_maimed(anchors)
            and not _is_any_reached(suspects)
            and (len(providers) >= 2 or _are_well(suspects))
        )
    )
    if not is_cut_off and not anchors:
        is_cut_off = looks_isolated(
            len(suspects), int(bool(tx.execute(alive).scalar())), len(providers), answers
        )
    _close_anchor_questions(tx, now_ms)
    if not is_cut_off:
        if remembered(tx, CUT_OFF_SINCE):
            remember(tx, CUT_OFF_SINCE, "")
            remember(tx, CUT_OFF_UNTIL, str(now_ms))
        if now_ms - int(remembered(tx, CUT_OFF_UNTIL) or 0) >= BACK_FOR_MS:
            return False
        # Our own way has only just come back: agents and probes must first find it again.
        report.count("lifted", _lift(tx, [s.row for s in suspects], now_ms))
        return True
    report.count("cut_off")
    if not remembered(tx, CUT_OFF_SINCE):
        remember(tx, CUT_OFF_SINCE, str(now_ms))
    report.count("lifted", _lift(tx, [s.row for s in suspects], now_ms))
    return True


def _are_well(suspects: Sequence[_Suspect]) -> bool:
    """Whether another vantage reaches each of them: with anchors of ours away as well, the broken way is our own."""
    return all(s.outcome.word == "path" for s in suspects)


def _is_any_reached(suspects: Sequence[_Suspect]) -> bool:
    """Whether one of them answered us ourselves."""
    return any(s.outcome.word not in ("down", "unknown", "path") for s in suspects)


def _end_at_our_edge(tx: Connection, suspects: Sequence[_Suspect], now_ms: int) -> bool:
    """Whether traces to those who do not answer end at our own edge (hop owners name it ``col-...``)."""
    dead = [s.row.id for s in suspects if s.outcome.word in ("down", "unknown", "path")]
    hops = {}
    for seen in recent(tx, dead, now_ms - SEEN_FOR_MS):
        is_ours = seen.signal == "ext.last_hop" and seen.vantage in ("", "collector")
        if is_ours and seen.at_ms >= now_ms - OUR_EDGE_FOR_MS:
            hops[seen.host_id] = str(seen.value)
    return bool(hops) and all(hop.startswith(OUR_HOPS) for hop in hops.values())


def _anchor_answers(tx: Connection, ctx: TickContext) -> dict[str, str]:
    if not ctx.anchors:
        return {}
    wanted = (
        select(probes.c.target, probes.c.answered_at_ms, probes.c.answer)
        .where(probes.c.host_id == ANCHOR_HOST, probes.c.handled_at_ms.is_(None))
        .order_by(probes.c.id)
    )
    found = {}
    for probe in tx.execute(wanted):
        state = str((probe.answer or {}).get("state", "unknown")) if probe.answered_at_ms is not None else ""
        found[str(probe.target.get("anchor"))] = state
    return found


def _close_anchor_questions(tx: Connection, now_ms: int) -> None:
    tx.execute(
        update(probes)
        .where(probes.c.host_id == ANCHOR_HOST, probes.c.handled_at_ms.is_(None))
        .values(handled_at_ms=now_ms, answered_at_ms=func.coalesce(probes.c.answered_at_ms, now_ms))
    )


def _confirm(tx: Connection, due: Sequence[_Suspect], now_ms: int) -> None:
    """The suspicions that were borne out become findings, like any other."""
    found = []
    for suspect in due:
        row = suspect.row
        facts: dict[str, Any] = {**suspect.outcome.facts(), **suspect.witness.facts()}
        facts["agent.heartbeat"] = {"now": "lost", "before": "ok"}
        facts["agent.stop_reason"] = {"now": row.goodbye or "none"}
        if suspect.outcome.word == "path" and suspect.outcome.tcp22 != "kex_timeout":
            # Whoever else is dead to us alone shares our broken way: one problem, whatever provider it is at.
            facts["silence.group"] = {"now": PATH_GROUP}
        notes = {
            f"probe.{a.kind}" + (f" from {a.vantage}" if a.vantage else ""): a.detail or a.state
            for a in suspect.asked
            if a.state
        }
        _write_service_words(tx, suspect, now_ms)
        notes["last_report_at_ms"] = row.last_report_at_ms
        found.append(
            OwnFinding(
                row.id, "opened", RULE, "", "silence", row.silent_after_ms, "high", facts=facts, notes=notes
            )
        )
    append_own(tx, SILENCE_STREAM, found, now_ms)
    for part in chunks([s.row.id for s in due]):
        tx.execute(
            update(hosts)
            .where(hosts.c.id.in_(part), hosts.c.life == Life.SUSPECT.value)
            .values(life=Life.SILENT.value, life_since_ms=hosts.c.silent_after_ms, silent_after_ms=None)
        )
        tx.execute(
            update(probes)
            .where(probes.c.host_id.in_(part), probes.c.why.in_(ASKED_WHY), probes.c.handled_at_ms.is_(None))
            .values(handled_at_ms=now_ms)
        )


def _write_service_words(tx: Connection, suspect: _Suspect, now_ms: int) -> None:
    """What each of us saw of the suspect's services, one word a vantage."""
    for vantage, word in suspect.witness.services.items():
        if word:
            observe(tx, suspect.row.id, "ext.svc", word, now_ms, SOURCE, vantage=vantage)
    if suspect.outcome.svc:
        observe(tx, suspect.row.id, "ext.svc", suspect.outcome.svc, now_ms, "probe")


RETURNED = (
    select(
        open_findings.c.host_id,
        open_findings.c.opening_n,
        open_findings.c.at_ms,
        hosts.c.last_report_at_ms,
        hosts.c.is_retired,
    )
    .join(hosts, hosts.c.id == open_findings.c.host_id)
    .where(
        open_findings.c.rule == RULE,
        open_findings.c.stream == SILENCE_STREAM,
        hosts.c.life.in_((Life.ALIVE.value, Life.STOPPED.value, Life.SUSPECT.value)) | hosts.c.is_retired,
    )
)
"""Silences of hosts that report again, or that nobody guards any more."""


def _see_returned(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    """Silence ends by a report, which is the only proof: a host that is alive again closes its finding."""
    closed = []
    for row in tx.execute(RETURNED.limit(5000)):
        reason = "retired" if row.is_retired else "reports_back"
        at_ms = now_ms if row.is_retired else max(row.last_report_at_ms or now_ms, row.at_ms)
        closed.append(
            OwnFinding(
                row.host_id, "closed", RULE, "", "silence", at_ms, reason=reason, opening_n=row.opening_n
            )
        )
    append_own(tx, SILENCE_STREAM, closed, now_ms)
    look_again(tx, now_ms, ctx, [f.host_id for f in closed if f.reason == "reports_back"], report)
    report.count("returned", len(closed))
