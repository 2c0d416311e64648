"""The failover step of the tick: for every pair in trouble a decision, written down; acts are the worker's (collector.failover).

A pair whose primary is in trouble gets its facts gathered and asked about. What may be done begins a run, with a switch
request (class 2, child of the trouble's ticket) that carries plan, exposure and latest start; what must not be done
stands as a reason on the trouble's ticket, once. Nothing here touches a server.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, func, select

from collector.failover import asking, gather, runs
from collector.failover.decide import Decided, Decision, decide
from collector.failover.facts import Facts
from collector.failover.guards import Outcome
from collector.failover.plan import Plan
from collector.failover.states import State
from collector.failover.terms import PairTerms, terms_of
from collector.tables import failover_checks, failover_runs
from collector.tick.context import TickContext, TickReport
from config.loader import ConfigError
from config.log import fields
from ticketing import intake, ledger
from ticketing.contracts import Book
from ticketing.ledger import MACHINE
from ticketing.model import Confidence, Reason, Verdict
from ticketing.tables import ticket_hosts, tickets
from ticketing.terms import Contract

log = logging.getLogger(__name__)

RUNS_PER_CAUSE = 3
"""So often a trouble's plan may be made anew after facts called it off; a person may always order another."""
CHECKS_WAIT_MS = 30_000
"""So long a decision waits for the fences' prechecks of this trouble, beyond the dwell."""
NOTHING_FOR_MS = 5_000
"""While we ourselves are not fit to judge, a pair in trouble is looked at so often."""
SAID_MAX = 20
PAIRS_MAX = 2_000


def watch_failover(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """The whole step."""
    pairs = _pairs(ctx, book)
    if not pairs:
        return
    troubled = _troubled(tx, {pair.primary for _, pair in pairs})
    for contract, pair in pairs:
        if pair.primary in troubled:
            _look(tx, now_ms, ctx, book, contract, pair, report)


def _pairs(ctx: TickContext, book: Book) -> list[tuple[Contract, PairTerms]]:
    """Every pair of the contracts in force; terms with faults are told once, and fail over nothing."""
    if ctx.pairs_book is not book:
        found: list[tuple[Contract, PairTerms]] = []
        for _, contract in sorted(book.contracts.items()):
            try:
                found += [(contract, pair) for pair in terms_of(contract).pairs]
            except ConfigError as error:
                log.error(
                    "A contract's failover terms have faults. %s", fields(contract=contract.id, fault=error)
                )
        ctx.pairs_book, ctx.pairs = book, found[:PAIRS_MAX]
    return ctx.pairs


def _troubled(tx: Connection, primaries: set[str]) -> set[str]:
    """Those of the hosts that have an open ticket: one statement on a quiet tick."""
    wanted = (
        select(ticket_hosts.c.host_id)
        .join(tickets, tickets.c.id == ticket_hosts.c.ticket_id)
        .where(tickets.c.open_mark == 1, ticket_hosts.c.host_id.in_(sorted(primaries)))
    )
    return set(tx.execute(wanted.distinct()).scalars())


def _look(
    tx: Connection,
    now_ms: int,
    ctx: TickContext,
    book: Book,
    contract: Contract,
    pair: PairTerms,
    report: TickReport,
) -> None:
    if runs.open_run(tx, pair.id) is not None:
        return
    sight = gather.Sight(bool(ctx.anchors), len(ctx.anchors), clock_ok=ctx.is_clock_sane())
    facts = gather.gather(tx, book, contract, pair, now_ms, sight)
    if facts.trouble is None:
        return
    decided = decide(facts)
    due_ms = facts.trouble.held_since_ms + int(float(pair.dwell) * 1000)
    if decided.decision is Decision.WAIT or now_ms < due_ms:
        report.wake_at(max(due_ms, now_ms + 1_000))
        return
    if decided.decision is Decision.NONE:  # our own eyes or clock, which get well by themselves
        report.wake_at(now_ms + NOTHING_FOR_MS)
        return
    if runs.pair_state(tx, pair.id).serving == pair.backup:
        # What the contract calls the primary is the isolated one now: there is nothing behind the backup.
        _say(tx, now_ms, pair, facts, Reason("failover.on_backup_already", {"host": pair.backup}), ())
    elif decided.decision is Decision.REFUSE:
        _say(tx, now_ms, pair, facts, decided.reason, decided.blocking)
        report.count("failover_refused")
    elif decided.decision in (Decision.REQUEST, Decision.AUTO) and _may_begin(tx, pair, facts):
        if _waits_for_checks(tx, now_ms, pair, facts, due_ms):
            report.wake_at(now_ms + 1_000)
            return
        _begin(tx, now_ms, book, contract, pair, facts, decided, report)


def _may_begin(tx: Connection, pair: PairTerms, facts: Facts) -> bool:
    """Not again after a person's no or nobody's answer; not for ever after facts that changed.

    A rehearsal while a ticket was open is no answer to it, and neither is a switch of before that ticket came back.
    """
    assert facts.trouble is not None, "asked of a pair in trouble only"
    wanted = select(failover_runs.c.id, failover_runs.c.state, failover_runs.c.ended_at_ms).where(
        failover_runs.c.pair == pair.id,
        failover_runs.c.cause_id == facts.trouble.ticket_id,
        failover_runs.c.kind == "failover",
    )
    since_ms = facts.trouble.held_since_ms
    past = [
        row
        for row in tx.execute(wanted).all()
        if row.state == State.ABORTED.value or row.ended_at_ms is None or row.ended_at_ms >= since_ms
    ]
    if len(past) >= RUNS_PER_CAUSE:
        return False
    for row in past:
        run = runs.load(tx, row.id)
        why = (run.reason.get("params") or {}).get("why") if run is not None else ""
        if row.state != State.ABORTED.value or why in ("order", "unanswered"):
            return False
    return True


def _waits_for_checks(tx: Connection, now_ms: int, pair: PairTerms, facts: Facts, due_ms: int) -> bool:
    """Whether a fence of this pair has not been asked since the trouble began: its word of before says little."""
    assert facts.trouble is not None, "asked of a pair in trouble only"
    if now_ms > due_ms + CHECKS_WAIT_MS or not pair.fence:
        return False
    asked = (
        select(func.count())
        .select_from(failover_checks)
        .where(
            failover_checks.c.pair == pair.id,
            failover_checks.c.step.like("fence-%"),
            failover_checks.c.at_ms >= facts.trouble.began_at_ms,
        )
    )
    return tx.execute(asked).scalar_one() < sum(len(level) for level in pair.fence)


def _begin(
    tx: Connection,
    now_ms: int,
    book: Book,
    contract: Contract,
    pair: PairTerms,
    facts: Facts,
    decided: Decided,
    report: TickReport,
) -> None:
    trouble = facts.trouble
    assert trouble is not None, "asked of a pair in trouble only"
    plan: Plan = gather.plan_of(contract, book.version(contract.id), pair, facts)
    is_auto = decided.decision is Decision.AUTO
    done = intake.open_or_join(
        tx,
        book,
        request_verdict(pair, facts, decided, plan),
        contract.id,
        now_ms,
        parent_id=trouble.ticket_id,
    )
    if done.ticket_id is None:
        # Class 2 belongs to the contract; without it nobody ordered this work.
        _say(tx, now_ms, pair, facts, done.reason, decided.blocking)
        return
    began = runs.Began(
        mode="auto" if is_auto else "approve",
        reason=decided.reason,
        cause_id=trouble.ticket_id,
        ticket_id=done.ticket_id,
        approve_until_ms=None if is_auto else approve_until_ms(pair, decided, now_ms),
        checked=tuple(checked.to_dict() for checked in decided.checked),
    )
    run_id = runs.begin(tx, plan, began, now_ms)
    body = {"reason": decided.reason.to_dict(), "run": run_id, "plan": plan.to_dict(), "plan_hash": plan.hash}
    event_id = ledger.write_event(tx, done.ticket_id, now_ms, MACHINE, "failover", body)
    if began.approve_until_ms is not None:
        asked = {"run": run_id, "plan_hash": plan.hash, "until_ms": began.approve_until_ms}
        reasons = list(request_verdict(pair, facts, decided, plan).reasons)
        exposure_s = decided.exposure_s
        loses_writes = exposure_s is None or exposure_s > float(pair.rpo)
        asking.ask(
            tx, contract, pair, asked, done.ticket_id, event_id, reasons, now_ms, loses_writes=loses_writes
        )
    report.count("failover_auto" if is_auto else "failover_requests")


def approve_until_ms(pair: PairTerms, decided: Decided, now_ms: int) -> int:
    """The contract's window, but not past the last start that keeps the RTO; where that is past, the whole window."""
    until_ms = now_ms + int(float(pair.approval.window) * 1000)
    latest_ms = decided.latest_start_ms
    return min(until_ms, latest_ms) if latest_ms is not None and latest_ms > now_ms else until_ms


def request_verdict(pair: PairTerms, facts: Facts, decided: Decided, plan: Plan) -> Verdict:
    """The switch request as the desk opens it."""
    trouble = facts.trouble
    is_known = decided.exposure_s is not None
    risk = {"exposure": round(decided.exposure_s or 0)} if is_known else {}
    risk_key = "failover.request.exposure" if is_known else "failover.request.exposure_unknown"
    asks = [checked.reason for checked in decided.blocking if checked.outcome is Outcome.ASK]
    latest_ms = decided.latest_start_ms or 0
    reasons = [
        *(asks or [decided.reason]),
        Reason(risk_key, {**risk, "limit": round(float(pair.rpo))}),
        Reason("failover.request.plan", {"steps": " → ".join(step.type for step in plan.steps)}),
    ]
    if latest_ms:
        key = "failover.request.late" if latest_ms <= facts.now_ms else "failover.request.latest"
        reasons.append(Reason(key, {"at_ms": latest_ms}))
    return Verdict(
        class_=2,
        root_cause="request",
        scope=f"host:{pair.primary}",
        subject=f"host:{pair.primary}/failover",
        family="request",
        affected=tuple(sorted((pair.primary, pair.backup))),
        began_at_ms=trouble.began_at_ms if trouble is not None else facts.now_ms,
        confidence=Confidence.HIGH,
        severity="critical" if trouble is not None else "medium",
        reasons=tuple(reasons),
        summary=Reason("summary.failover", {"host": pair.primary, "backup": pair.backup}),
    )


def _say(
    tx: Connection, now_ms: int, pair: PairTerms, facts: Facts, reason: Reason, blocking: tuple[Any, ...]
) -> None:
    """The reason on the trouble's ticket, once: a refusal that comes and goes must not fill its history."""
    assert facts.trouble is not None, "asked of a pair in trouble only"
    ticket_id = facts.trouble.ticket_id
    word = f"{ticket_id}|{reason.key}|{reason.params.get('why', '')}"
    said = runs.pair_state(tx, pair.id).said
    if word in said:
        return
    kept = [one for one in said if one.startswith(f"{ticket_id}|")]
    runs.set_pair(tx, pair.id, said=[*kept, word][-SAID_MAX:])
    body = {
        "reason": reason.to_dict(),
        "pair": pair.id,
        "guards": [checked.to_dict() for checked in blocking],
    }
    ledger.write_event(tx, ticket_id, now_ms, MACHINE, "failover", body)
