"""Contracts and people as YAML: typed, every fault of every file at once, versioned in the store.

A folder holds one file a contract and ``people.yaml``. ``load_folder`` reads it, ``apply`` writes what changed as new
versions, ``current`` gives the ``Book`` that everybody else asks: which contract guards this host, what was promised.
The contract ``internal`` always exists: it owns parents over several contracts and tickets about ourselves.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, select, update

from config import loader
from config.loader import ConfigError, Fault
from ticketing import audit, tables
from ticketing.model import INTERNAL_CONTRACT
from ticketing.terms import Contract, HostTerms, Person, shape_of

PEOPLE_FILE = "people.yaml"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class PeopleFile:
    """The shape of people.yaml."""

    people: list[Person] = loader.setting(help="everybody who may log in", min=0, max=5000)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A folder that was read without a fault."""

    contracts: tuple[Contract, ...]
    people: tuple[Person, ...]


@dataclasses.dataclass(frozen=True)
class Applied:
    """What ``apply`` changed."""

    contracts: tuple[tuple[str, int], ...]
    """(contract id, new version)."""
    retired: tuple[str, ...]
    people: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.contracts or self.retired or self.people)


@dataclasses.dataclass(frozen=True)
class Book:
    """The contracts in force. Values only; made anew when a contract changes."""

    contracts: Mapping[str, Contract]
    versions: Mapping[str, int]
    hosts: Mapping[str, HostTerms]
    host_contract: Mapping[str, str]

    @staticmethod
    def of(contracts: Sequence[Contract], versions: Mapping[str, int] | None = None) -> Book:
        """A book of these contracts, with ``internal`` added where it is missing."""
        by_id = {contract.id: contract for contract in contracts}
        by_id.setdefault(INTERNAL_CONTRACT, internal_contract())
        known = dict(versions or {})
        return Book(
            contracts=by_id,
            versions={contract_id: known.get(contract_id, 1) for contract_id in by_id},
            hosts={host.id: host for contract in by_id.values() for host in contract.hosts},
            host_contract={host.id: contract.id for contract in by_id.values() for host in contract.hosts},
        )

    def contract(self, contract_id: str) -> Contract:
        """The contract; for one that was retired while its tickets are open, the terms of ``internal`` hold."""
        return self.contracts.get(contract_id) or self.contracts[INTERNAL_CONTRACT]

    def contract_of(self, host_id: str) -> Contract | None:
        """The contract that guards this host."""
        contract_id = self.host_contract.get(host_id)
        return None if contract_id is None else self.contracts[contract_id]

    def version(self, contract_id: str) -> int:
        """The version in force; 0 for a retired contract."""
        return self.versions.get(contract_id, 0)


def internal_contract() -> Contract:
    """The house's own contract, where no file gives another."""
    return Contract(id=str(INTERNAL_CONTRACT), title="Vartovyi", lines=3)


def load_folder(path: Path) -> Loaded:
    """Read every ``*.yaml`` of the folder; raises ConfigError with the faults of all files together."""
    files = sorted(path.glob("*.yaml")) if path.is_dir() else []
    if not files:
        raise ConfigError(
            [Fault(str(path), 0, "", "holds no *.yaml: a contracts folder has one file a contract")]
        )
    faults: list[Fault] = []
    contracts: list[tuple[Path, Contract]] = []
    people: list[Person] = []
    for file in files:
        try:
            if file.name == PEOPLE_FILE:
                people = loader.load(file, PeopleFile).people
            else:
                contracts.append((file, loader.load(file, Contract)))
        except ConfigError as error:
            faults.extend(error.faults)
    faults.extend(_faults_between(contracts))
    faults.extend(_faults_of_people(path / PEOPLE_FILE, people, {c.id for _, c in contracts}, bool(faults)))
    if faults:
        raise ConfigError(faults)
    return Loaded(tuple(contract for _, contract in contracts), tuple(people))


def _faults_between(contracts: Sequence[tuple[Path, Contract]]) -> list[Fault]:
    """Ids that stand in two files: a host is guarded under one contract only."""
    faults: list[Fault] = []
    seen: dict[tuple[str, str], Path] = {}
    for file, contract in contracts:
        for word, name in [("contract", contract.id), *(("host", host.id) for host in contract.hosts)]:
            other = seen.get((word, name))
            if other is not None and other != file:
                key = "id" if word == "contract" else f"hosts.{name}"
                faults.append(
                    Fault(str(file), _line_of(file, name), key, f"{word} {name} stands in {other.name} too")
                )
            seen.setdefault((word, name), file)
    return faults


def _faults_of_people(
    file: Path, people: Sequence[Person], contracts: set[str], is_partial: bool
) -> list[Fault]:
    faults: list[Fault] = []
    seen: set[str] = set()
    for person in people:
        where = (str(file), _line_of(file, person.id), f"people.{person.id}")
        if person.id in seen:
            faults.append(Fault(*where, "stands twice"))
        seen.add(person.id)
        # With a faulty contract file the list of contracts is not whole, and the complaint might be wrong.
        if person.contract and person.contract not in contracts and not is_partial:
            allowed = ", ".join(sorted(contracts))
            faults.append(Fault(*where, f"contract {person.contract!r} is in no file", allowed))
    return faults


def _line_of(file: Path, name: str) -> int:
    try:
        lines = loader.read_text(file).splitlines()
    except OSError:
        return 0
    wanted = re.compile(rf"\bid:\s*[\"']?{re.escape(name)}[\"']?\s*(#.*|[,}}].*)?$")
    return next((number for number, line in enumerate(lines, 1) if wanted.search(line)), 0)


def apply(tx: Connection, loaded: Loaded, now_ms: int, by: str) -> Applied:
    """Write what differs from the store as new versions. A contract that left the folder is retired, with its history.

    Open tickets of a changed contract get their next step at once: the clock step then re-judges their clocks from the
    original start.
    """
    table = tables.contracts
    rows = tx.execute(select(table.c.id, table.c.version, table.c.document).where(table.c.is_current)).all()
    known = {row.id: row for row in rows}
    documents = {contract.id: document(contract) for contract in loaded.contracts}
    documents.setdefault(str(INTERNAL_CONTRACT), document(internal_contract()))
    changed: list[tuple[str, int]] = []
    for contract_id, wanted in documents.items():
        if contract_id in known and known[contract_id].document == wanted:
            continue
        version = _next_version(tx, contract_id)
        _retire(tx, contract_id)
        tx.execute(
            insert(table).values(
                id=contract_id,
                version=version,
                document=wanted,
                applied_at_ms=now_ms,
                applied_by=by,
                is_current=True,
            )
        )
        changed.append((contract_id, version))
    retired = sorted(set(known) - set(documents))
    for contract_id in retired:
        _retire(tx, contract_id)
    _note_changes(tx, changed, retired, now_ms, by)
    people = tuple(person.id for person in loaded.people if _apply_person(tx, person, now_ms))
    return Applied(tuple(changed), tuple(retired), people)


def _note_changes(
    tx: Connection, changed: Sequence[tuple[str, int]], retired: Sequence[str], now_ms: int, by: str
) -> None:
    """Audit rows, and a next step at once for the open tickets concerned."""
    if not changed and not retired:
        return
    tickets = tables.tickets
    touched = [*(contract_id for contract_id, _ in changed), *retired]
    for start in range(0, len(touched), 500):
        tx.execute(
            update(tickets)
            .where(tickets.c.contract_id.in_(touched[start : start + 500]), tickets.c.open_mark == 1)
            .values(next_step_at_ms=now_ms)
        )
    for contract_id, version in changed:
        audit.write(tx, now_ms, by, "contract_apply", f"contract:{contract_id}", details={"version": version})
    for contract_id in retired:
        audit.write(tx, now_ms, by, "contract_retire", f"contract:{contract_id}")


def _next_version(tx: Connection, contract_id: str) -> int:
    table = tables.contracts
    newest = (
        select(table.c.version).where(table.c.id == contract_id).order_by(table.c.version.desc()).limit(1)
    )
    return int(tx.execute(newest).scalar() or 0) + 1


def _retire(tx: Connection, contract_id: str) -> None:
    table = tables.contracts
    tx.execute(update(table).where(table.c.id == contract_id, table.c.is_current).values(is_current=False))


def _apply_person(tx: Connection, person: Person, now_ms: int) -> bool:
    """Write one person's row where it differs; password and token stay as they are. True when something changed."""
    table = tables.people
    wanted = {
        "name": person.name or person.id,
        "email": person.email,
        "role": person.role,
        "profiles": list(person.profiles),
        "line": person.line,
        "language": person.language,
        "contract_id": person.contract,
        "is_disabled": person.disabled,
    }
    row = tx.execute(select(table).where(table.c.id == person.id)).mappings().first()
    if row is None:
        tx.execute(insert(table).values(id=person.id, created_at_ms=now_ms, **wanted))
        return True
    if all(row[key] == value for key, value in wanted.items()):
        return False
    tx.execute(update(table).where(table.c.id == person.id).values(**wanted))
    return True


def current(conn: Connection, known: Book | None = None) -> Book:
    """The contracts in force; those that ``known`` holds in the same version are taken from there, unread."""
    table = tables.contracts
    versions = {
        row.id: row.version
        for row in conn.execute(select(table.c.id, table.c.version).where(table.c.is_current))
    }
    if known is not None and dict(known.versions) == versions:
        return known
    fresh = [c for c, v in versions.items() if known is None or known.versions.get(c) != v]
    contracts = [] if known is None else [known.contracts[c] for c in versions if c not in fresh]
    for start in range(0, len(fresh), 500):
        wanted = select(table.c.document).where(
            table.c.is_current, table.c.id.in_(fresh[start : start + 500])
        )
        contracts.extend(from_document(Contract, document) for document in conn.execute(wanted).scalars())
    return Book.of(contracts, versions)


def document(value: Any) -> Any:
    """A settings dataclass as plain JSON values, the way its YAML would say it."""
    if dataclasses.is_dataclass(value):
        return {f.name.rstrip("_"): document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [document(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # YAML made a date or a path of it (failover terms are read by a later room)


def from_document(kind: type[T], raw: Any) -> T:
    """The inverse of ``document``, for one that was validated when it was applied; unknown keys are ignored."""
    return shape_of(kind)(raw)
