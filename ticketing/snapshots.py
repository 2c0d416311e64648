"""What a message says of contract, ticket and clocks, as they stood when it was written: every retry of it says the same.

Also what differs from the message before it to the same receiver, and the names of people whom its reasons call by their
log-in names. Reads the store, writes nothing; words are made of it later (``ticketing.messages``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection, select

from ticketing import ledger, tables
from ticketing.clocks import Stopwatch
from ticketing.model import ClockKind, Reason
from ticketing.tables import RowLike
from ticketing.terms import Contract

MAX_HOSTS = 50
NAMED_IN = ("who", "assignee", "instead_of", "person", "asked")
"""Parameters of reasons that hold log-in names."""

WATCHED = ("class", "root_cause", "confidence", "severity", "state", "line", "assignee")
"""What of a ticket is told as a change, beside its hosts and when it must be solved."""


class Place(Protocol):
    """Where something is sent: a contract's channel or a person's way; the settings of both have this shape."""

    @property
    def type(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def secret_file(self) -> str: ...
    @property
    def url_file(self) -> str: ...
    @property
    def format(self) -> str: ...


def place_terms(place: Place) -> dict[str, Any]:
    """What a delivery needs to know of a place: names of files, never what lies in them."""
    return {
        "type": place.type,
        "url": place.url,
        "secret_file": place.secret_file,
        "url_file": place.url_file,
        "format": place.format,
    }


def snapshot(
    tx: Connection, contract: Contract, ticket: RowLike, held: Mapping[ClockKind, Stopwatch] | None = None
) -> dict[str, Any]:
    """What a message says of contract, ticket and clocks, as they stand now."""
    verdict = ticket["verdict"] or {}
    if held is None:
        held = ledger.watches(tx, ticket["id"]) if ticket["id"] else {}
    calendar = contract.calendar.calendar
    return {
        "contract": {"id": contract.id, "title": contract.title, "zone": contract.calendar.zone},
        "ticket": {
            "id": ticket["id"],
            "class": ticket["class"],
            "root_cause": ticket["root_cause"],
            "confidence": ticket["confidence"],
            "severity": ticket["severity"],
            "state": ticket["state"],
            "line": ticket["line"],
            "assignee": ticket["assignee"],
            "scope": ticket["scope"],
            "affected": list(ticket["affected"])[:MAX_HOSTS],
            "affected_count": len(ticket["affected"]),
            "began_at_ms": ticket["began_at_ms"],
            "created_at_ms": ticket["created_at_ms"],
            "resolved_at_ms": ticket["resolved_at_ms"],
            "title": ticket["title"],
            "summary": verdict.get("summary"),
            "reasons": verdict.get("reasons", []),
        },
        "clocks": {
            kind.value: {
                "state": watch.state.value,
                "due_at_ms": watch.reaches(calendar, 100),
                "pause_reason": watch.pause_reason,
                "outcome": watch.outcome,
            }
            for kind, watch in held.items()
        },
    }


def changes_since(
    tx: Connection, ticket_id: int, channel: str, destination: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """What differs from the last message about this ticket to this receiver: its time and the changes; {} for the first."""
    table = tables.outbox
    last = tx.execute(
        select(table.c.created_at_ms, table.c.payload)
        .where(
            table.c.ticket_id == ticket_id,
            table.c.channel == channel,
            table.c.destination == destination[:512],
        )
        .order_by(table.c.id.desc())
        .limit(1)
    ).first()
    if last is None or "clocks" not in last.payload:
        return {}
    return {"at_ms": last.created_at_ms, "changes": difference(last.payload, body)}


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What two snapshots of one ticket say differently, as rows ``{"field", "before", "after"}``."""
    old, new = before["ticket"], after["ticket"]
    rows = [
        {"field": field, "before": old.get(field), "after": new.get(field)}
        for field in WATCHED
        if old.get(field) != new.get(field)
    ]
    was, now = set(old["affected"]), set(new["affected"])
    if was != now:
        rows.append({"field": "hosts", "before": sorted(was - now), "after": sorted(now - was)})
    due_before, due_after = (
        (said["clocks"].get(ClockKind.RESOLUTION.value) or {}).get("due_at_ms") for said in (before, after)
    )
    if due_after is not None and due_before != due_after:
        rows.append({"field": "due", "before": due_before, "after": due_after})
    return rows


def names_in(tx: Connection, reasons: Iterable[Reason], *others: str | None) -> dict[str, str]:
    """Log-in name -> name of everybody whom these reasons speak of, and of others."""
    wanted = {
        value
        for reason in reasons
        for name in NAMED_IN
        if isinstance(value := reason.params.get(name), str) and value
    }
    wanted |= {name for name in others if name}
    if not wanted:
        return {}
    table = tables.people
    found = tx.execute(select(table.c.id, table.c.name).where(table.c.id.in_(sorted(wanted))))
    return {row.id: row.name for row in found}


def with_names(reason: Reason, names: Mapping[str, str]) -> Reason:
    """The reason with people called as others call them."""
    called = {name: names[reason.params[name]] for name in NAMED_IN if reason.params.get(name) in names}
    return Reason(reason.key, {**reason.params, **called}, reason.weight, reason.group) if called else reason
