"""The semantics of a timeline: holding, events, stops, vantages, noise and shifts."""

from __future__ import annotations

from random import Random

import pytest

from collector.replay.expand import HostScript, Outside, shifted, with_noise

pytestmark = pytest.mark.collector


def e(t, signal, value, host="a1", **more):
    return {"t": t, "host": host, "signal": signal, "value": value, **more}


def test_a_value_holds_until_the_next_and_the_baseline_before_it(make_scenario):
    scenario = make_scenario([e(10, "cpu.user_pct", 90), e(20, "cpu.user_pct", 30)])
    script = HostScript(scenario, scenario.topology.hosts[0])
    assert [script.values_at(t * 1000)["cpu.user_pct"] for t in (9, 10, 19, 20, 500)] == [15, 90, 90, 30, 30]


def test_what_the_platform_lacks_has_no_baseline_unless_the_timeline_speaks_of_it(make_scenario):
    scenario = make_scenario([e(10, "psi.io_full60", 40, host="a2")])
    script = HostScript(scenario, scenario.topology.hosts[1])
    values = script.values_at(0)
    assert "psi.cpu_some60" not in values
    assert "psi.io_full60" in values
    assert "psi.cpu_some60" in HostScript(scenario, scenario.topology.hosts[0]).values_at(0)


def test_events_are_no_held_values(make_scenario):
    scenario = make_scenario([e(10, "kmsg", "Oops:"), e(11, "clk.wall_step_s", 3)])
    script = HostScript(scenario, scenario.topology.hosts[0])
    assert [entry.signal for entry in script.events] == ["kmsg", "clk.wall_step_s"]
    assert not {"kmsg", "clk.wall_step_s"} & script.values_at(60_000).keys()


def test_a_host_is_unheard_from_the_moment_every_vantage_sees_it_dead(make_scenario):
    scenario = make_scenario(
        [
            e(100, "ext.icmp", "dead"),
            e(102, "ext.icmp", "dead", **{"from": "probe2"}),
            e(130, "agent.heartbeat", "lost"),
            e(200, "agent.heartbeat", "ok"),
        ]
    )
    (stop,) = HostScript(scenario, scenario.topology.hosts[0]).stops
    assert (stop.from_ms, stop.to_ms, stop.goodbye) == (102_000, 200_000, "")


def test_a_host_that_only_the_collector_cannot_see_is_heard_until_its_heartbeat_is_lost(make_scenario):
    scenario = make_scenario([e(100, "ext.icmp", "dead"), e(130, "agent.heartbeat", "lost")])
    (stop,) = HostScript(scenario, scenario.topology.hosts[0]).stops
    assert (stop.from_ms, stop.to_ms) == (130_000, None)


def test_a_goodbye_begins_the_stop(make_scenario):
    scenario = make_scenario(
        [
            e(92, "agent.stop_reason", "host_shutdown"),
            e(125, "agent.heartbeat", "lost"),
            e(212, "agent.heartbeat", "ok"),
        ]
    )
    (stop,) = HostScript(scenario, scenario.topology.hosts[0]).stops
    assert (stop.from_ms, stop.to_ms, stop.goodbye) == (92_000, 212_000, "host_shutdown")


def test_what_is_buffered_is_known_and_withheld_until_it_is_received(make_scenario):
    scenario = make_scenario(
        [
            e(100, "net.hop2", "dead", rx=300),
            e(130, "agent.heartbeat", "lost"),
            e(300, "agent.heartbeat", "ok"),
        ]
    )
    script = HostScript(scenario, scenario.topology.hosts[0])
    assert script.stops[0].buffered == {"net.hop2"}
    assert script.withheld_at(110_000) == {"net.hop2"}
    assert script.withheld_at(300_000) == frozenset()


def test_from_a_vantage_where_ping_is_dead_the_rest_is_dead_unless_the_timeline_says_otherwise(make_scenario):
    outside = Outside(make_scenario([e(10, "ext.icmp", "dead"), e(10, "ext.tcp22", "refused")]))
    assert outside.seen("a1", "ext.svc", 5_000) == "ok"
    assert outside.seen("a1", "ext.svc", 10_000) == "dead"
    assert outside.seen("a1", "ext.tcp22", 10_000) == "refused"
    assert outside.seen("a1", "ext.icmp", 10_000, "probe2") == "ok"


def test_what_is_set_for_another_vantage_only_stands_at_its_baseline_here(make_scenario):
    outside = Outside(make_scenario([e(10, "ext.svc", "dead", **{"from": "probe2"})]))
    assert outside.seen("a1", "ext.svc", 20_000) == "ok"
    assert outside.seen("a1", "ext.svc", 20_000, "probe2") == "dead"
    assert outside.seen("a2", "ext.svc", 20_000) == "ok"


def test_noise_touches_measured_gauges_only_and_the_cpu_stays_whole():
    values = {
        "cpu.user_pct": 90.0,
        "cpu.steal_pct": 10.0,
        "mem.total_mb": 8000,
        "fs.used_pct": 95,
        "net.gw": "ok",
    }
    for seed in range(20):
        noisy = with_noise(values, 5, Random(seed))
        assert (noisy["mem.total_mb"], noisy["fs.used_pct"], noisy["net.gw"]) == (8000, 95, "ok")
        assert noisy["cpu.user_pct"] + noisy["cpu.steal_pct"] <= 100.0 + 1e-9
        assert noisy["cpu.user_pct"] == pytest.approx(90, rel=0.11)


def test_a_shift_moves_all_times_of_a_host_by_the_same_seconds(make_scenario):
    scenario = make_scenario(
        [e(10, "cpu.user_pct", 1), e(20, "net.gw", "dead", rx=30), e(10, "cpu.user_pct", 1, host="a2")]
    )
    moved = shifted(scenario, 9, Random(3))
    mine = [entry for entry in moved.timeline if entry.host == "a1"]
    assert mine[1].t_ms - mine[0].t_ms == 10_000
    assert mine[1].rx_ms - mine[1].t_ms == 10_000
    assert all(
        0 <= entry.t_ms - 10_000 <= 9_000 for entry in moved.timeline if entry.signal == "cpu.user_pct"
    )
    assert shifted(scenario, 9, Random(3)) == moved
