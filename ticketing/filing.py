"""A person files a ticket: what is checked, what is proposed, what is written; by page, API, command line and mail alike.

Any class may be filed. Class 2 is taken only where the contract makes it due; what is not due is refused with the reason
and **recorded** (an audit row of the contract, shown with the contract), so that nobody has to ask twice what became of
it. A client's wish to switch to the backup and its upkeep requests are class 2 whatever their words. Without a class the
proposal's is taken; a ticket whose class nobody of the staff chose waits for line 1 to confirm it (the act ``qualify``).
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from ticketing import audit, effects, ledger, lines, tables
from ticketing.causes import cause
from ticketing.contracts import Book
from ticketing.knowledge import application_scope
from ticketing.model import CLASSES, Confidence, Reason, TicketId, TicketState, problem_key
from ticketing.proposal import WISHES, Proposal, propose
from ticketing.queries import EventView, Viewer
from ticketing.terms import Contract

MAX_TEXT = 20_000
MAX_TITLE = 300
MAX_KEPT_OF_REFUSED = 1000
REFUSED = "file_refused"
"""The audit row's act."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why an act was not done; ``code`` is for machines, ``reason`` for people."""

    code: str
    """not_found, forbidden, stale, impossible, invalid, not_eligible."""
    reason: Reason
    fields: Mapping[str, Reason] = dataclasses.field(default_factory=dict)
    """Which field is wrong, and how."""


@dataclasses.dataclass(frozen=True)
class NotTaken:
    """A request that the contract does not hold, as it was recorded."""

    at_ms: int
    by: str
    title: str
    reason: Reason


def file(
    tx: Connection,
    book: Book,
    actor: Viewer,
    contract_id: str,
    class_: int | None,
    title: str,
    body: str,
    now_ms: int,
    *,
    host_id: str | None = None,
    application: str = "",
    wish: str = "",
    line: int | None = None,
    origin: str = "person",
    began_at_ms: int | None = None,
    is_preventive: bool = False,
) -> TicketId | Refusal:
    """File a ticket of any class by hand; without a class the proposed one is taken, and line 1 confirms it.

    Class 2, and preventive work of class 3, are taken only where the contract holds them.
    """
    contract_id = (actor.contract_id or "") if actor.is_client else contract_id
    title, body = title.replace("\x00", "").strip(), body.replace("\x00", "")[:MAX_TEXT]
    wrong = _wrong_filing(book, contract_id, class_, title, host_id, application, wish)
    if wrong:
        return Refusal("invalid", Reason("refusal.invalid"), wrong)
    contract = book.contract(contract_id)
    proposal = propose(title, body, contract, host_id=host_id or "", application=application, wish=wish)
    chosen = 2 if wish else class_
    class_ = chosen or proposal.class_
    # A request that names no server is judged by whether any server of the contract is eligible.
    asked = [host_id] if host_id else [host.id for host in contract.hosts]
    refusal = contract.class2_refusal(asked) if class_ == 2 else None
    if refusal is None and is_preventive:
        refusal = contract.preventive_refusal(class_)
    if refusal is not None:
        _record_refused(tx, actor, contract, title, body, host_id, refusal, now_ms)
        return Refusal("not_eligible", refusal, {"class": refusal})
    # The words of a client, and a class that nobody chose, wait for line 1.
    is_confirmed = chosen is not None and not actor.is_client
    first_line = max(line or 1, lines.least_line(contract, class_)) if is_confirmed else 1
    changes = ledger.sla_changes(contract, class_, now_ms, "start")
    values = _filed_values(contract, class_, title, body, host_id, application, now_ms) | {
        "contract_version": book.version(contract_id),
        "line": max(1, min(first_line, contract.lines)),
        "origin": origin,
        "began_at_ms": min(began_at_ms or now_ms, now_ms),
    }
    told = {
        "proposal": proposal.to_dict(),
        "wish": wish,
        "is_confirmed": is_confirmed,
        "is_preventive": is_preventive,
    }
    new = effects.NewTicket(values, changes, text=body, told=told)
    ticket_id = effects.insert_ticket(tx, book, new, now_ms, kind="file", actor=actor.person_id)
    noted = {"class": class_, "host": host_id, "wish": wish, "preventive": is_preventive}
    audit.write(tx, now_ms, actor.person_id, "file", f"ticket:{ticket_id}", actor.from_address, noted)
    return TicketId(ticket_id)


def unconfirmed(origin: str, events: tuple[EventView, ...]) -> Mapping[str, Any] | None:
    """The proposal of a filed ticket whose class nobody of the staff has confirmed; None where somebody has."""
    if origin == "machine" or any(event.kind in ("qualify", "requalify") for event in events):
        return None
    first = next((event for event in events if event.kind == "file"), None)
    if first is None or first.body.get("is_confirmed"):
        return None
    return first.body.get("proposal")


def not_taken(conn: Connection, contract_id: str, limit: int = 50) -> list[NotTaken]:
    """Requests that the contract does not hold, the newest first."""
    table = tables.audit
    wanted = select(table).where(table.c.object == f"contract:{contract_id}", table.c.act == REFUSED)
    rows = conn.execute(wanted.order_by(table.c.id.desc()).limit(limit)).mappings()
    return [
        NotTaken(
            row["at_ms"], row["actor"], row["details"]["title"], Reason.from_dict(row["details"]["reason"])
        )
        for row in rows
    ]


def proposal_for(book: Book, actor: Viewer, contract_id: str, title: str, body: str, **more: str) -> Proposal:
    """What ``file`` would propose, for a form that asks first."""
    contract_id = (actor.contract_id or "") if actor.is_client else contract_id
    return propose(title, body, book.contracts.get(contract_id), **more)


def _record_refused(
    tx: Connection,
    actor: Viewer,
    contract: Contract,
    title: str,
    body: str,
    host_id: str | None,
    refusal: Reason,
    now_ms: int,
) -> None:
    details = {
        "title": title,
        "body": body[:MAX_KEPT_OF_REFUSED],
        "host": host_id,
        "reason": refusal.to_dict(),
    }
    audit.write(tx, now_ms, actor.person_id, REFUSED, f"contract:{contract.id}", actor.from_address, details)


def _filed_values(
    contract: Contract,
    class_: int,
    title: str,
    body: str,
    host_id: str | None,
    application: str,
    now_ms: int,
) -> dict[str, Any]:
    about = application_scope(application) if application else f"contract:{contract.id}"
    scope = f"host:{host_id}" if host_id else about
    return {
        "contract_id": contract.id,
        # Two people may file the same words about two different things: each filing is a problem of its own.
        "problem": problem_key(f"{scope}/{secrets.token_hex(8)}", "request"),
        "open_mark": 1,
        "class": class_,
        "root_cause": "request",
        "scope": scope,
        "family": "request",
        "affected": [host_id] if host_id else [],
        "confidence": Confidence.HIGH.value,
        "severity": "medium",
        "verdict": None,
        "title": title,
        "body": body,
        "state": TicketState.NEW.value,
        "profile": cause("request").profile,
        "language": contract.language,
        "created_at_ms": now_ms,
        "updated_at_ms": now_ms,
        "recurrences": 0,
        "version": 1,
    }


def _wrong_filing(
    book: Book,
    contract_id: str,
    class_: int | None,
    title: str,
    host_id: str | None,
    application: str,
    wish: str,
) -> dict[str, Reason]:
    """What is wrong with which field of a filing."""
    wrong: dict[str, Reason] = {}
    contract = book.contracts.get(contract_id)
    if contract is None:
        wrong["contract_id"] = Reason("refusal.no_contract", {"contract": contract_id})
    if class_ is not None and class_ not in CLASSES:
        wrong["class"] = Reason("refusal.no_class", {"class_": class_})
    if not title or len(title) > MAX_TITLE:
        wrong["title"] = Reason("refusal.title", {"limit": MAX_TITLE})
    if host_id and contract is not None and book.host_contract.get(host_id) != contract_id:
        wrong["host_id"] = Reason("refusal.no_host", {"host": host_id})
    if application and contract is not None and application not in contract.applications:
        wrong["application"] = Reason("refusal.no_application", {"application": application})
    if wish and wish not in WISHES:
        wrong["wish"] = Reason("refusal.no_wish", {"wish": wish[:40]})
    return wrong
