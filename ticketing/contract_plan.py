"""What applying a contracts folder would change: documents against those in force. Reads the store, writes nothing.

``contracts.apply`` writes what stands here, and ``vartovyi-collector contract diff`` shows it, so that both speak of the
same. Documents are compared as this version of the program reads them: a setting that is new to the program and stands
at its default is no change of the contract.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ticketing import tables
from ticketing.documents import difference, document, from_document
from ticketing.duty import Person, Roster
from ticketing.terms import Contract

NEW, CHANGED, RETIRED = "new", "changed", "retired"


@dataclasses.dataclass(frozen=True)
class Change:
    """One thing that would be written."""

    what: str
    """contract, roster or person."""
    id: str
    word: str
    """new, changed or retired."""
    rows: tuple[Mapping[str, Any], ...] = ()
    """What differs: ``documents.difference``."""
    document: Any = None
    """What would be in force; None for what is retired."""


def plan(
    conn: Connection, contracts: Sequence[Contract], people: Sequence[Person], roster: Roster
) -> list[Change]:
    """Every change, contracts first, by id. [] = the store says the same as the files."""
    return [*_contracts(conn, contracts), *_roster(conn, roster), *_people(conn, people)]


def person_values(person: Person) -> dict[str, Any]:
    """The columns of ``people`` that a file decides; password and token are set by command."""
    return {
        "name": person.name or person.id,
        "email": person.email,
        "role": person.role,
        "profiles": list(person.profiles),
        "line": person.line,
        "language": person.language,
        "contract_id": person.contract,
        "is_disabled": person.disabled,
        "ways": document(person.ways),
        "quiet": document(person.quiet) if person.quiet.hours else {},
    }


def _contracts(conn: Connection, contracts: Iterable[Contract]) -> list[Change]:
    table = tables.contracts
    rows = conn.execute(select(table.c.id, table.c.document).where(table.c.is_current))
    known = {row.id: _as_read_now(row.document) for row in rows}
    wanted = {contract.id: document(contract) for contract in contracts}
    found: list[Change] = []
    for contract_id, new in sorted(wanted.items()):
        old = known.get(contract_id)
        if old is None:
            found.append(Change("contract", contract_id, NEW, document=new))
        elif old != new:
            rows_ = tuple(difference(old, new))
            found.append(Change("contract", contract_id, CHANGED, rows_, new))
    return found + [Change("contract", gone, RETIRED) for gone in sorted(set(known) - set(wanted))]


def _as_read_now(stored: Any) -> Any:
    return document(from_document(Contract, stored))


def _roster(conn: Connection, roster: Roster) -> list[Change]:
    table = tables.rosters
    stored = conn.execute(select(table.c.document).where(table.c.is_current)).scalar()
    old = document(from_document(Roster, stored or {}))
    new = document(roster)
    if old == new:
        return []
    word = NEW if stored is None else CHANGED
    return [Change("roster", "house", word, tuple(difference(old, new)), new)]


def _people(conn: Connection, people: Iterable[Person]) -> list[Change]:
    table = tables.people
    rows = {row["id"]: row for row in conn.execute(select(table)).mappings()}
    found: list[Change] = []
    for person in people:
        wanted, row = person_values(person), rows.get(person.id)
        if row is None:
            found.append(Change("person", person.id, NEW, document=wanted))
            continue
        old = {key: row[key] for key in wanted}
        if old != wanted:
            found.append(Change("person", person.id, CHANGED, tuple(difference(old, wanted)), wanted))
    return found
