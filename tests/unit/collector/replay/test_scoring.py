"""The scoring section of the scenario files, sentence by sentence."""

from __future__ import annotations

import pytest

from collector.replay.scenario import Truth, TruthTicket
from collector.replay.score import Came, is_above, score, summary

pytestmark = pytest.mark.collector

MEANT = TruthTicket("parent", "1", "node:alfa/n7", ("a1", "a2"), not_before_s=600, open_by_s=900)
TRUTH = Truth("1", "virt.node_failure", (MEANT,))
RIGHT = Came("parent", "1", "virt.node_failure", "node:alfa/n7", ("a1", "a2"), 700.0)


def came(**values):
    import dataclasses

    return dataclasses.replace(RIGHT, **values)


def test_everything_right_has_all_points():
    found = score(TRUTH, [RIGHT], "none")
    assert (found.points, found.hard_fails, found.notes) == (8, (), ())


def test_class_cause_scope_and_time_are_judged_apart():
    assert score(TRUTH, [came(class_="2")], "none").points == 5
    assert score(TRUTH, [came(root_cause="hw.power")], "none").points == 6
    assert score(TRUTH, [came(scope="host:a1")], "none").points == 6
    assert score(TRUTH, [came(opened_at_s=950.0)], "none").points == 7


def test_the_name_of_a_scope_is_not_scored_but_its_type_is():
    assert score(TRUTH, [came(scope="node:alfa/other")], "none").tickets
    assert not score(TRUTH, [came(scope="site:alfa/n7")], "none").tickets


def test_accepted_causes_count_as_right():
    truth = Truth("1", "virt.node_failure", (MEANT,), accept={"root_cause": ("hw.power",)})
    assert score(truth, [came(root_cause="hw.power")], "none").root_cause


def test_a_site_may_be_called_what_a_topology_calls_it():
    meant = TruthTicket("parent", "1", "dc:alfa/a1", ("a1", "a2"), not_before_s=600, open_by_s=900)
    assert score(Truth("1", "net.dc_outage", (meant,)), [came(scope="site:alfa/a1")], "none").tickets


def test_parents_of_two_causes_are_each_held_against_their_own():
    full = TruthTicket("parent", "2", "host:a1", ("a1",), open_by_s=900, root_cause="os.disk_full")
    certificate = TruthTicket("parent", "2", "host:a1", ("a1",), open_by_s=900, root_cause="os.cert_expired")
    truth = Truth("2", "os.disk_full", (full, certificate))
    one = Came("parent", "2", "os.cert_expired", "host:a1", ("a1",), 100.0)
    other = Came("parent", "2", "os.disk_full", "host:a1", ("a1",), 200.0)
    assert score(truth, [one, other], "none").root_cause
    assert not score(
        truth, [one, Came("parent", "2", "os.clock", "host:a1", ("a1",), 200.0)], "none"
    ).root_cause


def test_two_tickets_for_one_cause_lose_the_tickets_only():
    found = score(TRUTH, [came(affected=("a1",)), came(affected=("a2",))], "none")
    assert found.class_ and found.root_cause and not found.tickets


def test_a_ticket_about_a_healthy_host_is_wrong_altogether():
    found = score(TRUTH, [RIGHT, came(affected=("b1",))], "none")
    assert (found.class_, found.root_cause, found.tickets) == (False, False, False)


def test_children_are_no_parents():
    assert score(TRUTH, [RIGHT, came(role="child", class_="2")], "none").points == 8


def test_a_client_ticket_where_none_belongs_is_a_hard_fail():
    truth = Truth("none", "none.planned", must_not=("any_ticket",))
    assert score(truth, [], "none").points == 8
    found = score(truth, [RIGHT], "none")
    assert found.hard_fails and found.points == 0


@pytest.mark.parametrize(
    ("expected", "decision", "is_hard"),
    [
        ("none", "none", False),
        ("none", "auto", True),
        ("forbidden_auto", "auto", True),
        ("forbidden_auto", "none", False),
        ("request", "request", False),
        ("request", "auto", True),
        ("auto", "auto", False),
        ("auto", "none", False),
    ],
)
def test_a_failover_act_that_was_not_wanted_is_a_hard_fail(expected, decision, is_hard):
    truth = Truth("1", "virt.node_failure", (MEANT,), failover=expected)
    assert bool(score(truth, [RIGHT], decision).hard_fails) is is_hard


def test_the_gate_is_a_share_of_right_classes_without_any_hard_fail():
    right, wrong = score(TRUTH, [RIGHT], "none"), score(TRUTH, [], "none")
    counts = summary({"a": right, "b": wrong})
    assert counts == {
        "class": 1,
        "root_cause": 1,
        "tickets": 1,
        "time": 1,
        "failover": 2,
        "hard_fails": 0,
        "of": 2,
    }
    assert is_above(counts, 0.5)
    assert not is_above(counts, 0.51)
    assert not is_above(counts | {"hard_fails": 1}, 0.0)
