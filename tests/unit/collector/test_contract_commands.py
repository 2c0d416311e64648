"""`vartovyi-collector contract ...`: the whole way from a draft to a version in force, by exit status and by words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from collector import cli, contract_draft
from collector.store.engine import Store
from collector.tables import hosts
from config import loader
from tests.tools.tables import make_tables
from ticketing.tables import metadata
from ticketing.terms import Contract

pytestmark = pytest.mark.collector

ACME = "id: acme\ntitle: Acme\nlines: 4\nhosts: [{id: web-1}]\n"
FOUND = {
    "os": "CentOS Stream 9",
    "virt": "kvm",
    "cpus": "4",
    "memory_mb": "7821",
    "zone": "Europe/Kyiv",
    "service.nginx": "80 443",
    "service.php-fpm": "",
    "service.mysql": "3306",
}


class House:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.contracts = folder / "contracts"
        self.contracts.mkdir()
        self.acme = self.contracts / "acme.yaml"
        self.acme.write_text(ACME)
        self.config = folder / "collector.yaml"
        self.config.write_text(f"state_dir: {folder / 'state'}\ncontracts: {self.contracts}\n")
        (folder / "state").mkdir()
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        status = cli.main(["contract", *words, "--config", str(self.config)])
        told = self._capsys.readouterr()
        return status, told.out, told.err

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json")[1])


@pytest.fixture
def house(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> House:
    return House(tmp_path, capsys)


def test_a_contract_goes_from_check_over_diff_to_a_version(house: House) -> None:
    status, out, _ = house.run("check")
    assert status == 0 and "1 contracts, 1 hosts" in out
    status, out, _ = house.run("diff")
    assert status == 1 and "+ contract acme: new" in out
    status, out, err = house.run("apply")
    assert status == 1 and "+ contract acme" in out and "--yes" in err
    assert house.run("diff")[0] == 1, "nothing was written without --yes"
    status, out, _ = house.run("apply", "--yes")
    assert status == 0 and "acme is version 1" in out
    assert house.run("diff")[:2] == (0, "Nothing differs from what is in force.\n")
    house.acme.write_text(ACME.replace("lines: 4", "lines: 3"))
    status, out, _ = house.run("diff")
    assert status == 1 and "~ contract acme: changed" in out and "lines: 4 -> 3" in out
    assert house.run("apply", "--yes")[0] == 0
    newest, oldest = house.json("history", "acme")
    assert (newest["version"], newest["is_current"], oldest["version"]) == (2, True, 1)
    assert newest["changes"] == [{"key": "lines", "before": 4, "after": 3}]
    assert newest["applied_by"].startswith("cli:")


def test_wrong_files_end_each_verb_with_78_and_every_fault(house: House) -> None:
    house.acme.write_text(ACME + "colour: red\nlanguage: fr\n")
    for verb in (("check",), ("diff",), ("apply", "--yes")):
        status, _, err = house.run(*verb)
        assert status == 78 and "colour" in err and "language" in err
    house.acme.write_text(ACME + "failover: {pairs: [{primary: web-1, backup: nowhere}]}\n")
    status, _, err = house.run("check")
    assert status == 78 and "failover" in err


def test_a_contract_that_leaves_the_folder_is_shown_as_retired(house: House) -> None:
    house.run("apply", "--yes")
    (house.contracts / "beta.yaml").write_text("id: beta\ntitle: Beta\n")
    house.acme.unlink()
    out = house.run("diff")[1]
    assert "- contract acme: retired" in out and "+ contract beta" in out
    assert house.json("apply", "--yes")["versions"] == [{"contract": "beta", "version": 1}]
    assert not house.json("history", "acme")[0]["is_current"]


def test_what_nobody_knows_is_refused(house: House) -> None:
    assert house.run("history", "nobody")[0] == 1
    status, _, err = house.run("propose", "nobody")
    assert status == 1 and "nobody" in err


def _host(store: Store, **values: Any) -> None:
    row: dict[str, Any] = {
        "id": "acme-web-1", "contract_id": "", "addresses": ["192.0.2.7"], "topology": {}, "token_hash": "x",
        "enrolled_at_ms": 1, "is_retired": False, "life": "alive", "life_since_ms": 1, "interval_s": 10.0,
    }  # fmt: skip
    store.write(lambda tx: tx.execute(insert(hosts).values(**row | values)))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store.open(f"sqlite:///{tmp_path}/draft.db")
    store.write(lambda tx: make_tables(tx, metadata))
    yield store
    store.close()


def test_a_draft_is_a_contract_that_the_loader_takes_with_what_was_found(store: Store) -> None:
    _host(store, found=FOUND)
    with store.read() as conn:
        draft = contract_draft.draft(conn, "acme-web-1")
    assert draft is not None
    contract = loader.parse(draft.text, Contract)
    host = contract.hosts[0]
    assert (contract.id, host.id, host.addresses, host.kind) == ("acme", "acme-web-1", ["192.0.2.7"], "vds")
    assert host.web_environment and not host.exclusive_access and not host.is_class2_eligible
    assert (host.topology.os, host.topology.virt, host.topology.plan) == (
        "CentOS Stream 9",
        "kvm",
        "4 vCPU, 7.6 GiB",
    )
    assert [service.name for service in host.services] == ["nginx-80", "nginx-443"]
    assert "mysql 3306" in draft.text and "(?)" in draft.text


@pytest.mark.parametrize(
    "found", [{}, {"virt": "bare-metal"}, {"os": 'A "quoted": name # {', "virt": "odd: one"}]
)
def test_a_draft_of_an_agent_that_told_little_or_odd_words_is_still_yaml(
    store: Store, found: dict[str, str]
) -> None:
    _host(store, found=found, addresses=[])
    with store.read() as conn:
        draft = contract_draft.draft(conn, "acme-web-1", "other")
    assert draft is not None
    contract = loader.parse(draft.text, Contract)
    assert contract.id == "other" and contract.hosts[0].kind in ("other", "dedicated")
    assert contract.hosts[0].topology.os == found.get("os", "")
