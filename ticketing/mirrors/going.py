"""Which of a contract's mirrors a moment goes to, never the desk that it came from; and in what order rows go out."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, Table, exists, or_, select

from ticketing import tables
from ticketing.mirrors.terms import MirrorTerms


def wanting(
    tx: Connection, mirrors: Iterable[MirrorTerms], ticket_id: int, notice: str | None, event_id: int
) -> list[MirrorTerms]:
    """The mirrors that are told of this event; none for what belongs to no ticket."""
    found = [mirror for mirror in mirrors if notice in mirror.on] if ticket_id else []
    if not found:
        return []
    event = tables.ticket_events
    actor = tx.execute(select(event.c.actor).where(event.c.id == event_id)).scalar()
    return [mirror for mirror in found if actor != f"external:{mirror.desk}"]


def is_its_turn(outbox: Table) -> ColumnElement[bool]:
    """Whether a row may go out: one of a mirror only when every earlier one of its ticket has."""
    earlier = outbox.alias("earlier")
    has_earlier = exists().where(
        earlier.c.ticket_id == outbox.c.ticket_id,
        earlier.c.channel == outbox.c.channel,
        earlier.c.state == "pending",
        earlier.c.id < outbox.c.id,
    )
    return or_(~outbox.c.channel.like("mirror:%"), ~has_earlier)
