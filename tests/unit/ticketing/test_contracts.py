"""Contracts as files and rows: every fault at once, versions only when something changed, one book for all."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select

from config import loader
from config.loader import ConfigError
from ticketing import contracts, tables
from ticketing.model import Reason
from ticketing.terms import Contract

NOW_MS = 1_767_600_000_000
SAMPLE = Path(__file__).resolve().parents[3] / "config/shipped/contracts/sample"


def _faults(folder):
    with pytest.raises(ConfigError) as raised:
        contracts.load_folder(folder)
    return [str(fault) for fault in raised.value.faults]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(SAMPLE, tmp_path / "contracts")
    return tmp_path / "contracts"


def test_the_shipped_sample_is_right(tx):
    loaded = contracts.load_folder(SAMPLE)
    applied = contracts.apply(tx, loaded, NOW_MS, "test")
    assert sorted(applied.contracts) == [("internal", 1), ("sample", 1)]
    assert sorted(applied.people) == ["admin", "client", "olena", "petro"]
    book = contracts.current(tx)
    assert book.contract_of("sample-1").id == "sample"
    assert book.contract("sample").class2_refusal(["sample-1"]) is None


def test_the_same_folder_again_changes_nothing(tx):
    loaded = contracts.load_folder(SAMPLE)
    contracts.apply(tx, loaded, NOW_MS, "test")
    assert contracts.apply(tx, loaded, NOW_MS + 1, "test").is_empty
    assert tx.execute(select(func.count()).select_from(tables.contracts)).scalar() == 2


def test_a_change_is_a_new_version_and_the_old_one_stays(tx, folder):
    contracts.apply(tx, contracts.load_folder(folder), NOW_MS, "test")
    file = folder / "sample.yaml"
    file.write_text(file.read_text().replace("lines: 3", "lines: 2"))
    applied = contracts.apply(tx, contracts.load_folder(folder), NOW_MS + 1, "petro")
    assert applied.contracts == (("sample", 2),)
    rows = tx.execute(select(tables.contracts).where(tables.contracts.c.id == "sample")).mappings().all()
    assert [(r["version"], r["is_current"], r["applied_by"]) for r in rows] == [
        (1, False, "test"),
        (2, True, "petro"),
    ]
    assert contracts.current(tx).contract("sample").lines == 2


def test_a_book_is_read_again_only_where_it_changed(tx, book):
    assert contracts.current(tx, book) is book
    contracts.apply(
        tx,
        contracts.Loaded((loader.parse("{id: acme, title: New}", Contract), book.contract("beta")), ()),
        NOW_MS,
        "t",
    )
    fresh = contracts.current(tx, book)
    assert fresh.contract("acme").title == "New" and fresh.contract("beta") is book.contract("beta")
    assert fresh.contract_of("a1") is None


def test_a_contract_that_left_the_folder_is_retired_with_its_history(tx, book):
    applied = contracts.apply(tx, contracts.Loaded((book.contract("beta"),), ()), NOW_MS, "t")
    assert applied.retired == ("acme",)
    fresh = contracts.current(tx)
    assert "acme" not in fresh.contracts and fresh.contract("acme").id == "internal"


def test_all_faults_of_all_files_come_together(folder):
    (folder / "bad.yaml").write_text(
        """
id: bad
title: Bad
lines: 9
language: fr
calendar: {zone: Mars/Base, hours: {someday: ["9"]}, holidays: [tomorrow]}
sla: {"7": {reaction: 1 h, resolution: 1 h}, "1": {reaction: 5 h, resolution: 1 h}}
escalation: {at_resolution_pct: [90, 50]}
hosts:
  - {id: sample-1}
  - {id: x, services: [{name: site, check: nonsense}]}
channels: [{type: mail}, {type: webhook, url: "ftp://x"}, {type: pigeon, on: [hatched]}]
windows: [{from: "2026-01-02", to: "2026-01-01", hosts: [nobody]}]
colour: red
"""
    )
    (folder / "worse.yaml").write_text("id: [")
    people = folder / "people.yaml"
    people.write_text(people.read_text() + "  - {id: olena, role: client}\n")
    told = "\n".join(_faults(folder))
    for piece in [
        "bad.yaml:4: lines: 9 is out of bounds",
        "language: 'fr'",
        "'Mars/Base' is not a time zone",
        "'someday' is not a weekday",
        "'tomorrow' is not a date",
        "reaction: is longer than the resolution",
        "must rise",
        "check: must be a mapping",
        "to: is missing: a mail channel",
        "url: is missing: a webhook",
        "'pigeon' is not known",
        "'hatched' is not known",
        "is not after `from`",
        "colour: is not a setting here",
        "worse.yaml",
        "people.yaml",
    ]:
        assert piece in told, piece


def test_a_host_in_two_contracts_is_a_fault_with_its_line(folder):
    (folder / "two.yaml").write_text("id: two\ntitle: Two\nhosts:\n  - id: sample-1\n")
    assert _faults(folder) == [
        f"{folder}/two.yaml:4: hosts.sample-1: host sample-1 stands in sample.yaml too"
    ]


def test_a_person_of_an_unknown_contract_and_one_named_twice_are_faults(folder):
    people = folder / "people.yaml"
    people.write_text("people:\n  - {id: a, role: client, contract: nope}\n  - {id: a, role: admin}\n")
    told = _faults(folder)
    assert any("'nope' is in no file" in fault for fault in told) and any(
        "stands twice" in fault for fault in told
    )


def test_an_empty_folder_is_a_fault_and_retires_nobody(tmp_path):
    assert "holds no *.yaml" in _faults(tmp_path)[0]


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("kind: shared, web_environment: true, exclusive_access: true", "class2_kind"),
        ("kind: vds, exclusive_access: true", "class2_web_environment"),
        ("kind: dedicated, web_environment: true", "class2_access"),
    ],
)
def test_class_2_needs_kind_environment_and_access(host, key):
    contract = loader.parse(f"{{id: c, title: C, hosts: [{{id: h, {host}}}]}}", Contract)
    assert contract.class2_refusal(["h"]).key == f"reason.intake.{key}"


def test_a_contract_may_exclude_class_2_and_cannot_promise_it_for_unfit_hosts():
    fit = "{id: h, kind: vds, web_environment: true, exclusive_access: true}"
    never = loader.parse(f"{{id: c, title: C, class2: false, hosts: [{fit}]}}", Contract)
    assert never.class2_refusal(["h"]).key == "reason.intake.class2_not_in_contract"
    with pytest.raises(ConfigError):
        loader.parse("{id: c, title: C, class2: true, hosts: [{id: h, kind: shared}]}", Contract)


def test_a_document_reads_back_as_the_same_contract():
    text = (SAMPLE / "sample.yaml").read_text()
    contract = loader.parse(text, Contract)
    assert contracts.from_document(Contract, contracts.document(contract)) == contract


def test_a_planned_window_covers_its_hosts_in_the_contract_s_time():
    contract = loader.parse(
        "{id: c, title: C, hosts: [{id: h}, {id: g}], windows: [{from: '2026-01-05 10:00', to: '2026-01-05 11:00', hosts: [h]}]}",
        Contract,
    )
    assert contract.window_at("h", NOW_MS) is not None  # 10:00 in Kyiv
    assert contract.window_at("g", NOW_MS) is None
    assert contract.window_at("h", NOW_MS + 3_600_000) is None


def test_a_contract_reads_no_name_of_another_s_server_be_it_fallen_or_well(make):
    def guarded(name, *hosts):
        terms = ", ".join(f"{{id: {host}}}" for host in hosts)
        return loader.parse(f"{{id: {name}, title: {name}, hosts: [{terms}]}}", Contract)

    book = contracts.Book.of([guarded("acme", "a1", "a2"), guarded("beta", "b1", "b2")])
    odd = {"what": "a server's own map"}
    verdict = make(
        affected=("a1", "b1"),
        reasons=(Reason("reason.net.segment_too", {"hosts": ["a2", "b1", "b2", "nobody-s", odd], "n": 5}),),
        summary=Reason("summary.net.provider_edge", {"host": "a1, b1", "part": "a1"}),
    )
    read = book.for_contract(verdict, "beta", ["b1"])
    assert read.reasons[0].params == {"hosts": ["b1", "b2", "nobody-s", odd], "n": 5}
    assert (read.affected, read.summary.params) == (("b1",), {"host": "b1", "part": "b1"})
    alone = book.for_contract(dataclasses.replace(verdict, affected=("a1",)), "acme")
    assert alone.reasons[0].params["hosts"] == ["a2", "nobody-s", odd]
    assert book.for_contract(verdict, "internal") == verdict
