"""The kernel log sampler: nothing twice, nothing lost within a boot, what the ring dropped is counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, List, Optional

import pytest

from agent.checks.systemctl import Unavailable
from agent.samplers.kernel_log import LOOK_BACK_MS, KernelLog, Place
from agent.samplers.platform import Platform
from agent.signals.sample import Sample

MACHINE = Platform("kvm", "", "5.14.0", "kvm-clock")
HUNG = "INFO: task kworker/u8:1:77 blocked for more than 120 seconds."
BLK = "blk_update_request: I/O error, dev sda, sector 1234"


class Ring:
    """A pipe stands for /dev/kmsg: read(2) gives EAGAIN at the end, and one record a read where we write one a time."""

    def __init__(self, root: Path) -> None:
        (root / "dev").mkdir()
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/sys/kernel/random/boot_id").write_text("boot-1\n")
        os.mkfifo(root / "dev/kmsg")
        self.root = root
        self.writer = -1

    def open(self) -> None:
        if self.writer < 0:
            self.writer = os.open(self.root / "dev/kmsg", os.O_RDWR | os.O_NONBLOCK)

    def says(self, sampler: KernelLog, sequence: int, text: str, at_ms: int = 0) -> List[Sample]:
        os.write(self.writer, f"4,{sequence},{at_ms * 1000},-;{text}\n".encode())
        return sampler.sweep(at_ms)


@pytest.fixture()
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring(tmp_path)
    made.open()
    yield made
    os.close(made.writer)


def watch(ring: Ring, state: Optional[Path] = None) -> KernelLog:
    return KernelLog(ring.root, state, MACHINE)


def told(samples: List[Sample]) -> List[str]:
    return [sample.subject for sample in samples if sample.signal == "kmsg" and sample.subject]


def lost(samples: List[Sample]) -> object:
    return [sample.value for sample in samples if sample.signal == "kmsg.lost"][-1]


def test_a_line_of_a_known_cause_is_a_sample_of_the_host_and_of_its_cause(ring: Ring) -> None:
    samples = ring.says(watch(ring), 7, HUNG, at_ms=1000)
    assert [(s.signal, s.subject, s.value, s.at_ms) for s in samples[:2]] == [
        ("kmsg", "", HUNG, 1000),
        ("kmsg", "hung_task", HUNG, 1000),
    ]


def test_a_line_leaves_without_what_reads_like_a_secret(ring: Ring) -> None:
    line = "INFO: task password=hunter2:77 blocked for more than 120 seconds."
    values = {s.value for s in ring.says(watch(ring), 1, line) if s.signal == "kmsg"}
    assert values == {"INFO: task password=[removed] blocked for more than 120 seconds."}


def test_other_lines_make_no_sample(ring: Ring) -> None:
    assert told(ring.says(watch(ring), 1, "usb 1-1: new high-speed USB device")) == []


def test_a_line_that_only_reads_like_a_fault_is_none_of_the_hosts(ring: Ring) -> None:
    samples = ring.says(watch(ring), 1, "blk_update_request: I/O error, dev loop11, sector 0 op 0x1:(WRITE)")
    assert [s.subject for s in samples if s.signal == "kmsg"] == ["blk_io_removable"]


def test_records_that_the_ring_dropped_are_counted(ring: Ring) -> None:
    sampler = watch(ring)
    assert lost(ring.says(sampler, 10, "first")) == 0
    assert lost(ring.says(sampler, 15, "fifth after it")) == 4


def test_a_restart_goes_on_behind_the_last_number(ring: Ring, tmp_path: Path) -> None:
    state = tmp_path / "kernel_log"
    first = watch(ring, state)
    assert told(ring.says(first, 20, HUNG)) == ["hung_task"]
    first.sweep(1)  # the place is written with the sweep after
    second = watch(ring, state)
    assert told(ring.says(second, 20, HUNG)) == [], "told before the restart"
    samples = ring.says(second, 21, BLK)
    assert told(samples) == ["blk_io"]
    assert lost(samples) == 0


def test_what_was_not_yet_handed_on_safely_is_told_again(ring: Ring, tmp_path: Path) -> None:
    state = tmp_path / "kernel_log"
    assert told(ring.says(watch(ring, state), 20, HUNG)) == ["hung_task"]
    assert told(ring.says(watch(ring, state), 20, HUNG)) == ["hung_task"], "killed before the next sweep"


def test_lines_while_the_agent_was_away_are_told_however_old(ring: Ring, tmp_path: Path) -> None:
    state = tmp_path / "kernel_log"
    state.write_text("boot-1 20\n")
    sampler = watch(ring, state)
    os.write(ring.writer, f"4,21,1000,-;{BLK}\n".encode())
    assert told(sampler.sweep(10 * LOOK_BACK_MS)) == ["blk_io"]


def test_at_the_first_start_history_is_left_alone(ring: Ring) -> None:
    sampler = watch(ring)
    os.write(ring.writer, f"4,21,1000,-;{BLK}\n".encode())
    assert told(sampler.sweep(10 * LOOK_BACK_MS)) == []


@pytest.mark.parametrize(
    "torn", ["", "boot-1", "boot-1 x", "boot-0 99", "\0\0\0", "boot-1 " + "9" * 50, "boot-1 ²"]
)
def test_a_torn_or_foreign_place_is_the_beginning(torn: str) -> None:
    assert Place.from_text(torn, "boot-1") == Place("boot-1")


def test_a_container_shows_no_log_of_its_own(tmp_path: Path) -> None:
    sampler = KernelLog(tmp_path, None, Platform("kvm", "docker", "5.14.0", ""))
    assert "kmsg" in sampler.lacks()
    assert sampler.sweep(0) == []


def test_without_the_ring_the_journal_is_asked_behind_its_cursor(tmp_path: Path) -> None:
    asked: List[str] = []

    def journal(cursor: str) -> str:
        asked.append(cursor)
        return f"2026-11-22T10:00:00+0000 web1 kernel: {BLK}\n-- cursor: s=ab;i=1f\n"

    sampler = KernelLog(tmp_path, None, MACHINE, journal)
    samples: List[Sample] = []
    for at_ms in range(0, 130_000, 5_000):
        samples += sampler.sweep(at_ms)
    assert asked[:2] == ["", "s=ab;i=1f"]
    assert told(samples) == ["blk_io"], "the same line again within five minutes is counted, not told"


def test_neither_ring_nor_journal_is_lacking_and_said(tmp_path: Path) -> None:
    sampler = KernelLog(tmp_path, None, MACHINE, lambda cursor: Unavailable("journalctl is not installed"))
    for at_ms in range(3):
        sampler.sweep(at_ms)
    assert "journalctl is not installed" in sampler.lacks()["kmsg"]
