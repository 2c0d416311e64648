"""The table of failover.md 9.2: every case with what proves it. A test asks whether it is whole; ``make failover-lab`` plays it.

An id before the dot is the specification's; what follows tells its variants apart. A case is played here (``do``), proven by
a test elsewhere that uses the real part (``test``), or said to be not built (``why_not``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.lab import faults as f
from tests.lab import faults_store as s
from tests.lab import faults_time as t
from tests.lab.given import Scale, lease_fence, port_fence, power_fence
from tests.lab.household import Household
from tests.lab.play import Case, Expect

SPECIFIED = (
    *(f"A{n}" for n in range(1, 11)), *(f"B{n}" for n in range(1, 7)), *(f"C{n}" for n in range(1, 5)),
    *(f"D{n}" for n in range(1, 5)), "E1", "E2", "E3", "F1", "F2", *(f"G{n}" for n in range(1, 6)), "H1", "H2",
    "I1", "I2", "I3", "J1",
)  # fmt: skip

SWITCHED = Expect(("hold_down", "failback_ready"), "back", is_switched=True)
NOTHING = Expect(("",), "prim")
STUCK = Expect(("stuck",), None)
ASKED = Expect(("await_approval",), None)
REFUSED = Expect(("",), None)

TENTH = "dwell 6 s for 60, heartbeat 2 s for 10, looks 5 s for 30"

PARTLY = "healed after 0.3 of the dwell (12 s for 60)"
HANGS = "20 s against a deadline of 10 (120 against 60)"
TTL = "gate ttl 12 s for 60"
UNTOLD = "no act without journal"


def whoever(home: Household) -> Expect:
    """Either nothing was switched, or it was switched wholly; in between is a person's."""
    state = home.state()
    if state in SWITCHED.state:
        return Expect(SWITCHED.state, "back")
    return Expect((state,), "prim" if home.may_write() == ["prim"] else None)


def two_fences(folder: Path) -> dict[str, Any]:
    return {"fence": [[power_fence()], [port_fence(folder)]]}


def port_only(folder: Path) -> dict[str, Any]:
    return {"fence": [[port_fence(folder)]]}


LEASE_ONLY = {"fence": [[lease_fence(Scale())]], "fence_min": "F2"}


LIMITS = "tests/unit/collector/failover/test_limits.py::"
PARTS = "tests/lab/parts/"
POSTGRESQL = (
    f"{PARTS}test_postgresql.py::"
    "test_a1_i3_i2_the_standby_takes_over_the_old_primary_stays_off_and_comes_back_in_order"
)
MARIADB = (
    f"{PARTS}test_mariadb.py::"
    "test_a1_i3_the_replica_takes_over_and_the_old_primary_takes_no_writes_until_it_is_rebuilt"
)
GIVES_WAY_NOT = "test_i2_a_primary_whose_replica_has_not_everything_or_whom_it_cannot_follow_writes_on"
D1 = "test_d1_a_record_that_somebody_changed_stops_the_run_and_the_backup_keeps_its_role"
D2 = "test_d2_the_run_waits_until_the_server_that_is_behind_has_the_record"
D4 = "test_d4_a_reload_that_forgets_is_seen_and_the_step_is_done_again"
RANDOM = "tests/lab/test_cases.py::test_a_random_schedule_breaks_no_law"
YES = "tests/unit/collector/failover/test_approvals.py"
SSH = "tests/unit/collector/failover/steps/test_ssh.py"
AWAY = "tests/unit/collector/failover/steps/test_store_away.py"
CRASH = "tests/unit/collector/failover/steps/test_crashes.py::"

CASES: tuple[Case, ...] = (
    Case("A1", "prim process killed", "ON_BACKUP", f.a1, SWITCHED, is_core=True, scaled=TENTH),
    Case("A2", "prim namespace links down", "fence by oob, ON_BACKUP", f.a2, SWITCHED, is_core=True, scaled=TENTH),
    Case("A2.lease", "links down, fence by lease alone", "stops itself, ON_BACKUP", t.a2_lease, SWITCHED, terms=LEASE_ONLY,
         scaled=TTL),
    Case("A3", "prim cut from coll only", "no failover, path ticket", f.a3, NOTHING, scaled=TENTH),
    Case("A4", "coll cut from all", "nothing about hosts", f.a4, NOTHING, scaled=TENTH),
    Case("A5", "43 s partition, then heal", "no failover", f.a5, NOTHING, Scale(dwell=12.0), scaled=PARTLY),
    Case("A6.there", "one-way loss coll->prim", "no failover", f.a6_there, NOTHING, scaled=TENTH),
    Case("A6.back", "one-way loss prim->coll", "no failover", f.a6_back, NOTHING, scaled=TENTH),
    Case("A7.30", "30 % random loss", "at most one decision", f.a7_30, whoever, scaled=TENTH),
    Case("A7.60", "60 % random loss", "at most one decision", f.a7_60, whoever, scaled=TENTH),
    Case("A7.90", "90 % random loss", "at most one decision", f.a7_90, whoever, scaled=TENTH),
    Case("A8", "half-open: sshd and service stopped, ping ok", "ON_BACKUP by F4", f.a8, SWITCHED, scaled=TENTH),
    Case("A9", "load: prim slow, not dead", "no failover", f.a9, NOTHING, scaled=TENTH),
    Case("A10", "flapping link", "one incident, one decision", f.a10, whoever, scaled="ten flaps of a third of the dwell each"),
    Case("B1", "fence says ok but host lives", "next level, then STUCK", f.b1, STUCK, terms=two_fences, is_core=True),
    Case("B1.lease", "fence by lease, its watch dead, host lives", "not believed, STUCK", t.b1_lease,
         Expect(("stuck",), "prim"), terms=LEASE_ONLY,
         scaled=TTL),
    Case("B2", "provider's interface down", "request; no promote", f.b2, ASKED, is_core=True),
    Case("B2.later", "down when the order is given", "STUCK; no promote", f.b2_later, STUCK),
    Case("B3", "fence command hangs", "deadline, probe, again", f.b3, SWITCHED, scaled=HANGS),
    Case("B4", "fence ok, answer lost", "probe finds off, once", f.b4, SWITCHED, is_core=True),
    Case("B5", "prim revives during FENCING", "fenced all the same; isolated after", f.b5, SWITCHED),
    Case("B6", "fence maps to the wrong host", "refused before any order", f.b6, ASKED),
    Case("A1.postgresql", "PostgreSQL primary dies, comes back", "ON_BACKUP, isolated, back in order",
         test=POSTGRESQL),
    Case("A1.mariadb", "MariaDB primary dies", "ON_BACKUP, old one takes no writes",
         test=MARIADB),
    Case("B1.bmc", "a real controller says off, host lives", "not believed",
         test=PARTS + "test_bmc.py::test_b1_a_controller_that_says_off_while_the_host_lives_is_not_believed"),
    Case("B2.bmc", "a real controller hangs or is gone", "unknown within the deadline",
         test=PARTS + "test_bmc.py::test_b2_b3_a_controller_that_hangs_or_is_gone_is_unknown_within_the_deadline"),
    Case("B4.bmc", "a real controller's answer is lost", "the probe finds it",
         test=PARTS + "test_bmc.py::test_b4_the_order_is_done_and_its_answer_lost_the_probe_finds_it"),
    Case("C1", "backup lag > RPO", "request, no auto", f.c1, ASKED, Scale(rpo=8.0)),
    Case("C2", "backup's service broken", "refused before fencing", f.c2, REFUSED),
    Case("C3.fails", "promote script exit 1", "one retry, STUCK", f.c3_fails, STUCK),
    Case("C3.hangs", "promote script hangs", "STUCK, never a guess", f.c3_hangs, STUCK),
    Case("C3", "promote succeeds with lost connection", "probe forward, once", f.c3_link_lost, SWITCHED, is_core=True),
    Case("C4", "backup dies after FENCED", "STUCK, no second promote", f.c4, STUCK),
    Case("D1", "DNS server refuses the prerequisite", "stop, STUCK", test=f"{PARTS}test_names_in_a_run.py::{D1}"),
    Case("D2", "one of two authoritative servers stale", "the run waits", test=f"{PARTS}test_names_in_a_run.py::{D2}"),
    Case("D3", "floating-IP API 403", "bounded, STUCK, backup keeps role", f.d3_forbidden, Expect(("stuck",), "back", "prim")),
    Case("D3.busy", "floating-IP API 429, then well", "retried, ON_BACKUP", f.d3_busy, SWITCHED),
    Case("D4", "HAProxy reload loses state", "seen, step repeated", test=f"{PARTS}test_balancer.py::{D4}"),
    Case("E1", "kill -9 of the collector at every boundary", "same end, effects once", is_core=True,
         test=CRASH + "test_killed_at_every_boundary_the_end_is_the_same_and_effects_happen_once"),
    Case("E1.second", "kill -9, and a second collector takes over", "same end, effects once",
         test=CRASH + "test_another_collector_waits_until_the_first_one_s_act_cannot_be_on_its_way"),
    Case("E2", "store's disk full in mid-plan", UNTOLD, s.e2, whoever, disk="tmpfs"),
    Case("E2.readonly", "store's disk read-only in mid-plan", UNTOLD, s.e2_read_only, whoever, disk="ext4"),
    Case("E2.gone", "store's disk gone in mid-plan, then back", UNTOLD, s.e2_gone, whoever, disk="tmpfs"),
    Case("E2.postgresql", "store's server stops in mid-plan", UNTOLD, test=AWAY),
    Case("E3", "two collectors, lease stolen by pause", "the old one acts no more",
         test=CRASH + "test_a_collector_that_was_paused_past_its_lease_acts_no_more"),
    Case("F1.ahead", "collector clock +1 h while it decides", "no act", t.f1_ahead, Expect(("", "aborted"), None), clock=True),
    Case("F1.back", "collector clock -1 h while it decides", "no act", t.f1_back, Expect(("", "aborted"), None), clock=True),
    Case("F1.frozen", "collector clock stands still while it decides", "no act", t.f1_frozen, Expect(("", "aborted"), None),
         clock=True),
    Case("F1.asked", "collector clock stands still while a person is asked", "called off, a late yes is none",
         t.f1_frozen_asked, Expect(("aborted", "await_approval"), None), terms={"mode": "approve"}, clock=True),
    Case("F2", "paused prim resumes after promote", "serves nothing", t.f2, SWITCHED, terms=port_only, is_core=True, scaled=TTL),
    Case("G1", "approval late, twice, wrong person, old plan", "refused", test=YES),
    Case("G2", "business-hours edge, summer time", "right mode",
         test=LIMITS + "test_the_mode_changes_at_the_contract_s_own_hour_on_both_sides_of_summer_time"),
    Case("G3", "six primaries of one provider die", "one auto, rest requests, one parent",
         test=LIMITS + "test_of_six_primaries_of_one_provider_one_is_switched_and_five_are_asked_about"),
    Case("G4", "second failure in hold-down", "request",
         test=LIMITS + "test_a_second_failure_inside_the_hold_down_is_a_request"),
    Case("G5", "planned window, overrun", "none, then request",
         test=LIMITS + "test_planned_work_forbids_a_switch_and_its_overrun_asks"),
    Case("H1", "SSH: refused, silent, wrong key, cut, ...", "bounded, classified", test=SSH, is_core=True),
    Case("H2", "target disk full, odd PATH, odd locale", "step reports, no half state", test="tests/lab/test_targets.py"),
    Case("I1", "rehearsal on a live pair", "zero effects, record complete", f.i1_unmarked, NOTHING),
    Case("I1.real", "rehearsal for real on a marked pair", "switched, its time counts", f.i1_real, Expect(("",), "back"),
         terms={"drill": True}),
    Case("I2", "failback", "one primary throughout", f.i2, Expect(("hold_down", "failback_ready"), "prim"), is_core=True),
    Case("I2.lag", "PostgreSQL failback with lag", "refused, backup goes on",
         test=PARTS + "test_postgresql.py::test_i2_a_failback_with_lag_is_refused_and_the_backup_goes_on"),
    Case("I2.mariadb", "MariaDB switchover and failback", "in order, nothing lost",
         test=PARTS + "test_mariadb.py::test_i2_both_give_way_in_order_and_nothing_is_lost_on_the_way_there_and_back"),
    Case("I2.mariadb.lag", "MariaDB replica behind, gone, refused", "writes go on",
         test=PARTS + "test_mariadb.py::" + GIVES_WAY_NOT),
    Case("I2.unknown", "failback with unknown lag", "backup is not asked to stop", f.i2_unknown, SWITCHED),
    Case("I2.aborted", "failback that cannot begin", "backup serves on", f.i2_aborted, SWITCHED),
    Case("I3", "old primary boots after failover", "isolated", f.i3, SWITCHED),
    Case("I3.systemd", "two booted machines with the gate", "isolated", test="tests/e2e/systemd/test_gate.py::"),
    Case("J1", "random schedules of A to D", "checker clean", test=RANDOM),
)  # fmt: skip


def case_of(case_id: str) -> Case:
    """The case of that id. KeyError where there is none."""
    return {case.id: case for case in CASES}[case_id]
