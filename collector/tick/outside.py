"""Outside probes of contracted services: rows follow the contracts in force, answers go through a small rule.

Two failures in a row make a finding, and the second question is asked at once after the first failure; two good
answers close it. A host that has not reported since the failure began is not judged here: whether it is silent comes
first, and then the failing service is only a consequence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from collector.asks import COLLECTOR, word_of
from collector.store.engine import after_commit
from collector.tables import hosts, open_findings, probes, services
from collector.tick.around import WHY as AROUND
from collector.tick.around import Host, ask_around, look_regularly, told_around, write_words
from collector.tick.context import TickContext, TickReport
from collector.tick.questions import meet_controllers
from collector.tick.rows import CUT_OFF_SINCE, OUTSIDE_STREAM, OwnFinding, append_own, chunks, remembered
from ticketing.contracts import Book

RULE = "outside.service"
FAILURES = 2
CONFIRM_MS = 20_000
"""So long a service must fail: a way that is gone for seconds is no outage."""
SUCCESSES = 2
GOOD = frozenset({"ok", "slow"})
SWALLOWED = frozenset({"timeout", "dead", "unreachable"})
TOGETHER_MS = 60_000
UNRELATED = 2
"""So many providers at once are a reason to doubt ourselves."""
FELL_MAX = 500
ASK_AGAIN_MS = 1_000
"""A failing service of a host of which we wait to hear is asked again this soon."""


@dataclasses.dataclass(frozen=True)
class RuleState:
    """Where a service's rule stands between probes; stored as JSON in ``services.rule_state``."""

    fails: int = 0
    oks: int = 0
    failing_since_ms: int | None = None
    is_open: bool = False
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Vantage -> what it saw last, in the vocabulary's words; "" = the collector."""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> RuleState:
        known = {f.name for f in dataclasses.fields(RuleState)}
        return RuleState(**{k: v for k, v in raw.items() if k in known})


@dataclasses.dataclass(frozen=True)
class Step:
    """What an answer makes of the rule's state."""

    state: RuleState
    event: str = ""
    """opened, closed, ask_again, or "" for nothing."""


def fold(state: RuleState, answer_state: str, at_ms: int, may_judge: bool) -> Step:
    """Pure: one answer more. ``may_judge`` = the host has been heard since it began to fail (or is known silent)."""
    if answer_state in ("", "unknown"):
        return Step(state)
    if answer_state in GOOD:
        oks = min(state.oks + 1, SUCCESSES)
        if state.is_open and oks < SUCCESSES:
            return Step(dataclasses.replace(state, oks=oks), "ask_again")
        return Step(RuleState(oks=oks, words=state.words), "closed" if state.is_open else "")
    since = state.failing_since_ms if state.failing_since_ms is not None else at_ms
    failing = dataclasses.replace(state, fails=state.fails + 1, oks=0, failing_since_ms=since)
    if state.is_open:
        return Step(failing)
    if failing.fails >= FAILURES and at_ms - since >= CONFIRM_MS and may_judge:
        return Step(dataclasses.replace(failing, is_open=True), "opened")
    return Step(failing, "ask_again")


def watch_outside(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """The whole step: rows follow the contracts, answers are folded, due services are asked."""
    _follow_contracts(tx, now_ms, ctx, book)
    _take_answers(tx, now_ms, ctx, report)
    _ask_due(tx, now_ms, ctx, report)


def _follow_contracts(tx: Connection, now_ms: int, ctx: TickContext, book: Book) -> None:
    if ctx.book_of_services is book:
        return
    meet_controllers(tx, now_ms, ctx, book)
    wanted: dict[str, dict[str, Any]] = {}
    for contract in book.contracts.values():
        for host in contract.hosts:
            for service in host.services:
                if service.from_outside:
                    wanted[f"{host.id}/{service.name}"] = {
                        "host_id": host.id,
                        "contract_id": contract.id,
                        "check": {"name": service.name, "check": service.check},
                        "interval_s": float(service.interval),
                    }
    known = {
        row.id: row
        for row in tx.execute(
            select(services.c.id, services.c.host_id, services.c.check, services.c.interval_s)
        )
    }
    fresh = [
        {"id": key, **values, "next_due_at_ms": now_ms, "rule_state": {}}
        for key, values in wanted.items()
        if key not in known
    ]
    if fresh:
        tx.execute(insert(services), fresh)
    for key, values in wanted.items():
        row = known.get(key)
        if row is not None and (row.check != values["check"] or row.interval_s != values["interval_s"]):
            tx.execute(update(services).where(services.c.id == key).values(**values))
    gone = [row for key, row in known.items() if key not in wanted]
    for part in chunks([row.id for row in gone]):
        tx.execute(delete(services).where(services.c.id.in_(part)))
    _close_gone(tx, now_ms, {(row.host_id, str(row.check.get("name", ""))) for row in gone})
    after_commit(tx, lambda: ctx.follows_services_of(book))


def _close_gone(tx: Connection, now_ms: int, gone: set[tuple[str, str]]) -> None:
    if not gone:
        return
    wanted = select(open_findings.c.host_id, open_findings.c.subject, open_findings.c.opening_n).where(
        open_findings.c.stream == OUTSIDE_STREAM
    )
    closed = [
        OwnFinding(
            r.host_id,
            "closed",
            RULE,
            r.subject,
            "service",
            now_ms,
            reason="rule_removed",
            opening_n=r.opening_n,
        )
        for r in tx.execute(wanted)
        if (r.host_id, r.subject) in gone
    ]
    append_own(tx, OUTSIDE_STREAM, closed, now_ms)


def _ask_due(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    # What workers have not got to yet is not asked twice: the queue of questions has a bound.
    waiting = tx.execute(
        select(func.count())
        .select_from(probes)
        .where(probes.c.answered_at_ms.is_(None), probes.c.why == "schedule", probes.c.vantage == COLLECTOR)
    ).scalar_one()
    room = ctx.limits.services - waiting
    due = tx.execute(
        select(
            services.c.id,
            services.c.host_id,
            services.c.check,
            services.c.interval_s,
            services.c.next_due_at_ms,
            hosts.c.addresses,
            hosts.c.topology,
        )
        .join(hosts, hosts.c.id == services.c.host_id)
        .where(services.c.next_due_at_ms <= now_ms, hosts.c.is_retired.is_(False))
        .order_by(services.c.next_due_at_ms)
        .limit(max(0, room))
    ).all()
    if due:
        asked = [_question(row, now_ms) for row in due]
        tx.execute(insert(probes), asked)
        looked = [
            (row.id, Host(row.host_id, row.topology or {}), one["target"])
            for row, one in zip(due, asked, strict=True)
        ]
        report.count("asks_made", look_regularly(tx, now_ms, ctx, looked))
        # Missed rounds are not made up for: the next one is due an interval from now, in the same rhythm where it can be.
        tx.execute(
            update(services)
            .where(services.c.id == bindparam("b_id"))
            .values(next_due_at_ms=bindparam("b_due")),
            [
                {"b_id": r.id, "b_due": max(r.next_due_at_ms, now_ms - 1000) + round(r.interval_s * 1000)}
                for r in due
            ],
        )
        after_commit(tx, ctx.wake_probes)
        report.count("services_asked", len(due))
    if room <= 0:
        report.count("services_waiting", waiting)


def _question(row: Any, now_ms: int) -> dict[str, Any]:
    address = row.addresses[0] if row.addresses else ""
    return {
        "host_id": row.host_id,
        "kind": "service",
        "vantage": COLLECTOR,
        "target": {"service": row.id, "address": address, **row.check},
        "why": "schedule",
        "asked_at_ms": now_ms,
    }


def _take_answers(tx: Connection, now_ms: int, ctx: TickContext, report: TickReport) -> None:
    answered = tx.execute(
        select(
            probes.c.id,
            probes.c.host_id,
            probes.c.vantage,
            probes.c.target,
            probes.c.why,
            probes.c.asked_at_ms,
            probes.c.answer,
        )
        .where(
            probes.c.answered_at_ms.is_not(None),
            probes.c.handled_at_ms.is_(None),
            probes.c.why.in_(("schedule", AROUND)),
            probes.c.kind == "service",
        )
        .order_by(probes.c.id)
        .limit(ctx.limits.answers)
    ).all()
    if not answered:
        return
    states = _states(tx, [row.target.get("service", "") for row in answered])
    known = dict(states)
    heard = _heard(tx, sorted({row.host_id for row in answered}), now_ms)
    around = told_around(tx, [i.partition("/")[0] for i, s in known.items() if s.fails], now_ms)
    found: list[OwnFinding] = []
    again: list[str] = []
    fallen: list[Any] = []
    is_cut_off = bool(remembered(tx, CUT_OFF_SINCE))
    together = _fell_together(tx, known) if any(s.fails and not s.is_open for s in known.values()) else set()
    for row in answered:
        service_id = str(row.target.get("service", ""))
        if service_id not in states:
            continue
        state = states[service_id]
        if is_cut_off:
            # What we cannot reach while we are cut off says nothing; what was about to fail starts anew afterwards.
            states[service_id] = state if state.is_open else RuleState()
            continue
        state = _with_word(state, row)
        if row.vantage != COLLECTOR:
            # Another vantage's word is evidence beside ours; alone it opens nothing.
            states[service_id] = state
            continue
        is_waiting, facts = around.get(row.host_id, (False, {}))
        may_judge = not is_waiting and _may_judge(heard, row.host_id, state, row.asked_at_ms)
        word = str((row.answer or {}).get("state", "unknown"))
        # Of unrelated providers at once: our own way first (signals.md 3.7), which the silence of their hosts will tell.
        if service_id in together and word in SWALLOWED:
            may_judge = may_judge and _is_told_apart(state, facts, row.asked_at_ms)
            facts = {**facts, "ext.together": {"now": True}}
        done = fold(state, word, row.asked_at_ms, may_judge)
        states[service_id] = done.state
        if done.state.fails == 1 and done.event == "ask_again":
            fallen.append(row)
        if done.event == "ask_again":
            again.append(service_id)
        elif done.event:
            found.append(_finding(row, done, row.answer or {}, facts if done.event == "opened" else {}))
    append_own(tx, OUTSIDE_STREAM, found, now_ms)
    changed = {i: s for i, s in states.items() if s != known[i]}
    _write_states(tx, now_ms, changed, {i: states[i] for i in again})
    ask_around(tx, now_ms, ctx, fallen, report)
    write_words(tx, _moved(known, changed), now_ms)
    _spend(tx, answered, now_ms)
    report.count("outside_findings", len(found))


def _fell_together(tx: Connection, answered: Mapping[str, RuleState]) -> set[str]:
    """Services that began to fail, all within a minute, on hosts of several providers while none of theirs held."""
    wanted = (
        select(services.c.id, services.c.rule_state, hosts.c.id, hosts.c.topology)
        .join(hosts, hosts.c.id == services.c.host_id)
        .where(services.c.rule_state["fails"].as_integer() > 0)
        .limit(FELL_MAX)
    )
    fell = []
    for service_id, raw, host_id, topology in tx.execute(wanted):
        since = answered.get(service_id, RuleState.of(raw or {})).failing_since_ms
        if since is not None:
            fell.append((since, service_id, str((topology or {}).get("provider") or host_id)))
    found = set()
    for since, service_id, _ in fell:
        near = {provider for at, _, provider in fell if abs(at - since) <= TOGETHER_MS}
        if len(near) >= UNRELATED:
            found.add(service_id)
    return found


def _is_told_apart(state: RuleState, around: Mapping[str, Any], at_ms: int) -> bool:
    """Whether one that goes on reporting, and so will not fall silent, can be judged by what others see of it."""
    is_old = at_ms - (state.failing_since_ms or at_ms) >= TOGETHER_MS
    return is_old and bool((around.get("ext.elsewhere") or {}).get("now"))


def _with_word(state: RuleState, row: Any) -> RuleState:
    word = word_of("service", row.answer or {})
    vantage = "" if row.vantage == COLLECTOR else row.vantage
    if not word and vantage not in state.words:
        return state
    words = {v: w for v, w in state.words.items() if v != vantage}
    if word:
        words[vantage] = word
    return dataclasses.replace(state, words=words)


def _moved(before: Mapping[str, RuleState], after: Mapping[str, RuleState]) -> set[tuple[str, str]]:
    """(host, vantage) whose word on a service is another than before."""
    return {
        (service_id.partition("/")[0], vantage)
        for service_id, state in after.items()
        for vantage, word in state.words.items()
        if before[service_id].words.get(vantage) != word
    }


def _spend(tx: Connection, answered: Sequence[Any], now_ms: int) -> None:
    """A scheduled answer is spent once it is folded; keeping it would only fill the store."""
    for part in chunks([row.id for row in answered if row.why == "schedule"]):
        tx.execute(delete(probes).where(probes.c.id.in_(part)))
    for part in chunks([row.id for row in answered if row.why != "schedule"]):
        tx.execute(update(probes).where(probes.c.id.in_(part)).values(handled_at_ms=now_ms))


def _states(tx: Connection, service_ids: list[str]) -> dict[str, RuleState]:
    found: dict[str, RuleState] = {}
    for part in chunks(sorted(set(service_ids))):
        for row in tx.execute(select(services.c.id, services.c.rule_state).where(services.c.id.in_(part))):
            found[row.id] = RuleState.of(row.rule_state or {})
    return found


def _heard(tx: Connection, host_ids: list[str], now_ms: int) -> dict[str, tuple[str, int | None]]:
    found: dict[str, tuple[str, int | None]] = {}
    names = ("id", "life", "goodbye", "last_report_at_ms", "interval_s")
    for part in chunks(host_ids):
        for row in tx.execute(select(*(hosts.c[name] for name in names)).where(hosts.c.id.in_(part))):
            life, last = row.life, row.last_report_at_ms
            if life == "stopped" and row.goodbye == "service_stop":
                # Only its agent was stopped: the host itself is to serve as ever.
                life = "agent_stopped"
            elif life == "alive" and last is not None and now_ms > last + round(row.interval_s * 1000):
                # Its next report is due: in a moment it has spoken again, or its silence says what this is.
                life = "suspect"
            found[row.id] = (life, last)
    return found


def _may_judge(
    heard: Mapping[str, tuple[str, int | None]], host_id: str, state: RuleState, at_ms: int
) -> bool:
    """Whether we know how the host itself is: it reported after the failure began, or its silence is settled."""
    life, last = heard.get(host_id, ("awaited", None))
    since = state.failing_since_ms if state.failing_since_ms is not None else at_ms
    if life in ("alive", "suspect"):
        return life == "alive" and last is not None and last > since
    # A host that said goodbye is expected to be away; its services are judged when its return is overdue.
    return life != "stopped"


def _write_states(
    tx: Connection, now_ms: int, changed: Mapping[str, RuleState], again: Mapping[str, RuleState]
) -> None:
    if changed:
        tx.execute(
            update(services)
            .where(services.c.id == bindparam("b_id"))
            .values(rule_state=bindparam("b_state", type_=services.c.rule_state.type)),
            [{"b_id": i, "b_state": dataclasses.asdict(s)} for i, s in sorted(changed.items())],
        )
    if again:
        # The first failure is checked at once; while we wait to hear of the host itself, every second.
        due = {
            i: now_ms if s.fails <= 1 and not s.is_open else now_ms + ASK_AGAIN_MS for i, s in again.items()
        }
        tx.execute(
            update(services)
            .where(services.c.id == bindparam("b_id"))
            .values(next_due_at_ms=bindparam("b_due")),
            [{"b_id": i, "b_due": at} for i, at in sorted(due.items())],
        )


def _finding(row: Any, done: Step, answer: Mapping[str, Any], around: Mapping[str, Any]) -> OwnFinding:
    name = str(row.target.get("name") or row.target.get("service", "").rpartition("/")[2])
    state = str(answer.get("state", ""))
    word = "ok" if state in GOOD else "dead"
    facts = {**around, "ext.svc": {"now": word}, "ext.state": {"now": state}}
    more = answer.get("facts") or {}
    if "port" in more:
        facts["ext.port"] = {"now": str(more["port"])}
    spec = row.target.get("check") or {}
    notes = {
        "type": str(spec.get("type", "")),
        "state": state,
        "detail": answer.get("detail", ""),
        "ms": answer.get("ms"),
    }
    if "http_status" in more:
        notes["status"] = more["http_status"]
    if done.event == "closed":
        return OwnFinding(
            row.host_id,
            "closed",
            RULE,
            name,
            "service",
            row.asked_at_ms,
            facts=facts,
            notes=notes,
            reason="cleared",
        )
    at_ms = done.state.failing_since_ms if done.state.failing_since_ms is not None else row.asked_at_ms
    return OwnFinding(row.host_id, "opened", RULE, name, "service", at_ms, "high", facts=facts, notes=notes)
