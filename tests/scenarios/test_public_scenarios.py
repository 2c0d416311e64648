"""The labelled scenarios, played through the real code. The whole file takes a while: ``make replay`` or -m slow."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from collector.replay import scenario as files
from collector.replay.command import play_all, score_all, to_json
from collector.replay.player import Options, play
from collector.replay.score import summary

pytestmark = [pytest.mark.collector, pytest.mark.slow]

HERE = Path(__file__).parent
PUBLIC = Path(
    os.environ.get("VARTOVYI_SCENARIOS") or HERE.parents[2] / "shared" / "scenarios" / "public.yaml"
)


@pytest.fixture(scope="module")
def public():
    if not PUBLIC.is_file():
        pytest.skip("needs data beside the checkout: the labelled scenarios (or VARTOVYI_SCENARIOS)")
    return {s.id: s for s in files.load(PUBLIC, may_lack_producers=True)}


def verdicts(played):
    return sorted(
        (t.role, t.class_, t.root_cause, t.scope, t.affected, t.opened_at_s) for t in played.tickets
    )


def test_the_public_scenarios_are_judged_as_labelled(public):
    played = list(play_all(list(public.values()), Options()))
    counts = summary(score_all(played))
    assert (counts["class"], counts["hard_fails"]) == (40, 0), counts
    assert counts["root_cause"] >= 38
    assert counts["tickets"] >= 38


def test_the_switch_of_each_pair_is_decided_as_labelled(public):
    """P12 a request, P31 an act, P20 and P37 a refusal with its reason."""
    wanted = {"P12": "request", "P31": "auto", "P20": "forbidden_auto", "P37": "forbidden_auto"}
    played = list(play_all([public[name] for name in wanted], Options()))
    assert {one.scenario.id: one.failover.decision for one in played} == wanted
    why = {one.scenario.id: one.failover.reason for one in played}
    assert "why attack" in why["P20"]
    assert "why path" in why["P37"]


def test_our_own_scenarios_are_judged_as_labelled():
    own = files.load(HERE / "own.yaml", may_lack_producers=True)
    counts = summary(score_all(list(play_all(own, Options()))))
    assert (counts["class"], counts["root_cause"], counts["tickets"]) == (len(own),) * 3, counts
    assert counts["hard_fails"] == 0


def test_the_same_seed_plays_the_same(public, tmp_path):
    options = Options(noise_pct=5, shift_s=9, seed=7)
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        found.append(to_json([play(public["P35"], options, folder)], {}))
    assert found[0] == found[1]


def test_names_of_hosts_change_no_verdict(public, tmp_path):
    scenario = public["P35"]
    names = {"a1": "zulu", "a2": "bravo", "a3": "mike"}
    topology = dataclasses.replace(
        scenario.topology,
        hosts=tuple(dataclasses.replace(h, id=names[h.id]) for h in reversed(scenario.topology.hosts)),
    )
    timeline = tuple(dataclasses.replace(e, host=names.get(e.host, e.host)) for e in scenario.timeline)
    renamed = dataclasses.replace(scenario, topology=topology, timeline=timeline, truth=None)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    before = verdicts(play(scenario, Options(), tmp_path / "one"))
    after = verdicts(play(renamed, Options(), tmp_path / "two"))
    assert [v[:4] for v in before] == [v[:4] for v in after]
    assert [tuple(sorted(names[h] for h in v[4])) for v in before] == [v[4] for v in after]


def test_another_hour_changes_no_verdict(public, tmp_path):
    """The last Sunday of March, over the change to summer time."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    before = verdicts(play(public["P15"], Options(), tmp_path / "one"))
    after = verdicts(play(public["P15"], Options(start_ms=1_774_745_400_000), tmp_path / "two"))
    assert before == after == []
