"""How one of ours is reached: their ways as rows of the outbox, and until when something that can wait does wait. Reads the
store for names only; sends nothing. Who is reached, and when again, is asked of ``ticketing.calls``.

Without ways of their own somebody gets a mail to their address. Quiet hours hold back what can wait until the morning;
a call to somebody whose turn it is rings at any hour, or nobody would be on call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ticketing import outbox, snapshots
from ticketing.documents import from_document
from ticketing.duty import CALL, Quiet, Way
from ticketing.model import Reason
from ticketing.people import Person
from ticketing.tables import RowLike
from ticketing.terms import Contract


def ways_of(person: Person, what: str = CALL) -> list[Way]:
    """The ways in which this person is called or reminded; [] where there is none."""
    given = [from_document(Way, dict(raw)) for raw in person.ways]
    ways = given or [Way("mail")]
    return [way for way in ways if what in way.on and (way.type != "mail" or way.to or person.email)]


def place_of(way: Way, person: Person) -> str:
    """Where a way leads: an address, or the file that holds one."""
    return (way.to or person.email) if way.type == "mail" else way.url or way.url_file


def quiet_until(person: Person, at_ms: int) -> int:
    """The end of the quiet hours that hold at this instant; the instant itself where none do."""
    if not person.quiet:
        return at_ms
    return from_document(Quiet, dict(person.quiet)).calendar.shuts_at(at_ms)


@dataclasses.dataclass(frozen=True)
class Word:
    """What somebody is told about one event."""

    notice: str
    event_id: int
    key: str
    """Tells several words about one event apart."""
    reasons: Sequence[Reason] = ()
    text: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def tell(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    person: Person,
    ways: Sequence[Way],
    word: Word,
    now_ms: int,
) -> int:
    """One row of the outbox a way, in the person's own language; how many."""
    body = snapshots.snapshot(tx, contract, ticket) | {
        "event": word.notice,
        "event_id": word.event_id,
        "at_ms": now_ms,
        "reasons": [reason.to_dict() for reason in word.reasons],
        "text": word.text,
        "language": person.language,
        "person": person.id,
        "names": snapshots.names_in(tx, word.reasons, ticket["assignee"]),
        **word.extra,
    }
    rows: list[dict[str, Any]] = []
    for way in ways:
        place = place_of(way, person)
        receiver = f"person/{person.id}/{way.type}/{place}/{word.key}"
        one_id = outbox.message_id(ticket["id"], ticket["created_at_ms"], word.event_id, receiver)
        since = snapshots.changes_since(tx, ticket["id"], way.type, place, body)
        said = body | {"channel": snapshots.place_terms(way), "since": since}
        rows.append(outbox.pending(way.type, place, one_id, said, now_ms, ticket_id=ticket["id"]))
    outbox.write(tx, rows)
    return len(rows)
