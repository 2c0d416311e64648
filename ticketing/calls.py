"""Calls and reminders to people of ours: who was called about what, whether they answered, and when they hear more.

Theory of operation. Whoever is called gets a row of ``calls`` in the commit of the event that calls, and with it the rows
of the outbox; so nothing is lost or said twice by a crash. A row with a time has more to be said about: the tick's step
says it. A call is answered by whatever the person does on the ticket, or by what a colleague does there in public; else
it is repeated once, then the line's lead is told. A consultation ends with advice or with a word of whoever was asked.
What can wait waits: for the contract's hours before a new ticket's call, for the person's quiet hours before a reminder or
a word to somebody whose turn it is not. Somebody who had many calls in a few minutes gets the rest in one message, for a
phone that rings without end is not heard.

Nothing is said about a ticket that is over meanwhile. What a contract's channels are told stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, insert, not_, or_, select, update

from ticketing import ledger, lines, people, reach, rota, tables
from ticketing.calendar import NeverDue
from ticketing.contracts import Book
from ticketing.duty import CALL, REMINDER
from ticketing.ledger import MACHINE
from ticketing.model import Reason
from ticketing.outbox import NOTICE_OF
from ticketing.people import Person
from ticketing.reach import Word
from ticketing.rota import Call
from ticketing.tables import RowLike
from ticketing.terms import Contract

NEW_KINDS = ("open", "file", "reopen")
"""Begin with nobody at work: their calls wait for the contract's hours."""

CALL_KINDS = (*NEW_KINDS, "escalate", "requalify", "qualify", "consult")
"""Want an answer; every other kind is a word that is said once."""

REMIND = "remind"

MOST_CALLS = 10
WINDOW_MS = 600_000
"""So many calls one person gets in this time, each by itself."""

MAX_NAMED = 20
"""Tickets that one message names beside its own."""

REPEATS = 2
"""Times that the same person is told before the lead is."""

AGAIN_LEAST_MS = 300_000

_T = tables.calls


@dataclasses.dataclass(frozen=True)
class Moment:
    """The event that calls."""

    kind: str
    event_id: int
    at_ms: int
    reasons: Sequence[Reason] = ()
    text: str = ""


def call(tx: Connection, contract: Contract, ticket: RowLike, called: Call | None, moment: Moment) -> None:
    """Call whoever ``called`` names, now or as soon as they may be; earlier calls of this ticket end with it."""
    if called is None or called.person is None:
        return
    if moment.kind in CALL_KINDS and moment.kind != "consult":
        _end(
            tx, "passed_on", _T.c.ticket_id == ticket["id"], _T.c.kind.in_(CALL_KINDS), _T.c.kind != "consult"
        )
    person = people.person(tx, called.person)
    if person is None or not reach.ways_of(person, _what(moment.kind)):
        called, person = _instead(tx, contract, ticket, called, moment)
        if person is None:
            return
    if moment.kind == REMIND and _is_waiting(tx, ticket["id"], person.id):
        return
    at_ms = _earliest(tx, contract, person, called.is_duty, moment.kind, moment.at_ms)
    row = {
        "ticket_id": ticket["id"],
        "person_id": person.id,
        "kind": moment.kind,
        "event_id": moment.event_id,
        "reason": called.reason.to_dict(),
        "called_at_ms": moment.at_ms,
        "due_at_ms": at_ms,
        "told_at_ms": None,
        "times": 0,
        "outcome": "",
    }
    done = tx.execute(insert(_T).values(**row))
    assert done.inserted_primary_key is not None
    if at_ms <= moment.at_ms:
        one = row | {"id": int(done.inserted_primary_key[0])}
        _tell(tx, contract, ticket, person, one, moment.at_ms, [*moment.reasons, called.reason], moment.text)


def called_for_new(tx: Connection, contract: Contract, row: RowLike) -> Call | None:
    """Who is called for a ticket that is about to be written; nobody where its line has no rota.

    A child of a parent speaks through it, unless its contract has people of its own: one outage, one call.
    """
    if row["parent_id"] is not None and not any(one.line == row["line"] for one in contract.rota):
        return None
    rotas, absences, staff = lines.house(tx, contract)
    if not any(one.line == row["line"] for one in rotas):
        return None  # nobody has a turn on this line: the contract's channels were told, and that is all
    at_ms = _opening(contract, row["updated_at_ms"])
    called = rota.on_call(rotas, absences, staff, row["line"], row["profile"], at_ms)
    return dataclasses.replace(called, assigns=False)


def called_back(tx: Connection, contract: Contract, row: RowLike, actor: str) -> Call | None:
    """Who is called for a ticket that was reopened: whoever had it, else as for a new one; not who reopened it."""
    owner = row["assignee"]
    if owner:
        return (
            None
            if owner == actor
            else Call(owner, Reason("reason.duty.yours", {"who": owner}), assigns=False)
        )
    return called_for_new(tx, contract, row)


def remind(
    tx: Connection, contract: Contract, ticket: RowLike, reason: Reason, event_id: int, now_ms: int
) -> None:
    """Remind whoever has the ticket, else who is on call on its line."""
    moment = Moment(REMIND, event_id, now_ms, (reason,))
    owner = ticket["assignee"]
    if owner:
        call(tx, contract, ticket, Call(owner, Reason("reason.duty.yours", {"who": owner})), moment)
        return
    found = lines.call(tx, contract, ticket["line"], ticket["profile"], _opening(contract, now_ms))
    if found.reason.key in rota.ON_CALL:
        call(tx, contract, ticket, found, moment)


def run(tx: Connection, book: Book, now_ms: int, limit: int) -> int:
    """Say what is due, at most ``limit`` rows; how many rows were looked at. One person gets one message of a pass."""
    wanted = select(_T).where(_T.c.due_at_ms <= now_ms).order_by(_T.c.due_at_ms, _T.c.id).limit(limit)
    due = list(tx.execute(wanted.with_for_update(skip_locked=True)).mappings())
    waiting: dict[str, list[_Due]] = {}
    unanswered: dict[str, list[_Due]] = {}
    for row in due:
        ticket = ledger.ticket_row(tx, row["ticket_id"])
        over = _over(tx, book, row, ticket)
        if over or ticket is None:
            _end(tx, over or "over", _T.c.id == row["id"])
            continue
        one = _Due(row, ticket, book.contract(ticket["contract_id"]))
        if row["times"] >= REPEATS:
            _end(tx, "unanswered", _T.c.id == row["id"])
            unanswered.setdefault(_lead(tx, one, now_ms), []).append(one)
        else:
            waiting.setdefault(row["person_id"], []).append(one)
    for person_id, rows in waiting.items():
        _say(tx, person_id, rows, now_ms)
    for person_id, rows in unanswered.items():
        _tell_lead(tx, person_id, rows, now_ms)
    return len(due)


@dataclasses.dataclass(frozen=True)
class _Due:
    """A call about which something is to be said."""

    row: RowMapping
    ticket: RowLike
    contract: Contract


def _say(tx: Connection, person_id: str, rows: Sequence[_Due], now_ms: int) -> None:
    """What waited for this person, and what nobody answered, in one message about the newest that names the rest."""
    person = people.person(tx, person_id)
    ready: list[_Due] = []
    for one in rows:
        if person is None or not reach.ways_of(person, _what(one.row["kind"])):
            _end(tx, "no_way", _T.c.id == one.row["id"])
            continue
        is_duty = Call(person_id, Reason.from_dict(one.row["reason"])).is_duty
        at_ms = _earliest(tx, one.contract, person, is_duty, one.row["kind"], now_ms)
        if at_ms > now_ms:
            tx.execute(update(_T).where(_T.c.id == one.row["id"]).values(due_at_ms=at_ms))
        else:
            ready.append(one)
    if person is None or not ready:
        return
    newest, rest = ready[-1], ready[:-1]
    said: list[Reason] = []
    for one in ready:
        if one.row["times"]:
            params = {"who": person_id, "since_ms": one.row["called_at_ms"]}
            said = [Reason("reason.duty.again", params)]
            _write(tx, one.ticket["id"], now_ms, said[0])
    reasons = [*(said if newest.row["times"] else []), *_reasons(tx, newest.row), *_more(rest)]
    _tell(tx, newest.contract, newest.ticket, person, newest.row, now_ms, reasons, _text(tx, newest.row))
    for one in rest:
        _note_told(tx, one.contract, one.ticket, one.row, now_ms, is_own=False)


def _lead(tx: Connection, one: _Due, now_ms: int) -> str:
    """Who hears of a call that nobody answered; "" = nobody."""
    if one.row["kind"] == "consult":
        return ""
    rotas, absences, staff = lines.house(tx, one.contract)
    line = one.ticket["line"]
    mine = [known for known in rotas if known.line == line]
    return rota.lead(mine, absences, staff, line, now_ms, but=one.row["person_id"]) or ""


def _tell_lead(tx: Connection, person_id: str, rows: Sequence[_Due], now_ms: int) -> None:
    """The lead hears of it once: after that reminders and escalations go on as ever."""
    lead = people.person(tx, person_id) if person_id else None
    if lead is None:
        return
    event_id, said = 0, Reason("")
    for one in rows:
        said = Reason("reason.duty.unanswered", {"who": lead.id, "person": one.row["person_id"]})
        event_id = _write(tx, one.ticket["id"], now_ms, said)
    newest = rows[-1]
    reasons = [said, *_reasons(tx, newest.row), *_more(rows[:-1])]
    key, notice = f"{newest.row['id']}-lead", _notice(newest.row["kind"])
    word = Word(notice, event_id, key, reasons, _text(tx, newest.row))
    reach.tell(tx, newest.contract, newest.ticket, lead, reach.ways_of(lead), word, now_ms)


def _more(rest: Sequence[_Due]) -> list[Reason]:
    if not rest:
        return []
    named = ", ".join(f"#{one.ticket['id']}" for one in rest[:MAX_NAMED])
    return [Reason("reason.duty.more", {"n": len(rest), "tickets": named})]


def _tell(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    person: Person,
    row: RowLike,
    now_ms: int,
    reasons: Sequence[Reason],
    text: str,
) -> None:
    """The person's ways as rows of the outbox, and when they hear of it again."""
    notice = _notice(row["kind"])
    ways = [
        way
        for way in reach.ways_of(person, _what(row["kind"]))
        # Who reads a channel that is told of this very moment has been told.
        if row["times"] or way.type != "mail" or not _is_told(contract, notice, reach.place_of(way, person))
    ]
    word = Word(notice, row["event_id"], f"{row['id']}-{row['times']}", reasons, text)
    reach.tell(tx, contract, ticket, person, ways, word, now_ms)
    _note_told(tx, contract, ticket, row, now_ms)


def _note_told(
    tx: Connection, contract: Contract, ticket: RowLike, row: RowLike, now_ms: int, *, is_own: bool = True
) -> None:
    """``is_own``: by a message of its own, which counts as a ring; else another's named it."""
    again_ms = _again_at(contract, ticket, now_ms) if row["kind"] in CALL_KINDS else None
    values: dict[str, Any] = {"times": row["times"] + 1, "due_at_ms": again_ms}
    if is_own:
        values["told_at_ms"] = now_ms
    if again_ms is None:
        values["outcome"] = "told"
    tx.execute(update(_T).where(_T.c.id == row["id"]).values(**values))


def _again_at(contract: Contract, ticket: RowLike, now_ms: int) -> int | None:
    """A third of the agreed reaction time on, in the contract's hours: before the promise breaks."""
    target_ms = int(contract.times(ticket["class"]).reaction * 1000)
    wait_ms = int(contract.escalation.call_again * 1000) or max(AGAIN_LEAST_MS, target_ms // 3)
    try:
        return contract.calendar.calendar.due(now_ms, wait_ms)
    except NeverDue:
        return None


def _earliest(
    tx: Connection, contract: Contract, person: Person, is_duty: bool, kind: str, now_ms: int
) -> int:
    """When the person may hear of it: contract's hours, quiet hours, and not more at once than one can take in."""
    at_ms = _opening(contract, now_ms) if kind in (*NEW_KINDS, REMIND) else now_ms
    if not (is_duty and kind in CALL_KINDS):
        at_ms = reach.quiet_until(person, at_ms)
    if at_ms > now_ms or kind not in CALL_KINDS:
        return at_ms
    lately = select(_T.c.told_at_ms).where(
        _T.c.person_id == person.id, _T.c.told_at_ms > now_ms - WINDOW_MS, _T.c.kind.in_(CALL_KINDS)
    )
    told = tx.execute(lately.order_by(_T.c.told_at_ms.desc()).limit(MOST_CALLS)).scalars().all()
    return now_ms if len(told) < MOST_CALLS else told[-1] + WINDOW_MS


def _opening(contract: Contract, at_ms: int) -> int:
    try:
        return contract.calendar.calendar.opens_at(at_ms)
    except NeverDue:
        return at_ms


def _instead(
    tx: Connection, contract: Contract, ticket: RowLike, called: Call, moment: Moment
) -> tuple[Call, Person | None]:
    """The lead, where somebody who is to be called has no address at all; that is said on the ticket."""
    if moment.kind not in CALL_KINDS:
        return called, None
    rotas, absences, staff = lines.house(tx, contract)
    mine = [one for one in rotas if one.line == ticket["line"]]
    other = rota.lead(mine, absences, staff, ticket["line"], moment.at_ms, but=called.person or "")
    lead = None if other is None else people.person(tx, other)
    if lead is None or not reach.ways_of(lead):
        if called.reason.params.get("why") == "no_rota":
            return called, None  # a line without a rota: nobody was promised that somebody hears of it
        _write(tx, ticket["id"], moment.at_ms, Reason("reason.duty.no_way", {"who": called.person}))
        return called, None
    said = Reason("reason.duty.no_way_lead", {"who": lead.id, "person": called.person})
    _write(tx, ticket["id"], moment.at_ms, said)
    return Call(lead.id, said, called.assigns), lead


def _over(tx: Connection, book: Book, row: RowLike, ticket: RowLike | None) -> str:
    """Why nothing more is to be said; "" while there is."""
    if ticket is None or not ledger.is_open(ticket):
        return "over"
    if row["kind"] not in CALL_KINDS:
        return ""
    events, persons = tables.ticket_events, tables.people
    clients = select(persons.c.id).where(persons.c.role == "client")
    ours = {f"external:{m.desk}" for m in book.contract(ticket["contract_id"]).mirrors if m.side == "staff"}
    by_ours = and_(
        events.c.actor.not_in((MACHINE, "mail")),
        events.c.actor.not_in(clients),
        or_(not_(events.c.actor.like("external:%")), events.c.actor.in_(sorted(ours))),
    )
    is_answer = events.c.kind == "advise" if row["kind"] == "consult" else events.c.is_public
    by_ours = and_(by_ours, or_(is_answer, events.c.actor == row["person_id"]))
    answered = select(events.c.id).where(
        events.c.ticket_id == row["ticket_id"], events.c.id > row["event_id"], by_ours
    )
    return "answered" if tx.execute(answered.limit(1)).first() is not None else ""


def _is_waiting(tx: Connection, ticket_id: int, person_id: str) -> bool:
    """Whether a reminder of this ticket has not reached the person yet."""
    wanted = select(func.count()).where(
        _T.c.ticket_id == ticket_id,
        _T.c.person_id == person_id,
        _T.c.kind == REMIND,
        _T.c.due_at_ms.is_not(None),
    )
    return bool(tx.execute(wanted).scalar())


def _end(tx: Connection, outcome: str, *which: Any) -> None:
    tx.execute(update(_T).where(_T.c.due_at_ms.is_not(None), *which).values(due_at_ms=None, outcome=outcome))


def _is_told(contract: Contract, notice: str, address: str) -> bool:
    return any(
        channel.type == "mail"
        and notice in channel.on
        and address.lower() in (to.lower() for to in channel.to)
        for channel in contract.channels
    )


def _what(kind: str) -> str:
    return CALL if kind in CALL_KINDS else REMINDER


def _notice(kind: str) -> str:
    """What a message calls this moment; a ticket that came by ``qualify`` came to a higher line."""
    return NOTICE_OF.get(kind, "escalated")


def _write(tx: Connection, ticket_id: int, at_ms: int, reason: Reason) -> int:
    return ledger.write_event(tx, ticket_id, at_ms, MACHINE, "call", {"reason": reason.to_dict()})


def _body(tx: Connection, row: RowLike) -> Mapping[str, Any]:
    events = tables.ticket_events
    return tx.execute(select(events.c.body).where(events.c.id == row["event_id"])).scalar() or {}


def _reasons(tx: Connection, row: RowLike) -> list[Reason]:
    """Why the event came about, and why this person."""
    raw = _body(tx, row).get("reason")
    return [*([Reason.from_dict(raw)] if raw else []), Reason.from_dict(row["reason"])]


def _text(tx: Connection, row: RowLike) -> str:
    return str(_body(tx, row).get("text") or "")
