"""Facts of a pair out of the store, at one instant: the only place where what is stored becomes what is decided from.

What the store does not say stays None; nothing here judges. Asked by the tick, by the worker before each move, and by
``failover plan``, so that all three see the same.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from collector.failover import runs
from collector.failover.facts import Backup, Facts, Fence, History, Judge, Trouble, View
from collector.failover.lag import last_lag
from collector.failover.plan import Subject as PlanSubject
from collector.failover.plan import make
from collector.failover.states import State
from collector.failover.terms import FENCE_LEVELS, PairTerms, terms_of
from collector.fleet import Life
from collector.observed import UNTIL, newest
from collector.qualify.silence import PEERS
from collector.tables import (
    failover_checks,
    failover_rehearsals,
    failover_runs,
    hosts,
    open_findings,
    own_state,
    vantages,
)
from collector.tick.rows import CUT_OFF_SINCE
from ticketing.contracts import Book
from ticketing.model import SEVERITIES
from ticketing.tables import RowLike, ticket_events, ticket_hosts, tickets
from ticketing.terms import Contract

OFF = "failover_off"
"""own_state key: who switched failover off everywhere, and why; "" = on."""
CHECK_MS = 300_000
"""What a precheck said longer ago says nothing about now."""
CHECK_AGAIN_MS = 20_000
"""A pair in trouble is asked this often whether its steps could be done."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
WITNESSES_MAX = 50
WELL = "ok"
OUTAGE = frozenset({"silence", "service"})
UNFIT = {"fs_space": "disk", "fs": "file system", "memory": "memory", "unit": "unit", "service": "service"}
"""Families of findings of weight that make a backup unfit to take over, and how they are named."""
STOPPED = frozenset({"unit", "service"})
"""Of these, what an old primary lacks because it was stopped: on the way back it must not count."""
HEAVY = ("high", "critical")
P90_OF = 20


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the collector knows of its own eyes."""

    has_anchors: bool = False
    anchors: int = 0
    """How many are configured: they count as witnesses while they answer."""
    clock_ok: bool = True


def gather(
    conn: Connection, book: Book, contract: Contract, pair: PairTerms, now_ms: int, sight: Sight
) -> Facts:
    """Everything that a decision about the pair may be made from, now."""
    row = trouble_row(conn, contract.id, pair.primary)
    trouble = _trouble(conn, row) if row is not None else None
    state = runs.pair_state(conn, pair.id)
    window, overran = _windows(contract, pair, trouble, now_ms)
    ok = _anchors_ok(conn, sight)
    affected = set(row["affected"]) if row is not None else {pair.primary}
    return Facts(
        now_ms=now_ms,
        pair=pair,
        pair_epoch=state.epoch,
        trouble=trouble,
        is_reporting=_life(conn, pair.primary) == Life.ALIVE.value,
        views=_views(conn, pair.primary, now_ms),
        backup=_backup(conn, pair, row, now_ms),
        judge=Judge(
            anchors_ok=ok,
            clock_ok=sight.clock_ok,
            witnesses=_witnesses(conn, affected, trouble) + (sight.anchors if ok else 0),
        ),
        history=_history(conn, contract.id, pair, state, row, now_ms),
        fences=_fences(conn, pair, trouble, now_ms),
        window=window,
        overran_window=overran,
        switched_off=_switched_off(conn, contract),
        switch_time_s=switch_time(conn, pair.id),
        repair_at_ms=_repair_at_ms(conn, pair.primary),
        waivers=_waivers(pair, now_ms),
    )


def gather_for(
    conn: Connection, book: Book, contract: Contract, pair: PairTerms, kind: str, now_ms: int, sight: Sight
) -> Facts:
    """The facts of a run of that kind: on the way back the old primary is what a backup is on the way there."""
    if kind != "failback":
        return gather(conn, book, contract, pair, now_ms, sight)
    turned = dataclasses.replace(pair, primary=pair.backup, backup=pair.primary, waivers=list(pair.waivers))
    state = runs.pair_state(conn, pair.id)
    facts = gather(conn, book, contract, turned, now_ms, sight)
    # Isolated, it does not run what it is to take over: that says nothing against it, and the promotion asks for its role.
    unfit = tuple(what for what in facts.backup.unfit if what not in STOPPED)
    backup = dataclasses.replace(facts.backup, unfit=unfit)
    return dataclasses.replace(facts, pair_epoch=state.epoch, backup=backup)


def pairs_of(book: Book) -> list[tuple[Contract, PairTerms]]:
    """Every pair of every contract, in order. ConfigError where a contract's terms have faults."""
    return [
        (contract, pair)
        for _, contract in sorted(book.contracts.items())
        for pair in terms_of(contract).pairs
    ]


def trouble_row(conn: Connection, contract_id: str, host_id: str) -> RowLike | None:
    """The open ticket that says what is the matter with the host: the one that holds its outage, else the gravest."""
    wanted = (
        select(tickets)
        .join(ticket_hosts, ticket_hosts.c.ticket_id == tickets.c.id)
        .where(
            ticket_hosts.c.host_id == host_id,
            tickets.c.contract_id == contract_id,
            tickets.c.open_mark == 1,
            tickets.c.origin == "machine",
            tickets.c.family != "request",
        )
        .order_by(tickets.c.id.desc())
        .limit(50)
    )
    found = conn.execute(wanted).mappings().all()
    if not found:
        return None
    outage = select(open_findings.c.ticket_id).where(
        open_findings.c.host_id == host_id, open_findings.c.family.in_(OUTAGE)
    )
    holding = set(conn.execute(outage).scalars())
    return max(found, key=lambda row: (row["id"] in holding, SEVERITIES.index(row["severity"]), row["id"]))


def switch_time(conn: Connection, pair: str) -> float | None:
    """Seconds from first fence to verified, the ninetieth percentile of what was done; None where nothing was."""
    wanted = (
        select(failover_rehearsals.c.seconds)
        .where(failover_rehearsals.c.pair == pair, failover_rehearsals.c.seconds.is_not(None))
        .order_by(failover_rehearsals.c.at_ms.desc())
        .limit(P90_OF)
    )
    taken = sorted(conn.execute(wanted).scalars())
    return taken[math.ceil(0.9 * len(taken)) - 1] if taken else None


def plan_of(contract: Contract, version: int, pair: PairTerms, facts: Facts, kind: str = "failover") -> Any:
    """The plan that the pair's terms give for its trouble."""
    trouble = facts.trouble
    subject = PlanSubject(
        trouble.ticket_id if trouble else 0, trouble.cause if trouble else kind, contract.id, version
    )
    return make(pair, subject, kind)


def _trouble(conn: Connection, row: RowLike) -> Trouble:
    changed = select(func.max(ticket_events.c.at_ms)).where(
        ticket_events.c.ticket_id == row["id"], ticket_events.c.kind.in_(("requalify", "widen", "reopen"))
    )
    since = conn.execute(changed).scalar()
    return Trouble(
        ticket_id=row["id"],
        cause=row["root_cause"],
        class_=row["class"],
        scope=row["scope"],
        began_at_ms=row["began_at_ms"],
        held_since_ms=max(row["created_at_ms"], since or 0),
        is_provisional=bool((row["verdict"] or {}).get("provisional")),
    )


def _life(conn: Connection, host_id: str) -> str | None:
    return conn.execute(select(hosts.c.life).where(hosts.c.id == host_id)).scalar()


def _views(conn: Connection, host_id: str, now_ms: int) -> tuple[View, ...]:
    """The last word of every vantage on the host's service; where it has none, no ping at all is a dead one.

    A held word is written when it changes, and withdrawn (``unknown``) when nobody looks from there any more
    (collector.tick.asks): so it speaks of now. Peers' word is weak and never counts here.
    """
    lost = set(conn.execute(select(vantages.c.host_id).where(vantages.c.is_lost)).scalars())
    service = newest(conn, [host_id], "ext.svc")
    ping = newest(conn, [host_id], "ext.icmp")
    found = []
    for vantage in sorted({v for _, v in (*service, *ping)}):
        if vantage == PEERS or vantage in lost:
            continue
        said, pinged = service.get((host_id, vantage)), ping.get((host_id, vantage))
        word = str(said.value) if said is not None else ""
        if word not in ("ok", "slow", "dead"):
            word = "dead" if pinged is not None and pinged.value == "dead" else ""
            said = pinged
        found.append(View(vantage or "collector", now_ms, word, said.at_ms if said is not None else None))
    return tuple(found)


def _backup(conn: Connection, pair: PairTerms, cause: RowLike | None, now_ms: int) -> Backup:
    row = conn.execute(select(hosts.c.life, hosts.c.topology).where(hosts.c.id == pair.backup)).first()
    own = trouble_row(conn, cause["contract_id"], pair.backup) if cause is not None else None
    is_other = own is not None and cause is not None and own["id"] != cause["id"]
    is_grave = own is not None and is_other and (own["class"] == 1 or own["family"] in OUTAGE)
    return Backup(
        is_alive=None if row is None else row.life == Life.ALIVE.value,
        trouble=own["root_cause"] if own is not None and is_grave else "",
        unfit=_unfit(conn, pair.backup),
        lag=last_lag(conn, pair.backup),
        shared_domain=_shared(cause, pair.backup, (row.topology or {}) if row is not None else {}),
        rehearsed_at_ms=_rehearsed(conn, pair.id),
    )


def _unfit(conn: Connection, host_id: str) -> tuple[str, ...]:
    wanted = select(open_findings.c.family).where(
        open_findings.c.host_id == host_id,
        open_findings.c.family.in_(tuple(UNFIT)),
        open_findings.c.severity.in_(HEAVY),
    )
    return tuple(sorted({UNFIT[family] for family in conn.execute(wanted).scalars()}))


def _shared(cause: RowLike | None, backup: str, topology: Mapping[str, Any]) -> str:
    """The scope of the trouble, where the backup lies inside it."""
    if cause is None:
        return ""
    kind, _, name = str(cause["scope"]).partition(":")
    here = str(topology.get(kind) or "")
    is_named = bool(here) and name in (here, f"{topology.get('provider')}/{here}")
    return str(cause["scope"]) if backup in cause["affected"] or (kind != "host" and is_named) else ""


def _rehearsed(conn: Connection, pair: str) -> int | None:
    """The last rehearsal, if it passed: one that failed since takes the older one's worth away (I15)."""
    wanted = (
        select(failover_rehearsals.c.at_ms, failover_rehearsals.c.is_passed)
        .where(failover_rehearsals.c.pair == pair)
        .order_by(failover_rehearsals.c.at_ms.desc(), failover_rehearsals.c.id.desc())
        .limit(1)
    )
    row = conn.execute(wanted).first()
    return row.at_ms if row is not None and row.is_passed else None


def _anchors_ok(conn: Connection, sight: Sight) -> bool | None:
    if not sight.has_anchors:
        return None
    cut_off = select(own_state.c.value).where(own_state.c.key == CUT_OFF_SINCE)
    return not conn.execute(cut_off).scalar()


def _witnesses(conn: Connection, affected: Iterable[str], trouble: Trouble | None) -> int:
    """Hosts that report now and lie outside the failing place."""
    kind, _, name = trouble.scope.partition(":") if trouble is not None else ("", "", "")
    wanted = (
        select(hosts.c.id, hosts.c.topology)
        .where(
            hosts.c.life == Life.ALIVE.value,
            hosts.c.is_retired.is_(False),
            hosts.c.id.not_in(sorted(affected)[:500]),
        )
        .order_by(hosts.c.last_report_at_ms.desc())
        .limit(WITNESSES_MAX * 10)
    )
    outside = 0
    for row in conn.execute(wanted):
        outside += kind not in ("provider", "site") or str((row.topology or {}).get(kind) or "") not in (
            name,
            name.rpartition("/")[2],
        )
        if outside >= WITNESSES_MAX:
            break
    return outside


def _history(
    conn: Connection,
    contract_id: str,
    pair: PairTerms,
    state: runs.PairState,
    cause: RowLike | None,
    now_ms: int,
) -> History:
    """Automatic acts only: a person who orders a switch answers for it."""
    automatic = (failover_runs.c.mode == "auto", failover_runs.c.kind == "failover")
    acted = (
        select(failover_runs).where(*automatic, failover_runs.c.acted_at_ms > now_ms - DAY_MS).limit(1_000)
    )
    done = conn.execute(acted).all()
    begun = (
        select(func.count())
        .select_from(failover_runs)
        .where(
            *automatic,
            failover_runs.c.pair != pair.id,
            failover_runs.c.open_mark == 1,
            failover_runs.c.state != State.STUCK.value,
        )
    )
    return History(
        hold_down_until_ms=state.hold_down_until_ms,
        running=conn.execute(begun).scalar_one(),
        last_hour=sum(row.acted_at_ms > now_ms - HOUR_MS for row in done),
        contract_today=sum(row.contract_id == contract_id for row in done),
        same_incident=_same_incident(conn, [row for row in done if row.pair != pair.id], cause),
    )


def _same_incident(conn: Connection, others: Iterable[Any], cause: RowLike | None) -> int:
    """Acts for other pairs whose trouble has the same parent, or the same place above a host."""
    if cause is None or str(cause["scope"]).startswith("host:"):
        return 0
    ids = sorted({row.cause_id for row in others if row.cause_id is not None})[:500]
    wanted = select(tickets.c.id, tickets.c.parent_id, tickets.c.scope).where(tickets.c.id.in_(ids))
    alike = {
        row.id
        for row in conn.execute(wanted)
        if row.id == cause["id"]
        or row.scope == cause["scope"]
        or (row.parent_id and row.parent_id == cause["parent_id"])
    }
    return sum(row.cause_id in alike for row in others)


def _fences(conn: Connection, pair: PairTerms, trouble: Trouble | None, now_ms: int) -> tuple[Fence, ...]:
    """Each level of the contract; ready when every step of it said so lately, and since the trouble began."""
    since_ms = max(now_ms - CHECK_MS, trouble.began_at_ms if trouble is not None else 0)
    said = {
        row.step: row
        for row in conn.execute(select(failover_checks).where(failover_checks.c.pair == pair.id))
        if row.at_ms >= since_ms
    }
    found = []
    for group, steps in enumerate(pair.fence):
        rows = [said.get(f"fence-{group}-{n}") for n in range(len(steps))]
        words = [row.outcome if row is not None else "unknown" for row in rows]
        is_ready = False if "not_done" in words else None if "unknown" in words else True
        level = max((FENCE_LEVELS.get(step.type, "F0") for step in steps), default="F0")
        found.append(Fence(level, is_ready, "+".join(step.type for step in steps)))
    return tuple(found)


def _repair_at_ms(conn: Connection, host_id: str) -> int | None:
    """The end that the primary's provider expects of what it says is the matter now; of an old one nothing is left."""
    topology = conn.execute(select(hosts.c.topology).where(hosts.c.id == host_id)).scalar() or {}
    provider = str(topology.get("provider") or "")
    told = newest(conn, [provider], UNTIL).get((provider, "")) if provider else None
    status = newest(conn, [provider], "prov.status").get((provider, "")) if told is not None else None
    is_well = status is not None and status.value == "ok" and told is not None and status.at_ms >= told.at_ms
    return int(told.value) if told is not None and told.value and not is_well else None


def _windows(contract: Contract, pair: PairTerms, trouble: Trouble | None, now_ms: int) -> tuple[str, str]:
    """(title of the window that holds now, title of the one that the trouble began in and outlived)."""
    here = overran = ""
    for window in contract.windows:
        if window.hosts and pair.primary not in window.hosts:
            continue
        from_ms, to_ms = window.span_ms(contract.calendar.zone)
        title = window.title or "planned work"
        if from_ms <= now_ms < to_ms:
            here = title
        elif trouble is not None and from_ms <= trouble.began_at_ms < to_ms <= now_ms:
            overran = title
    return here, overran


def _switched_off(conn: Connection, contract: Contract) -> str:
    everywhere = conn.execute(select(own_state.c.value).where(own_state.c.key == OFF)).scalar()
    return everywhere or terms_of(contract).paused


def _waivers(pair: PairTerms, now_ms: int) -> dict[str, str]:
    today = dt.datetime.fromtimestamp(now_ms / 1000, dt.timezone.utc).date().isoformat()
    return {waiver.what: waiver.signed_by for waiver in pair.waivers if today <= waiver.until}


def as_told(facts: Facts) -> dict[str, Any]:
    """The facts as a journal entry or ``--json`` shows them: plain, without secrets (options stay out)."""
    raw = dataclasses.asdict(facts)
    raw["pair"] = facts.pair.id
    return json.loads(json.dumps(raw, default=str))


def checks_due(conn: Connection, contract_id: str, pair: PairTerms, now_ms: int, every_ms: int) -> bool:
    """Whether the pair's steps are to be asked now: often while its primary is in trouble, else now and then."""
    newest_ms = conn.execute(
        select(func.max(failover_checks.c.at_ms)).where(failover_checks.c.pair == pair.id)
    ).scalar()
    if newest_ms is None or now_ms - newest_ms >= every_ms:
        return True
    is_troubled = trouble_row(conn, contract_id, pair.primary) is not None
    return is_troubled and now_ms - newest_ms >= CHECK_AGAIN_MS
