"""Contracts as versions: what differs, who applied it, and that the terms of a retired one hold for its tickets."""

from __future__ import annotations

import dataclasses
import textwrap

import pytest
from sqlalchemy import select

from config import loader
from config.loader import ConfigError
from ticketing import acts, clock_proof, clock_step, contract_versions, contracts, intake, tables
from ticketing.documents import MAX_CHANGES, difference, digest
from ticketing.model import INTERNAL_CONTRACT
from ticketing.queries import Viewer
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
HOUR_MS = 3_600_000


def _loaded(*texts):
    return contracts.Loaded(tuple(loader.parse(text, Contract) for text in texts), ())


def test_a_difference_names_what_changed_by_the_names_of_entries():
    before = {
        "lines": 4,
        "hosts": [{"id": "a", "kind": "vds"}, {"id": "b", "kind": "vds"}],
        "services": ["x"],
    }
    after = {"lines": 3, "hosts": [{"id": "new"}, {"id": "b", "kind": "dedicated"}], "services": ["x", "y"]}
    assert difference(before, after) == [
        {"key": "lines", "before": 4, "after": 3},
        {"key": "hosts.a", "before": {"id": "a", "kind": "vds"}},
        {"key": "hosts.b.kind", "before": "vds", "after": "dedicated"},
        {"key": "hosts.new", "after": {"id": "new"}},
        {"key": "services", "before": ["x"], "after": ["x", "y"]},
    ]


def test_a_difference_is_bounded_and_says_what_it_leaves_out():
    rows = difference({}, {str(n): n for n in range(MAX_CHANGES + 7)})
    assert len(rows) == MAX_CHANGES + 1 and rows[-1]["after"] == "7 more"


def test_the_same_words_in_another_order_have_the_same_digest():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_each_version_tells_who_when_and_what_changed(tx):
    contracts.apply(tx, _loaded("{id: c, title: C, lines: 4}"), NOW_MS, "olena")
    contracts.apply(tx, _loaded("{id: c, title: C, lines: 3}"), NOW_MS + 1, "petro")
    second, first = contract_versions.history(tx, "c")
    assert (second.version, second.applied_by, second.applied_at_ms, second.is_current) == (
        2,
        "petro",
        NOW_MS + 1,
        True,
    )
    assert second.changes == ({"key": "lines", "before": 4, "after": 3},)
    assert (first.version, first.changes, first.is_current) == (1, (), False)
    assert len(second.digest) == 64 and second.digest != first.digest
    version, terms = contract_versions.read(tx, "c", 1)
    assert (version.version, terms.lines) == (1, 4)
    assert contract_versions.read(tx, "c")[1].lines == 3
    assert contract_versions.read(tx, "c", 9) is None
    assert [one.contract_id for one in contract_versions.newest(tx)] == ["c", str(INTERNAL_CONTRACT)]


def test_a_setting_that_is_new_to_the_program_is_no_change_of_the_contract(tx):
    loaded = _loaded("{id: c, title: C}")
    contracts.apply(tx, loaded, NOW_MS, "t")
    table = tables.contracts
    stored = tx.execute(select(table.c.document).where(table.c.id == "c")).scalar_one()
    older = {key: value for key, value in stored.items() if key not in ("rota", "mirrors")}
    tx.execute(table.update().where(table.c.id == "c").values(document=older))
    assert contracts.apply(tx, loaded, NOW_MS + 1, "t").is_empty


def test_a_retired_contract_holds_its_last_terms_for_its_open_tickets(tx, book, make):
    ticket_id = intake.open_or_join(tx, book, make(affected=("a1",)), "acme", NOW_MS).ticket_id
    contracts.apply(tx, contracts.Loaded((book.contract("beta"),), ()), NOW_MS + 1, "t")
    fresh = contracts.current(tx, book)
    assert "acme" not in fresh.contracts and fresh.contract_of("a1") is None
    assert fresh.contract("acme").times(2).resolution == 8 * 3600
    clock_step.run(tx, fresh, NOW_MS + HOUR_MS)
    assert clock_proof.disagreements(tx, fresh, ticket_id) == []
    olena = Viewer("olena", "engineer")
    row = tx.execute(select(tables.tickets.c.version).where(tables.tickets.c.id == ticket_id)).scalar_one()
    view = acts.perform(
        tx, fresh, "resolve", ticket_id, olena, row, NOW_MS + 2 * HOUR_MS, cause="x", remedy="y"
    )
    kept = next(clock for clock in view.clocks if clock.kind == "resolution")
    assert (kept.target_ms, kept.outcome) == (8 * HOUR_MS, "kept")


def test_rota_and_absences_are_versions_of_their_own(tx):
    people = tuple(
        loader.parse(f"{{id: {name}, role: engineer, line: 2}}", contracts.Person) for name in ("a", "b")
    )
    rota = loader.parse("{rota: [{line: 2, people: [a, b]}]}", contracts.Roster)
    loaded = contracts.Loaded((), people, rota)
    assert contracts.apply(tx, loaded, NOW_MS, "t").has_new_roster
    assert contracts.apply(tx, loaded, NOW_MS, "t").is_empty
    assert contracts.roster(tx) == rota
    away = dataclasses.replace(loaded, roster=contracts.Roster(rota.rota, []))
    changed = dataclasses.replace(
        away, roster=loader.parse("{rota: [{line: 2, people: [b]}]}", contracts.Roster)
    )
    assert contracts.apply(tx, changed, NOW_MS, "t").has_new_roster
    assert contracts.roster(tx).rota[0].people == ["b"]


def test_a_rota_of_strangers_clients_and_lines_that_are_not_there_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("{id: c, title: C, lines: 2, rota: [{line: 2, people: [ghost]}]}")
    (tmp_path / "people.yaml").write_text(
        textwrap.dedent("""
        people:
          - {id: olena, role: engineer}
          - {id: client, role: client, contract: c}
        rota:
          - {line: 1, people: [olena, client], lead: nobody}
        absences:
          - {person: olena, from: 2026-12-01, to: 2026-12-08, instead: stranger}
        """)
    )
    with pytest.raises(ConfigError) as caught:
        contracts.load_folder(tmp_path)
    told = str(caught.value)
    for word in ("'ghost'", "'client'", "'nobody'", "'stranger'", "people.yaml:6", "c.yaml:1"):
        assert word in told, word
    (tmp_path / "c.yaml").write_text("{id: c, title: C, lines: 2, rota: [{line: 3, people: [olena]}]}")
    with pytest.raises(ConfigError, match="has no line 3"):
        contracts.load_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{rota: [{line: 2, people: []}]}", "needs somebody"),
        ("{rota: [{line: 2, people: [a, a]}]}", "stands twice"),
        ("{rota: [{line: 2, people: [a], zone: Moon}]}", "not a time zone"),
        ("{rota: [{line: 2, people: [a], starts: soon}]}", "not a local time"),
        ("{rota: [{line: 5, people: [a]}]}", "out of bounds"),
        ("{absences: [{person: a, from: 2026-12-02, to: 2026-12-01}]}", "not after"),
        ("{absences: [{person: a, from: 2026-12-01, to: 2026-12-02, instead: a}]}", "themselves"),
    ],
)
def test_what_is_wrong_in_a_rota_is_said(text, fault):
    with pytest.raises(ConfigError, match=fault):
        loader.parse(text, contracts.Roster)


def test_preventive_work_of_class_3_needs_the_service_stability(tx, book):
    olena = Viewer("olena", "engineer")
    refused = acts.file(tx, book, olena, "acme", 3, "Update the shop", "", NOW_MS, is_preventive=True)
    assert isinstance(refused, acts.Refusal)
    assert (refused.code, refused.reason.key) == ("not_eligible", "reason.intake.no_stability")
    assert isinstance(acts.file(tx, book, olena, "acme", 3, "The shop is down", "", NOW_MS), int)
    assert isinstance(acts.file(tx, book, olena, "acme", 6, "A plan", "", NOW_MS, is_preventive=True), int)
    terms = loader.parse("{id: s, title: S, services: [Stability]}", Contract)
    assert terms.preventive_refusal(3) is None


def test_steps_of_a_class_stand_instead_of_those_for_all():
    text = (
        "{id: c, title: C, lines: 3, escalation: {by_class: {'1': {first_line: 3, at_resolution_pct: [50]}}}}"
    )
    steps = loader.parse(text, Contract).escalation
    assert (steps.of(1).at_resolution_pct, steps.of(1).at_reaction_breach) == ([50], True)
    assert steps.of(2) == steps and (steps.first_line(1), steps.first_line(2)) == (3, None)
    with pytest.raises(ConfigError, match="has no line 3"):
        loader.parse(text.replace("lines: 3", "lines: 2"), Contract)
    with pytest.raises(ConfigError, match="class '9'"):
        loader.parse(text.replace("'1'", "'9'"), Contract)
