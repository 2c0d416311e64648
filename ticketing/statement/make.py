"""The statement of a month from a contract's terms and what happened: pure, so that a month can be computed by hand.

A statement says how things stood at the end of its month: what happened later is not looked at, so a past month reads the
same whenever it is made (as long as the contract's calendar is the same; the clocks' own outcomes are never changed).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ticketing.model import CLASSES, ClockKind
from ticketing.statement import availability, minutes
from ticketing.statement.model import (
    ClassPart,
    Failover,
    History,
    Minutes,
    Outage,
    Period,
    Promise,
    Refused,
    Statement,
    TicketPart,
)
from ticketing.statement.spans import Span
from ticketing.terms import Contract


def statement(
    contract: Contract,
    period: Period,
    histories: Iterable[History],
    now_ms: int,
    *,
    probed: Sequence[Outage] = (),
    planned: Mapping[str, Sequence[Span]] | None = None,
    failovers: Sequence[Failover] = (),
    refused: Sequence[Refused] = (),
    is_cut: bool = False,
) -> Statement:
    """Everything that the month's page says."""
    until_ms = max(period.from_ms, min(period.to_ms, now_ms))
    within = (period.from_ms, until_ms)
    histories = list(histories)
    outages = [*availability.of_tickets(histories, until_ms), *probed]
    known = [(host.id, "") for host in contract.hosts]
    known += [(host.id, service.name) for host in contract.hosts for service in host.services]
    rows = availability.measured(outages, known, planned or {}, within)
    parts = [part for part in (_part(contract, history, within) for history in histories) if part]
    total = Minutes()
    for part in parts:
        total = total.plus(part.minutes)
    return Statement(
        contract_id=str(contract.id),
        title=contract.title,
        period=period,
        until_ms=until_ms,
        made_at_ms=now_ms,
        hosts=tuple(row for row in rows if not row.service),
        services=tuple(row for row in rows if row.service),
        outages=tuple(sorted((o for o in outages if _touches(o.span, within)), key=lambda o: o.span)),
        down_by_day=tuple(availability.by_day(outages, planned or {}, period, until_ms)),
        classes=tuple(_class(class_, parts) for class_ in CLASSES),
        tickets=tuple(parts),
        minutes=total,
        pauses=tuple(pause for part in parts for pause in part.pauses),
        failovers=tuple(failovers),
        refused=tuple(refused),
        is_cut=is_cut,
    )


def _touches(span: Span, within: Span) -> bool:
    return span[0] < within[1] and span[1] > within[0]


def _part(contract: Contract, history: History, within: Span) -> TicketPart | None:
    """None for a ticket that does not belong to the month, or was folded into another by its end."""
    begin_ms, end_ms = within
    story = [told for told in history.events if told.at_ms < end_ms]
    is_merged = any(told.kind == "merge" and told.body.get("ticket") == history.id for told in story)
    if history.created_at_ms >= end_ms or is_merged:
        return None
    resolved, reopened = None, 0
    was_open_at_begin = history.created_at_ms < begin_ms
    for told in story:
        if told.kind == "resolve":
            resolved = told.at_ms
        elif told.kind == "reopen":
            resolved, reopened = None, reopened + 1
        if told.at_ms < begin_ms:
            was_open_at_begin = resolved is None
    is_touched = resolved is None or resolved >= begin_ms or history.created_at_ms >= begin_ms
    if not is_touched:
        return None
    calendar = contract.calendar.calendar
    changes = minutes.changes_of(history, end_ms)
    parts = minutes.open_time(changes, calendar, end_ms)
    held = minutes.watches(history, calendar, end_ms)
    promises = {kind: minutes.promise(history, kind, held.get(kind), calendar, within) for kind in ClockKind}
    judged = _judged(history, end_ms)
    return TicketPart(
        id=history.id,
        class_=judged["class"],
        root_cause=judged["root_cause"],
        origin=history.origin,
        title=history.title,
        summary=history.summary,
        created_at_ms=history.created_at_ms,
        resolved_at_ms=resolved,
        is_carried=was_open_at_begin,
        is_open=resolved is None,
        is_opened_within=history.created_at_ms >= begin_ms,
        is_resolved_within=resolved is not None and resolved >= begin_ms,
        reopened=reopened,
        reaction=promises[ClockKind.REACTION],
        resolution=promises[ClockKind.RESOLUTION],
        provider=promises[ClockKind.PROVIDER],
        minutes=minutes.divided(parts, calendar, within),
        pauses=minutes.pauses(history.id, changes, parts, calendar, within),
    )


def _judged(history: History, end_ms: int) -> dict[str, Any]:
    """Class and cause as of the end: what was judged anew afterwards says how it was before."""
    later = (told for told in history.events if told.at_ms >= end_ms and told.body.get("before"))
    before = next((told.body["before"] for told in later), {})
    now = {"class": history.class_, "root_cause": history.root_cause}
    return {name: before.get(name, value) for name, value in now.items()}


def _class(class_: int, parts: Sequence[TicketPart]) -> ClassPart:
    mine = [part for part in parts if part.class_ == class_]
    spent = [part.resolution.spent_ms for part in mine if part.is_resolved_within and part.resolution]

    def counted(promises: Iterable[Promise | None], outcome: str) -> int:
        return sum(1 for one in promises if one and one.is_counted and one.outcome == outcome)

    return ClassPart(
        class_=class_,
        carried=sum(part.is_carried for part in mine),
        opened=sum(part.is_opened_within for part in mine),
        resolved=sum(part.is_resolved_within for part in mine),
        left_open=sum(part.is_open for part in mine),
        reaction_kept=counted((part.reaction for part in mine), "kept"),
        reaction_breached=counted((part.reaction for part in mine), "breached"),
        resolution_kept=counted((part.resolution for part in mine), "kept"),
        resolution_breached=counted((part.resolution for part in mine), "breached"),
        resolution_median_ms=round(statistics.median(spent)) if spent else None,
    )
