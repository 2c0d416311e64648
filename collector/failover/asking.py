"""Who may say yes to a switch is asked in person: a message a way, with what is at stake and until when it can wait.

The message that is stored names the run and the plan, never a secret: the one-time link is made for the person at the moment
of delivery (``collector.workers``), and of it only a digest is kept. A link that was made for an attempt that failed lies in
nobody's hands and ends with its time. Decides nothing; what a yes is worth is judged by ``approvals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from collector.failover import approvals
from collector.failover.approvals import Asker
from collector.failover.terms import PairTerms
from ticketing import ledger, people, reach
from ticketing.model import Reason
from ticketing.people import Person
from ticketing.reach import Word
from ticketing.terms import Contract

NOTICE = "switch_asked"
LINK_PATH = "/failover/link/"


def ask(
    tx: Connection,
    contract: Contract,
    pair: PairTerms,
    request: Mapping[str, Any],
    ticket_id: int,
    event_id: int,
    reasons: list[Reason],
    now_ms: int,
    *,
    loses_writes: bool,
) -> list[str]:
    """Ask everybody who may decide; who was asked. ``request``: run, plan_hash, until_ms. Nobody: the ticket says so."""
    row = ledger.ticket_row(tx, ticket_id)
    assert row is not None, "a run begins with its request"
    asked: list[str] = []
    for person in who_may(tx, pair, loses_writes=loses_writes):
        word = Word(NOTICE, event_id, f"switch/{request['run']}", reasons, extra={"switch": dict(request)})
        if reach.tell(tx, contract, row, person, reach.ways_of(person), word, now_ms):
            asked.append(person.id)
    key = "failover.ask.asked" if asked else "failover.ask.nobody"
    body = {"reason": Reason(key, {"people": asked}).to_dict()}
    ledger.write_event(tx, ticket_id, now_ms, ledger.MACHINE, "call", body)
    return asked


def who_may(tx: Connection, pair: PairTerms, *, loses_writes: bool) -> list[Person]:
    """Everybody whose yes would count: of the staff, and whoever the pair names, the client's people too."""
    named = (people.person(tx, name) for name in (*pair.approval.people, *pair.data_loss_authority))
    known = {person.id: person for person in (*people.staff(tx), *named) if person is not None}
    return [
        person
        for _, person in sorted(known.items())
        if approvals.is_allowed(pair, Asker.of(person, "link"), loses_writes=loses_writes)
    ]


def link_for(tx: Connection, payload: Mapping[str, Any], public_url: str, now_ms: int) -> str:
    """A fresh one-time address for the person whom a stored message is for; "" where none is to be had."""
    switch = payload.get("switch")
    if not switch or not public_url or now_ms >= switch["until_ms"]:
        return ""
    secret = approvals.make_link(
        tx, switch["run"], payload["person"], switch["plan_hash"], now_ms, switch["until_ms"]
    )
    return f"{public_url.rstrip('/')}{LINK_PATH}{secret}"
