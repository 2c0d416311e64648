"""Evidence never holds the loop: a finding waits for it, the heartbeat does not; late evidence is left behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from agent import gathering
from agent.core import MAX_HELD
from agent.gathering import UNDER_WAY, Gathering
from agent.history import History
from agent.settings import AgentSettings
from agent.wire import Evidence, FindingChange
from config.clock import SystemClock
from tests.tools import threads


def full(used=97.0, subject="/var"):
    return ("fs.used_pct", subject, used)


class Later:
    """Evidence that is ready when the test says so."""

    def __init__(self) -> None:
        self.is_ready = False

    def evidence(self):
        return Evidence(notes={"ready": self.is_ready})


@pytest.fixture
def waiting(make_host):
    later = []

    def gather(change, history):
        later.append(Later())
        return later[-1]

    return make_host(gather=gather), later


def test_an_opening_waits_for_its_evidence_and_what_follows_waits_behind_it(waiting):
    host, later = waiting
    for _ in range(3):
        assert host.sweep(full(), full(97, "/srv")) == []
    assert len(later) == 2 and not host.report().findings
    assert host.core.held == 0, "waiting for evidence is no disk that takes nothing"
    assert host.report().spool_depth == 2
    for _ in range(4):
        assert host.sweep(full(10), full(97, "/srv")) == []
    later[1].is_ready = True
    assert host.core.store_held() == []
    later[0].is_ready = True
    stored = host.core.store_held()
    assert [(c.kind, c.subject) for c in stored] == [
        ("opened", "/var"),
        ("opened", "/srv"),
        ("closed", "/var"),
    ]
    assert [c.n for c in stored] == [1, 2, 3]
    assert stored[0].evidence.notes == {"ready": True} and stored[2].evidence is None


def test_at_the_end_of_a_run_findings_do_not_wait_any_longer(waiting):
    host, _ = waiting
    for _ in range(3):
        host.sweep(full())
    (stored,) = host.core.store_held(is_last=True)
    assert stored.evidence.notes == {"ready": False}


def test_evidence_that_waits_when_changes_are_dropped_is_forgotten_with_them(waiting):
    host, _ = waiting
    for n in range(MAX_HELD + 3):
        change = FindingChange(0, "opened", 0, "fs_full", f"/m{n}", "fs_space", 0)
        host.core._hold(host.core._with_evidence(change))
    assert len(host.core._awaited) == MAX_HELD
    assert host.core.held_dropped == 3
    assert len(host.core.store_held(is_last=True)) == MAX_HELD


def begin(read, limit_s=0.2, wake=lambda: None):
    change = FindingChange(1, "opened", 1, "fs_full", "/var", "fs_space", 0)
    return Gathering(
        change, History(), AgentSettings(), Path("/"), SystemClock(), wake, limit_s=limit_s, read=read
    )


def test_a_reading_that_hangs_is_left_behind_in_time_and_holds_few_threads(monkeypatch):
    release = threading.Event()

    def hang(*args, **more):
        release.wait(60)
        return Evidence()

    before = threads.running()
    late = [0.0]
    monkeypatch.setattr(gathering, "perf_seconds", lambda: late[0])
    made = [begin(hang) for _ in range(30)]  # none of them waits for its reading
    assert threads.since(before) <= UNDER_WAY
    assert not made[0].is_ready
    late[0] = 0.25
    assert all(one.is_ready for one in made)
    assert made[0].evidence().notes == {"machine": "did not answer in time"}
    release.set()
    gathering._alive.clear()


def test_the_loop_is_woken_when_the_evidence_is_there():
    woken = threading.Event()
    one = begin(lambda *a, **m: Evidence(notes={"x": 1}), limit_s=20, wake=woken.set)
    assert woken.wait(20) and one.is_ready and one.evidence().notes == {"x": 1}


def test_a_reading_that_fails_leaves_the_finding_with_what_is_remembered():
    def fail(*args, **more):
        raise ValueError("a bug")

    one = begin(fail, limit_s=20)
    end = time.monotonic() + 20
    while not one.is_ready and time.monotonic() < end:
        time.sleep(0.01)
    assert one.is_ready and one.evidence().notes == {"machine": "did not answer in time"}


def test_the_machines_part_is_real():
    one = begin(None, limit_s=20)
    end = time.monotonic() + 20
    while not one.is_ready and time.monotonic() < end:
        time.sleep(0.05)
    assert one.evidence().top and "gathered_in_ms" in one.evidence().notes
