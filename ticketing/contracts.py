"""Contracts and people as YAML: typed, every fault of every file at once, versioned in the store.

A folder holds one file a contract and ``people.yaml``. ``load_folder`` reads it, ``apply`` writes what changed as new
versions, ``current`` gives the ``Book`` that everybody else asks: which contract guards this host, what was promised.
The contract ``internal`` always exists: it owns parents over several contracts and tickets about ourselves.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from config import loader
from config.loader import ConfigError, Fault
from ticketing import audit, tables
from ticketing.contract_plan import NEW, RETIRED, Change, plan
from ticketing.documents import digest, document, from_document
from ticketing.duty import Absence, Person, Roster, Rota
from ticketing.model import INTERNAL_CONTRACT, OPEN_STATES, Reason, TicketState, Verdict, named_in_line
from ticketing.terms import Contract, HostTerms

PEOPLE_FILE = "people.yaml"

__all__ = ["Person", "document", "from_document"]
"""What else is asked for under this name."""


@dataclasses.dataclass(frozen=True)
class PeopleFile:
    """The shape of people.yaml."""

    people: list[Person] = loader.setting(help="everybody who may log in", min=0, max=5000)
    rota: list[Rota] = loader.setting([], help="who is on call, by line", max=200)
    absences: list[Absence] = loader.setting([], help="who is away", max=5000)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A folder that was read without a fault."""

    contracts: tuple[Contract, ...]
    people: tuple[Person, ...]
    roster: Roster = dataclasses.field(default_factory=Roster)


@dataclasses.dataclass(frozen=True)
class Applied:
    """What ``apply`` changed."""

    contracts: tuple[tuple[str, int], ...]
    """(contract id, new version)."""
    retired: tuple[str, ...]
    people: tuple[str, ...]
    has_new_roster: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.contracts or self.retired or self.people or self.has_new_roster)


@dataclasses.dataclass(frozen=True)
class Book:
    """The contracts in force. Values only; made anew when a contract changes."""

    contracts: Mapping[str, Contract]
    versions: Mapping[str, int]
    hosts: Mapping[str, HostTerms]
    host_contract: Mapping[str, str]
    retired: Mapping[str, Contract] = dataclasses.field(default_factory=dict)
    """Contracts that left the folder while tickets of theirs are not closed: their last terms hold on for those."""

    @staticmethod
    def of(
        contracts: Sequence[Contract],
        versions: Mapping[str, int] | None = None,
        retired: Sequence[Contract] = (),
    ) -> Book:
        """A book of these contracts, with ``internal`` added where it is missing."""
        by_id = {contract.id: contract for contract in contracts}
        by_id.setdefault(INTERNAL_CONTRACT, internal_contract())
        known = dict(versions or {})
        return Book(
            contracts=by_id,
            versions={c: known.get(c, 1) for c in (*by_id, *(old.id for old in retired))},
            hosts={host.id: host for contract in by_id.values() for host in contract.hosts},
            host_contract={host.id: contract.id for contract in by_id.values() for host in contract.hosts},
            retired={contract.id: contract for contract in retired},
        )

    def contract(self, contract_id: str) -> Contract:
        """The contract; of one that was retired the last terms while it has tickets, then those of ``internal``."""
        return (
            self.contracts.get(contract_id)
            or self.retired.get(contract_id)
            or self.contracts[INTERNAL_CONTRACT]
        )

    def contract_of(self, host_id: str) -> Contract | None:
        """The contract that guards this host."""
        contract_id = self.host_contract.get(host_id)
        return None if contract_id is None else self.contracts[contract_id]

    def for_contract(
        self, verdict: Verdict, contract_id: str, host_ids: Sequence[str] | None = None
    ) -> Verdict:
        """The verdict as this contract may read it: of ``host_ids``, its hosts, and without a name of another's.

        Clients must not read each other's names: neither of those who fell too nor of those who are well.
        """
        own = frozenset(verdict.affected if host_ids is None else host_ids)
        everybody = _as_set(verdict.affected)

        def may_read(name: object) -> bool:
            # What is no word came from a client's server, and is no host's name.
            if contract_id == INTERNAL_CONTRACT or not isinstance(name, str) or name in own:
                return True
            return name not in everybody and self.host_contract.get(name, contract_id) == contract_id

        def cut(reason: Reason) -> Reason:
            lists = {key: v for key, v in reason.params.items() if isinstance(v, list | tuple)}
            told = {key: [name for name in names if may_read(name)] for key, names in lists.items()}
            return dataclasses.replace(reason, params={**reason.params, **told}) if told else reason

        summary = cut(verdict.summary)
        if "host" in summary.params and len(own) < len(everybody):
            part = summary.params.get("part")
            mine = {"host": named_in_line(sorted(own)), "part": part if may_read(part) else min(own)}
            summary = dataclasses.replace(summary, params={**summary.params, **mine})
        return dataclasses.replace(
            verdict,
            affected=tuple(sorted(own)),
            reasons=tuple(map(cut, verdict.reasons)),
            would_change=tuple(map(cut, verdict.would_change)),
            summary=summary,
        )

    def version(self, contract_id: str) -> int:
        """The version whose terms hold; 0 for a retired contract without tickets."""
        return self.versions.get(contract_id, 0)


@functools.lru_cache(maxsize=8)
def _as_set(hosts: tuple[str, ...]) -> frozenset[str]:
    """Thousands of children ask for the same set."""
    return frozenset(hosts)


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
    staff = PeopleFile([])
    for file in files:
        try:
            if file.name == PEOPLE_FILE:
                staff = loader.load(file, PeopleFile)
            else:
                contracts.append((file, loader.load(file, Contract)))
        except ConfigError as error:
            faults.extend(error.faults)
    faults.extend(_faults_between(contracts))
    is_partial = bool(faults)
    faults.extend(
        _faults_of_people(path / PEOPLE_FILE, staff.people, {c.id for _, c in contracts}, is_partial)
    )
    if not is_partial:
        faults.extend(_faults_of_rotas(path / PEOPLE_FILE, staff, contracts))
    if faults:
        raise ConfigError(faults)
    roster = Roster(staff.rota, staff.absences)
    return Loaded(tuple(contract for _, contract in contracts), tuple(staff.people), roster)


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


def _faults_of_rotas(
    file: Path, staff: PeopleFile, contracts: Sequence[tuple[Path, Contract]]
) -> list[Fault]:
    """Names in rotas and absences that nobody has, or that belong to a client."""
    known = {person.id for person in staff.people if person.role != "client"}
    allowed = ", ".join(sorted(known))
    named: list[tuple[Path, str, str]] = []
    for place, rota in enumerate(staff.rota):
        named += [(file, f"rota[{place}]", name) for name in rota.named]
    for place, absence in enumerate(staff.absences):
        named += [(file, f"absences[{place}]", n) for n in (absence.person, absence.instead) if n]
    for other, contract in contracts:
        for place, rota in enumerate(contract.rota):
            named += [(other, f"rota[{place}]", name) for name in rota.named]
    return [
        Fault(str(where), _line_naming(where, name), key, f"nobody of the staff is called {name!r}", allowed)
        for where, key, name in named
        if name not in known
    ]


def _line_naming(file: Path, name: str) -> int:
    try:
        lines = loader.read_text(file).splitlines()
    except OSError:
        return 0
    wanted = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")
    return next((number for number, line in enumerate(lines, 1) if wanted.search(line)), 0)


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
    changed: list[tuple[str, int]] = []
    retired: list[str] = []
    people: list[str] = []
    has_new_roster = False
    for change in plan_of(tx, loaded):
        if change.what == "person":
            _write_person(tx, change, now_ms)
            people.append(change.id)
        elif change.what == "roster":
            _write_roster(tx, change, now_ms, by)
            has_new_roster = True
        elif change.word == RETIRED:
            _retire(tx, change.id)
            retired.append(change.id)
        else:
            changed.append((change.id, _write_contract(tx, change, now_ms, by)))
    _note_changes(tx, changed, retired, now_ms, by)
    return Applied(tuple(changed), tuple(retired), tuple(people), has_new_roster)


def plan_of(conn: Connection, loaded: Loaded) -> list[Change]:
    """What ``apply`` would write; ``internal`` is added where no file gives it."""
    contracts = list(loaded.contracts)
    if all(contract.id != INTERNAL_CONTRACT for contract in contracts):
        contracts.append(internal_contract())
    return plan(conn, contracts, loaded.people, loaded.roster)


def _write_contract(tx: Connection, change: Change, now_ms: int, by: str) -> int:
    table = tables.contracts
    newest = tx.execute(select(func.max(table.c.version)).where(table.c.id == change.id)).scalar()
    version = int(newest or 0) + 1
    _retire(tx, change.id)
    tx.execute(insert(table).values(id=change.id, version=version, **_version_values(change, now_ms, by)))
    return version


def _write_roster(tx: Connection, change: Change, now_ms: int, by: str) -> None:
    table = tables.rosters
    version = int(tx.execute(select(func.max(table.c.version))).scalar() or 0) + 1
    tx.execute(update(table).where(table.c.is_current).values(is_current=False))
    tx.execute(insert(table).values(version=version, **_version_values(change, now_ms, by)))
    audit.write(tx, now_ms, by, "roster_apply", "roster:house", details={"version": version})


def _version_values(change: Change, now_ms: int, by: str) -> dict[str, Any]:
    return {
        "document": change.document,
        "applied_at_ms": now_ms,
        "applied_by": by[:64],
        "is_current": True,
        "digest": digest(change.document),
        "changes": [dict(row) for row in change.rows],
    }


def _write_person(tx: Connection, change: Change, now_ms: int) -> None:
    """One person's row; password and token stay as they are."""
    table = tables.people
    if change.word == NEW:
        tx.execute(insert(table).values(id=change.id, created_at_ms=now_ms, **change.document))
    else:
        tx.execute(update(table).where(table.c.id == change.id).values(**change.document))


def _note_changes(
    tx: Connection, changed: Sequence[tuple[str, int]], retired: Sequence[str], now_ms: int, by: str
) -> None:
    """Audit rows, and a next step at once for the open tickets concerned."""
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


def _retire(tx: Connection, contract_id: str) -> None:
    table = tables.contracts
    tx.execute(update(table).where(table.c.id == contract_id, table.c.is_current).values(is_current=False))


def roster(conn: Connection) -> Roster:
    """The rotas and absences in force."""
    table = tables.rosters
    row = conn.execute(select(table.c.digest, table.c.document).where(table.c.is_current)).first()
    return Roster() if row is None else _roster_of(row.digest, json.dumps(row.document))


@functools.lru_cache(maxsize=4)
def _roster_of(_digest: str, text: str) -> Roster:
    """Thousands of escalations in one tick ask for the same one."""
    return from_document(Roster, json.loads(text))


def current(conn: Connection, known: Book | None = None) -> Book:
    """The contracts in force; those that ``known`` holds in the same version are taken from there, unread."""
    table = tables.contracts
    versions = {
        row.id: row.version
        for row in conn.execute(select(table.c.id, table.c.version).where(table.c.is_current))
    }
    if known is not None and {c: known.versions.get(c) for c in known.contracts} == versions:
        return known
    fresh = [c for c, v in versions.items() if known is None or known.versions.get(c) != v]
    contracts = [] if known is None else [known.contracts[c] for c in versions if c not in fresh]
    for start in range(0, len(fresh), 500):
        wanted = select(table.c.document).where(
            table.c.is_current, table.c.id.in_(fresh[start : start + 500])
        )
        contracts.extend(from_document(Contract, stored) for stored in conn.execute(wanted).scalars())
    retired = _retired_with_tickets(conn)
    return Book.of(contracts, retired | versions, [_last_terms(conn, *one) for one in retired.items()])


def _retired_with_tickets(conn: Connection) -> dict[str, int]:
    """Last versions of contracts that are not in force and have tickets that may still be worked on."""
    table, tickets = tables.contracts, tables.tickets
    states = [state.value for state in (*OPEN_STATES, TicketState.RESOLVED)]
    in_force = table.alias()
    wanted = (
        select(table.c.id, func.max(table.c.version).label("last"))
        .where(
            ~exists().where(in_force.c.id == table.c.id, in_force.c.is_current),
            exists().where(tickets.c.contract_id == table.c.id, tickets.c.state.in_(states)),
        )
        .group_by(table.c.id)
    )
    return {row.id: row.last for row in conn.execute(wanted)}


def _last_terms(conn: Connection, contract_id: str, version: int) -> Contract:
    table = tables.contracts
    wanted = select(table.c.document).where(table.c.id == contract_id, table.c.version == version)
    return from_document(Contract, conn.execute(wanted).scalar_one())
