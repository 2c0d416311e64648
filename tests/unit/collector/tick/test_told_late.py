"""What is said after the ticket opened brings its host before the judge again, alone; and calendars' windows are heeded."""

from __future__ import annotations

import pytest

from collector.observed import observe

pytestmark = pytest.mark.collector


def said(world, host_id, signal, value, vantage=""):
    world.store.write(lambda tx: observe(tx, host_id, signal, value, world.now_ms, "test", vantage=vantage))


@pytest.fixture
def silent(world):
    """a1 fell silent and answers nothing; c1, elsewhere, is well."""
    world.add_host("a1", provider="alfa")
    world.add_host("c1", provider="gamma")
    world.tick()
    world.run(40, beating=("c1",))
    return world


def test_an_entry_of_the_provider_s_log_alone_turns_the_open_ticket(silent):
    assert [(t["class"], t["root_cause"]) for t in silent.tickets()] == [(2, "unknown")]
    said(silent, "a1", "prov.event", "HA restart: host node failure")
    silent.run(2, beating=("c1",))
    assert [(t["class"], t["root_cause"]) for t in silent.tickets()] == [(1, "virt.node_failure")]


def test_a_word_about_somebody_else_turns_nothing(silent):
    said(silent, "c1", "prov.event", "HA restart: host node failure")
    silent.run(2, beating=("c1",))
    assert [(t["class"], t["root_cause"]) for t in silent.tickets()] == [(2, "unknown")]


def test_a_calendar_s_window_keeps_quiet_and_what_outlives_it_opens_with_its_beginning(world):
    world.add_host("a1")
    world.tick()
    said(world, "a1", "ops.window", True)
    world.find("a1", "fs_full", "fs_space", subject="/var", facts={"fs.used_pct": {"now": 97}})
    began = world.now_ms
    world.run(20, beating=("a1",))
    assert world.tickets() == []
    said(world, "a1", "ops.window", False)
    world.run(15, beating=("a1",))
    (ticket,) = world.tickets()
    assert ticket["began_at_ms"] <= began


def test_what_happened_inside_a_window_does_not_come_back_when_it_ends(world):
    world.add_host("a1")
    world.tick()
    said(world, "a1", "ops.window", True)
    world.find(
        "a1", "guest_paused", "virt", facts={"agent.gap_s": {"now": 12}, "agent.gap_progress": {"now": 0.1}}
    )
    world.run(5, beating=("a1",))
    said(world, "a1", "ops.window", False)
    world.run(20, beating=("a1",))
    assert world.tickets() == []
