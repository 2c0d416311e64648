"""What a problem is about, and which symptoms of one host are one problem."""

from __future__ import annotations

import dataclasses

import pytest

from collector.qualify.subjects import (
    JOIN_WITHIN_MS,
    TOGETHER_MS,
    OpenProblem,
    is_next_stage,
    may_join,
    stem,
    subject_of,
)

pytestmark = pytest.mark.collector


def problem(
    family: str, cause: str, *stems: str, at_ms: int = 0, host: str = "a1", outside: bool = False
) -> OpenProblem:
    return OpenProblem(1, host, f"host:{host}", family, cause, at_ms, frozenset(stems), outside)


SERVICE = "os.service_failed"


@pytest.mark.parametrize(
    ("open_one", "found", "joins"),
    [
        (problem("unit", SERVICE, "nginx"), problem("service", SERVICE, "web"), True),
        (
            problem("unit", SERVICE, "nginx"),
            problem("unit", SERVICE, "mariadb", at_ms=TOGETHER_MS + 1),
            False,
        ),
        (problem("unit", SERVICE, "nginx"), problem("unit", SERVICE, "mariadb", at_ms=TOGETHER_MS), True),
        (problem("unit", SERVICE, "nginx"), problem("process", SERVICE, "worker"), True),
        (problem("unit", SERVICE, "nginx"), problem("unit", "os.sshd_down", "sshd"), False),
        (problem("unit", SERVICE, "nginx"), problem("unit", SERVICE, "nginx"), True),
        (problem("service", SERVICE, "web"), problem("service", SERVICE, "shop", outside=True), True),
        (problem("service", SERVICE, "web"), problem("service", SERVICE, "shop"), False),
        (problem("silence", "unknown"), problem("service", SERVICE, "web", outside=True), True),
        (problem("fs_space", "os.disk_full", "/var"), problem("unit", SERVICE, "mariadb"), True),
        (problem("fs_space", "os.disk_full", "/var"), problem("fs_space", "os.disk_full", "/home"), False),
        (problem("fs", "hw.disk", "/var"), problem("fs", "hw.disk", "/home"), True),
        (problem("cpu", "os.cpu_demand"), problem("limits", "os.cpu_demand"), True),
        (problem("cpu", "os.cpu_demand"), problem("io", "os.io_demand"), False),
        (problem("cpu", "os.cpu_demand", host="a2"), problem("limits", "os.cpu_demand"), False),
    ],
)
def test_which_symptoms_are_one_problem(open_one, found, joins):
    assert (may_join(open_one, dataclasses.replace(found, ticket_id=0)) is not None) == joins


def test_symptoms_far_apart_in_time_are_problems_of_their_own():
    late = problem("service", SERVICE, "web", at_ms=JOIN_WITHIN_MS + 1)
    assert may_join(problem("unit", SERVICE, "nginx"), late) is None


def test_views_of_one_service_are_one_problem_however_late_the_second_comes():
    late = problem("service", SERVICE, "nginx", at_ms=9 * JOIN_WITHIN_MS, outside=True)
    assert may_join(problem("unit", SERVICE, "nginx"), late) is not None
    assert may_join(problem("unit", SERVICE, "backup"), late) is None


@pytest.mark.parametrize("turned", [False, True])
def test_the_kernel_s_line_about_a_limit_belongs_to_the_limit_that_runs_out_in_either_order(turned):
    counted = dataclasses.replace(problem("limits", SERVICE), subject="host:a1/limit:fds_gone")
    told = dataclasses.replace(problem("limits", SERVICE), subject="host:a1/limit:limits_reached")
    other = dataclasses.replace(problem("limits", SERVICE), subject="host:a1/limit:listen_drops")
    first, second = (told, counted) if turned else (counted, told)
    assert may_join(first, dataclasses.replace(second, ticket_id=0)) is not None
    assert may_join(counted, dataclasses.replace(other, ticket_id=0)) is None


@pytest.mark.parametrize("turned", [False, True])
def test_processes_that_nobody_collects_and_the_full_table_of_processes_are_one_problem_hours_apart(turned):
    dead = problem("process", SERVICE)
    full = dataclasses.replace(
        problem("limits", "os.fork_bomb", at_ms=9 * JOIN_WITHIN_MS), subject="host:a1/limit:pids_gone"
    )
    files = dataclasses.replace(full, subject="host:a1/limit:descriptors_gone")
    first, second = (full, dead) if turned else (dead, full)
    assert may_join(first, second) is not None
    assert may_join(dead, files) is None


def test_a_flood_has_come_to_a_null_route_and_not_the_other_way_round():
    assert is_next_stage("net.nullroute", "os.syn_flood")
    assert not is_next_stage("os.syn_flood", "net.nullroute")
    assert not is_next_stage("net.provider_edge", "os.syn_flood")


def test_a_long_silence_explains_whatever_dies_during_it():
    late = problem("service", SERVICE, "web", at_ms=10 * JOIN_WITHIN_MS)
    assert may_join(problem("silence", "unknown"), late) is not None
    assert may_join(problem("silence", "unknown", at_ms=20 * JOIN_WITHIN_MS), late) is None


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("nginx.service", "nginx"),
        ("php-fpm@1.service", "php-fpm"),
        ("unit:nginx.service", "nginx"),
        ("/var", "var"),
        ("Web", "web"),
    ],
)
def test_bare_names(subject, name):
    assert stem(subject) == name


def test_subjects_of_problems():
    assert subject_of("a1", "cpu", "") == "host:a1"
    assert subject_of("a1", "fs_space", "/var") == "host:a1/fs:/var"
    assert subject_of("a1", "io", "sda") == "host:a1", "a slow disk and the pressure it makes are one problem"
    assert subject_of("a1", "hardware", "sda:197") == subject_of("a1", "hardware", "sda"), "a drive's counter"
    assert subject_of("a1", "hardware", "197") == "host:a1", "the only drive's"
    assert subject_of("a1", "limits", "", "pids_gone") != subject_of("a1", "limits", "", "conntrack_full")
