"""A statement as rows for a spreadsheet (CSV): one part at a time, every cell safe to open. Pure.

UTF-8 with a mark at its head, so that Excel reads Ukrainian; durations in minutes with a decimal point, instants in ISO
8601 of the contract's zone. A cell that a spreadsheet would take for a formula is quoted with an apostrophe.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from ticketing.statement.model import Promise, Statement, TicketPart
from ticketing.texts import Texts

BOM = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(words: Texts, made: Statement, part: str) -> str:
    """One part of the statement; ``part`` is one of PARTS."""
    head, rows = PARTS[part]
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows(words, made))
    return BOM + sheet.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        flat = " ".join(value.split())
        return f"'{flat}" if flat.startswith(_FORMULA) else flat
    return "" if value is None else value


def _minutes(ms: int | None) -> float | None:
    return None if ms is None else round(ms / 60_000, 2)


def _stamp(made: Statement, at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    moment = dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(made.period.zone))
    return moment.isoformat(timespec="seconds")


TICKET_HEAD = (
    "ticket", "class", "cause", "summary", "created", "resolved", "open_at_end", "carried_in", "reopened",
    "reaction_target_min", "reaction_min", "reaction", "resolution_target_min", "resolution_min", "resolution",
    "ours_min", "client_min", "provider_min", "other_min", "outside_hours_min",
)  # fmt: skip


def _tickets(words: Texts, made: Statement) -> Iterator[Sequence[Any]]:
    for one in made.tickets:
        minutes = one.minutes
        yield (
            one.id, one.class_, one.root_cause, summary(words, one), _stamp(made, one.created_at_ms),
            _stamp(made, one.resolved_at_ms), int(one.is_open), int(one.is_carried), one.reopened,
            *_promise(one.reaction), *_promise(one.resolution),
            *(_minutes(ms) for ms in (minutes.ours_ms, minutes.client_ms, minutes.provider_ms, minutes.other_ms,
                                      minutes.outside_ms)),
        )  # fmt: skip


def _promise(promise: Promise | None) -> tuple[Any, Any, str]:
    if promise is None:
        return (None, None, "")
    return (_minutes(promise.target_ms), _minutes(promise.spent_ms), promise.outcome)


def summary(words: Texts, one: TicketPart) -> str:
    """The ticket's one line, as its page has it."""
    if one.title:
        return one.title
    if one.summary is not None:
        return words.reason(one.summary)
    key = f"cause.{one.root_cause}"
    return words.get(key) if key in words else one.root_cause


def _availability(words: Texts, made: Statement) -> Iterator[Sequence[Any]]:
    for one in (*made.hosts, *made.services):
        yield (
            one.host_id, one.service, round(one.pct, 4), _minutes(one.whole_ms), _minutes(one.down_ms),
            _minutes(one.planned_ms), one.outages,
        )  # fmt: skip


def _outages(words: Texts, made: Statement) -> Iterator[Sequence[Any]]:
    for one in made.outages:
        begin, end = one.span
        yield (
            one.host_id, one.service, _stamp(made, begin), _stamp(made, end), _minutes(end - begin), one.ticket_id
        )  # fmt: skip


def _pauses(words: Texts, made: Statement) -> Iterator[Sequence[Any]]:
    for one in made.pauses:
        key = f"pause.{one.why}"
        why = words.get(key) if key in words else one.why
        yield (
            one.ticket_id, _stamp(made, one.from_ms), _stamp(made, one.to_ms), _minutes(one.working_ms), why,
            one.actor, one.text,
        )  # fmt: skip


def _failovers(words: Texts, made: Statement) -> Iterator[Sequence[Any]]:
    for one in made.failovers:
        yield (
            _stamp(made, one.at_ms), _stamp(made, one.ended_at_ms), one.kind, one.pair, one.state, one.ticket_id,
            one.rto_s, one.rto_limit_s, one.rpo_s, one.rpo_limit_s,
        )  # fmt: skip


Rows = Callable[[Texts, Statement], Iterator[Sequence[Any]]]

PARTS: dict[str, tuple[Sequence[str], Rows]] = {
    "tickets": (TICKET_HEAD, _tickets),
    "availability": (
        ("host", "service", "available_pct", "period_min", "down_min", "planned_min", "outages"),
        _availability,
    ),
    "outages": (("host", "service", "from", "to", "minutes", "ticket"), _outages),
    "pauses": (("ticket", "from", "to", "working_min", "why", "by", "said"), _pauses),
    "failovers": (
        ("from", "to", "kind", "pair", "state", "ticket", "rto_s", "rto_limit_s", "rpo_s", "rpo_limit_s"),
        _failovers,
    ),
}
"""What can be had as CSV."""
