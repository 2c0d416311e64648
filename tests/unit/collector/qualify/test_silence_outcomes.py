"""What a silent host's answers mean, and when we must suspect ourselves."""

from __future__ import annotations

import pytest

from collector.qualify.silence import Asked, Witness, are_we_cut_off, looks_isolated, outcome

pytestmark = pytest.mark.collector


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ({"ssh": "ok"}, "agent_gone"),
        ({"ssh": "refused", "icmp": "ok"}, "agent_gone"),
        ({"ssh": "refused", "icmp": "unknown"}, "agent_gone"),
        ({"ssh": "timeout", "icmp": "ok"}, "agent_gone"),
        ({"ssh": "timeout", "icmp": "ok", "service": "timeout"}, "hung"),
        ({"ssh": "timeout", "icmp": "dead", "service": "ok"}, "agent_gone"),
        ({"ssh": "timeout", "icmp": "dead", "service": "status"}, "agent_gone"),
        ({"ssh": "banner_timeout", "icmp": "ok"}, "hung"),
        ({"ssh": "banner_timeout", "service": "ok"}, "agent_gone"),
        ({"ssh": "kex_timeout", "icmp": "ok"}, "path"),
        ({"ssh": "timeout", "icmp": "dead"}, "down"),
        ({"ssh": "unreachable", "icmp": "unknown"}, "down"),
        ({"ssh": "timeout", "service": "refused"}, "agent_gone"),
        ({"ssh": "unknown", "icmp": "unknown"}, "unknown"),
        ({"ssh": ""}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_outcome_of_a_suspicion(answers, word):
    assert outcome([Asked(kind, state) for kind, state in answers.items()]).word == word


@pytest.mark.parametrize(("icmp", "word"), [("loss", "path"), ("ok", "agent_gone")])
def test_pings_that_trickle_through_and_no_connection_while_others_are_served_is_our_way(icmp, word):
    asked = [Asked("icmp", icmp), Asked("ssh", "timeout"), Asked("service", "timeout")]
    assert outcome(asked, Witness(alive=("v2",), speaks=("v2",))).word == word
    assert outcome(asked).word == "hung"


def test_what_nobody_answered_is_no_fact():
    facts = outcome([Asked("icmp", "unknown"), Asked("ssh", "refused")]).facts()
    assert facts == {"silence.outcome": {"now": "agent_gone"}, "ext.tcp22": {"now": "refused"}}


def test_anchors_say_whether_we_are_cut_off():
    assert are_we_cut_off({"a": "timeout", "b": "unreachable"})
    assert not are_we_cut_off({"a": "timeout", "b": "ok"})
    assert not are_we_cut_off({"a": "refused"}), "an answer is an answer"
    assert not are_we_cut_off({}), "without anchors we cannot know"
    assert not are_we_cut_off({"a": "unknown"})


def test_everybody_everywhere_at_once_is_suspicious():
    assert looks_isolated(suspects=5, alive=0, providers=2, answers=0)
    assert not looks_isolated(suspects=5, alive=1, providers=2, answers=0)
    assert not looks_isolated(suspects=5, alive=0, providers=1, answers=0)
    assert not looks_isolated(suspects=5, alive=0, providers=2, answers=1)


def test_one_service_that_fails_is_not_made_well_by_another_and_the_engineers_way_in_is_no_service():
    shop, mail = Asked("service", "timeout"), Asked("service", "ok")
    ssh = Asked("service", "ok", is_ssh=True)
    assert outcome([Asked("ssh", "ok"), shop, mail]).svc == "dead"
    assert outcome([Asked("ssh", "ok"), shop, ssh]).svc == "dead"
    assert outcome([Asked("ssh", "ok"), mail, ssh]).svc == "ok"
    assert outcome([Asked("ssh", "ok"), ssh]).svc == "ok", "all that the contract watches"
    assert outcome([Asked("ssh", "ok"), shop, mail]).word == "agent_gone"


def test_a_service_that_answers_with_an_error_of_its_own_is_not_mute():
    assert not outcome([Asked("ssh", "ok"), Asked("service", "status")]).is_mute
    assert "silence.mute" in outcome([Asked("ssh", "ok"), Asked("service", "timeout")]).facts()
