"""Lines 1 to 4: which takes a ticket first, and who is called when it comes to a line, or is asked for help there.

A contract's own rota stands instead of the house's for the lines that it names. How whoever is called hears of it, whatever
the contract's channels say, is asked of ``ticketing.calls``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from ticketing import contracts, people, rota
from ticketing.duty import Absence, Rota
from ticketing.model import Reason
from ticketing.rota import Call, Colleague
from ticketing.tables import RowLike
from ticketing.terms import Contract


def least_line(contract: Contract, class_: int) -> int:
    """The lowest line that may hold a ticket of this class; 1 where the contract leaves it to the cause."""
    return min(contract.escalation.first_line(class_) or 1, contract.lines)


def call(tx: Connection, contract: Contract, line: int, profile: str, at_ms: int) -> Call:
    """Who is called on this line for a cause that needs the profile."""
    rotas, absences, staff = house(tx, contract)
    return rota.on_call(rotas, absences, staff, line, profile, at_ms)


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


def house(tx: Connection, contract: Contract) -> tuple[list[Rota], Sequence[Absence], dict[str, Colleague]]:
    """Rotas that hold for a contract, who is away, and the staff."""
    roster = contracts.roster(tx)
    staff = {p.id: Colleague(p.id, p.role, p.line, p.profiles) for p in people.staff(tx)}
    return rotas_for(contract, roster.rota), roster.absences, staff


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
