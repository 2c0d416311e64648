"""A report that is malformed, too large, forged or too frequent gets a clear answer, is counted, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.wire import MAX_FINDINGS
from collector.enrol import hash_token
from collector.fleet_cache import FleetCache, HostEntry
from collector.intake import Accepted, Intake, Limits, Rejected, Terms

NOW = 1_767_225_600_000
TOKEN = "right-token"


def body(**other: Any) -> dict[str, Any]:
    """A report as plain JSON."""
    plain = {
        "v": 1, "agent": "0.1", "boot_id": "b1", "run_id": "r1", "wall_ms": NOW, "mono_ms": 1000, "boottime_ms": 1000,
        "interval_s": 10.0, "stream": "s1",
    }  # fmt: skip
    return plain | other


def finding(n: int = 1, **other: Any) -> dict[str, Any]:
    """A finding as plain JSON."""
    plain = {
        "n": n, "kind": "opened", "opening_n": n, "rule": "fs_full", "subject": "/var", "family": "fs_space", "at_ms": NOW,
    }  # fmt: skip
    return plain | other


@pytest.fixture
def intake() -> Intake:
    """An intake that knows one host."""
    cache = FleetCache()
    entry = HostEntry("a1", "acme", hash_token(TOKEN))
    entry.stream = "s1"
    cache._by_id, cache._by_token = {"a1": entry}, {entry.token_hash: entry}
    return Intake(cache, limits=Limits(body_max=64 * 1024, reports_per_host_s=1000))


def check(intake: Intake, raw: Any, token: str = TOKEN, now_ms: int = NOW) -> Accepted | Rejected:
    return intake.check(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), token, now_ms)


def rejected(intake: Intake, raw: Any, **other: Any) -> Rejected:
    answer = check(intake, raw, **other)
    assert isinstance(answer, Rejected), f"accepted: {raw!r}"
    assert intake.counts == {answer.error: 1}
    assert intake.pending() == 0
    return answer


def test_a_plain_heartbeat_is_answered_from_memory(intake: Intake) -> None:
    accepted = check(
        intake, body(vitals={"load.per_cpu": 1.5, "cpu.user_pct": None}, a_field_of_tomorrow=[1])
    )
    assert isinstance(accepted, Accepted)
    reply = intake.answer(accepted)
    assert reply is not None
    assert (reply.want_n, reply.interval_s, reply.settings) == (1, 10.0, None)
    assert intake.pending() == 1


NOT_REPORTS = (
    b"", b"{", b"null", b"[]", b"1", b'"text"', b"\xff\xfe", b"{" * 30_000, b"[" * 30_000,
    b'{"v":1}', b'{"v":1,"agent":"\xff"}', b'{"v":1,"agent":"\\ud800"}', b"NaN",
)  # fmt: skip


@pytest.mark.parametrize("raw", NOT_REPORTS, ids=range(len(NOT_REPORTS)))
def test_what_is_no_report_is_malformed(intake: Intake, raw: bytes) -> None:
    answer = rejected(intake, raw)
    assert (answer.status, answer.error) == (400, "malformed")
    told = json.loads(answer.to_json())
    assert told["v"] == 1
    assert told["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2}, {"v": True}, {"v": "1"},
        {"boot_id": ""}, {"boot_id": "x" * 65}, {"boot_id": "a b"}, {"run_id": "\u0000"}, {"stream": ""},
        {"stream": "collector:silence"}, {"stream": "s\n1"},
        {"wall_ms": -1}, {"wall_ms": 2**63}, {"mono_ms": 2**53}, {"mono_ms": 1.5}, {"boottime_ms": None},
        {"interval_s": 0}, {"interval_s": -1}, {"interval_s": 1e9}, {"interval_s": "10"},
        {"goodbye": "see you"}, {"agent": "x" * 33}, {"agent": "0.1\n"},
        {"vitals": {f"v{n}": 1.0 for n in range(65)}}, {"vitals": {"load": "high"}}, {"vitals": []},
        {"lacks": {"hw.smart": "x" * 401}}, {"found": {"os": "x" * 401}}, {"found": {"os": 9}},
        {"spool_depth": -1}, {"spool_dropped": 2**40}, {"settings_fault": "x" * 2001},
        {"findings": [finding(n) for n in range(1, MAX_FINDINGS + 2)]},
        {"findings": [finding(1), finding(3)]}, {"findings": [finding(2), finding(1)]}, {"findings": [finding(1), finding(1)]},
        {"findings": [finding(0)]}, {"findings": [finding(-1)]}, {"findings": [finding(2**60)]},
        {"findings": [finding(kind="exploded")]}, {"findings": [finding(opening_n=2)]}, {"findings": [finding(2, opening_n=1)]},
        {"findings": [finding(rule="")]}, {"findings": [finding(rule="a" * 65)]}, {"findings": [finding(rule="a b")]},
        {"findings": [finding(subject="x" * 301)]}, {"findings": [finding(subject="/\u0000")]},
        {"findings": [finding(family="FS")]}, {"findings": [finding(family="")]}, {"findings": [finding(severity="huge")]},
        {"findings": [finding(at_ms=-5)]}, {"findings": [finding(reason="x" * 65)]},
        {"findings": [finding(facts={f"f{n}": {"now": n} for n in range(129)})]},
        {"findings": [finding(evidence={"notes": {"x": "y" * 70_000}})]},
    ],
    ids=lambda wrong: str(wrong)[:60],
)  # fmt: skip
def test_a_report_out_of_bounds_is_refused_whole(intake: Intake, wrong: dict[str, Any]) -> None:
    intake.limits = Limits(body_max=1024 * 1024)
    answer = rejected(intake, body(**wrong))
    assert (answer.status, answer.error) == (400, "malformed")


def test_a_body_over_the_bound_is_told_the_bound(intake: Intake) -> None:
    answer = rejected(intake, b" " * (64 * 1024 + 1))
    assert (answer.status, answer.error) == (413, "too_large")
    assert "65536" in answer.detail


@pytest.mark.parametrize(
    ("token", "error"),
    [("", "no_token"), ("wrong", "bad_token"), ("\udcff", "bad_token"), ("x" * 10_000, "bad_token")],
)
def test_a_missing_or_forged_token_is_refused(intake: Intake, token: str, error: str) -> None:
    answer = rejected(intake, body(), token=token)
    assert (answer.status, answer.error) == (401, error)
    assert token not in answer.detail or not token


def test_an_unauthenticated_body_is_not_even_decoded(intake: Intake) -> None:
    assert rejected(intake, b"{" * 1000, token="wrong").error == "bad_token"


def test_a_retired_host_is_told_so(intake: Intake) -> None:
    entry = intake.cache.by_id("a1")
    assert entry is not None
    entry.is_retired = True
    assert rejected(intake, body()).error == "retired"


def test_one_host_cannot_send_more_a_second_than_it_may(intake: Intake) -> None:
    intake.limits = Limits(reports_per_host_s=3)
    answers = [check(intake, body(mono_ms=n + 1), now_ms=NOW + n) for n in range(5)]
    assert [isinstance(a, Accepted) for a in answers] == [True, True, True, False, False]
    last = answers[-1]
    assert isinstance(last, Rejected)
    assert (last.status, last.retry_after_s) == (429, 1)
    assert isinstance(check(intake, body(mono_ms=9), now_ms=NOW + 1000), Accepted)


def test_findings_goodbyes_and_new_streams_are_never_answered_from_memory(intake: Intake) -> None:
    for other in ({"findings": [finding()]}, {"goodbye": "service_stop"}, {"stream": "s2"}):
        accepted = check(intake, body(**other))
        assert isinstance(accepted, Accepted)
        assert intake.answer(accepted) is None
    assert intake.pending() == 0


def test_the_interval_and_newer_settings_come_from_the_contract(intake: Intake) -> None:
    terms = Terms(interval_s=1.0, settings_version=4, settings={"rules": {}})
    slow = Intake(intake.cache, terms=lambda host, contract: terms)
    for known, given in ((3, {"rules": {}}), (4, None)):
        accepted = check(slow, body(settings_version=known, mono_ms=1000 + known))
        assert isinstance(accepted, Accepted)
        reply = slow.answer(accepted)
        assert reply is not None
        assert (reply.interval_s, reply.settings_version, reply.settings) == (1.0, 4, given)


def test_no_answer_says_the_token(intake: Intake) -> None:
    secret = "s3cret-" * 5
    for raw in (b"{", json.dumps(body()).encode()):
        answer = intake.check(raw, secret, NOW)
        assert isinstance(answer, Rejected)
        assert secret.encode() not in answer.to_json()
