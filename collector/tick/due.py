"""What of a tick has something to do: one question to the store, so that an idle tick costs a handful of statements.

Each step says here when it is due, in one row of ``select``s that the indexes answer. A step that is not due is not
run, unless a step before it in the same tick changed what it looks at (collector.tick.run). Nothing is remembered between
ticks but what a commit has made durable, so nothing can go stale.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, bindparam, exists, func, or_, select

from collector.fleet import Life
from collector.tables import hosts, observations, own_state, probes, services
from collector.tick.around import WHY as AROUND
from collector.tick.resolve import CHILDLESS, CLEAR
from collector.tick.seen import SIGNALS
from collector.tick.silence import LAST_TICK, RETURNED
from ticketing.tables import calls, clocks, contracts, outbox, provider_cases, tickets

Mark = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Due:
    """The answers, as of the tick's transaction."""

    last_tick: str | None
    book_mark: Mark
    """Moves whenever a contract is applied, changed or withdrawn."""
    suspects: bool
    """A host is overdue, or suspected and not decided."""
    returned: bool
    """A silence is over."""
    answered: bool
    """Outside probes were answered."""
    services: bool
    """Services are to be asked."""
    seen: bool
    """Something new was seen of clocks."""
    cleared: bool
    """A ticket has nothing left that holds."""
    clocks: bool
    reminders: bool
    """A provider is to be reminded."""
    outbox: int
    """Messages that are to be sent now."""
    next_silence_ms: int | None
    next_service_ms: int | None
    next_message_ms: int | None


def look(tx: Connection, now_ms: int, seen_since_ms: int) -> Due:
    """Ask. ``seen_since_ms`` = since when observations of clocks are new to the step that reads them."""
    row = tx.execute(_QUESTION, {"b_now": now_ms, "b_seen": seen_since_ms}).one()
    return Due(
        last_tick=row.last_tick,
        book_mark=(int(row.mark_0), int(row.mark_1 or 0), int(row.mark_2 or 0)),
        suspects=bool(row.suspects),
        returned=bool(row.returned),
        answered=bool(row.answered),
        services=bool(row.services),
        seen=bool(row.seen),
        cleared=bool(row.cleared),
        clocks=bool(row.clocks),
        reminders=bool(row.reminders),
        outbox=row.outbox,
        next_silence_ms=row.next_silence_ms,
        next_service_ms=row.next_service_ms,
        next_message_ms=row.next_message_ms,
    )


_NOW: ColumnElement[int] = bindparam("b_now", type_=BigInteger)
_SEEN: ColumnElement[int] = bindparam("b_seen", type_=BigInteger)


def _book(value: ColumnElement[Any]) -> Any:
    return select(value).where(contracts.c.is_current).scalar_subquery()


_suspects = exists().where(
    hosts.c.silent_after_ms <= _NOW,
    hosts.c.is_retired.is_(False),
    hosts.c.life.in_((Life.ALIVE.value, Life.STOPPED.value, Life.SUSPECT.value)),
)
_answered = exists().where(
    probes.c.why.in_(("schedule", AROUND)),
    probes.c.kind == "service",
    probes.c.handled_at_ms.is_(None),
    probes.c.answered_at_ms.is_not(None),
)
_seen = exists().where(observations.c.received_at_ms >= _SEEN, observations.c.signal.in_(SIGNALS))
_clocks = or_(
    exists().where(clocks.c.next_event_at_ms <= _NOW),
    exists().where(tickets.c.next_step_at_ms <= _NOW),
    exists().where(calls.c.due_at_ms <= _NOW),
)
_silence = and_(hosts.c.silent_after_ms > _NOW, hosts.c.is_retired.is_(False))

_QUESTION = select(
    select(own_state.c.value).where(own_state.c.key == LAST_TICK).scalar_subquery().label("last_tick"),
    _book(func.count()).label("mark_0"),
    _book(func.sum(contracts.c.version)).label("mark_1"),
    _book(func.sum(contracts.c.applied_at_ms)).label("mark_2"),
    _suspects.label("suspects"),
    RETURNED.exists().label("returned"),
    _answered.label("answered"),
    exists().where(services.c.next_due_at_ms <= _NOW).label("services"),
    _seen.label("seen"),
    or_(CLEAR.exists(), CHILDLESS.exists()).label("cleared"),
    _clocks.label("clocks"),
    exists().where(provider_cases.c.remind_at_ms <= _NOW).label("reminders"),
    select(func.count()).where(outbox.c.next_attempt_at_ms <= _NOW).scalar_subquery().label("outbox"),
    select(func.min(hosts.c.silent_after_ms)).where(_silence).scalar_subquery().label("next_silence_ms"),
    select(func.min(services.c.next_due_at_ms))
    .where(services.c.next_due_at_ms > _NOW)
    .scalar_subquery()
    .label("next_service_ms"),
    select(func.min(outbox.c.next_attempt_at_ms))
    .where(outbox.c.next_attempt_at_ms > _NOW)
    .scalar_subquery()
    .label("next_message_ms"),
)
