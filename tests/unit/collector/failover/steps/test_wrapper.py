"""The shipped wrapper over a real sshd: keys are done once, lower epochs refused, steps go on without the link."""

from __future__ import annotations

import time

import pytest

from collector.failover.steps import gate_epoch, promote
from collector.failover.steps.on_host import can_speak, run_there, speak
from collector.ssh import say

pytestmark = [pytest.mark.collector, pytest.mark.slow]
PAIR = "a1+b9"


@pytest.fixture
def words(sshd):
    import shutil

    shutil.rmtree(sshd.state, ignore_errors=True)
    sshd.state.mkdir()
    return lambda *said: say(sshd.target(), " ".join(said), 15)


def ended(words, key: str) -> str:
    for _ in range(100):
        line = words("status", PAIR, key).out.split("\n")[0]
        if line not in ("running", "none"):
            return line
        time.sleep(0.1)
    raise AssertionError("it never ended")


def test_an_epoch_only_grows_and_belongs_to_one_primary(words) -> None:
    assert words("epoch", PAIR).out == "epoch 0 primary - orders 0\n"
    assert words("arm", PAIR, "3", "b9").rc == 0
    assert words("arm", PAIR, "3", "b9").rc == 0  # twice is once
    assert words("arm", PAIR, "2", "b9").rc == 75
    assert words("arm", PAIR, "3", "a1").rc == 75
    assert words("epoch", PAIR).out == "epoch 3 primary b9 orders 3\n"


def test_orders_of_a_new_epoch_are_expected_before_anybody_is_its_primary(words, sshd) -> None:
    sshd.allow("steps", "nothing", "true\n")
    words("arm", PAIR, "3", "a1")
    assert words("expect", PAIR, "5").rc == 0
    assert words("expect", PAIR, "5").rc == 0  # twice is once
    assert words("epoch", PAIR).out == "epoch 3 primary a1 orders 5\n"
    assert words("expect", PAIR, "4").rc == 75
    assert words("arm", PAIR, "4", "b9").rc == 75
    assert words("run", PAIR, "4", "old-2", "5", "nothing").rc == 75
    assert words("arm", PAIR, "5", "b9").rc == 0
    assert words("epoch", PAIR).out == "epoch 5 primary b9 orders 5\n"


def test_the_first_epoch_of_a_new_pair_names_its_primary(words) -> None:
    """What an engineer says on both hosts when the pair is set up: the first plan's epoch is higher."""
    assert words("arm", "new+pair", "0", "a1").out == "epoch 0 primary a1\n"
    assert words("arm", "new+pair", "0", "b9").rc == 75
    assert words("arm", "new+pair", "1", "b9").rc == 0


def test_an_order_of_a_lower_epoch_is_refused(words, sshd, tmp_path) -> None:
    sshd.allow("steps", "mark", f"echo $VARTOVYI_EPOCH >> {tmp_path}/marks\n")
    words("arm", PAIR, "5", "b9")
    assert words("run", PAIR, "4", "old-1", "5", "mark").rc == 75
    assert words("status", PAIR, "old-1").out == "none\n"
    assert words("run", PAIR, "5", "new-1", "5", "mark").rc == 0
    assert ended(words, "new-1") == "rc 0"
    assert (tmp_path / "marks").read_text() == "5\n"


def test_a_key_is_done_once(words, sshd, tmp_path) -> None:
    sshd.allow("steps", "mark", f"echo x >> {tmp_path}/marks; sleep 0.3\n")
    assert words("run", PAIR, "1", "k-1", "5", "mark").out == "started k-1\n"
    assert words("run", PAIR, "1", "k-1", "5", "mark").out == "began before k-1\n"
    assert ended(words, "k-1") == "rc 0"
    assert (tmp_path / "marks").read_text() == "x\n"


def test_a_step_goes_on_when_the_link_is_cut(words, sshd, cut, tmp_path) -> None:
    sshd.allow("steps", "slow", f"sleep 1.5; echo x > {tmp_path}/done\n")
    assert say(sshd.target(port=cut.port), f"run {PAIR} 1 cut-1 20 slow", 10).rc == 0
    cut.is_cut.set()
    assert ended(words, "cut-1") == "rc 0"
    assert (tmp_path / "done").exists()


def test_a_step_that_hangs_is_ended_and_its_words_are_kept(words, sshd) -> None:
    sshd.allow("steps", "hang", "echo begun; sleep 60\n")
    words("run", PAIR, "1", "hang-1", "1", "hang")
    assert ended(words, "hang-1") == "rc 124"
    assert "begun" in words("status", PAIR, "hang-1").out


def test_what_is_not_allowed_or_no_word_is_refused(words) -> None:
    assert words("run", PAIR, "1", "k", "5", "missing").rc == 65
    assert words("run", PAIR, "1", "k", "5", "../x").rc == 64
    assert words("ask", PAIR, "5", "missing").rc == 65
    assert words("epoch", "a/b").rc == 64
    assert words("nonsense", PAIR).rc == 64


def test_the_epoch_step_arms_and_reads_back(words, sshd, order) -> None:
    mine = order("gate.epoch", {"host": "b9"}, sshd.target())
    assert gate_epoch.STEP.precheck(mine).outcome == "done"
    assert gate_epoch.STEP.probe(mine).outcome == "not_done"
    assert gate_epoch.STEP.act(mine).outcome == "done"
    assert gate_epoch.STEP.probe(mine).outcome == "done"
    older = order("gate.epoch", {"host": "b9"}, sshd.target(), epoch=2)
    assert gate_epoch.STEP.act(older).outcome == "not_done"
    assert can_speak(older, "b9", 2).outcome == "not_done"


def test_a_promotion_is_done_when_the_role_says_so(words, sshd, order, tmp_path) -> None:
    role = tmp_path / "role"
    role.write_text("standby\n")
    sshd.allow("steps", "promote-x", f"echo primary > {role}\n")
    sshd.allow("asks", "role-x", f"cat {role}\n")
    mine = order("promote.script", {"script": "promote-x", "role": "role-x"}, sshd.target())
    assert promote.SCRIPT.precheck(mine).outcome == "done"
    assert promote.SCRIPT.probe(mine).outcome == "not_done"
    assert words("epoch", PAIR).out.startswith("epoch 0 ")
    assert promote.SCRIPT.act(mine).outcome == "done"
    assert promote.SCRIPT.probe(mine).outcome == "done"
    assert words("epoch", PAIR).out.startswith("epoch 3 primary b9 ")
    words("expect", PAIR, "4")
    assert promote.SCRIPT.act(mine).outcome == "not_done"


def test_a_promotion_that_fails_or_whose_role_nobody_knows(words, sshd, order, tmp_path) -> None:
    sshd.allow("steps", "promote-y", "echo broken disk; exit 1\n")
    sshd.allow("asks", "role-y", "echo standby\n")
    mine = order("promote.script", {"script": "promote-y", "role": "role-y"}, sshd.target())
    failed = promote.SCRIPT.act(mine)
    assert failed.outcome == "not_done"
    assert "broken disk" in failed.error
    assert promote.SCRIPT.probe(mine).outcome == "not_done"
    sshd.allow("asks", "role-y", "echo unknown\n")
    assert promote.SCRIPT.probe(mine).outcome == "unknown"


def test_words_that_may_not_travel_stay_here(sshd, order) -> None:
    mine = order("gate.epoch", {"host": "b9"}, sshd.target())
    assert speak(mine, "b9", "epoch", "a b").state == "refused"
    assert run_there(mine, "b9", "step", "$(id)").outcome == "not_done"
