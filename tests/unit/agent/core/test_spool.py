"""The spool: nothing taken is lost or doubled, whatever happens to the file, the disk, or the collector."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import random
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agent.spool
from agent.spool import NAME, Spool, SpoolFull
from agent.wire import Evidence, Fact, FindingChange
from tests.tools.examples import examples

ROOMY = 1 << 20


def change(
    kind: str = "opened",
    subject: str = "/",
    rule: str = "fs_full",
    at_ms: int = 1000,
    text: str = "",
    **more: Any,
) -> FindingChange:
    evidence = Evidence(notes={"text": text}) if text else None
    return FindingChange(
        0,
        kind,
        0,
        rule,
        subject,
        "fs_space",
        at_ms,
        facts={"fs.used_pct": Fact(97.0)},
        evidence=evidence,
        **more,
    )


class Desk:
    """A collector's view of streams: takes only the next n, remembers what it took."""

    def __init__(self) -> None:
        self.want: Dict[str, int] = {}
        self.taken: List[Tuple[str, str, str, int]] = []
        self.openings: Dict[Tuple[str, int], Tuple[str, str]] = {}

    def report(self, stream: str, changes: List[FindingChange]) -> int:
        want = self.want.setdefault(stream, 1)
        for c in changes:
            if c.n != want:
                continue
            if c.kind == "opened":
                assert c.opening_n == c.n
                self.openings[(stream, c.n)] = (c.rule, c.subject)
            else:
                assert self.openings[(stream, c.opening_n)] == (c.rule, c.subject), (
                    "a change without its opening"
                )
            self.taken.append((c.kind, c.rule, c.subject, c.at_ms))
            want += 1
        self.want[stream] = want
        return want


ids = itertools.count()


def reopen(folder: Path, **more: Any) -> Spool:
    return Spool.open(folder, new_id=lambda: f"stream{next(ids)}", max_bytes=more.pop("max_bytes", ROOMY))


def sure(spool: Spool) -> Spool:
    """As after the collector's first reply."""
    spool.acknowledge(spool._state.entries[0].n if spool._state.entries else spool.next_n)
    return spool


@pytest.fixture
def spool(tmp_path):
    return reopen(tmp_path)


def test_changes_are_numbered_without_gaps_and_know_their_opening(spool):
    kinds = [("opened", "/"), ("opened", "/var"), ("changed", "/"), ("closed", "/var"), ("closed", "/")]
    taken = [spool.append(change(kind, subject)) for kind, subject in kinds]
    assert [(c.n, c.opening_n) for c in taken] == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1)]
    assert sure(spool).batch() == taken and spool.open_findings() == []


def test_what_says_nothing_new_is_not_written(spool):
    size = spool.size_bytes
    assert spool.append(change("closed")) is None and spool.append(change("changed")) is None
    assert spool.size_bytes == size
    spool.append(change("opened"))
    assert spool.append(change("opened")) is None and spool.depth == 1


def test_everything_is_there_after_kill(tmp_path, spool):
    taken = [
        spool.append(change("opened", text="є" * 50)),
        spool.append(change("changed", severity="critical")),
    ]
    again = reopen(tmp_path)
    assert (again.stream, again.next_n, again.depth, again.notes) == (spool.stream, 3, 2, [])
    assert sure(again).batch() == taken
    opening = again.open_findings()[0]
    assert (opening.severity, opening.evidence) == ("critical", None)


def test_nothing_numbered_is_sent_before_the_collectors_first_reply(tmp_path, spool):
    spool.append(change())
    assert spool.batch() == []
    assert spool.acknowledge(1) is False
    assert [c.n for c in spool.batch()] == [1]


def test_confirmed_changes_are_deleted_and_open_findings_outlive_them(tmp_path, spool):
    spool.append(change("opened", "/"))
    spool.append(change("opened", "/var"))
    sure(spool).acknowledge(2)
    assert [c.n for c in spool.batch()] == [2]
    spool.acknowledge(3)
    again = reopen(tmp_path)
    assert (again.depth, again.next_n) == (0, 3)
    assert again.is_open("fs_full", "/") and again.is_open("fs_full", "/var")
    assert (again.append(change("closed", "/")).n, sure(again).batch()[0].opening_n) == (3, 1)


def test_a_batch_is_bounded_by_number_and_by_bytes_and_never_empty(spool):
    for i in range(10):
        spool.append(change(subject=f"/{i}", text="x" * 10_000))
    sure(spool)
    assert len(spool.batch(max_findings=3)) == 3
    assert len(spool.batch(max_bytes=35_000)) == 3
    assert len(spool.batch(max_bytes=1)) == 1


def test_a_quiet_hour_writes_nothing(spool):
    spool.append(change())
    sure(spool)
    size = spool.size_bytes
    for _ in range(1000):
        spool.acknowledge(1)
        spool.batch()
    assert spool.size_bytes == size


def test_the_file_is_compacted_when_most_of_it_is_dead(tmp_path, spool):
    sure(spool)
    spool.append(change("opened", "/kept"))
    spool.acknowledge(2)
    for i in range(400):
        spool.append(change("opened", f"/{i}", text="x" * 2000))
        spool.append(change("closed", f"/{i}"))
        spool.acknowledge(spool.next_n)
    assert spool.size_bytes < 2 * agent.spool.COMPACT_BYTES
    again = reopen(tmp_path)
    assert [c.subject for c in again.open_findings()] == ["/kept"]
    assert (again.next_n, again.stream, again.depth) == (spool.next_n, spool.stream, 0)


def test_a_file_that_is_no_spool_is_moved_aside_and_a_new_stream_begins(tmp_path, spool):
    spool.append(change())
    (tmp_path / NAME).write_bytes(b"\0" * 5000)
    again = reopen(tmp_path)
    assert again.stream != spool.stream and (again.next_n, again.depth) == (1, 0)
    assert (tmp_path / (NAME + ".damaged")).stat().st_size == 5000 and "moved aside" in again.notes[0]
    again.append(change())
    assert reopen(tmp_path).depth == 1


def test_an_empty_file_is_a_new_spool(tmp_path):
    (tmp_path / NAME).write_bytes(b"")
    spool = reopen(tmp_path)
    spool.append(change())
    assert reopen(tmp_path).depth == 1


def scene(folder: Path) -> Tuple[Spool, bytes, List[int]]:
    """A spool with some history, its bytes, and where each append ended."""
    spool = sure(reopen(folder))
    ends = [spool.size_bytes]
    for i in range(6):
        spool.append(change("opened", f"/{i}", at_ms=i, text="x" * 20))
        ends.append(spool.size_bytes)
        if i % 2:
            spool.append(change("closed", f"/{i - 1}", at_ms=100 + i))
            ends.append(spool.size_bytes)
    return spool, (folder / NAME).read_bytes(), ends


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_truncated_at_any_byte_the_spool_starts_and_keeps_every_whole_record_before(tmp_path, every):
    spool, content, ends = scene(tmp_path)
    for cut in range(0, len(content), every):
        (tmp_path / NAME).write_bytes(content[:cut])
        again = reopen(tmp_path)
        whole = sum(end <= cut for end in ends) - 1
        if whole < 0:
            assert again.stream != spool.stream and again.depth == 0
        else:
            assert (again.stream, again.depth, again.next_n) == (spool.stream, whole, whole + 1)
        again.append(change("opened", "/new"))
        again.close()
        assert reopen(tmp_path).is_open("fs_full", "/new")


@settings(
    max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    offset=st.integers(0, 10_000), garbage=st.binary(min_size=1, max_size=40), is_overwritten=st.booleans()
)
def test_corrupt_anywhere_the_spool_starts_and_keeps_every_record_before(
    tmp_path, offset, garbage, is_overwritten
):
    (tmp_path / NAME).unlink(missing_ok=True)
    spool, content, ends = scene(tmp_path)
    offset %= len(content)
    tail = content[offset + len(garbage) :] if is_overwritten else content[offset:]
    damaged = content[:offset] + garbage + tail
    (tmp_path / NAME).write_bytes(damaged)
    again = reopen(tmp_path)
    whole = sum(end <= offset for end in ends) - 1
    if damaged == content:
        whole = len(ends) - 1
    if whole < 0:
        assert again.depth == 0 or again.stream == spool.stream
    else:
        assert again.stream == spool.stream and again.depth >= whole
        assert [c.n for c in sure(again).batch()][:whole] == list(range(1, whole + 1))
    assert again.append(change("opened", "/new")) is not None
    again.close()
    assert reopen(tmp_path).is_open("fs_full", "/new")


@pytest.mark.parametrize("delivered", range(10))
@pytest.mark.parametrize("lost", [1, 2, 4])
def test_with_a_lost_tail_no_number_means_two_changes_and_nothing_delivered_comes_twice(
    tmp_path, delivered, lost
):
    """The collector may hold changes that our damaged disk forgot: it says so with its first reply."""
    spool, content, ends = scene(tmp_path)
    desk = Desk()
    want = desk.report(spool.stream, spool.batch()[:delivered])
    assert want == min(delivered, 9) + 1
    before = list(desk.taken)
    (tmp_path / NAME).write_bytes(content[: ends[-1 - lost] + 3])
    again = reopen(tmp_path)
    again.append(change("opened", "/after", at_ms=999))
    for _ in range(4):
        again.acknowledge(desk.report(again.stream, again.batch()))
    assert desk.taken.count(("opened", "fs_full", "/after", 999)) == 1
    first = [t for t in desk.taken if t[0] == "opened" and t in before]
    # After a fork open findings are announced again with their original time: the tick joins them, it is no new one.
    assert len(first) - len([t for t in before if t[0] == "opened"]) <= len(again.open_findings())
    assert [t for t in desk.taken if t[0] == "closed" and t in before] == [
        t for t in before if t[0] == "closed"
    ]
    assert again.depth == 0


def test_a_restored_disk_image_forks_the_stream_and_loses_nothing_new(tmp_path, spool):
    desk = Desk()
    sure(spool).append(change("opened", "/old"))
    spool.acknowledge(desk.report(spool.stream, spool.batch()))
    image = (tmp_path / NAME).read_bytes()
    spool.append(change("opened", "/between"))
    spool.acknowledge(desk.report(spool.stream, spool.batch()))
    (tmp_path / NAME).write_bytes(image)
    again = reopen(tmp_path)
    again.append(change("opened", "/new"))
    again.append(change("closed", "/old"))
    assert again.acknowledge(desk.report(again.stream, again.batch())) is True
    assert again.stream != spool.stream
    assert reopen(tmp_path).stream == again.stream
    for _ in range(2):
        again.acknowledge(desk.report(again.stream, again.batch()))
    assert [t[:3] for t in desk.taken[2:]] == [
        ("opened", "fs_full", "/old"),
        ("opened", "fs_full", "/new"),
        ("closed", "fs_full", "/old"),
    ]


def test_a_collector_that_was_restored_gets_a_new_stream_on_its_second_such_reply(tmp_path, spool):
    sure(spool).append(change("opened", "/"))
    spool.acknowledge(2)
    assert spool.acknowledge(1) is False
    assert spool.acknowledge(1) is True
    assert spool.acknowledge(1) is False
    assert [(c.n, c.kind, c.subject, c.at_ms) for c in spool.batch()] == [(1, "opened", "/", 1000)]


def test_a_fork_that_cannot_be_written_changes_nothing(tmp_path, spool, full_disk):
    spool.append(change())
    stream = spool.stream
    with full_disk(), pytest.raises(OSError, match="No space"):
        spool.acknowledge(40)
    assert (spool.stream, spool.depth) == (stream, 1)
    assert spool.acknowledge(40) is True


@pytest.fixture
def full_disk(monkeypatch):
    """A context in which the disk takes only the first few bytes of each write."""
    real_pwrite, real_write = os.pwrite, os.write

    class Full:
        def __enter__(self):
            self.left = 7

            def pwrite(handle, content, offset):
                if self.left <= 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                some = real_pwrite(handle, bytes(content[: self.left]), offset)
                self.left -= some
                return some

            def write(handle, content):
                if self.left <= 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                some = real_write(handle, bytes(content[: self.left]))
                self.left -= some
                return some

            monkeypatch.setattr(os, "pwrite", pwrite)
            monkeypatch.setattr(os, "write", write)

        def __exit__(self, *_):
            monkeypatch.setattr(os, "pwrite", real_pwrite)
            monkeypatch.setattr(os, "write", real_write)

    return Full


def test_a_full_disk_refuses_the_change_and_leaves_the_file_as_it_was(tmp_path, spool, full_disk):
    spool.append(change("opened", "/"))
    content = (tmp_path / NAME).read_bytes()
    with full_disk(), pytest.raises(OSError, match="No space"):
        spool.append(change("opened", "/var"))
    assert (tmp_path / NAME).read_bytes() == content
    assert spool.append(change("opened", "/var")).n == 2
    assert reopen(tmp_path).depth == 2


def test_a_torn_write_that_cannot_even_be_cut_back_is_overwritten_by_the_next(
    tmp_path, spool, full_disk, monkeypatch
):
    spool.append(change("opened", "/"))
    with monkeypatch.context() as patch, full_disk():
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(OSError, match="No space"):
            spool.append(change("opened", "/var"))
    assert reopen(tmp_path).depth == 1
    spool.append(change("opened", "/usr"))
    assert [c.subject for c in sure(reopen(tmp_path)).batch()] == ["/", "/usr"]


def test_a_disk_that_is_full_at_the_start_does_not_stop_the_start(tmp_path, full_disk):
    with full_disk():
        spool = reopen(tmp_path)
        with pytest.raises(OSError, match="No space"):
            spool.append(change())
    assert "cannot be written yet" in spool.notes[0]
    assert spool.append(change()).n == 1
    again = reopen(tmp_path)
    assert (again.stream, again.depth) == (spool.stream, 1)


def test_past_the_bound_changes_are_folded_first_and_openings_and_closings_are_never_dropped(tmp_path):
    spool = reopen(tmp_path, max_bytes=64 * 1024)
    for i in range(8):
        spool.append(change("opened", f"/{i}", text="e" * 3000))
    for i in range(8):
        spool.append(change("changed", f"/{i}", severity="critical", text="c" * 2000))
    for i in range(40):
        spool.append(change("opened", f"/more{i}", text="m" * 1500))
    told = sure(spool).batch(max_findings=1000)
    assert [c.n for c in told] == list(range(1, spool.next_n))
    assert {c.subject for c in told if c.kind == "opened"} == {f"/{i}" for i in range(8)} | {
        f"/more{i}" for i in range(40)
    }
    assert spool.live_bytes <= 64 * 1024 and spool.dropped >= 8
    slim = [c for c in told if c.kind == "changed" and c.evidence is None]
    assert len(slim) == len([c for c in told if c.kind == "changed"]), (
        "every change is folded before an opening loses anything"
    )
    assert [(c.n, c.kind) for c in sure(reopen(tmp_path)).batch(1000)] == [(c.n, c.kind) for c in told]


def test_when_not_even_openings_fit_the_caller_keeps_the_change_and_gets_it_in_after_delivery(tmp_path):
    spool = sure(reopen(tmp_path, max_bytes=64 * 1024))
    with pytest.raises(SpoolFull):
        for i in itertools.count():
            spool.append(change("opened", f"/{i}" + "s" * 250, text="e" * 100))
    assert spool.refused == 1
    spool.acknowledge(spool.next_n)
    assert spool.append(change("opened", "/at-last")) is not None


def test_a_change_too_large_for_a_record_goes_without_its_facts(spool):
    big = dataclasses.replace(change(), facts={"x": Fact("y" * 300_000)})
    assert spool.append(big).facts == {}


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000))
def test_whatever_is_killed_cut_off_or_repeated_each_change_reaches_the_collector_once_and_in_order(
    tmp_path, seed
):
    """A seeded life: appends, reports lost or doubled, restarts with torn tails of what was never confirmed."""
    chance = random.Random(seed)
    (tmp_path / NAME).unlink(missing_ok=True)
    spool, desk, taken, open_now, at_ms = reopen(tmp_path), Desk(), [], set(), 0
    for _ in range(60):
        act = chance.choice(["append", "append", "report", "report", "kill", "torn"])
        if act == "append":
            at_ms += 1
            subject = f"/{chance.randrange(4)}"
            kind = chance.choice(["changed", "closed"]) if subject in open_now else "opened"
            (open_now.add if kind == "opened" else open_now.discard if kind == "closed" else open_now.add)(
                subject
            )
            assert spool.append(change(kind, subject, at_ms=at_ms)) is not None
            taken.append((kind, "fs_full", subject, at_ms))
        elif act == "report":
            changes = spool.batch(chance.choice([1, 3, 64]))
            if chance.random() < 0.2:
                continue  # lost on the way there
            want = desk.report(spool.stream, changes)
            if chance.random() < 0.2:
                want = desk.report(spool.stream, changes)  # doubled
            if chance.random() > 0.2:  # else the reply is lost
                spool.acknowledge(want)
        else:
            spool.close()
            if act == "torn":
                with (tmp_path / NAME).open("ab") as stream:
                    stream.write(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 30))))
            spool = reopen(tmp_path)
    for _ in range(70):
        spool.acknowledge(desk.report(spool.stream, spool.batch()))
    assert desk.taken == taken
    assert {c.subject for c in spool.open_findings()} == open_now
