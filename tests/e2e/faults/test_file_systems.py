"""File systems that fall ill under a real agent: errors, read-only, mute, full, without inodes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults.scene import Scene, loop_ext4, scene
from tests.e2e.house import wait_for
from tests.tools.needs import require_kernel, require_package, require_root

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120, func_only=True)]

HEARTBEAT_LATE_S = 8.0
"""The heartbeat is a second here; machines that test are shared, and the design's grace is five."""


@pytest.fixture
def stage() -> Iterator[Scene]:
    require_root()
    require_kernel("mount_namespaces")
    with scene() as made:
        yield made


class Sick:
    """The FUSE file system of the scene, and its mood."""

    def __init__(self, stage: Scene, megabytes: int) -> None:
        self.mount = stage.folder / "sick"
        self.mount.mkdir()
        self.backing = stage.folder / "backing"
        with self.backing.open("wb") as file:
            file.truncate(megabytes << 20)
        self._mood = stage.folder / "mood"
        self.turn("well")
        self._program = stage.beside(
            sys.executable, "-m", "tests.e2e.faults.sick_files",
            str(self.mount), str(self.backing), str(self._mood),
        )  # fmt: skip
        wait_for("the FUSE file system is there", 60, lambda: "image" in stage.run("ls", str(self.mount)))

    def kill(self) -> None:
        """Its program dies; the mount stays."""
        os.killpg(self._program.pid, signal.SIGKILL)
        self._program.wait(20)

    def turn(self, mood: str) -> None:
        """``well``, ``errors`` or ``mute``."""
        fresh = self._mood.with_suffix(".new")
        fresh.write_text(mood)
        fresh.replace(self._mood)


@pytest.fixture
def sick(stage: Scene) -> Sick:
    require_package("libfuse")
    require_kernel("fuse")
    return Sick(stage, 24)


def test_a_mute_mount_is_a_finding_and_costs_the_agent_one_thread(stage: Scene, sick: Sick) -> None:
    agent = stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    sick.turn("mute")
    begun = time.monotonic()
    opening = stage.opened("fs_hung", str(sick.mount))
    assert opening["facts"]["fs.hung"]["now"] is True
    first = stage.weight(agent)
    settled = time.monotonic()
    reports = len(stage.reports)
    time.sleep(10)
    later, took_s = stage.weight(agent), time.monotonic() - settled
    assert later.threads <= first.threads, (first, later)
    assert later.files <= first.files + 1, (
        first,
        later,
    )  # one /proc file may be open at the moment of the look
    assert later.uninterruptible <= max(1, first.uninterruptible), (first, later)
    assert later.cpu_s - first.cpu_s < took_s * 0.5, "the agent spins"
    assert len(stage.reports) > reports
    assert stage.longest_silence_s(begun) < HEARTBEAT_LATE_S
    assert stage.reports[-1]["vitals"]["fs.used_pct"] > 0, "the other file systems are still seen"
    sick.turn("well")
    stage.closed("fs_hung", str(sick.mount))
    assert agent.poll() is None


def test_a_mount_that_answers_with_errors_is_a_finding_with_the_error(stage: Scene, sick: Sick) -> None:
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("fs_errors", str(sick.mount)) == []
    sick.turn("errors")
    assert stage.opened("fs_errors", str(sick.mount))["facts"]["fs.error"]["now"] == "EIO"
    sick.turn("well")
    stage.closed("fs_errors", str(sick.mount))
    assert stage.changes_of("fs_hung", str(sick.mount)) == []


def test_a_mount_whose_program_was_killed_is_a_finding_with_the_error(stage: Scene, sick: Sick) -> None:
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    sick.kill()
    assert stage.opened("fs_errors", str(sick.mount))["facts"]["fs.error"]["now"] == "ENOTCONN"


def test_a_disk_that_returns_errors_turns_its_file_system_read_only(stage: Scene, sick: Sick) -> None:
    mount = stage.folder / "shop"
    loop_ext4(stage, sick.backing, mount, shown_as=sick.mount / "image")
    # Writes that begin while all is well go on until the journal itself cannot be written.
    stage.beside(
        "sh", "-c", f"while sleep 0.2; do date > {mount}/$(date +%N); sync -f {mount}; done 2>/dev/null"
    )
    agent = stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("fs_read_only", str(mount)) == []
    sick.turn("errors")
    opening = stage.opened("fs_read_only", str(mount), 50)
    assert opening["severity"] == "critical"
    assert opening["facts"]["fs.ro"]["now"] is True
    kernel = [line["text"] for line in opening["evidence"]["log"] if line["source"] == "kernel"]
    assert any("EXT4-fs" in line for line in kernel), opening["evidence"]
    assert agent.poll() is None


def test_a_remount_read_only_opens_and_one_for_writing_closes(stage: Scene) -> None:
    mount = _plain_ext4(stage)
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    stage.run("mount", "-o", "remount,ro", str(mount))
    assert stage.opened("fs_read_only", str(mount))["facts"]["fs.ro"]["now"] is True
    stage.run("mount", "-o", "remount,rw", str(mount))
    stage.closed("fs_read_only", str(mount))


def test_a_full_file_system_is_found_with_how_full_it_is(stage: Scene) -> None:
    mount = _plain_ext4(stage)
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("fs_full", str(mount)) == []
    stage.run("sh", "-c", f"dd if=/dev/zero of={mount}/log bs=1M 2>&1; true")
    opening = stage.opened("fs_full", str(mount))
    assert opening["facts"]["fs.used_pct"]["now"] >= 95
    assert opening["facts"]["fs.inode_pct"]["now"] < 50
    stage.run("rm", f"{mount}/log")
    stage.closed("fs_full", str(mount))


def test_exhausted_inodes_are_found_though_there_is_room(stage: Scene) -> None:
    mount = _plain_ext4(stage, "-N", "64")
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("inodes_gone", str(mount)) == []
    stage.run(
        "sh", "-c", f"for i in $(seq 100); do touch {mount}/session.$i || break; done 2>/dev/null; true"
    )
    opening = stage.opened("inodes_gone", str(mount))
    assert opening["facts"]["fs.inode_pct"]["now"] >= 95
    assert opening["facts"]["fs.used_pct"]["now"] < 90
    stage.run("sh", "-c", f"rm {mount}/session.*")
    stage.closed("inodes_gone", str(mount))


def _plain_ext4(stage: Scene, *words: str) -> Path:
    image, mount = stage.folder / "shop.img", stage.folder / "shop"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    loop_ext4(stage, image, mount, *words)
    return mount
