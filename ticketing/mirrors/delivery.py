"""One outbox row into an external desk, exactly once.

Theory of operation. The link's row, with its key, is there before the first request. Before anything is written the desk
is asked whether it has it already: the ticket by its key, a comment by its marker (the message's id). So whatever became
of an earlier attempt - a time-out after the commit, a worker killed between the desk's answer and our mark - is found
and not repeated. A request of unknown outcome may still be at work there, therefore the next attempt waits until it has
settled: by ``settle`` after a fault, by the claim that must run out first after a kill. Should a desk be slower than
that, a double is found by a later look and merged with a note.

A field is pushed only where ours differs from what both sides last agreed on; that overrules a change over there that
has not come back yet, and the ticket's history says so (docs/adr/0070).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from config.clock import Clock
from ticketing.contracts import Book
from ticketing.mirrors import links, words
from ticketing.mirrors.desk import Desk, Fault, Gone, Remote, Wanted, marker_of
from ticketing.mirrors.desks import Desks
from ticketing.mirrors.terms import MirrorTerms
from ticketing.model import Reason
from ticketing.outbox import Delivered, GaveUp, Later, Result
from ticketing.tables import RowLike
from ticketing.texts import texts

T = TypeVar("T")


class Writes(Protocol):
    """The store as mirrors use it."""

    def __call__(self, fn: Callable[[Connection], T]) -> T: ...


@dataclasses.dataclass(frozen=True)
class Mirrors:
    """What deliveries and looks work with."""

    write: Writes
    book: Callable[[], Book]
    desks: Desks
    clock: Clock
    public_url: str = ""

    def failed(self, name: str, fault: Fault) -> None:
        """A desk failed: note it, and let what else waits for a desk that is away wait together."""
        now_ms = self.clock.now_ms()
        self.write(lambda tx: links.failed(tx, name, fault, now_ms))
        if fault.is_known and not fault.is_down:
            self.desks.forget(name)

    def well(self, name: str) -> None:
        """A desk did what it was asked."""
        self.write(lambda tx: links.well(tx, name))


def deliver(row: Mapping[str, Any], mirrors: Mirrors) -> Result:
    """Bring one message to its desk; the row as ``outbox.claim`` gave it."""
    name = row["destination"]
    terms = terms_of(mirrors.book(), row["payload"]["contract"]["id"], name)
    if terms is None:
        return GaveUp(f"the contract names no mirror in desk {name} any more")
    now_ms = mirrors.clock.now_ms()
    link = mirrors.write(lambda tx: links.begin(tx, row, now_ms))
    try:
        desk = mirrors.desks.desk(name)
        remote_id = link["remote_id"] or _make(row, link, terms, desk, mirrors)
        if link["made_by"] != row["message_id"]:
            _add(row, link["id"], remote_id, terms, desk, mirrors)
    except Gone as gone:
        if link["remote_id"] is None:
            return _later(gone, name, mirrors)
        problem = f"{gone}"
        mirrors.write(lambda tx: links.change(tx, link["id"], problem=problem))
        return GaveUp(f"the ticket is not there any more: {gone}")
    except Fault as fault:
        return _later(fault, name, mirrors)
    mirrors.well(name)
    return Delivered()


def terms_of(book: Book, contract_id: str, desk: str) -> MirrorTerms | None:
    """What the contract says of its mirror in this desk."""
    mirrors = book.contract(contract_id).mirrors
    return next((mirror for mirror in mirrors if mirror.desk == desk), None)


def _later(fault: Fault, name: str, mirrors: Mirrors) -> Later:
    mirrors.failed(name, fault)
    terms = mirrors.desks.terms.get(name)
    wait_s = fault.retry_after_s
    if not fault.is_known and terms is not None:
        wait_s = max(wait_s or 0.0, float(terms.settle))
    return Later(str(fault)[:500], wait_s)


def _make(row: Mapping[str, Any], link: RowLike, terms: MirrorTerms, desk: Desk, mirrors: Mirrors) -> str:
    """The ticket's id there: found by our key, or made now."""
    draft = words.draft(row, link["key"], terms, mirrors.public_url)
    found = desk.find(link["key"])
    was_tried = row["attempts"] > 0 or row["claimed_by"] is not None
    if found:
        merge_doubles(found, link["key"], desk, row["payload"]["language"])
    remote_id = found[0] if found else desk.create(draft)
    remote, reasons = _dressed(desk, link, remote_id, draft.wanted)
    values: dict[str, Any] = {"status": remote.status, "assignee": remote.assignee}
    values["problem"] = "; ".join(_refusal_words(reason) for reason in reasons)
    now_ms = mirrors.clock.now_ms()
    settle_ms = round(1000 * float(mirrors.desks.terms[link["desk"]].settle))
    # Made after an attempt that we know nothing of: its double may yet appear, and is looked for.
    values |= {"is_sure": not was_tried, "looks": 1, "look_at_ms": now_ms + settle_ms}
    url = desk.page_url(remote_id)
    mirrors.write(lambda tx: links.made(tx, link, remote_id, url, now_ms, reasons, **values))
    return remote_id


def _dressed(desk: Desk, link: RowLike, remote_id: str, wanted: Wanted) -> tuple[Remote, list[Reason]]:
    """The new ticket with the fields that we want; a desk may give a ticket its own first status, whatever is asked."""
    remote = desk.read(remote_id)
    rest = Wanted(
        None if _is_same(wanted.status, remote.status) else wanted.status,
        None if _is_same(wanted.assignee, remote.assignee) else wanted.assignee,
    )
    if rest == Wanted():
        return remote, []
    desk.write(remote_id, "", rest)
    after = desk.read(remote_id)
    return after, _not_taken(link, after, rest)


def merge_doubles(found: list[str], key: str, desk: Desk, language: str) -> None:
    """All but the oldest of several tickets with one key are folded into it, with a note."""
    for younger in found[1:]:
        note = texts(language).get("mirror.double", number=found[0])
        desk.fold(younger, found[0], note, key)


def _add(
    row: Mapping[str, Any], link_id: int, remote_id: str, terms: MirrorTerms, desk: Desk, mirrors: Mirrors
) -> None:
    """The moment as a comment, and the fields that it changed on our side."""
    link, known = mirrors.write(lambda tx: (links.by_id(tx, link_id), links.known_comments(tx, link_id)))
    assert link is not None, "a link goes with its ticket, and so does the outbox row"
    remote = desk.read(remote_id, known)
    wanted = _wanted(row["payload"]["ticket"], link, terms)
    me = desk.me()
    # A look may have taken our comment for known while the row still waited for its dead worker's claim to run out.
    there = {*known.values(), *(marker_of(said, me) for said in remote.comments)}
    if row["message_id"] not in there:
        desk.write(remote_id, words.comment(row, mirrors.public_url), wanted)
    if wanted != Wanted():
        _agree(link, remote, desk.read(remote_id, known), wanted, mirrors)


def _wanted(ticket: Mapping[str, Any], link: RowLike, terms: MirrorTerms) -> Wanted:
    """What of ours differs from what both sides last agreed on."""
    status: str | None = terms.status_of(ticket["state"])
    assignee = terms.people.get(ticket["assignee"] or "")
    if assignee is None and ticket["assignee"] is None and link["assignee"] in terms.people.values():
        assignee = ""  # ours gave it back; somebody whom we do not know there stays
    return Wanted(
        None if _is_same(status, link["status"]) else status,
        None if _is_same(assignee, link["assignee"]) else assignee,
    )


def _agree(link: RowLike, before: Remote, after: Remote, wanted: Wanted, mirrors: Mirrors) -> None:
    """Keep what the desk has now; say where it did not take ours, and where ours overruled an unseen change."""
    reasons = _not_taken(link, after, wanted)
    values: dict[str, Any] = {"problem": "; ".join(_refusal_words(reason) for reason in reasons)}
    for field in _FIELDS:
        want, old, new = (getattr(of, field) for of in (wanted, before, after))
        if want is None:
            continue
        values[field] = new
        if _is_same(want, new) and not _is_same(old, link[field]) and not _is_same(old, want):
            params = {"desk": link["desk"], "number": after.id, "field": field, "ours": want or "-"}
            reasons.append(Reason("did.mirror.overruled", params | {"theirs": old or "-"}))
    now_ms = mirrors.clock.now_ms()
    mirrors.write(lambda tx: links.agreed(tx, link, reasons, now_ms, **values))


_FIELDS = ("status", "assignee")


def _not_taken(link: RowLike, after: Remote, wanted: Wanted) -> list[Reason]:
    """What we set and the desk left as it was: a workflow over there may forbid it, in silence."""
    reasons: list[Reason] = []
    for field in _FIELDS:
        want, new = getattr(wanted, field), getattr(after, field)
        if want is not None and not _is_same(want, new):
            params = {"desk": link["desk"], "number": after.id, "field": field, "ours": want or "-"}
            reasons.append(Reason("did.mirror.not_taken", params | {"theirs": new or "-"}))
    return reasons


def _refusal_words(reason: Reason) -> str:
    return "{field}: {ours!r} was not taken, it is {theirs!r}".format(**reason.params)


def _is_same(wanted: str | None, has: str) -> bool:
    """Whether there is nothing to do: nothing is wanted, or it stands there already."""
    return wanted is None or wanted.casefold() == has.casefold()
