"""``vartovyi-collector failover``: shows before it acts, refuses what was not meant, and the audit finds a broken chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from collector.cli import main
from collector.failover import runs
from collector.store.engine import Store
from collector.tables import failover_journal

pytestmark = pytest.mark.collector

CONTRACT = """
id: acme
title: Acme
hosts:
  - {id: a1, addresses: [127.0.0.1], kind: vds, web_environment: true, exclusive_access: true}
  - {id: b9, addresses: [127.0.0.1], kind: vds, web_environment: true, exclusive_access: true}
failover:
  pairs:
    - primary: a1
      backup: b9
      fence: [[{type: fence.port, options: {command: port}}]]
      promote: [{type: promote.unit, options: {unit: mariadb.service}}]
      traffic: [{type: traffic.haproxy, options: {sockets: ["127.0.0.1:9"], backend: web, old: a1, new: b9}}]
      verify: [{type: verify.tcp, options: {host: 127.0.0.1, port: 9, old_host: 127.0.0.2}}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "acme.yaml").write_text(CONTRACT)
    path = tmp_path / "collector.yaml"
    path.write_text(
        f"state_dir: {tmp_path}\ncontracts: {folder}\nproviders: {tmp_path}/none\n"
        f"database: {{url: 'sqlite:///{tmp_path}/store.db'}}\n"
    )
    return path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(["failover", *argv])
    out = capsys.readouterr()
    return status, out.out, out.err


def plan_hash(capsys, config: Path) -> str:
    return json.loads(said(capsys, "plan", "a1", "--json", "--config", str(config))[1])["plan_hash"]


def test_the_plan_says_what_would_be_done_and_why_not(config, capsys) -> None:
    status, out, _ = said(capsys, "plan", "a1", "--config", str(config))
    assert status == 0
    assert "none: " in out.splitlines()[0]
    assert "Nothing is wrong with a1." in out
    assert "gate.epoch" in out and "promote.unit" in out
    assert said(capsys, "plan", "zz", "--config", str(config))[0] == 1


def test_what_acts_is_refused_without_a_terminal_or_the_plan(config, capsys) -> None:
    status, _, err = said(capsys, "run", "a1", "--yes", "--config", str(config))
    assert status == 1
    assert "needs --plan" in err
    assert "promote.unit" in err  # the plan was shown first
    status, _, err = said(capsys, "run", "a1", "--plan", "f" * 64, "--config", str(config))
    assert status == 1
    assert "look again" in err


def test_a_planned_switch_begins_a_run_and_only_one(config, capsys) -> None:
    begin = ("run", "a1", "--planned", "--no-follow", "--config", str(config))
    # The hash of a switchover is another than that of a failover: it is printed with the refusal.
    err = said(capsys, *begin)[2]
    wanted = next(line.split()[1] for line in err.splitlines() if line.startswith("plan "))
    status, out, _ = said(capsys, *begin, "--plan", wanted)
    assert (status, out.split()[0]) == (0, "run")
    status, _, err = said(capsys, *begin, "--plan", wanted)
    assert status == 1
    assert "is not over" in err
    assert '"mode": "approve"' in said(capsys, "status", "--json", "--config", str(config))[1]
    run_id = out.split()[1]
    abort = ("abort", run_id, "--no-follow", "--plan", wanted, "--config", str(config))
    assert said(capsys, *abort)[0] == 0
    assert "orders: abort" in said(capsys, "status", run_id, "--config", str(config))[1]


@pytest.mark.parametrize("words", [(), ("--planned",)], ids=["failover", "planned"])
def test_a_pair_that_is_on_its_backup_is_not_switched_there_again(config, capsys, words) -> None:
    said(capsys, "status", "--config", str(config))  # the first command makes the store
    store = Store.open(f"sqlite:///{config.parent}/store.db")
    store.write(lambda tx: runs.set_pair(tx, "a1>b9", serving="b9"))
    store.close()
    status, _, err = said(capsys, "run", "a1", *words, "--no-follow", "--config", str(config))
    assert status == 1
    assert "serves already" in err


def test_an_unplanned_switch_of_a_pair_that_is_well_waits_for_the_engine_s_no(config, capsys) -> None:
    begin = ("run", "a1", "--plan", plan_hash(capsys, config), "--no-follow", "--config", str(config))
    assert said(capsys, *begin)[0] == 0
    store = Store.open(f"sqlite:///{config.parent}/store.db")
    with store.read() as conn:
        (row,) = runs.moving(conn)
        run = runs.load(conn, row.id)
    store.close()
    assert run is not None
    assert run.approval is not None
    assert run.approval.person.startswith("cli:")


def test_the_audit_verifies_and_finds_a_changed_entry(config, capsys) -> None:
    begin = ("run", "a1", "--plan", plan_hash(capsys, config), "--no-follow", "--config", str(config))
    said(capsys, *begin)
    audit = ("audit", "--verify", "--config", str(config))
    status, out, _ = said(capsys, *audit)
    assert (status, out.strip()) == (0, "1 of 1 runs are whole.")
    lines = said(capsys, "audit", "--config", str(config))[1].splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["begin", "approve"]
    store = Store.open(f"sqlite:///{config.parent}/store.db")
    forged = update(failover_journal).where(failover_journal.c.seq == 1).values(actor="nobody")
    store.write(lambda tx: tx.execute(forged))
    store.close()
    status, out, _ = said(capsys, *audit)
    assert status == 1
    assert "entry 1" in out


def test_the_off_switch_stands_in_the_plan(config, capsys) -> None:
    said(capsys, "off", "--why", "audit of the network", "--config", str(config))
    assert "audit of the network" in said(capsys, "plan", "a1", "--config", str(config))[1]
    assert "switched off everywhere" in said(capsys, "status", "--config", str(config))[1]
    said(capsys, "on", "--config", str(config))
    assert "audit of the network" not in said(capsys, "plan", "a1", "--config", str(config))[1]
