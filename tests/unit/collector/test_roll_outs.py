"""Announced roll-outs: whom they hold, how they end, and that intake dates goodbyes by them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from sqlalchemy import select

from agent.host import ROLL_OUT_MARK, ROLL_OUT_MARK_MS, is_rolling_out
from collector import cli, roll_outs
from collector.commands.roll_out import seconds
from collector.fleet import return_due_ms
from tests.unit.collector.tick.conftest import T0, World
from ticketing.tables import audit

pytestmark = pytest.mark.collector

HOUR = 3_600_000


@pytest.fixture
def world() -> World:
    world = World()
    world.add_host("a1", "acme", provider="alfa")
    world.add_host("a2", "acme", provider="beta")
    world.add_host("b1", "bolt", provider="beta")
    return world


def announce(world: World, *scopes: str, for_ms: int = 4 * HOUR) -> list[roll_outs.RollOut]:
    book = world.book()
    until_ms = world.now_ms + for_ms
    return world.store.write(
        lambda tx: roll_outs.announce(tx, book, scopes, world.now_ms, until_ms, "cli:root", "1.2 to 1.3")
    )


def held(world: World) -> list[str]:
    book = world.book()
    with world.store.read() as conn:
        return sorted(roll_outs.held_hosts(roll_outs.running(conn, world.now_ms), book))


@pytest.mark.parametrize(
    ("scopes", "hosts"),
    [
        (("all",), ["a1", "a2", "b1"]),
        (("contract:acme",), ["a1", "a2"]),
        (("provider:beta",), ["a2", "b1"]),
        (("host:b1",), ["b1"]),
        (("host:a1", "provider:beta"), ["a1", "a2", "b1"]),
    ],
)
def test_it_holds_those_whom_it_was_announced_for(
    world: World, scopes: tuple[str, ...], hosts: list[str]
) -> None:
    announce(world, *scopes)
    assert held(world) == hosts


def test_it_ends_by_itself(world: World) -> None:
    announce(world, "all", for_ms=HOUR)
    world.now_ms += HOUR - 1
    assert len(held(world)) == 3
    world.now_ms += 1
    assert held(world) == []


def test_it_ends_when_told_and_every_act_is_an_audit_row(world: World) -> None:
    (one,) = announce(world, "contract:acme")
    announce(world, "host:b1")
    world.now_ms += HOUR
    ended = world.store.write(lambda tx: roll_outs.end(tx, [one.id], world.now_ms, "cli:root"))
    assert [o.scope for o in ended] == ["contract:acme"]
    assert held(world) == ["b1"]
    assert world.store.write(lambda tx: roll_outs.end(tx, [one.id], world.now_ms, "cli:root")) == []
    with world.store.read() as conn:
        acts = [tuple(row) for row in conn.execute(select(audit.c.act, audit.c.object).order_by(audit.c.id))]
    assert acts[-3:] == [
        ("announce_roll_out", "contract:acme"),
        ("announce_roll_out", "host:b1"),
        ("end_roll_out", "contract:acme"),
    ]


def test_what_is_unknown_is_refused_whole(world: World) -> None:
    with pytest.raises(ValueError, match="not known here: contract:nobody, host:x, planet:mars"):
        announce(world, "host:a1", "contract:nobody", "host:x", "planet:mars")
    with pytest.raises(ValueError, match="at most 7 days"):
        announce(world, "all", for_ms=8 * 24 * HOUR)
    assert held(world) == []


def test_a_goodbye_meanwhile_has_1800_s_and_a_reboot_its_300() -> None:
    assert return_due_ms(T0, "service_stop", 10.0) == T0 + 15_000
    assert return_due_ms(T0, "service_stop", 10.0, roll_out_announced=True) == T0 + 1_800_000
    assert return_due_ms(T0, "roll_out", 10.0) == T0 + 1_800_000
    assert return_due_ms(T0, "host_shutdown", 10.0, roll_out_announced=True) == T0 + 300_000


def test_the_agent_knows_of_its_own_upgrade_by_a_fresh_mark(tmp_path: Path) -> None:
    now_ms = T0
    assert not is_rolling_out(tmp_path, now_ms)
    mark = tmp_path / ROLL_OUT_MARK
    mark.parent.mkdir()
    mark.touch()
    made_ms = mark.stat().st_mtime_ns // 1_000_000
    assert is_rolling_out(tmp_path, made_ms + 1_000)
    assert not is_rolling_out(tmp_path, made_ms + ROLL_OUT_MARK_MS + 1)


def test_the_installer_makes_the_mark_that_the_agent_looks_for() -> None:
    text = (Path(__file__).parents[3] / "systemd" / "install").read_text(encoding="utf-8")
    made, restarted = text.index(f"touch /{ROLL_OUT_MARK}"), text.index("systemctl restart vartovyi-agent")
    assert made < restarted < text.index(f"rm -f /{ROLL_OUT_MARK}")


@pytest.mark.parametrize(("text", "found"), [("30min", 1800), ("4h", 14_400), ("2d", 172_800), ("90 s", 90)])
def test_times_are_read_as_people_write_them(text: str, found: int) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "h", "-4h", "4 parsecs", "1s", "8d", "4hh"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


def test_the_command_announces_lists_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "contracts").mkdir()
    config = tmp_path / "collector.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\ncontracts: {tmp_path / 'contracts'}\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "contracts" / "acme.yaml").write_text("id: acme\ntitle: Acme\n", encoding="utf-8")

    def run(*words: str) -> tuple[int, str]:
        status = cli.main(["roll-out", *words, "--config", str(config), "--json"])
        return status, capsys.readouterr().out

    status, out = run("announce", "--all", "--for", "30min", "--why", "1.2 to 1.3")
    assert (status, json.loads(out)[0]["scope"]) == (0, "all")
    assert [one["why"] for one in json.loads(run("list")[1])] == ["1.2 to 1.3"]
    assert run("announce")[0] == 1 and run("announce", "--all", "--host", "a1")[0] == 1
    assert run("announce", "--contract", "nobody")[0] == 1
    assert run("end")[0] == 0 and json.loads(run("list")[1]) == []
    assert run("end", "1")[0] == 1
