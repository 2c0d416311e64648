"""Lines 1 to 4: which takes a ticket first, and who is called when it comes to a line, or is asked for help there.

A contract's own rota stands instead of the house's for the lines that it names. Whoever is called is told by mail in
their own language, whatever the contract's channels say: an escalation that only the client's channel hears is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ticketing import contracts, outbox, people, rota
from ticketing.duty import Rota
from ticketing.model import Reason
from ticketing.rota import Call, Colleague
from ticketing.tables import RowLike
from ticketing.terms import Contract


def least_line(contract: Contract, class_: int) -> int:
    """The lowest line that may hold a ticket of this class; 1 where the contract leaves it to the cause."""
    return min(contract.escalation.first_line(class_) or 1, contract.lines)


def call(tx: Connection, contract: Contract, line: int, profile: str, at_ms: int) -> Call:
    """Who is called on this line for a cause that needs the profile."""
    roster = contracts.roster(tx)
    staff = {p.id: Colleague(p.id, p.role, p.line, p.profiles) for p in people.staff(tx)}
    return rota.on_call(rotas_for(contract, roster.rota), roster.absences, staff, line, profile, at_ms)


def rotas_for(contract: Contract, house: Sequence[Rota]) -> list[Rota]:
    """The rotas that hold for a contract."""
    own = {one.line for one in contract.rota}
    return [*contract.rota, *(one for one in house if one.line not in own)]


def moved(
    tx: Connection, contract: Contract, row: RowLike, line: int, now_ms: int, profile: str
) -> tuple[dict[str, Any], Call | None]:
    """The columns of a ticket that goes to ``line``, and who is called there; nothing where it stays on its line.

    Who had the ticket keeps nothing: the next line looks at it anew.
    """
    if line == row["line"]:
        return {}, None
    called = call(tx, contract, line, profile, now_ms)
    return {"line": line, "assignee": called.person if called.assigns else None}, called


def as_body(called: Call | None) -> dict[str, Any]:
    """Who was called, for an event's body."""
    return {} if called is None else {"call": called.to_dict()}


def tell_called(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    called: Call | None,
    kind: str,
    event_id: int,
    now_ms: int,
    why: Sequence[Reason],
    text: str = "",
) -> None:
    """A mail to whoever was called, with why it is they."""
    if called is not None and called.person is not None:
        tell(tx, contract, ticket, called.person, kind, event_id, now_ms, [*why, called.reason], text)


def tell(
    tx: Connection,
    contract: Contract,
    ticket: RowLike,
    person_id: str,
    kind: str,
    event_id: int,
    now_ms: int,
    reasons: Sequence[Reason],
    text: str = "",
) -> bool:
    """A mail to one of ours about a ticket, as a row of the outbox; False where they have no address."""
    person = people.person(tx, person_id)
    if person is None or not person.email:
        return False
    outbox.tell_person(
        tx, contract, ticket, kind, event_id, now_ms, address=person.email, language=person.language,
        reasons=reasons, text=text,
    )  # fmt: skip
    return True


def helper(
    tx: Connection, contract: Contract, row: RowLike, fields: Mapping[str, Any], asker: str, now_ms: int
) -> Call | Reason:
    """Who is asked for help: the person who was named, else whoever is on call on the line (default: the next one).

    A Reason says why nobody can be asked.
    """
    named = str(fields.get("assignee") or "")
    if named:
        person = people.person(tx, named)
        if person is None or not person.is_staff or named == asker:
            return Reason("refusal.no_person", {"person": named})
        return Call(named, Reason("reason.duty.asked", {"who": named, "line": person.line or row["line"]}))
    line = fields.get("line") or row["line"] + 1
    if not isinstance(line, int) or not row["line"] < line <= contract.lines:
        return Reason("refusal.no_line", {"line": row["line"], "lines": contract.lines})
    return call(tx, contract, line, row["profile"], now_ms)
