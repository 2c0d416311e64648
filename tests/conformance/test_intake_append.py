"""The finding stream at the collector: nothing lost, nothing doubled, whatever the network does; on both databases."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from agent.wire import Adopt, FindingChange, Reply, Report, to_json
from collector.enrol import Enrolled, enrol, retire
from collector.fleet_cache import FleetCache
from collector.intake import Accepted, Intake, Rejected
from collector.store.engine import Store
from collector.tables import findings, hosts, open_findings, streams

NOW = 1_767_225_600_000


def change(n: int, kind: str = "opened", opening_n: int | None = None, **other: Any) -> FindingChange:
    """A finding change."""
    values: dict[str, Any] = {
        "n": n, "kind": kind, "opening_n": opening_n or n, "rule": "fs_full", "subject": f"/{n}", "family": "fs_space",
        "at_ms": NOW - 1000,
    }  # fmt: skip
    return FindingChange(**values | other)


def report(mono_ms: int = 1000, changes: tuple[FindingChange, ...] = (), **other: Any) -> Report:
    """A report of the agent on a1."""
    values: dict[str, Any] = {
        "v": 1, "agent": "0.1", "boot_id": "b1", "run_id": "r1", "wall_ms": NOW, "mono_ms": mono_ms,
        "boottime_ms": mono_ms, "interval_s": 10.0, "stream": "s1", "vitals": {"load.per_cpu": 0.5},
        "findings": list(changes),
    }  # fmt: skip
    return Report(**values | other)


class Collector:
    """The intake of one process, with the agent's token at hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pokes = 0
        self.cache = FleetCache()
        self.intake = Intake(self.cache, poke=self._poke)
        self.tokens: dict[str, str] = {}

    def _poke(self) -> None:
        self.pokes += 1

    def enrol(self, host: str = "a1") -> None:
        done = self.store.write(lambda tx: enrol(tx, host, "acme", NOW))
        assert isinstance(done, Enrolled)
        self.tokens[host] = done.token
        self.load()

    def load(self) -> None:
        with self.store.read() as conn:
            self.cache.load(conn, NOW)

    def check(self, one: Report, host: str = "a1", now_ms: int = NOW) -> Accepted:
        accepted = self.intake.check(to_json(one), self.tokens[host], now_ms)
        assert isinstance(accepted, Accepted), accepted
        return accepted

    def send(self, *reports: Report, host: str = "a1", now_ms: int = NOW) -> list[Reply | Rejected]:
        """The reports in one transaction."""
        accepted = [self.check(one, host, now_ms) for one in reports]
        return self.store.write(lambda tx: self.intake.take(tx, accepted, now_ms))

    def flush(self, now_ms: int = NOW) -> int:
        return self.store.write(lambda tx: self.intake.flush(tx, now_ms))

    def ns(self, stream: str = "s1") -> list[int]:
        with self.store.read() as conn:
            wanted = select(findings.c.n).where(findings.c.stream == stream).order_by(findings.c.n)
            return list(conn.execute(wanted).scalars())

    def host(self, host: str = "a1") -> Any:
        with self.store.read() as conn:
            return conn.execute(select(hosts).where(hosts.c.id == host)).one()


@pytest.fixture
def collector(store: Store) -> Collector:
    """A collector with host a1 enrolled."""
    made = Collector(store)
    made.enrol()
    return made


def wants(answer: Reply | Rejected) -> int | None:
    return answer.want_n


def test_findings_are_appended_in_order_and_the_reply_names_the_next(collector: Collector) -> None:
    assert [wants(a) for a in collector.send(report(1000, (change(1), change(2))))] == [3]
    assert [wants(a) for a in collector.send(report(2000, (change(3, "closed", 1),)))] == [4]
    assert collector.ns() == [1, 2, 3]
    assert collector.pokes == 2


def test_a_repeated_report_changes_nothing_and_is_answered_alike(collector: Collector) -> None:
    twice = report(1000, (change(1), change(2)))
    assert wants(collector.send(twice)[0]) == 3
    assert wants(collector.send(twice)[0]) == 3
    assert collector.ns() == [1, 2]
    assert collector.intake.finding_counts == {"appended": 2, "repeated": 2}
    assert collector.pokes == 1


def test_a_report_that_overlaps_gives_only_what_is_new(collector: Collector) -> None:
    collector.send(report(1000, (change(1), change(2))))
    assert wants(collector.send(report(2000, (change(1), change(2), change(3))))[0]) == 4
    assert collector.ns() == [1, 2, 3]


def test_a_gap_is_refused_whole_with_the_n_that_is_wanted(collector: Collector) -> None:
    collector.send(report(1000, (change(1),)))
    answer = collector.send(report(2000, (change(3), change(4))))[0]
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.error, answer.want_n) == (409, "out_of_order", 2)
    assert collector.ns() == [1]


def test_overtaking_reports_end_in_the_same_stream_as_ordered_ones(collector: Collector) -> None:
    """The later report comes first, is refused, and is sent again after the earlier one."""
    early, later = report(1000, (change(1),)), report(2000, (change(2),))
    assert wants(collector.send(later)[0]) == 1
    assert wants(collector.send(early)[0]) == 2
    assert wants(collector.send(later)[0]) == 3
    assert collector.ns() == [1, 2]


def test_two_reports_of_one_host_in_one_transaction_follow_each_other(collector: Collector) -> None:
    answers = collector.send(
        report(1000, (change(1),)), report(2000, (change(2),)), report(2000, (change(2),))
    )
    assert [wants(a) for a in answers] == [2, 3, 3]
    assert collector.ns() == [1, 2]


def test_nothing_is_answered_as_wanted_that_was_not_committed(collector: Collector) -> None:
    """The transaction breaks after the append: the cache must not have moved on."""
    accepted = [collector.check(report(1000, (change(1),)))]

    def broken(tx) -> None:
        collector.intake.take(tx, accepted, NOW)
        raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        collector.store.write(broken)
    assert collector.ns() == []
    entry = collector.cache.by_id("a1")
    assert entry is not None
    assert (entry.stream, entry.next_n) == ("", 1)
    assert collector.pokes == 0
    assert wants(collector.send(report(1000, (change(1),)))[0]) == 2


def test_a_new_stream_starts_at_one_and_leaves_the_old_one_behind(collector: Collector) -> None:
    collector.send(report(1000, (change(1), change(2))))
    assert wants(collector.send(report(2000, (change(1),), stream="s2"))[0]) == 2
    with collector.store.read() as conn:
        rows = conn.execute(select(streams.c.stream, streams.c.next_n, streams.c.is_current)).all()
    assert sorted(tuple(row) for row in rows) == [("s1", 3, False), ("s2", 2, True)]
    assert collector.ns("s1") == [1, 2]
    assert collector.ns("s2") == [1]


def test_a_late_report_of_the_old_stream_is_still_accounted_for(collector: Collector) -> None:
    collector.send(report(1000, (change(1),)))
    collector.send(report(3000, (change(1),), stream="s2"))
    assert wants(collector.send(report(2000, (change(2),)))[0]) == 3
    assert collector.ns("s1") == [1, 2]
    with collector.store.read() as conn:
        current = conn.execute(select(streams.c.stream).where(streams.c.is_current)).scalars().all()
    assert current == ["s2"]


def test_an_unknown_stream_that_does_not_begin_at_one_is_out_of_order(collector: Collector) -> None:
    answer = collector.send(report(1000, (change(5),), stream="s9"))[0]
    assert (answer.error, wants(answer)) == ("out_of_order", 1)
    assert collector.ns("s9") == []


def open_finding(rule: str, stream: str, **other: Any) -> dict[str, Any]:
    row = {
        "host_id": "a1", "rule": rule, "subject": "/var", "stream": stream, "opening_n": 1, "family": "fs_space",
        "severity": "high", "at_ms": NOW - 5000, "changed_at_ms": NOW, "body": {},
    }  # fmt: skip
    return row | other


def test_the_new_stream_is_offered_what_the_lost_one_held_open(collector: Collector) -> None:
    rows = [
        open_finding("fs_full", "s1"),
        open_finding("silence", "collector:silence"),
        open_finding("cpu", "s2"),
    ]
    collector.store.write(lambda tx: tx.execute(insert(open_findings), rows))
    answer = collector.send(report(1000, stream="s2"))[0]
    assert isinstance(answer, Reply)
    assert answer.adopt == [Adopt("fs_full", "/var", NOW - 5000)]


def test_the_offer_is_repeated_until_it_was_taken_up_even_by_plain_heartbeats(collector: Collector) -> None:
    """The first reply may be lost, and the tick may not have judged the lost stream's last findings yet."""
    collector.send(report(500))
    collector.store.write(
        lambda tx: tx.execute(insert(open_findings).values(**open_finding("fs_full", "s1")))
    )
    collector.send(report(1000, stream="s2"))
    beat = collector.check(report(2000, stream="s2"))
    assert collector.intake.answer(beat) is None, "a heartbeat that may be offered something asks the store"
    again = collector.send(report(2000, stream="s2"), now_ms=NOW + 120_000)[0]
    assert isinstance(again, Reply)
    assert len(again.adopt) == 1
    collector.store.write(lambda tx: tx.execute(update(open_findings).values(stream="s2")))
    done = collector.send(report(3000, stream="s2"), now_ms=NOW + 130_000)[0]
    assert isinstance(done, Reply)
    assert done.adopt == []
    later = collector.check(report(4000, stream="s2"), now_ms=NOW + 140_000)
    assert collector.intake.answer(later) is not None


def test_a_restarted_collector_knows_where_every_stream_stands(collector: Collector) -> None:
    collector.send(report(1000, (change(1), change(2))))
    collector.flush()
    restarted = Collector(collector.store)
    restarted.tokens = collector.tokens
    restarted.load()
    beat = restarted.intake.answer(restarted.check(report(2000)))
    assert beat is not None
    assert beat.want_n == 3
    assert wants(restarted.send(report(1000, (change(1), change(2))))[0]) == 3
    assert restarted.ns() == [1, 2]


def test_two_collectors_on_one_database_append_one_stream_without_a_double(
    store: Store, stores: Callable[..., Store], database: Any
) -> None:
    """The agent's connection moved to another collector, which knows only what the database says."""
    first = Collector(store)
    first.enrol()
    second = Collector(stores())
    second.tokens = first.tokens
    second.load()
    barrier = threading.Barrier(2)

    def push(one: Collector) -> None:
        for n in range(1, 21):
            barrier.wait()
            one.send(report(n * 1000, (change(n),)))

    threads = [threading.Thread(target=push, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first.ns() == list(range(1, 21))


def test_on_a_shared_store_a_heartbeat_is_told_what_another_collector_took(collector: Collector) -> None:
    """An older n than the agent has deleted would make it believe that we lost our store, and begin a new stream."""
    collector.send(report(1000, (change(1),)))
    other = Collector(collector.store)
    other.tokens = collector.tokens
    other.intake = Intake(other.cache, is_shared=True)
    other.load()
    collector.send(report(2000, (change(2), change(3))))
    beat = other.check(report(3000))
    assert other.intake.answer(beat) is None
    assert [wants(a) for a in other.send(report(3000))] == [4]


def test_a_flush_in_bites_writes_every_host_once(collector: Collector) -> None:
    for n in range(2, 8):
        collector.enrol(f"a{n}")
        collector.send(report(1000), host=f"a{n}")
    collector.flush()
    for n in range(2, 8):
        assert (
            collector.intake.answer(collector.check(report(2000), host=f"a{n}", now_ms=NOW + 1000))
            is not None
        )
    bites = [collector.store.write(lambda tx: collector.intake.flush(tx, NOW, 4)) for _ in range(3)]
    assert bites == [4, 2, 0]
    assert {collector.host(f"a{n}").mono_ms for n in range(2, 8)} == {2000}


def test_heartbeats_reach_the_host_by_a_flush_and_an_undone_flush_is_noted_again(
    collector: Collector,
) -> None:
    collector.send(report(1000))
    beat = collector.check(
        report(60_000, vitals={"load.per_cpu": 2.5, "unknown.one": 1.0}), now_ms=NOW + 59_000
    )
    collector.intake.cache.by_id("a1").adopt_until_ms = 0  # type: ignore[union-attr]
    assert collector.intake.answer(beat) is not None

    def broken(tx) -> None:
        collector.intake.flush(tx, NOW + 59_000)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        collector.store.write(broken)
    assert collector.flush() == 1
    assert collector.flush() == 0
    row = collector.host()
    assert (row.life, row.mono_ms, row.last_report_at_ms) == ("alive", 60_000, NOW + 59_000)
    assert row.silent_after_ms == NOW + 59_000 + 15_000
    assert row.vitals == {"load.per_cpu": 2.5}


def test_a_goodbye_is_durable_with_its_answer_and_waits_as_long_as_a_reboot_may_take(
    collector: Collector,
) -> None:
    collector.send(report(1000))
    collector.send(report(2000, goodbye="host_shutdown"), now_ms=NOW + 1000)
    row = collector.host()
    assert (row.life, row.goodbye, row.silent_after_ms) == ("stopped", "host_shutdown", NOW + 1000 + 300_000)


def test_a_heartbeat_from_before_the_goodbye_that_comes_late_does_not_undo_it(collector: Collector) -> None:
    collector.send(report(1000))
    collector.send(report(3000, goodbye="host_shutdown"))
    collector.send(report(2000))
    collector.flush()
    assert collector.host().life == "stopped"


def test_what_the_platform_lacks_stays_until_it_is_said_anew(collector: Collector) -> None:
    collector.send(report(1000, lacks={"hw.smart": "no_device"}))
    collector.send(report(2000))
    collector.flush()
    assert collector.host().lacks == {"hw.smart": "no_device"}


def test_what_an_agent_found_on_its_server_stays_until_it_is_said_anew(collector: Collector) -> None:
    collector.send(report(1000, found={"os": "CentOS Stream 9"}))
    collector.flush()
    collector.send(report(2000))
    collector.flush()
    with collector.store.read() as conn:
        assert conn.execute(select(hosts.c.found)).scalar_one() == {"os": "CentOS Stream 9"}


def test_both_halves_of_a_cloned_server_are_recorded_and_neither_is_judged(collector: Collector) -> None:
    n = 0
    for step in range(6):
        for boot in ("b1", "b2"):
            n += 1
            at = NOW + step * 10_000 + (5_000 if boot == "b2" else 0)
            one = report(step * 10_000 + 1000, (change(n),), boot_id=boot, run_id=f"r-{boot}", wall_ms=at)
            assert wants(collector.send(one, now_ms=at)[0]) == n + 1
    collector.flush(NOW + 60_000)
    with collector.store.read() as conn:
        rows = conn.execute(
            select(findings.c.handled_at_ms, findings.c.outcome, findings.c.why).order_by(findings.c.n)
        ).all()
    judged = [row for row in rows if row.handled_at_ms is None]
    assert len(judged) <= 3, "until both halves were heard again, each looks like a reboot"
    assert all(
        row.outcome == "recorded" and row.why["key"] == "reason.intake.clone" for row in rows[len(judged) :]
    )
    assert collector.host().clone_seen_at_ms is not None
    assert collector.ns() == list(range(1, 13))


def test_an_absurd_clock_is_corrected_by_the_time_of_receipt(collector: Collector) -> None:
    """A clock one day ahead: by the monotonic distance within the boot, else by the offset; a sane one is believed."""
    day = 86_400_000
    far = dataclasses.replace(change(1, at_ms=NOW + day - 7000), boot_id="b1", mono_ms=93_000)
    other_boot = change(2, at_ms=NOW + day - 9000, boot_id="b0", mono_ms=5)
    collector.send(report(100_000, (far, other_boot), wall_ms=NOW + day))
    collector.send(report(101_000, (change(3, at_ms=NOW - 3_600_000),)))
    with collector.store.read() as conn:
        times = conn.execute(select(findings.c.at_ms).order_by(findings.c.n)).scalars().all()
    assert times == [NOW - 7000, NOW - 9000, NOW - 3_600_000]


def test_the_token_of_one_host_appends_to_that_host_only(collector: Collector) -> None:
    collector.enrol("a2")
    collector.send(report(1000, (change(1),)), host="a2")
    with collector.store.read() as conn:
        assert conn.execute(select(findings.c.host_id)).scalars().all() == ["a2"]


def test_a_retired_hosts_token_and_row_are_left_alone(collector: Collector) -> None:
    collector.send(report(1000))
    accepted = collector.check(report(2000))
    collector.store.write(lambda tx: retire(tx, "a1", NOW))
    collector.store.write(lambda tx: collector.intake.take(tx, [accepted], NOW))
    collector.flush()
    assert collector.host().life == "retired"
    collector.load()
    assert isinstance(collector.intake.check(to_json(report(3000)), collector.tokens["a1"], NOW), Rejected)


def test_a_finding_of_a_family_from_a_newer_agent_is_kept_and_blocks_nothing(collector: Collector) -> None:
    collector.send(report(1000, (change(1, family="quantum"), change(2))))
    with collector.store.read() as conn:
        rows = conn.execute(select(findings.c.outcome, findings.c.why).order_by(findings.c.n)).all()
    assert rows[0].outcome == "recorded"
    assert rows[0].why["key"] == "reason.intake.unknown_family"
    assert (rows[1].outcome, rows[1].why) == ("", None)
