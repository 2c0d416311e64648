"""What came back from an external desk: comments, status and assignment, as acts on our ticket by ``external:DESK``.

Comments are taken one by one, each once by its id there. Fields are taken as they stand, not as they came to be: what
stands there differs from what both sides last agreed on, or it does not; so an answer that repeats or overtakes changes
nothing. Our own echoes are known by author and marker together. The desk may do no more than the table of states allows
the side that works in it; what it may not is told there, and our field is put back. While something of ours is still on
its way, fields wait for it (docs/adr/0070).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ticketing import acts, ledger, outbox, snapshots
from ticketing.acts import Refusal
from ticketing.contracts import Book
from ticketing.mirrors import links
from ticketing.mirrors.delivery import Mirrors, merge_doubles, terms_of
from ticketing.mirrors.desk import Comment, Fault, Gone, Remote, marker_of
from ticketing.mirrors.terms import MirrorTerms
from ticketing.model import Reason
from ticketing.queries import Viewer
from ticketing.tables import RowLike
from ticketing.texts import texts

WAIT_FOR_OURS_MS = 5_000
AGAIN_MS = 60_000

_FROM_OPEN = {
    ("new", "in_work"): ("take",),
    ("waiting_client", "in_work"): ("client_answered",),
    ("waiting_provider", "in_work"): ("provider_answered",),
    ("new", "waiting_client"): ("ask_client",),
    ("in_work", "waiting_client"): ("ask_client",),
    ("waiting_provider", "waiting_client"): ("ask_client",),
    ("new", "waiting_provider"): ("ask_provider",),
    ("in_work", "waiting_provider"): ("ask_provider",),
    ("waiting_client", "waiting_provider"): ("client_answered", "ask_provider"),
    ("resolved", "closed"): ("close",),
}
_OPEN = ("new", "in_work", "waiting_client", "waiting_provider")
PATHS: Mapping[tuple[str, str], tuple[str, ...]] = {
    **_FROM_OPEN,
    **{(state, "resolved"): ("resolve",) for state in _OPEN},
    **{(state, "closed"): ("resolve", "close") for state in _OPEN},
    **{(over, state): ("reopen",) for over in ("resolved", "closed") for state in ("new", "in_work")},
    **{(over, "waiting_client"): ("reopen", "ask_client") for over in ("resolved", "closed")},
    **{(over, "waiting_provider"): ("reopen", "ask_provider") for over in ("resolved", "closed")},
}
"""(our state, the state that the desk asks for) -> acts that lead there. What has no row is refused and put back."""


@dataclasses.dataclass
class _Moment:
    """One look being written."""

    tx: Connection
    book: Book
    link: RowLike
    remote: Remote
    terms: MirrorTerms
    viewer: Viewer
    me: str
    now_ms: int
    said: str = ""
    """The newest words that came with this look."""

    @property
    def ticket(self) -> Mapping[Any, Any]:
        row = ledger.ticket_row(self.tx, self.link["ticket_id"])
        assert row is not None, "a link goes with its ticket"
        return row

    def params(self, **more: Any) -> dict[str, Any]:
        return {
            "desk": self.link["desk"],
            "number": self.remote.id,
            "who": self.remote.last_by or "-",
            **more,
        }

    def tell(self, key: str, **more: Any) -> None:
        links.tell(self.tx, self.link["ticket_id"], self.now_ms, Reason(key, self.params(**more)))


def look(link: RowLike, mirrors: Mirrors) -> None:
    """Read a mirrored ticket that ``links.claim_look`` gave, and take what is new; never raises a desk's fault."""
    name = link["desk"]
    try:
        desk = mirrors.desks.desk(name)
        if not link["is_sure"]:
            found = desk.find(link["key"])
            if len(found) > 1:
                merge_doubles(found, link["key"], desk, "en")
            mirrors.write(lambda tx: links.change(tx, link["id"], is_sure=True))
        known = mirrors.write(lambda tx: links.known_comments(tx, link["id"]))
        remote, me = desk.read(link["remote_id"], known), desk.me()
    except Gone as gone:
        _put_off(link, mirrors, problem=str(gone))
        return
    except Fault as fault:
        mirrors.failed(name, fault)
        _put_off(link, mirrors, again_in_ms=AGAIN_MS)
        return
    mirrors.write(lambda tx: take(tx, mirrors.book(), link, remote, me, mirrors.clock.now_ms()))
    mirrors.well(name)


def _put_off(
    link: RowLike, mirrors: Mirrors, *, again_in_ms: int | None = None, problem: str | None = None
) -> None:
    now_ms = mirrors.clock.now_ms()

    def write(tx: Connection) -> None:
        if problem is not None:
            links.change(tx, link["id"], problem=problem, looks=0)
        links.looked(tx, link, now_ms, again_in_ms=again_in_ms)

    mirrors.write(write)


def take(tx: Connection, book: Book, link: RowLike, remote: Remote, me: str, now_ms: int) -> None:
    """Write everything that is new in ``remote``."""
    row = ledger.ticket_row(tx, link["ticket_id"])  # the lock: a second look at the same ticket waits here
    fresh = links.by_id(tx, link["id"])
    if row is None or fresh is None:
        return
    terms = terms_of(book, row["contract_id"], link["desk"])
    if terms is None:
        links.looked(tx, link, now_ms)
        return
    is_client = terms.side == "client"
    viewer = Viewer(
        links.actor_of(link["desk"]),
        "client" if is_client else "engineer",
        row["contract_id"] if is_client else None,
        row["language"],
        link["desk"],
    )
    moment = _Moment(tx, book, fresh, remote, terms, viewer, me, now_ms)
    _take_comments(moment)
    if links.is_waiting_to_go_out(tx, fresh):
        links.looked(tx, link, now_ms, again_in_ms=WAIT_FOR_OURS_MS)
        return
    _take_assignee(moment)
    _take_status(moment)
    links.looked(tx, link, now_ms)


def _take_comments(m: _Moment) -> None:
    known = links.known_comments(m.tx, m.link["id"])
    fresh = [said for said in m.remote.comments if said.id not in known]
    ours = {said.id: marker_of(said, m.me) for said in fresh}
    links.know_comments(m.tx, m.link["id"], ours)
    for said in fresh:
        if ours[said.id]:
            continue  # our own echo
        m.said = said.text.strip()
        if "comments" in m.terms.back and m.said:
            _take_comment(m, said)


def _take_comment(m: _Moment, said: Comment) -> None:
    text = f"{said.author_name or said.author} ({m.link['desk']} #{m.remote.id}):\n{m.said}"
    done = _act(m, "note", text=text, is_public=not said.is_internal)
    if isinstance(done, Refusal):  # a merged ticket takes no notes, and the words must not be lost
        reason = Reason("did.mirror.said", m.params(who=said.author_name or said.author))
        links.tell(m.tx, m.link["ticket_id"], m.now_ms, reason, m.said[: acts.MAX_TEXT])


def _take_assignee(m: _Moment) -> None:
    theirs = m.remote.assignee
    if theirs.casefold() == m.link["assignee"].casefold() or "assignee" not in m.terms.back:
        return
    links.change(m.tx, m.link["id"], assignee=theirs)
    person = m.terms.person_of(theirs) if theirs else None
    if person is not None and person == m.ticket["assignee"]:
        return
    if person is None:
        m.tell("did.mirror.assigned", name=m.remote.assignee_name or "-")
        return
    done = _act(m, "assign", assignee=person)
    if isinstance(done, Refusal):
        _refuse(m, "assignee", m.remote.assignee_name, done)


def _take_status(m: _Moment) -> None:
    theirs = m.remote.status
    if theirs.casefold() == m.link["status"].casefold() or "status" not in m.terms.back:
        return
    links.change(m.tx, m.link["id"], status=theirs)
    ours = str(m.ticket["state"])
    wanted = m.terms.state_of(theirs, ours)
    if wanted == ours:
        return
    if wanted is None:
        m.tell("did.mirror.unknown_status", status=theirs)
        return
    path = PATHS.get((ours, wanted))
    if path is None:
        _refuse(m, "status", theirs, None)
        return
    savepoint = m.tx.begin_nested()
    for act in path:
        done = _act(m, act, **_fields(m, act))
        if isinstance(done, Refusal):
            # All of the way or none of it: a ticket half closed is what nobody asked for.
            savepoint.rollback()
            _refuse(m, "status", theirs, done)
            return
    savepoint.commit()


def _fields(m: _Moment, act: str) -> dict[str, Any]:
    """What an act needs, from the words that came with it."""
    words = texts(m.ticket["language"])
    text = m.said or words.get("mirror.by_status", **m.params(status=m.remote.status))
    if act == "resolve":
        return {"cause": words.get("mirror.cause", **m.params()), "remedy": text[:2000]}
    return {"text": text}


def _act(m: _Moment, act: str, **fields: Any) -> Any:
    ticket = m.ticket
    return acts.perform(m.tx, m.book, act, ticket["id"], m.viewer, ticket["version"], m.now_ms, **fields)


def _refuse(m: _Moment, field: str, theirs: str, refusal: Refusal | None) -> None:
    """Say in both places that a change was not taken; the same message puts our field back over there."""
    reason = Reason(
        "did.mirror.refused", m.params(field=field, theirs=theirs or "-", state=m.ticket["state"])
    )
    event_id = links.tell(m.tx, m.link["ticket_id"], m.now_ms, reason)
    _send(m, event_id, [reason] if refusal is None else [reason, refusal.reason])


def _send(m: _Moment, event_id: int, reasons: Sequence[Reason]) -> None:
    ticket = m.ticket
    contract = m.book.contract(ticket["contract_id"])
    desk = m.link["desk"]
    payload = snapshots.snapshot(m.tx, contract, ticket) | {
        "event": "note",
        "event_id": event_id,
        "at_ms": m.now_ms,
        "reasons": [reason.to_dict() for reason in reasons],
        "text": "",
        "language": m.terms.language or contract.language,
    }
    outbox.enqueue(
        m.tx,
        channel=links.CHANNEL + desk,
        destination=desk,
        message_id=outbox.message_id(ticket["id"], ticket["created_at_ms"], event_id, f"mirror/{desk}"),
        payload=payload,
        now_ms=m.now_ms,
        ticket_id=ticket["id"],
    )
