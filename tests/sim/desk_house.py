"""The house of the desk's month: contracts with different zones and hours, people, rotas, and how contracts change."""

from __future__ import annotations

import dataclasses
import random

from config import loader
from config.loader import Duration
from ticketing.contracts import Loaded
from ticketing.duty import Person, Roster
from ticketing.promises import SlaTimes
from ticketing.queries import Viewer
from ticketing.terms import Contract

OFFICE = (
    '{mon: ["09:00-18:00"], tue: ["09:00-18:00"], wed: ["09:00-18:00"], thu: ["09:00-18:00"],'
    ' fri: ["09:00-13:00", "14:00-17:00"]}'
)
NIGHTS = '{mon: ["22:00-06:00"], tue: ["22:00-06:00"], wed: ["22:00-06:00"], sat: ["22:00-06:00"], sun: ["22:00-06:00"]}'
CONTRACTS = (
    "{id: always, title: Always, calendar: {zone: Europe/Kyiv}, lines: 4,"
    " escalation: {by_class: {'1': {first_line: 3, at_resolution_pct: [50, 100]}}}, hosts: [HOSTS]}",
    "{id: kyiv, title: Kyiv, lines: 3, calendar: {zone: Europe/Kyiv, hours: OFFICE, holidays: ['2026-10-14'],"
    " working_days: {'2026-10-17': ['10:00-15:30']}}, reopen_window: 6 h, hosts: [HOSTS]}",
    "{id: newyork, title: New York, language: en, lines: 2, calendar: {zone: America/New_York, hours: NIGHTS},"
    " sla: {'1': {reaction: 7 min, resolution: 95 min}, '2': {reaction: 1 h, resolution: 3 h}}, hosts: [HOSTS]}",
    "{id: lordhowe, title: Lord Howe, language: en, lines: 4, calendar: {zone: Australia/Lord_Howe, hours: OFFICE},"
    " escalation: {at_reaction_breach: false, at_resolution_pct: [75, 90, 150], remind: 6 h}, hosts: [HOSTS]}",
    "{id: london, title: London, language: en, lines: 1, calendar: {zone: Europe/London, hours: OFFICE},"
    " escalation: {remind: 8 h, by_class: {'6': {at_reaction_breach: false, at_resolution_pct: []}}}, hosts: [HOSTS]}",
    "{id: weekly, title: One morning a week, lines: 4, calendar: {zone: Europe/Kyiv, hours: {wed: ['08:00-12:00']}},"
    " rota: [{line: 3, people: [iryna]}], hosts: [HOSTS]}",
)
PEOPLE = (
    "{id: olena, role: engineer, line: 1, profiles: [linux, web]}",
    "{id: taras, role: engineer, line: 2, profiles: [linux, storage], email: taras@sim.example}",
    "{id: iryna, role: engineer, line: 3, profiles: [hardware, virtualization], email: iryna@sim.example}",
    "{id: petro, role: lead, line: 3, profiles: [network], email: petro@sim.example}",
)
ROSTER = """
rota:
  - {line: 2, people: [taras, olena], starts: "2026-10-05 09:00", turn_days: 2}
  - {line: 3, people: [iryna, petro], starts: "2026-10-05 09:00", hours: {mon: ["08:00-20:00"], wed: ["08:00-20:00"]}}
absences:
  - {person: taras, from: "2026-10-10 00:00", to: "2026-10-13 00:00", instead: olena}
  - {person: iryna, from: "2026-10-20 00:00", to: "2026-10-29 00:00"}
"""


class House:
    """Contracts as they stand now."""

    def __init__(self, dice: random.Random) -> None:
        self._contracts: dict[str, Contract] = {}
        for number, text in enumerate(CONTRACTS):
            fit = "kind: vds, web_environment: true, exclusive_access: true"
            hosts = ", ".join(f"{{id: h{number}-{n}, {fit}}}" for n in range(4))
            whole = text.replace("HOSTS", hosts).replace("OFFICE", OFFICE).replace("NIGHTS", NIGHTS)
            contract = loader.parse(whole, Contract)
            self._contracts[contract.id] = contract
        clients = (f"{{id: client-{c}, role: client, contract: {c}}}" for c in self._contracts)
        self._people = tuple(loader.parse(text, Person) for text in (*PEOPLE, *clients))
        self._roster = loader.parse(ROSTER, Roster)
        self._is_gone = ""

    def loaded(self) -> Loaded:
        """The folder as it would be read now."""
        there = tuple(c for c in self._contracts.values() if c.id != self._is_gone)
        return Loaded(there, self._people, self._roster)

    def open_contracts(self) -> list[Contract]:
        """Those in force."""
        return [c for c in self._contracts.values() if c.id != self._is_gone]

    def somebody(self, dice: random.Random) -> Viewer:
        """One of the staff."""
        person = dice.choice([p for p in self._people if p.role != "client"])
        return Viewer(person.id, person.role)

    def client(self, contract_id: str) -> Viewer:
        """A client's user."""
        return Viewer(f"client-{contract_id}", "client", contract_id)

    def change(self, dice: random.Random) -> None:
        """One contract gets other hours, other times, other lines, or leaves and comes back."""
        contract = self._contracts[dice.choice(sorted(self._contracts))]
        what = dice.choice(("times", "hours", "gone", "back", "title", "steps"))
        if what == "gone" and not self._is_gone:
            self._is_gone = contract.id
        elif what == "back":
            self._is_gone = ""
        elif what == "times":
            pairs = {str(c): dice.choice(((15, 240), (30, 480), (60, 700), (7, 95))) for c in (1, 2, 3, 5)}
            times = {c: SlaTimes(Duration(60.0 * r), Duration(60.0 * s)) for c, (r, s) in pairs.items()}
            self._put(contract, sla=times)
        elif what == "hours":
            hours = dice.choice(
                (
                    {},
                    {"mon": ["00:00-24:00"]},
                    {"tue": ["07:30-11:45", "13:00-19:00"], "sun": ["23:00-04:00"]},
                )
            )
            self._put(contract, calendar=dataclasses.replace(contract.calendar, hours=hours))
        elif what == "steps":
            self._put(
                contract, escalation=dataclasses.replace(contract.escalation, at_resolution_pct=[40, 80, 120])
            )
        else:
            self._put(contract, title=f"{contract.title}'")

    def _put(self, contract: Contract, **values: object) -> None:
        self._contracts[contract.id] = dataclasses.replace(contract, **values)  # type: ignore[arg-type]
