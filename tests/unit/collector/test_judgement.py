"""Learning from the engineer: what was corrected, which rows erred, and the case as a scenario that replay judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from collector.commands.judgement import exported, lines_of, to_dict
from collector.judgement import learn
from collector.replay import scenario as files
from collector.replay.command import came_of
from collector.replay.player import Options, play
from collector.replay.score import score
from collector.tick.context import TEXTS_FOLDER
from config.loader import ConfigError
from tests.unit.collector.tick.conftest import World
from ticketing import acts, people
from ticketing.queries import Viewer
from ticketing.tables import tickets
from ticketing.texts import register, texts

pytestmark = pytest.mark.collector

STEAL = {
    "cpu.user_pct": {"now": 20},
    "cpu.sys_pct": {"now": 4},
    "cpu.steal_pct": {"now": 30.0, "before": 0.3},
    "cpu.spin_score": {"now": 0.6},
    "sched.runq_per_cpu": {"now": 0.3},
}
ANNA = Viewer("anna", "engineer", None)


@pytest.fixture
def world() -> World:
    world = World()
    world.add_host("a1", provider="alfa", node="n7")
    world.add_host("a2", provider="beta", node="n1")
    world.store.write(lambda tx: people.add_person(tx, "anna", "engineer", world.now_ms))
    return world


def stolen(world: World, host: str) -> int:
    """A ticket of class 1 on stolen CPU time."""
    world.find(host, "cpu_steal", "cpu", facts=STEAL)
    world.tick()
    ticket = world.tickets()[-1]
    assert (ticket["class"], ticket["root_cause"]) == (1, "virt.cpu_contention")
    return ticket["id"]


def act(world: World, name: str, ticket_id: int, **fields: Any) -> None:
    book = world.book()
    with world.store.read() as conn:
        version = conn.execute(select(tickets.c.version).where(tickets.c.id == ticket_id)).scalar_one()
    world.now_ms += 60_000
    done = world.store.write(
        lambda tx: acts.perform(tx, book, name, ticket_id, ANNA, version, world.now_ms, **fields)
    )
    assert not isinstance(done, acts.Refusal), done


def correct(world: World, ticket_id: int) -> None:
    act(
        world,
        "requalify",
        ticket_id,
        class_=2,
        root_cause="os.plan_limit",
        text="the plan caps the CPU at 70 %",
    )


def test_where_nobody_has_spoken_there_is_nothing_to_learn(world: World) -> None:
    stolen(world, "a1")
    with world.store.read() as conn:
        learned = learn(conn)
    assert (learned.judged, learned.waiting, learned.erred) == ((), 1, ())
    register(TEXTS_FOLDER)
    assert lines_of(learned, texts("uk")) == ["Людина ще не висловилася щодо жодної заявки системи."]


def test_the_matrix_holds_what_people_corrected_and_what_they_left(world: World) -> None:
    wrong, right = stolen(world, "a1"), stolen(world, "a2")
    correct(world, wrong)
    act(world, "resolve", right, cause="a noisy neighbour", remedy="the provider moved it")
    with world.store.read() as conn:
        learned = learn(conn)
    assert dict(learned.matrix()) == {(1, 2): 1, (1, 1): 1}
    assert dict(learned.causes()) == {("virt.cpu_contention", "os.plan_limit"): 1}
    (one,) = (j for j in learned.judged if not j.is_right)
    assert (one.ticket_id, one.by, one.why) == (wrong, "anna", "the plan caps the CPU at 70 %")


def test_the_rows_that_pulled_to_the_wrong_class_are_named(world: World) -> None:
    wrong, right = stolen(world, "a1"), stolen(world, "a2")
    correct(world, wrong)
    act(world, "resolve", right, cause="a noisy neighbour", remedy="the provider moved it")
    with world.store.read() as conn:
        learned = learn(conn)
    assert learned.erred, "somebody argued for class 1"
    for row in learned.erred:
        assert row.tickets == (wrong,) and row.weight > 0
        assert row.counted == 2, "it counted on the ticket that was right as well"
    told = to_dict(learned)
    assert json.loads(json.dumps(told)) == told
    assert told["classes"] == [{"machine": 1, "person": 1, "n": 1}, {"machine": 1, "person": 2, "n": 1}]


@pytest.mark.parametrize("language", ["uk", "en"])
def test_it_is_told_in_both_languages(world: World, language: str) -> None:
    correct(world, stolen(world, "a1"))
    register(TEXTS_FOLDER)
    with world.store.read() as conn:
        text = "\n".join(lines_of(learn(conn), texts(language)))
    assert "the plan caps the CPU at 70 %" in text and "judgement." not in text


def test_an_exported_case_is_judged_as_before_and_scored_by_the_person_s_word(
    world: World, tmp_path: Path
) -> None:
    ticket_id = stolen(world, "a1")
    correct(world, ticket_id)
    path = tmp_path / "case.json"
    with world.store.read() as conn:
        assert exported(conn, ticket_id, path) is not None
    (scenario,) = files.load(path)
    assert scenario.title == "the plan caps the CPU at 70 %"
    played = play(scenario, Options(), tmp_path)
    (again,) = played.tickets
    assert (again.class_, again.root_cause, again.affected) == ("1", "virt.cpu_contention", ("a1",))
    assert scenario.truth is not None
    scored = score(scenario.truth, came_of(played), played.failover.decision)
    assert (scored.class_, scored.root_cause, scored.tickets) == (False, False, True)
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert [r.key for r in again.reasons] == [r["key"] for r in raw["machine"]["reasons"]]


def test_leaving_out_the_row_that_erred_shows_what_it_was_worth(world: World, tmp_path: Path) -> None:
    ticket_id = stolen(world, "a1")
    correct(world, ticket_id)
    path = tmp_path / "case.json"
    with world.store.read() as conn:
        exported(conn, ticket_id, path)
        rows = frozenset(row.row for row in learn(conn).erred)
    (scenario,) = files.load(path)
    (again,) = play(scenario, Options(without=rows), tmp_path).tickets
    assert again.class_ == "2"


def test_a_silence_can_be_exported_as_well(world: World, tmp_path: Path) -> None:
    """Its facts are the collector's own findings, which no timeline knows."""
    world.run(60)
    ticket = next(t for t in world.tickets() if t["affected"] == ["a1"])
    path = tmp_path / "case.json"
    with world.store.read() as conn:
        assert exported(conn, ticket["id"], path) is not None
    (scenario,) = files.load(path)
    (again,) = play(scenario, Options(), tmp_path).tickets
    assert (int(again.class_), again.root_cause) == (ticket["class"], ticket["root_cause"])


def test_a_ticket_without_recorded_facts_cannot_be_exported(world: World) -> None:
    with world.store.read() as conn:
        assert exported(conn, 99, None) is None


def test_a_record_that_cannot_be_read_says_so_when_the_file_is_loaded() -> None:
    text = '{"id": "x", "judged_at_s": 1, "findings": [{}], "topology": {"hosts": [{"id": "a1"}]}, "timeline": []}'
    with pytest.raises(ConfigError, match="the recorded facts cannot be read"):
        files.parse(text)
