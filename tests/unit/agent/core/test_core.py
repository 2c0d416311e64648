"""AgentCore on a fixed clock: from samples to reports, over restarts, replies, adoption and a disk that is full."""

from __future__ import annotations

import dataclasses
import errno
import json

import pytest

from agent.outgoing import Outgoing
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.wire import Adopt, Evidence, Reply, to_json


def full(used=97.0, subject="/var"):
    return ("fs.used_pct", subject, used)


def said(changes):
    return [(c.kind, c.rule, c.subject) for c in changes]


def greet(host, **more):
    """The collector's first answer: from now on findings travel."""
    report = host.report()
    host.core.replied(Reply(want_n=more.pop("want_n", 1), **more), host.now(), stream=report.stream)


def test_a_finding_opens_with_original_time_facts_and_unit(make_host):
    host = make_host(units={"fs.used_pct": "%"})
    host.sweep(full(40), ("load.per_cpu", "", 0.5))
    host.sweep(full(50), ("load.per_cpu", "", 0.5))
    host.sweep(full(), ("load.per_cpu", "", 2.5))
    began_ms = host.clock.now_ms()
    assert host.sweep(full()) == []
    (opened,) = host.sweep(full(98.5))
    assert (opened.kind, opened.n, opened.opening_n, opened.at_ms) == ("opened", 1, 1, began_ms)
    assert opened.at_ms - opened.mono_ms == host.clock.now_ms() - host.clock.mono_ms()
    assert opened.facts["fs.used_pct"].now == 98.5 and opened.facts["fs.used_pct"].unit == "%"
    assert opened.facts["fs.used_pct"].before == 45.0
    assert opened.facts["load.per_cpu"].now == 2.5
    assert "fs.inode_pct" not in opened.facts, "a signal without a sample is left out"


def test_a_finding_is_in_the_spool_before_anybody_is_told(host):
    for _ in range(3):
        changes = host.sweep(full())
    on_disk = Spool.open(host.folder, new_id=lambda: "x", max_bytes=1 << 20)
    assert said(on_disk.open_findings()) == said(changes)


def test_evidence_is_gathered_for_openings_only(make_host):
    asked = []

    def gather(change, history):
        asked.append((change.kind, history.value("fs.used_pct", "/var")))
        return Evidence(notes={"here": True})

    host = make_host(gather=gather)
    opened = [c for _ in range(3) for c in host.sweep(full())]
    closed = [c for _ in range(4) for c in host.sweep(full(10))]
    assert opened[0].evidence is not None and closed[0].evidence is None
    assert asked == [("opened", 97.0)]


def test_heartbeats_carry_fresh_vitals_and_leave_out_stale_ones(host):
    host.sweep(("cpu.user_pct", "", 12.34567), ("mem.avail_pct", "", 50), ("disk.await_ms", "vda", 9))
    assert host.report().vitals == {"cpu.user_pct": 12.346, "mem.avail_pct": 50.0}
    host.sweep(("cpu.user_pct", "", 20.0), after_s=200)
    assert host.report().vitals == {"cpu.user_pct": 20.0}


def test_findings_wait_for_the_first_reply_and_leave_when_they_are_confirmed(host):
    for _ in range(3):
        host.sweep(full())
    assert host.report().findings == [] and host.report().spool_depth == 1 and not host.core.has_news
    greet(host)
    assert host.core.has_news and said(host.report().findings) == [("opened", "fs_full", "/var")]
    host.core.replied(Reply(want_n=2), host.now(), stream=host.spool.stream)
    assert host.report().findings == [] and said(host.core.open_findings()) == [("opened", "fs_full", "/var")]


def test_an_answer_about_another_stream_confirms_nothing(host):
    for _ in range(3):
        host.sweep(full())
    greet(host)
    host.core.replied(Reply(want_n=2), host.now(), stream="another")
    assert len(host.report().findings) == 1


def test_lacks_are_sent_until_they_are_taken_and_again_when_they_change(host):
    def report(lacks):
        status = dataclasses.replace(base, lacks=lacks)
        return host.core.report(host.now(), status)

    from agent.core import Status

    base = Status(10.0)
    assert report({"psi.io_full60": "off"}).lacks == {"psi.io_full60": "off"}
    assert report({"psi.io_full60": "off"}).lacks != {}
    host.core.replied(Reply(), host.now(), stream=host.spool.stream)
    assert report({"psi.io_full60": "off"}).lacks == {}
    assert report({}).lacks == {} and report({"a": "b"}).lacks == {"a": "b"}


def test_what_was_found_on_the_server_is_sent_until_it_is_taken(host):
    from agent.core import Status

    status = Status(10.0, found={"os": "CentOS Stream 9"})
    for _ in range(2):
        assert host.core.report(host.now(), status).found == {"os": "CentOS Stream 9"}
    host.core.replied(Reply(), host.now(), stream=host.spool.stream)
    assert host.core.report(host.now(), status).found == {}


def test_after_kill_an_open_finding_stays_open_and_closes_with_proof(host):
    for _ in range(3):
        host.sweep(full())
    host.restart()
    assert said(host.core.open_findings()) == [("opened", "fs_full", "/var")]
    assert [host.sweep(full()) for _ in range(5)] == [[]] * 5, "it is not opened a second time"
    changes = [c for _ in range(4) for c in host.sweep(full(10))]
    assert said(changes) == [("closed", "fs_full", "/var")] and changes[0].opening_n == 1
    assert changes[0].reason == "cleared"


def test_a_rule_that_is_gone_after_a_restart_closes_its_findings_with_that_reason(host):
    for _ in range(3):
        host.sweep(full())
    host.text = "rules: []"
    host.restart()
    greet(host)
    assert [(c.kind, c.reason) for c in host.report().findings] == [
        ("opened", ""),
        ("closed", "rule_removed"),
    ]


def test_rules_swapped_while_running_close_what_no_rule_speaks_of(host, rules):
    for _ in range(3):
        host.sweep(full())
    assert [(c.kind, c.reason) for c in host.core.set_rules(rules("rules: []"), host.now())] == [
        ("closed", "rule_removed")
    ]


def test_an_adopted_finding_is_announced_with_its_original_time_and_closed_with_proof(host):
    host.sweep(full())
    at_ms = host.clock.now_ms() - 3_600_000
    report = host.report()
    adopted = host.core.replied(
        Reply(adopt=[Adopt("fs_full", "/var", at_ms)]), host.now(), stream=report.stream
    )
    assert [(c.kind, c.n, c.at_ms, c.family) for c in adopted] == [("opened", 1, at_ms, "fs_space")]
    again = host.core.replied(
        Reply(adopt=[Adopt("fs_full", "/var", at_ms)]), host.now(), stream=report.stream
    )
    assert again == []
    closed = [c for _ in range(4) for c in host.sweep(full(10))]
    assert [(c.kind, c.opening_n, c.reason) for c in closed] == [("closed", 1, "adopted_cleared")]


def test_an_adopted_finding_of_an_unknown_rule_is_announced_and_closed_at_once(host):
    changes = host.core.replied(
        Reply(adopt=[Adopt("old_rule", "x", 5)]), host.now(), stream=host.spool.stream
    )
    assert [(c.kind, c.at_ms, c.reason) for c in changes][:1] == [("opened", 5, "")]
    assert changes[1].reason == "rule_removed"


def test_a_reported_finding_that_already_holds_is_not_adopted_twice(host):
    for _ in range(3):
        host.sweep(full())
    assert (
        host.core.replied(Reply(adopt=[Adopt("fs_full", "/var", 5)]), host.now(), stream=host.spool.stream)
        == []
    )


def test_while_the_disk_takes_nothing_findings_wait_in_memory_in_order(host, monkeypatch):
    def refuse(change):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(host.spool, "append", refuse)
        for _ in range(3):
            assert host.sweep(full()) == []
        for _ in range(4):
            assert host.sweep(full(10)) == []
        assert host.core.held == 2 and host.report().spool_depth == 2
    assert said(host.core.store_held()) == [("opened", "fs_full", "/var"), ("closed", "fs_full", "/var")]
    assert host.core.held == 0


def test_a_pause_restarts_the_windows(host):
    host.sweep(full())
    host.sweep(full())
    host.core.hole(host.now())
    assert host.sweep(full()) == []


def test_numbers_that_json_cannot_hold_go_nowhere(host):
    host.sweep(("cpu.user_pct", "", float("nan")), ("load.per_cpu", "", float("inf")))
    assert host.report().vitals == {}
    assert json.loads(to_json(host.report()))["v"] == 1


def test_goodbye_names_its_reason_and_no_other(host):
    from agent.core import Status

    assert host.core.goodbye("host_shutdown", host.now(), Status(10.0)).goodbye == "host_shutdown"
    with pytest.raises(AssertionError):
        host.core.goodbye("bored", host.now(), Status(10.0))


def test_a_day_of_samples_grows_neither_history_nor_spool(host):
    for i in range(300):
        host.sweep(*[("load.per_cpu", f"/{i}/{j}", 1.0) for j in range(10)], full(50), after_s=288)
    assert len(host.core.history._newest) < 200
    assert host.spool.size_bytes < 4096


def test_a_backlog_longer_than_one_report_is_delivered_in_order(host):
    greet(host)
    for _ in range(3):
        host.sweep(*[full(97, f"/{i}") for i in range(150)])
    seen = []
    for _ in range(4):
        report = host.report()
        assert len(report.findings) <= 64
        seen += [c.n for c in report.findings]
        host.core.replied(Reply(want_n=len(seen) + 1), host.now(), stream=report.stream)
    assert seen == list(range(1, 151))


def test_a_wall_clock_step_does_not_move_what_is_judged(host):
    host.sweep(full())
    host.clock.wall_ms += 86_400_000
    host.sweep(full())
    (opened,) = host.sweep(full())
    assert opened.at_ms == host.clock.now_ms() - 20_000


def test_how_a_boot_went_is_told_until_a_report_that_held_it_is_answered(make_host):
    host = make_host()
    told = [Sample("boot.wtmp_shutdown", "", False, 500), Sample("host.gap", "", {"kind": "panic"}, 500)]
    host.core.take(told, host.now())
    first = host.report()
    assert [(one.signal, one.value) for one in first.told] == [
        ("boot.wtmp_shutdown", False),
        ("host.gap", {"kind": "panic"}),
    ]
    assert first.told[0].at_ms == host.now().wall_of(500)
    assert host.report().told == first.told
    greet(host)
    assert host.report().told == []


def test_past_its_bound_the_oldest_goes_and_what_is_under_way_is_not_told_twice():
    queue = Outgoing(3)
    for number in range(3):
        queue.append(number)
    assert queue.batch(2) == [0, 1]
    queue.append(3)  # 0 went
    queue.answered()
    assert list(queue) == [2, 3]
