"""The main way through a tick: a finding becomes a ticket, silence becomes a ticket, and both resolve with proof."""

from __future__ import annotations

import dataclasses

import pytest

from collector.fleet import lifted_deadline_ms
from ticketing.model import Reason, Verdict

pytestmark = pytest.mark.collector

FULL = {"fs.used_pct": {"now": 97.0, "before": 60.0, "unit": "%"}}


def keys(ticket) -> set[str]:
    return {Reason.from_dict(r).key for r in ticket["verdict"]["reasons"]}


def test_a_full_file_system_becomes_a_class_2_ticket_with_its_reasons(world):
    world.add_host("a1")
    world.tick()
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.tick()
    (ticket,) = world.tickets()
    assert (ticket["class"], ticket["root_cause"], ticket["problem"]) == (
        2,
        "os.disk_full",
        "fs_space|host:a1/fs:/var",
    )
    assert keys(ticket) == {"reason.fs.full"}
    (row,) = world.findings()
    assert (row["outcome"], row["ticket_id"]) == ("opened", ticket["id"])


def test_a_cleared_finding_resolves_its_ticket_after_the_hold_time_and_not_before(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.run(2, beating=("a1",))
    world.find("a1", "fs_full", "fs_space", "closed", subject="/var")
    world.run(30, beating=("a1",))
    assert world.tickets(is_open=True)
    world.run(40, beating=("a1",))
    (ticket,) = world.tickets()
    assert ticket["state"] == "resolved"


def test_a_frozen_agent_on_a_host_that_answers_is_agent_gone(world):
    world.add_host("a1")
    world.network.states = {("ssh", "addr-a1"): "refused", ("icmp", "addr-a1"): "ok"}
    world.tick()
    world.run(17)
    (ticket,) = world.tickets()
    assert (ticket["class"], ticket["root_cause"]) == (2, "os.agent_down")
    assert "reason.silence.tcp_refused" in keys(ticket)
    assert ticket["began_at_ms"] == 1_767_225_600_000 + 15_000, "an event is dated by its deadline"
    assert world.host("a1")["life"] == "silent"


def test_a_host_that_answers_nothing_is_down_provisionally(world):
    world.add_host("a1")
    world.add_host("b1", provider="beta")
    world.tick()
    world.run(17, beating=("b1",))
    (ticket,) = world.tickets()
    verdict = Verdict.from_dict(ticket["verdict"])
    assert (verdict.class_, verdict.root_cause, verdict.provisional) == (2, "unknown", True)
    assert verdict.would_change


def test_what_was_answered_to_an_earlier_suspicion_says_nothing_of_a_later_one(world):
    world.add_host("a1")
    world.add_host("b1", provider="beta")
    world.network.states = {("ssh", "addr-a1"): "ok", ("icmp", "addr-a1"): "ok"}
    world.tick()
    for _ in range(16):
        world.now_ms += 1000
        world.heartbeat("b1")
        world.tick()
    assert world.host("a1")["life"] == "suspect"
    world.probe()
    world.heartbeat("a1")  # only late: nobody decides anything, and the answers stay behind
    world.run(30, beating=("a1", "b1"))
    world.network.states = {}
    world.run(17, beating=("b1",))
    (ticket,) = world.tickets()
    assert ticket["root_cause"] == "unknown", "nothing of it answers now"
    assert "reason.silence.nothing_answers" in keys(ticket)


def test_reports_that_come_back_resolve_the_silence(world):
    world.add_host("a1")
    world.network.states = {("ssh", "addr-a1"): "ok"}
    world.tick()
    world.run(17)
    assert world.tickets(is_open=True)
    world.run(70, beating=("a1",))
    (ticket,) = world.tickets()
    assert ticket["state"] == "resolved"
    assert world.open_findings() == []


def test_silence_alone_is_no_recovery(world):
    world.add_host("a1")
    world.tick()
    world.run(200)
    (ticket,) = world.tickets()
    assert ticket["open_mark"] == 1


def test_a_pause_of_the_collector_lifts_every_deadline(world):
    world.add_host("a1")
    world.tick()
    world.now_ms += 3_600_000
    world.tick()
    assert world.host("a1")["life"] == "alive"
    world.run(10, beating=("a1",))
    assert world.tickets() == []


def test_the_first_tick_of_a_process_suspects_nobody(world):
    world.add_host("a1")
    world.now_ms += 2_000
    overdue = world.host("a1")["silent_after_ms"]
    world.ctx.is_first = True
    world.tick()
    assert world.host("a1")["silent_after_ms"] > overdue
    assert world.host("a1")["silent_after_ms"] == lifted_deadline_ms(overdue, 10.0, world.now_ms)


def test_a_frozen_host_at_one_second_has_its_ticket_within_three(world):
    world.add_host("a1", interval_s=1.0)
    world.add_host("b1")
    world.tick()
    report = world.tick()
    assert report.next_wake_ms <= world.now_ms + 1500
    world.now_ms += 1500
    world.tick()
    world.now_ms += 1000
    world.probe()
    world.tick()
    assert len(world.tickets()) == 1


def test_the_same_opening_told_twice_gives_one_ticket(world):
    world.add_host("a1")
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL, stream="s2")
    world.tick()
    assert len(world.tickets()) == 1
    assert [r["outcome"] for r in world.findings()] == ["opened", "opened"]
    assert len(world.open_findings()) == 1


def test_a_finding_that_arrives_already_closed_is_recorded_with_the_reason(world):
    world.add_host("a1")
    world.tick()
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL, at_ms=world.now_ms - 900_000)
    world.find("a1", "fs_full", "fs_space", "closed", subject="/var", at_ms=world.now_ms - 600_000)
    world.tick()
    assert world.tickets() == []
    assert [(r["outcome"], r["why"]["key"]) for r in world.findings()] == [
        ("recorded", "reason.finding.over_before_known")
    ] * 2


def test_a_host_in_a_planned_window_is_quiet_and_opens_with_its_original_start_when_it_outlives_it(world):
    from ticketing.terms import Window

    world.add_host("a1")
    contract = world.contracts["acme"]
    window = Window(from_="2026-01-01 00:00", to="2026-01-01 02:10", title="update")
    world.replace_contract(dataclasses.replace(contract, windows=[window]))
    world.find("a1", "fs_full", "fs_space", subject="/var", facts=FULL)
    begun = world.now_ms
    world.tick()
    assert world.tickets() == []
    assert world.findings()[0]["why"]["key"] == "reason.quiet.window"
    world.now_ms += 700_000
    world.tick()
    (ticket,) = world.tickets()
    assert ticket["began_at_ms"] == begun


def test_a_deadline_that_a_slow_tick_sees_late_is_not_decided_before_anybody_could_answer(make_world):
    """A pause shorter than three ticks is no gap; the host's report may lie in our socket all the same."""
    world = make_world()
    world.ctx.tick_s = 10.0
    world.add_host("a1")
    world.network.states = {("ssh", "addr-a1"): "ok"}
    world.tick()
    world.now_ms += 28_000
    world.tick()
    assert world.host("a1")["life"] == "suspect"
    world.heartbeat("a1")
    world.tick()
    assert world.tickets() == [] and world.host("a1")["life"] == "alive"
