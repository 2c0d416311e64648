"""Contracted services probed from outside: failures that last, re-asked at once, and one ticket per cause."""

from __future__ import annotations

import dataclasses

import pytest

from collector.tick.outside import CONFIRM_MS, RuleState, fold
from ticketing.terms import ServiceTerms

pytestmark = pytest.mark.collector

WEB = ServiceTerms(name="web", check={"type": "tcp", "port": 80})


def causes(world) -> list[str]:
    return [t["root_cause"] for t in world.tickets(is_open=True)]


@pytest.fixture
def guarded(world):
    world.add_host("a1", services=[WEB])
    world.network.states[("service", "addr-a1")] = "ok"
    world.run(2, beating=("a1",))
    return world


def test_a_service_that_is_refused_is_asked_again_at_once_and_gets_its_ticket(guarded):
    guarded.network.states[("service", "addr-a1")] = "refused"
    guarded.run(56, beating=("a1",))
    assert causes(guarded) == ["os.service_failed"]
    (ticket,) = guarded.tickets()
    assert ticket["problem"] == "service|host:a1/service:web"


def test_two_good_answers_close_it(guarded):
    guarded.network.states[("service", "addr-a1")] = "refused"
    guarded.run(56, beating=("a1",))
    guarded.network.states[("service", "addr-a1")] = "ok"
    guarded.run(110, beating=("a1",))
    assert causes(guarded) == []


def test_a_port_that_swallows_packets_while_the_host_reports_is_a_filter(guarded):
    guarded.network.states[("service", "addr-a1")] = "timeout"
    guarded.run(56, beating=("a1",))
    assert causes(guarded) == ["os.firewall"]


def test_a_host_whose_next_report_is_due_is_not_said_to_report_as_usual(guarded):
    guarded.network.states[("service", "addr-a1")] = "timeout"
    for _ in range(37):
        guarded.run(1, beating=("a1",))
    for _ in range(14):  # past its interval, within the grace of its silence
        guarded.run(1)
    assert causes(guarded) == []
    for _ in range(12):
        guarded.run(1, beating=("a1",))
    assert causes(guarded) == ["os.firewall"]


def test_unit_inside_check_and_outside_probe_of_one_service_are_one_ticket(guarded):
    guarded.find(
        "a1", "unit_failed", "unit", subject="nginx.service", facts={"svc.unit_failed": {"now": True}}
    )
    guarded.find(
        "a1", "check_fails", "service", subject="local-web", facts={"check.state": {"now": "refused"}}
    )
    guarded.network.states[("service", "addr-a1")] = "refused"
    guarded.run(56, beating=("a1",))
    assert causes(guarded) == ["os.service_failed"]
    assert {f["ticket_id"] for f in guarded.open_findings()} == {guarded.tickets()[0]["id"]}


def test_a_dead_host_s_services_are_a_consequence_of_its_silence(guarded):
    guarded.add_host("b1")
    guarded.network.states.clear()
    guarded.run(60, beating=("b1",))
    assert causes(guarded) == ["unknown"]
    assert {f["family"] for f in guarded.open_findings()} == {"silence", "service"}


def test_an_application_that_answers_500_on_a_healthy_server_is_proposed_and_not_filed(guarded):
    guarded.network.states[("service", "addr-a1")] = "status"
    guarded.network.facts = {"http_status": 500}
    guarded.run(56, beating=("a1",))
    assert causes(guarded) == []
    assert guarded.findings()[0]["why"]["params"]["class_"] == 3


def test_a_service_that_left_the_contract_is_no_longer_asked_and_its_finding_closes(guarded):
    guarded.network.states[("service", "addr-a1")] = "refused"
    guarded.run(56, beating=("a1",))
    contract = guarded.contracts["acme"]
    bare = [dataclasses.replace(host, services=[]) for host in contract.hosts]
    guarded.replace_contract(dataclasses.replace(contract, hosts=bare))
    guarded.run(3, beating=("a1",))
    assert guarded.open_findings() == []


def test_scheduled_answers_do_not_pile_up(guarded):
    guarded.run(100, beating=("a1",))
    assert guarded.probes() == []


@pytest.mark.parametrize(
    ("answers", "events"),
    [
        (["timeout"], ["ask_again"]),
        (["timeout", "ok"], ["ask_again", ""]),
        (["timeout", "timeout"], ["ask_again", "opened"]),
        (["timeout", "unknown", "timeout"], ["ask_again", "", "opened"]),
        (["timeout", "timeout", "ok", "ok"], ["ask_again", "opened", "ask_again", "closed"]),
        (
            ["timeout", "timeout", "ok", "timeout", "ok"],
            ["ask_again", "opened", "ask_again", "", "ask_again"],
        ),
        (["slow", "slow"], ["", ""]),
    ],
)
def test_the_rule_of_outside_answers(answers, events):
    state, seen = RuleState(), []
    for n, answer in enumerate(answers):
        done = fold(state, answer, n * CONFIRM_MS, may_judge=True)
        state = done.state
        seen.append(done.event)
    assert seen == events


def test_a_way_that_is_gone_for_seconds_is_no_outage():
    state, seen = RuleState(), []
    for at_ms, answer in ((0, "timeout"), (1_000, "timeout"), (7_000, "timeout"), (9_000, "ok")):
        done = fold(state, answer, at_ms, may_judge=True)
        state = done.state
        seen.append(done.event)
    assert seen == ["ask_again", "ask_again", "ask_again", ""]


def test_nobody_is_judged_before_the_host_itself_was_heard():
    failing = fold(fold(RuleState(), "timeout", 1, False).state, "timeout", 2, may_judge=False)
    assert failing.event == "ask_again"
    assert failing.state.failing_since_ms == 1


def test_services_of_unrelated_providers_that_only_we_lose_open_nothing_while_nobody_else_can_look(world):
    hosts = ("a1", "b1", "c1")
    for host_id in hosts:
        world.add_host(host_id, provider=host_id[0], services=[WEB])
        world.network.states[("service", f"addr-{host_id}")] = "ok"
    world.run(2, beating=hosts)
    for host_id in hosts:
        world.network.states[("service", f"addr-{host_id}")] = "timeout"
    world.run(300, beating=hosts)
    assert world.tickets() == []
