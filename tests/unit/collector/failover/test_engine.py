"""The engine over worlds that fail by the dice: whatever is lost, doubled or killed, never two primaries."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.failover import engine, journal
from collector.failover.causes import WHY_NOT
from collector.failover.engine import Act, Enter, Probe, Rest, next_move
from collector.failover.guards import GUARDS
from collector.failover.plan import Approval
from collector.failover.states import NEXT_PHASE, TABLE, State, mermaid
from tests.tools.examples import examples
from tests.unit.collector.failover.histories import PLANTED, faults_of
from tests.unit.collector.failover.worlds import MINUTE, T0, Story, facts, pair
from ticketing.texts import register, texts

ENDS = {State.HOLD_DOWN, State.STUCK, State.ABORTED, State.FAILBACK_READY}


def test_without_trouble_every_step_is_done_once_and_the_backup_serves():
    story = Story(Random(1), trouble=0.0)
    run = story.play()
    assert run.state is State.HOLD_DOWN
    assert [key for key, _ in story.effects] == ["arm-0", "fence-0-0", "promote-0", "traffic-0"]
    assert not story.world.primary_on
    assert story.world.clients_at_backup
    assert run.fence_level == "F4"
    assert journal.broken_at(story.entries) is None


@settings(max_examples=examples(400), deadline=None)
@given(seed=st.integers(0, 2**32), trouble=st.sampled_from((0.1, 0.3, 0.6, 0.9)))
def test_whatever_fails_there_is_one_primary_and_an_end(seed: int, trouble: float):
    story = Story(Random(seed), trouble)
    run = story.play()
    assert story.faults == []
    assert run.state in ENDS
    assert journal.broken_at(story.entries) is None
    if run.state is State.HOLD_DOWN:
        assert story.world.backup_is_primary
        assert not story.world.primary_on


@pytest.mark.parametrize("planted", ["no term check", "intent after act"])
def test_a_planted_bug_is_found(planted: str):
    found = [
        seed
        for seed in range(200)
        if Story(Random(seed), 0.5, planted=planted).play() and _faults(seed, planted)
    ]
    assert found


def _faults(seed: int, planted: str) -> list[str]:
    story = Story(Random(seed), 0.5, planted=planted)
    story.play()
    return story.faults


def test_five_hundred_histories_break_no_law_and_a_planted_bug_is_found_among_few():
    """The same by the hundred thousand: ``make failover-random``."""
    broken = {seed: found for seed in range(500) if (found := faults_of(seed)[0])}
    assert broken == {}
    for planted in PLANTED:
        assert any(faults_of(seed, planted)[0] for seed in range(200)), planted


def test_a_promotion_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch):
    """The third planted bug: the engine takes the fence order's own word for its effect."""
    monkeypatch.setattr(engine, "_one", _believes_the_act)
    assert any(_faults(seed, "") for seed in range(200))


def _believes_the_act(held, step, now, lease_s):
    if held.outcome == "done":
        return engine._Proven()
    return Probe(step) if held.intent_open else Act(step, 10.0)


def test_an_intent_without_a_result_is_probed_and_never_repeated_blindly():
    story = Story(Random(1), trouble=0.0)
    while not (story.entries[-1].kind == "intent" and story.entries[-1].body["step"] == "promote-0"):
        run = story.run
        move = next_move(run, story.facts(), 15.0)
        if isinstance(move, Act) and move.step.key == "promote-0":
            story.write("intent", {"step": "promote-0"})
        else:
            story.one(run)
    assert isinstance(next_move(story.run, story.facts(), 15.0), Probe)


def test_a_promotion_whose_outcome_nobody_knows_calls_a_person():
    story = Story(Random(1), trouble=0.0)
    story.asked = lambda step: (  # type: ignore[method-assign]
        {"outcome": "unknown"} if step.phase == "promote" else Story.asked(story, step)
    )
    run = story.play()
    assert run.state is State.STUCK
    assert run.reason["key"] == "failover.promote_unknown"
    assert story.world.promotions == 1


def test_a_fence_that_only_says_it_worked_leads_to_the_next_level_and_then_to_a_person():
    story = Story(Random(1), trouble=0.0)
    story.really = lambda step: None if step.phase == "fence" else Story.really(story, step)  # type: ignore[method-assign]
    run = story.play()
    assert run.state is State.STUCK
    assert run.reason["key"] == "failover.unfenced"
    assert {key for key, _ in story.effects} == {"arm-0", "fence-0-0", "fence-1-0"}
    assert story.world.promotions == 0


def test_the_server_that_recovers_before_its_fence_took_effect_is_left_alone():
    story = Story(Random(1), trouble=0.0)
    while story.run.state is not State.FENCING:
        story.one(story.run)
    recovered = facts(story.now_ms, pair_epoch=1, trouble=None)
    move = next_move(story.run, recovered, 15.0)
    assert isinstance(move, Enter)
    assert move.state is State.ABORTED


@pytest.mark.parametrize("is_answered", [True, False])
def test_who_is_back_is_fenced_all_the_same_where_the_order_s_answer_was_unknown(is_answered):
    """B5. Where the collector died over its order instead, a fresh look decides (the table of resuming)."""
    story = Story(Random(1), trouble=0.0)
    while story.run.state is not State.FENCING:
        story.one(story.run)
    story.write("intent", {"step": "fence-0-0"})
    if is_answered:
        story.write("result", {"step": "fence-0-0", "outcome": "unknown"})
    for _ in range(3):
        story.write("probe", {"step": "fence-0-0", "outcome": "not_done"})
    recovered = facts(story.now_ms + 60_000, pair_epoch=1, trouble=None)
    move = next_move(story.run, recovered, 15.0)
    if is_answered:
        assert isinstance(move, Act)
        assert move.step.phase == "fence"
    else:
        assert isinstance(move, Enter)
        assert move.reason.key == "failover.aborted_may_be_off"


def test_no_act_is_begun_that_would_outlast_the_lease():
    story = Story(Random(1), trouble=0.0)
    story.one(story.run)
    assert not isinstance(next_move(story.run, story.facts(), 2.0), Act)
    move = next_move(story.run, story.facts(), 4.0)
    assert isinstance(move, Act)
    assert move.deadline_s == pytest.approx(3.0)


def test_a_newer_plan_of_the_same_pair_ends_the_older():
    story = Story(Random(1), trouble=0.0)
    story.one(story.run)
    move = next_move(story.run, facts(story.now_ms, pair_epoch=9), 15.0)
    assert isinstance(move, Enter)
    assert move.state is State.ABORTED


def test_a_person_may_abort_until_the_promotion_begins():
    for state, is_possible in ((State.FENCING, True), (State.PROMOTING, False)):
        story = Story(Random(1), trouble=0.0)
        while story.run.state is not state:
            story.one(story.run)
        story.write("order", {"order": "abort"})
        move = next_move(story.run, story.facts(), 15.0)
        assert (isinstance(move, Enter) and move.state is State.ABORTED) is is_possible


def test_an_approval_counts_for_its_own_plan_epoch_and_time():
    story = Story(Random(1), trouble=0.0)
    plan, now_ms = story.run.plan, story.now_ms
    given = Approval(plan.hash, 3, "olena", now_ms, now_ms + MINUTE)
    assert given.refusal(plan, 3, now_ms) == ""
    assert given.refusal(plan, 4, now_ms) == "epoch_changed"
    assert given.refusal(plan, 3, now_ms + MINUTE) == "expired"
    other = type(plan)(**{**plan.__dict__, "cause": "hw.power"})
    assert given.refusal(other, 3, now_ms) == "plan_changed"


def test_a_request_waits_for_its_person_and_ends_when_nobody_answers():
    story = Story(Random(1), trouble=0.0)
    story.entries.clear()
    plan = engine_plan()
    story.write("begin", {"plan": plan, "mode": "approve", "approve_until_ms": story.now_ms + MINUTE})
    asked = facts(story.now_ms, pair=pair(mode="approve"))
    first = next_move(story.run, asked, 15.0)
    assert isinstance(first, Enter)
    assert first.state is State.AWAIT_APPROVAL
    story.enter(story.run, first)
    late = facts(story.now_ms + MINUTE, pair=pair(mode="approve"))
    move = next_move(story.run, late, 15.0)
    assert isinstance(move, Enter)
    assert move.state is State.ABORTED


def engine_plan() -> dict:
    return Story(Random(1)).run.plan.to_dict()


def test_stuck_rests_until_a_person_leads_on():
    story = Story(Random(1), trouble=0.0)
    story.really = lambda step: None if step.phase == "traffic" else Story.really(story, step)  # type: ignore[method-assign]
    run = story.play()
    assert run.state is State.STUCK
    assert isinstance(next_move(run, story.facts(), 15.0), Rest)
    story.write("order", {"order": "acknowledge"})
    move = next_move(story.run, story.facts(), 15.0)
    assert isinstance(move, Enter)
    assert move.state is State.ON_BACKUP


def test_the_hold_down_ends_by_time_or_by_a_person():
    story = Story(Random(1), trouble=0.0)
    run = story.play()
    assert not isinstance(next_move(run, story.facts(), 15.0), Enter)
    later = facts(run.entered_at_ms + 3_600_000, pair_epoch=1)
    move = next_move(run, later, 15.0)
    assert isinstance(move, Enter)
    assert move.state is State.FAILBACK_READY


def test_every_state_has_its_row_and_every_phase_its_way_on():
    assert set(TABLE) == set(State)
    assert {state for state, row in TABLE.items() if row.phase and state is not State.ARMED} == set(
        NEXT_PHASE
    )
    assert "decided --> armed" in mermaid()


def test_a_changed_or_missing_entry_breaks_the_chain():
    story = Story(Random(1), trouble=0.0)
    story.play()
    assert journal.broken_at(story.entries) is None
    assert journal.broken_at([*story.entries[:3], *story.entries[4:]]) == story.entries[4].seq
    forged = journal.Entry(**{**story.entries[2].__dict__, "actor": "nobody"})
    assert journal.broken_at([*story.entries[:2], forged, *story.entries[3:]]) == story.entries[3].seq


def test_the_first_entry_must_begin_a_run():
    entry = journal.following(None, "r1", T0, "note", {})
    with pytest.raises(ValueError, match="begins with begin"):
        journal.fold([entry])


def test_every_sentence_of_the_engine_exists_in_both_languages():
    """Every ``failover.*`` key that the room's source names, and every guard, state and why-not."""
    source = "".join(path.read_text("utf-8") for path in Path(engine.__file__).parent.glob("*.py"))
    keys = set(re.findall(r'"(failover\.[a-z_.]+[a-z])"', source)) - NOT_SHOWN
    keys |= {f"failover.guard.{guard.id}" for guard in GUARDS}
    keys |= {
        f"failover.why.{why}" for why in {*WHY_NOT.values(), "contract", "unknown", "application", "planned"}
    }
    register(Path(engine.__file__).parent.parent / "texts")
    for language in ("uk", "en"):
        missing = sorted(key for key in keys if key not in texts(language))
        assert missing == []


NOT_SHOWN = {"failover.guard", "failover.lease_short", "failover.probes", "failover.await_approval"}
"""Only why a worker waits: nobody reads them."""
