"""Whole verdicts: whose problem it is, how sure we are, and that evidence is counted as signals.md section 1 says."""

from __future__ import annotations

import dataclasses

import pytest

from collector.qualify.case import Seen
from collector.qualify.judge import DEFAULT_CAUSE, ROWS, SEVERITY, WOULD_CHANGE, qualify
from collector.qualify.row import Row
from collector.qualify.score import Weighed, class_of, counted, score
from ticketing.model import FAMILIES, Confidence, Reason

pytestmark = pytest.mark.collector

NEIGHBOUR = {"cpu.user_pct": 20, "cpu.sys_pct": 4, "cpu.steal_pct": 30, "sched.runq_per_cpu": 0.4}


def row(weight: float, group: str, cause: str = "os.x") -> Weighed:
    return Weighed(
        Row(f"r{weight}{group}", frozenset({"cpu"}), cause, weight, group, "signals.md", lambda c: {}), {}
    )


def judged(case) -> tuple[int, str, bool]:
    verdict = qualify(case)
    return verdict.class_, verdict.root_cause, verdict.provisional


def test_a_noisy_neighbour_needs_a_second_witness(make_case, make_sibling):
    assert judged(make_case("cpu", NEIGHBOUR)) == (2, "virt.cpu_contention", True)
    moved = make_case("cpu", NEIGHBOUR, siblings=(make_sibling(cpu__steal_pct=25.0),))
    assert judged(moved) == (1, "virt.cpu_contention", False)
    slow = make_case("cpu", NEIGHBOUR | {"cpu.spin_score": 0.6})
    assert judged(slow) == (1, "virt.cpu_contention", False)


def test_steal_at_the_plan_s_limit_is_our_own_demand_and_not_the_neighbours(make_case):
    facts = {
        "cpu.user_pct": 17,
        "cpu.sys_pct": 3,
        "cpu.steal_pct": 78,
        "load.per_cpu": 2.8,
        "cpu.spin_score": 0.21,
    }
    case = make_case("cpu", facts | {"sched.runq_per_cpu": 2.6}, topology={"plan": "burstable baseline=20%"})
    assert judged(case) == (2, "os.plan_limit", False)


def test_bare_metal_has_nobody_below_to_take_the_processor(make_case):
    busy = {"cpu.user_pct": 93, "cpu.sys_pct": 6, "load.per_cpu": 4.1}
    assert judged(make_case("cpu", busy, topology={"virt": "none"}, lacks=("cpu.steal_pct",))) == (
        2,
        "os.cpu_demand",
        False,
    )


def test_memory_that_the_hypervisor_took_is_not_a_leak(make_case):
    taken = make_case(
        "memory", {"mem.total_mb": (8000, 6000), "mem.avail_pct": (55, 5), "psi.mem_full60": 40}
    )
    assert judged(taken) == (1, "virt.balloon", False)
    grown = make_case(
        "memory", {"mem.total_mb": (8000, 8000), "mem.avail_pct": (55, 5), "psi.mem_full60": 40}
    )
    assert judged(grown) == (2, "os.memory_leak", False)


def test_slow_disks_are_the_backend_s_when_a_neighbour_is_slow_too(make_case, make_sibling):
    slow = {"disk.await_ms": (3, 180), "disk.iops": (120, 40), "disk.qdepth": 7.2}
    both = make_case("io", slow, siblings=(make_sibling(disk__await_ms=150.0),))
    assert judged(both) == (1, "virt.storage_backend", False)


def test_slow_disks_are_ours_when_we_ask_for_much_more(make_case, make_sibling):
    facts = {"disk.await_ms": (3, 42), "disk.iops": (120, 2990), "disk.qdepth": 126}
    assert judged(make_case("io", facts, siblings=(make_sibling(disk__await_ms=3.0),))) == (
        2,
        "os.io_demand",
        False,
    )
    capped = make_case("io", facts, topology={"plan": "dedicated iops_cap=3000"})
    assert judged(capped) == (2, "os.plan_limit", False)


def test_a_pause_seen_in_the_clock_is_decisive_alone(make_case):
    assert judged(make_case("virt", {"clk.offset_step_s": 12})) == (1, "virt.pause", False)


def test_the_hardware_s_own_word_is_enough(make_case):
    assert judged(make_case("hardware", {"hw.md": "degraded"}, topology={"virt": "none"})) == (
        1,
        "hw.disk",
        False,
    )


def test_a_resolver_fails_for_all_or_for_one(make_case, make_sibling):
    facts = {"net.dns_sys": "fail", "net.dns_pub": "ok"}
    assert judged(make_case("dns", facts, siblings=(make_sibling(families=("dns",)),))) == (
        1,
        "svc3.dns",
        False,
    )
    assert judged(make_case("dns", facts, siblings=(make_sibling(),))) == (2, "os.resolver", False)


def test_what_a_platform_cannot_show_is_no_evidence_of_its_absence(make_case):
    case = make_case("cpu", {"cpu.spin_score": 0.5, "sched.runq_per_cpu": 0.3}, lacks=("cpu.steal_pct",))
    verdict = qualify(case)
    assert (verdict.root_cause, verdict.provisional) == ("virt.cpu_contention", True)


def test_a_port_that_accepts_and_says_nothing_is_a_program_that_hangs_and_no_filter(make_case):
    outside = {"stream": "collector:outside", "subject": "web"}
    swallowed = make_case("service", {"ext.state": "timeout", "ext.port": "timeout"}, **outside)
    assert judged(swallowed) == (2, "os.firewall", False)
    accepted = make_case("service", {"ext.state": "timeout", "ext.port": "ok"}, **outside)
    assert judged(accepted) == (2, "os.service_failed", False)


def test_of_one_group_only_the_strongest_row_counts():
    three = [row(1.0, "inside", "virt.a"), row(2.0, "inside", "virt.a"), row(1.0, "inside", "virt.a")]
    assert score(three, "os.y").sum == 2.0
    assert score([*three, row(-1.0, "inside")], "os.y").sum == 1.0, "and one for each side"


def test_one_group_alone_is_not_enough_for_class_1_however_strong():
    assert score([row(3.0, "inside", "virt.a")], "os.y").class_ == 2
    assert score([row(2.0, "inside", "virt.a"), row(0.5, "clock", "virt.a")], "os.y").class_ == 1
    assert score([row(4.0, "inside", "virt.a")], "os.y").class_ == 1, "but one decisive row is"


def test_without_evidence_a_verdict_is_provisional_and_weak(make_case):
    verdict = qualify(make_case("fs", {}))
    assert (verdict.class_, verdict.provisional, verdict.confidence) == (2, True, Confidence.LOW)
    assert verdict.would_change


def test_a_row_that_is_left_out_changes_what_it_was_worth(make_case):
    case = make_case("virt", {"clk.offset_step_s": 12})
    assert qualify(case, frozenset({"virt.stood_still"})).provisional


def test_a_certificate_that_ends_next_week_is_a_forecast_and_one_that_ends_tomorrow_is_not(make_case):
    assert qualify(make_case("tls", {"tls.days": 12})).preventive
    assert not qualify(make_case("tls", {"tls.days": 1})).preventive


def test_explain_marks_what_counted():
    reasons = [
        Reason("a", {}, 1.0, "inside"),
        Reason("b", {}, 2.0, "inside"),
        Reason("c", {}, -1.0, "inside"),
        Reason("d"),
    ]
    assert [(c.reason.key, c.counts) for c in counted(reasons)] == [
        ("b", True),
        ("a", False),
        ("c", True),
        ("d", False),
    ]


def test_every_family_has_a_default_cause():
    assert set(DEFAULT_CAUSE) == set(FAMILIES) - {"request", "internal"}


def test_classes_follow_from_causes():
    causes = (
        {r.cause for r in ROWS if r.cause} | set(DEFAULT_CAUSE.values()) | set(SEVERITY) | set(WOULD_CHANGE)
    )
    assert {class_of(c) for c in causes} <= {1, 2, 3, 5}
    for r in ROWS:
        if r.cause and r.weight:
            assert (class_of(r.cause) == 1) == (r.weight > 0), r.id


def test_an_agent_that_said_goodbye_does_not_make_a_dead_machine_well(make_case):
    """The machine went off after its agent was stopped: what answers nothing is not "the agent alone"."""
    dead = {
        "silence.outcome": "down",
        "ext.icmp": "dead",
        "ext.tcp22": "timeout",
        "agent.stop_reason": "service_stop",
    }
    assert qualify(make_case("silence", dead)).root_cause != "os.agent_down"
    well = {"silence.outcome": "agent_gone", "ext.tcp22": "ok", "agent.stop_reason": "service_stop"}
    assert qualify(make_case("silence", well)).root_cause == "os.agent_down"


def test_what_a_host_told_of_its_newest_boot_is_known_to_the_case_and_an_older_boot_is_not(make_case):
    began = make_case("kernel").subject.at_ms

    def known(at_ms: int) -> object:
        seen = Seen("a1", "boot.restart_cause", "watchdog expiration", "", at_ms)
        return dataclasses.replace(make_case("kernel"), seen=(seen,)).value("boot.restart_cause")

    assert known(began - 60_000) == "watchdog expiration"
    assert known(began + 300_000) == "watchdog expiration"
    assert known(began - 3_600_000) is None


def test_of_two_other_findings_the_fresher_tells_a_fact(make_case, make_held):
    old = dataclasses.replace(make_held("memory", {"mem.avail_pct": 3.0}), at_ms=0)
    new = dataclasses.replace(make_held("cpu", {"mem.avail_pct": 60.0}), at_ms=1_000)
    assert make_case("service", beside=(old, new)).number("mem.avail_pct") == 60.0
    assert (
        make_case("service", beside=(dataclasses.replace(old, changed_at_ms=2_000), new)).number(
            "mem.avail_pct"
        )
        == 3.0
    )


def test_what_another_finding_told_long_ago_yields_to_the_heartbeat_and_the_judged_one_s_own_does_not(
    make_case, make_held
):
    old = dataclasses.replace(make_held("memory", {"mem.avail_pct": (50.0, 3.0)}), at_ms=0)
    case = make_case("service", beside=(old,))
    lively = dataclasses.replace(case, host=dataclasses.replace(case.host, vitals={"mem.avail_pct": 71.0}))
    assert lively.number("mem.avail_pct") == 71.0
    assert lively.before("mem.avail_pct") == 50.0
    own = dataclasses.replace(lively, subject=old, beside=())
    assert own.number("mem.avail_pct") == 3.0


@pytest.mark.parametrize(
    ("stopped", "cause"),
    [((), "os.cpu_demand"), (("less", "vim"), "os.cpu_demand"), (("less", "php-fpm"), "os.service_failed")],
)
def test_a_program_that_was_stopped_does_not_wait_for_the_processor(make_case, stopped, cause):
    busy = {
        "check.state": "timeout", "cpu.user_pct": 92, "cpu.sys_pct": 6, "sched.runq_per_cpu": 7,
    }  # fmt: skip
    case = make_case("service", busy, subject="web", rule="check_fails", notes={"stopped": list(stopped)})
    assert qualify(case).root_cause == cause


BUSY = {"ext.svc": "dead", "cpu.user_pct": 92, "cpu.sys_pct": 6, "sched.runq_per_cpu": 7}


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"ext.state": "timeout", "ext.port": "ok", "ext.icmp": "ok"}, "os.cpu_demand"),
        ({"ext.state": "timeout", "ext.port": "ok", "ext.icmp": "dead"}, "os.cpu_demand"),
        ({"ext.state": "timeout", "ext.port": "timeout", "ext.icmp": "ok"}, "os.firewall"),
        (
            {"ext.state": "timeout", "ext.port": "timeout", "ext.icmp": "ok", "net.listen_drops_ps": 3.0},
            "os.cpu_demand",
        ),
        (
            {"ext.state": "timeout", "ext.port": "timeout", "ext.icmp": "dead", "ext.tcp22": "timeout"},
            "os.firewall",
        ),
    ],
)
def test_a_busy_processor_drops_no_packets(make_case, seen, cause):
    case = make_case(
        "service", BUSY | seen, subject="site", rule="outside.service", stream="collector:outside"
    )
    assert qualify(case).root_cause == cause


@pytest.mark.parametrize(
    ("hop", "vantage", "cause"),
    [
        ("transit-K", "", "net.transit_path"),
        ("col-edge", "collector", "net.transit_path"),
        ("alfa-core2", "", "os.firewall"),
        ("transit-K", "v2", "os.firewall"),
        ("transit-before-alfa", "", "os.firewall"),
    ],
)
def test_where_our_own_trace_ends_before_the_provider_and_others_are_served_it_is_our_way(
    make_case, hop, vantage, cause
):
    def judged(elsewhere):
        facts = {"ext.state": "timeout", "ext.port": "timeout", "ext.elsewhere": elsewhere}
        seen = (("ext.svc", "ok", "v2"), ("ext.last_hop", hop, vantage))
        return qualify(
            make_case("service", facts, subject="web", stream="collector:outside", seen=seen)
        ).root_cause

    assert judged({"v2": {"ext.svc": "ok"}}) == cause
    assert judged({}) == "os.firewall", "what was seen before it began says nothing"
    assert judged({"v2": {"ext.svc": "dead"}}) == "os.firewall"


def test_what_we_lost_with_hosts_of_other_providers_while_others_are_served_is_our_way(make_case):
    facts = {"ext.state": "timeout", "ext.together": True, "ext.elsewhere": {"v2": {"ext.svc": "ok"}}}
    told = {"subject": "web", "stream": "collector:outside"}
    assert qualify(make_case("service", facts, **told)).root_cause == "net.transit_path"
    dead = facts | {"ext.elsewhere": {"v2": {"ext.svc": "dead"}}}
    assert qualify(make_case("service", dead, **told)).root_cause == "os.firewall"


def test_a_service_without_room_is_told_by_the_file_system_that_is_full(make_case, make_held):
    beside = (make_held("fs_space", {"fs.inode_pct": 100}, subject="/var"),)
    case = make_case(
        "service", {"ext.state": "dead"}, subject="web", stream="collector:outside", beside=beside
    )
    verdict = qualify(case)
    assert (verdict.root_cause, verdict.summary.params["part"]) == ("os.disk_full", "/var")


@pytest.mark.parametrize(("dark_for_s", "cause"), [(5, "hw.power"), (86_400, "unknown")])
def test_a_controller_that_was_dark_long_before_tells_nothing_of_the_outage(
    make_case, make_sibling, dark_for_s, cause
):
    metal = {"virt": "none", "storage": "local"}
    facts = {"silence.outcome": "down"}
    case = make_case(
        "silence", facts, topology=metal, siblings=(make_sibling(),), seen=(("ext.bmc", "dead", ""),)
    )
    since = dataclasses.replace(case.seen[0], at_ms=case.subject.at_ms - dark_for_s * 1000)
    assert qualify(dataclasses.replace(case, seen=(since,))).root_cause == cause


@pytest.mark.parametrize(("act", "cause"), [((), "svc3.ntp"), (("date -s 10:12 (sudo)",), "os.clock")])
def test_a_clock_that_was_set_by_hand_is_not_led_astray_by_the_provider_s_source(
    make_case, make_sibling, act, cause
):
    facts = {"clk.ntp_offset_ms": 1, "clk.true_offset_ms": -5_400_000}
    case = make_case("clock", facts, ops=act, siblings=(make_sibling(families=("clock",)),))
    assert qualify(case).root_cause == cause


def test_a_guest_of_ours_that_is_down_is_no_pause_of_the_machine(make_case):
    case = make_case("virt", {}, rule="guest_down", subject="g-erp", topology={"virt": "none"})
    assert qualify(case).root_cause == "os.service_failed"


@pytest.mark.parametrize(("began_s", "cause"), [(20, "os.userland_hung"), (-20, "os.agent_down")])
def test_an_agent_that_hung_first_is_told_by_what_hangs_since(make_case, make_held, began_s, cause):
    facts = {"silence.outcome": "agent_gone", "ext.tcp22": "ok", "ext.svc": "ok", "ext.icmp": "ok"}
    case = make_case("silence", facts)
    mute = make_held("service", {"ext.state": "banner_timeout"}, subject="ssh", stream="collector:outside")
    mute = dataclasses.replace(mute, at_ms=case.subject.at_ms + began_s * 1000)
    assert qualify(dataclasses.replace(case, beside=(mute,))).root_cause == cause
