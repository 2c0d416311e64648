"""Which cause reaches which symptom of the same host: two troubles at once are two problems, a cascade stays one."""

from __future__ import annotations

import dataclasses

import pytest

from collector.qualify.shared import began_together
from collector.qualify.subjects import (
    AT_ONCE_MS,
    ELSEWHERE,
    JOIN_WITHIN_MS,
    OpenProblem,
    is_program,
    may_explain,
    may_join,
    needs_room,
    subject_of,
)

pytestmark = pytest.mark.collector

MINUTE_MS = 60_000
KILL = OpenProblem(1, "a1", "host:a1", "memory", "os.memory_leak", 0, moment_ms=0, names=frozenset({"php"}))


def failing(part: str, at_ms: int, family: str = "unit", **values) -> OpenProblem:
    return OpenProblem(
        0,
        "a1",
        "host:a1",
        family,
        "os.service_failed",
        at_ms,
        frozenset({part}) if part else frozenset(),
        **values,
    )


def full(mount: str) -> OpenProblem:
    return OpenProblem(1, "a1", subject_of("a1", "fs_space", mount), "fs_space", "os.disk_full", 0)


def test_a_kill_explains_what_fails_at_once():
    assert may_join(KILL, failing("shop", AT_ONCE_MS)) is not None


def test_a_kill_that_is_over_explains_nothing_that_fails_minutes_later():
    assert may_join(KILL, failing("nginx", 9 * MINUTE_MS)) is None


def test_a_kill_explains_the_program_that_it_names_also_later():
    assert may_join(KILL, failing("php-fpm", 9 * MINUTE_MS)) is not None


def test_a_want_that_goes_on_explains_what_fails_minutes_later():
    assert may_join(dataclasses.replace(KILL, moment_ms=None), failing("nginx", 9 * MINUTE_MS)) is not None


def test_the_last_kill_counts_and_not_the_first():
    again = dataclasses.replace(KILL, moment_ms=8 * MINUTE_MS)
    assert may_join(again, failing("nginx", 9 * MINUTE_MS)) is not None


def test_a_kill_that_is_told_after_its_symptom_must_reach_it_too():
    assert may_explain(KILL, failing("nginx", 9 * MINUTE_MS)) is None
    assert may_explain(KILL, failing("nginx", MINUTE_MS)) is not None


@pytest.mark.parametrize(
    ("mount", "at_ms", "is_joined"),
    [
        ("/", 60 * MINUTE_MS, True),
        ("/var/lib", 60 * MINUTE_MS, True),
        ("/data", 5 * MINUTE_MS, True),
        ("/data", 60 * MINUTE_MS, False),
        ("/data/mariadb", 60 * MINUTE_MS, True),
        ("/boot", MINUTE_MS, False),
        ("/mnt/copy", MINUTE_MS, False),
        ("/srv/backups", MINUTE_MS, False),
    ],
)
def test_a_full_file_system_explains_who_may_write_to_it(mount, at_ms, is_joined):
    assert (may_join(full(mount), failing("mariadb", at_ms), is_full=True) is not None) == is_joined


def test_a_program_that_says_it_found_no_room_is_believed():
    assert (
        may_join(full("/mnt/copy"), failing("mariadb", MINUTE_MS, lacks_room=True), is_full=True) is not None
    )


def test_a_mount_that_nobody_named_is_taken_for_everybody_s():
    assert needs_room("", 0, ("mariadb",), 10 * JOIN_WITHIN_MS)


def test_the_kernel_cuts_names_of_programs():
    assert is_program({"postgres-checkp"}, {"postgres"})
    assert is_program({"mysqld"}, {"mysql"})
    assert not is_program({"php"}, {"nginx"})
    assert not is_program({"sh"}, {"sshd"}), "two letters name nothing"


def test_a_card_and_its_wire_are_a_problem_beside_the_way_beyond():
    assert subject_of("a1", "network", "eth0", "link_errors") == subject_of(
        "a1", "network", "eth0", "link_flaps"
    )
    assert subject_of("a1", "network", "", "packets_lost") != subject_of(
        "a1", "network", "eth0", "link_errors"
    )


def test_a_silent_agent_on_a_host_that_answers_takes_in_no_broken_disk():
    silence = OpenProblem(1, "a1", "host:a1", "silence", "os.agent_down", 0, word="agent_gone")
    disk = OpenProblem(0, "a1", "host:a1/device:sda", "hardware", "hw.disk", 40 * MINUTE_MS)
    assert may_join(silence, disk) is None
    assert may_join(dataclasses.replace(silence, root_cause="unknown", word="down"), disk) is not None


def test_what_only_another_vantage_is_not_served_belongs_to_no_broken_way_of_ours():
    way = OpenProblem(
        1, "a1", "path:collector", "service", "net.transit_path", 0, frozenset({"service"}), is_outside=True
    )
    theirs = failing("service", MINUTE_MS, "service", is_outside=True, is_elsewhere=True)
    assert may_join(way, theirs) is None
    assert may_join(way, dataclasses.replace(theirs, is_elsewhere=False)) is not None


def test_views_of_one_service_from_here_and_from_elsewhere_are_one_problem_where_our_way_is_whole():
    ours = OpenProblem(
        1, "a1", "host:a1", "service", "os.service_failed", 0, frozenset({"web"}), is_outside=True
    )
    theirs = failing("web", 20 * JOIN_WITHIN_MS, "service", is_outside=True, is_elsewhere=True)
    assert may_join(ours, theirs) is not None
    assert subject_of("a1", "service", "web", "vantage.service").endswith(ELSEWHERE)


def test_a_full_connection_table_loses_names_and_ways_and_damages_no_card():
    table = OpenProblem(
        1, "a1", subject_of("a1", "limits", "", "conntrack_full"), "limits", "os.conntrack", 0
    )
    for family, rule, is_joined in (
        ("dns", "resolver_fails", True),
        ("network", "packets_lost", True),
        ("network", "link_errors", False),
    ):
        found = OpenProblem(0, "a1", subject_of("a1", family, "", rule), family, "x", MINUTE_MS)
        assert (may_join(table, found) is not None) == is_joined, rule


@pytest.mark.parametrize(
    ("cause", "began_min", "shared"),
    [
        ("hw.thermal", [0, 10], [True, True]),
        ("hw.thermal", [0, 10, 50], [True, True, False]),
        ("hw.thermal", [0], [False]),
        ("hw.power", [0, 3000], [False, False]),
        ("virt.cpu_contention", [0, 3000], [True, True]),
    ],
)
def test_of_machines_with_parts_of_their_own_only_what_began_together_is_the_rack_s(cause, began_min, shared):
    assert began_together(cause, [m * MINUTE_MS for m in began_min]) == shared


def test_the_kernels_word_that_a_limit_is_reached_belongs_to_what_ran_out_for_hours():
    filling = OpenProblem(1, "a1", "host:a1/limit:fd_low", "limits", "os.service_failed", 0)
    word = OpenProblem(
        0, "a1", "host:a1/limit:limits_reached", "limits", "os.service_failed", 200 * MINUTE_MS
    )
    assert may_join(filling, word) is not None
    other = OpenProblem(0, "a1", "host:a1/limit:pids_gone", "limits", "os.fork_bomb", 200 * MINUTE_MS)
    assert may_join(filling, other) is None


def test_programs_that_hang_are_why_the_agent_was_heard_no_more():
    silence = OpenProblem(1, "a1", "host:a1", "silence", "os.agent_down", 0, word="agent_gone")
    hung = OpenProblem(0, "a1", "host:a1/service:ssh", "service", "os.userland_hung", MINUTE_MS // 2)
    assert may_explain(hung, silence) is not None
    assert may_explain(hung, dataclasses.replace(silence, root_cause="virt.node_failure")) is None
