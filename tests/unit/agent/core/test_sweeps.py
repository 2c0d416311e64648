"""The schedule of samplers: a hung one costs one thread and nothing else."""

from __future__ import annotations

import threading

import pytest

from agent.signals.sample import Sample
from agent.sweeps import Sweeps
from config.clock import FixedClock
from tests.tools import threads


class Fake:
    """A sampler that can be told to hang or to fail."""

    def __init__(self, name, period_s=10.0):
        self.name = name
        self.period_s = period_s
        self.sweeps = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error = None

    def sweep(self, mono_ms):
        self.sweeps += 1
        self.entered.set()
        self.gate.wait(10)
        if self.error:
            raise self.error
        return [Sample(self.name, "", 1.0, mono_ms)]

    def lacks(self):
        return {self.name + ".x": "not here"}


class Stage:
    def __init__(self, *samplers, period_s=10.0, deadline_s=20.0):
        self.clock = FixedClock()
        self.woken = threading.Event()
        self.sweeps = Sweeps(samplers, period_s, deadline_s, self.clock, self.woken.set)

    def go(self, after_s=0.0):
        """Move on, start what is due, and wait (on events, not on time) until it came back."""
        self.clock.advance(int(after_s * 1000))
        self.woken.clear()
        self.sweeps.start_due(self.clock.mono_ms())

    def names(self):
        assert self.woken.wait(30)
        return [sweep.name for sweep in self.sweeps.brought()]


@pytest.fixture
def stage():
    made = []

    def make(*samplers, **more):
        made.append(Stage(*samplers, **more))
        return made[-1]

    yield make
    for one in made:
        for turn in one.sweeps._turns.values():
            turn.sampler.gate.set()
        one.sweeps.stop()


def test_each_sampler_runs_at_its_own_period_the_second_time_soon_for_the_rates(stage):
    a, b = Fake("a", 10), Fake("b", 60)
    on = stage(a, b)
    on.go()
    assert on.names() == ["a", "b"]
    on.go(1)
    assert on.names() == ["a", "b"]
    for _ in range(6):
        on.go(10)
        assert "a" in on.names()
    assert (a.sweeps, b.sweeps) == (8, 3)


def test_another_period_in_the_settings_scales_them_all(stage):
    on = stage(Fake("a", 10), Fake("b", 60), period_s=1.0)
    assert [turn.period_ms for turn in on.sweeps._turns.values()] == [1000, 6000]


def test_a_sampler_that_hangs_is_written_off_and_the_others_go_on(stage):
    hung, fine = Fake("hung"), Fake("fine")
    on = stage(hung, fine)
    hung.gate.clear()
    on.go()
    assert hung.entered.wait(30)
    on.go(21)
    assert on.names() == ["fine"]
    assert on.sweeps.stuck() == {"hung": True, "fine": False}
    before = threads.running()
    for _ in range(20):
        on.go(10)
        assert on.names() == ["fine"]
    assert hung.sweeps == 1 and threads.since(before) == 0
    assert on.sweeps.ages_s(on.clock.mono_ms())["hung"] == pytest.approx(221.0)
    assert on.sweeps.all_swept()


def test_the_first_report_waits_for_the_samplers_it_names_and_for_no_others(stage):
    cheap, hung = Fake("cheap"), Fake("hung")
    on = stage(cheap, hung)
    assert not on.sweeps.has_swept({"cheap", "absent"})
    hung.gate.clear()
    on.go()
    assert hung.entered.wait(30)
    assert on.sweeps.has_swept({"cheap", "absent"})
    assert not on.sweeps.has_swept({"cheap", "hung"}) and not on.sweeps.all_swept()
    hung.gate.set()


def test_a_sampler_that_comes_back_is_taken_up_again(stage):
    hung, fine = Fake("hung"), Fake("fine")
    on = stage(hung, fine)
    hung.gate.clear()
    on.go()
    assert hung.entered.wait(30)
    on.go(21)
    assert on.names() == ["fine"]
    on.woken.clear()
    hung.gate.set()
    assert on.names() == ["hung"]
    assert on.sweeps.stuck()["hung"] is False
    on.go(10)
    assert sorted(on.names()) == ["fine", "hung"]


def test_a_sampler_that_fails_is_counted_and_tried_again(stage):
    bad = Fake("bad")
    bad.error = RuntimeError("bug")
    on = stage(bad)
    on.go()
    assert on.woken.wait(30) and on.sweeps.brought()[0].is_failed
    assert on.sweeps.failures() == {"bad": 1} and on.sweeps.lacks() == {}
    bad.error = None
    on.go(10)
    assert on.names() == ["bad"]
    assert on.sweeps.lacks() == {"bad.x": "not here"}


def test_after_a_hole_nothing_is_made_up_for(stage):
    a = Fake("a", 10)
    on = stage(a)
    on.go()
    on.names()
    on.go(3600)
    on.names()
    on.go(1)
    assert not on.woken.is_set() and a.sweeps == 2
