"""File systems: which are looked at, the worst of them, and a mount that never answers."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from agent.samplers.filesystems import Filesystems, MountSettings, Space, watched
from agent.signals.parsers.mounts import parse_mountinfo
from agent.signals.sample import Sample
from tests.tools import threads

Lay = Callable[[Dict[str, str]], Path]
Text = Callable[[str], str]


def values(samples: List[Sample], subject: str = "") -> Dict[str, Any]:
    return {sample.signal: sample.value for sample in samples if sample.subject == subject}


def test_pseudo_file_systems_images_and_second_views_are_left_out(text: Text) -> None:
    chosen = watched(parse_mountinfo(text("el9/mountinfo")), MountSettings())
    assert [mount.point for mount in chosen] == ["/", "/boot", "/dev/shm", "/mnt/backup", "/srv/my shop"]


def test_settings_add_and_take_away_mounts(text: Text) -> None:
    settings = MountSettings(include=["/run/user/*"], exclude=["/boot"], remote=False)
    chosen = watched(parse_mountinfo(text("el9/mountinfo")), settings)
    assert [mount.point for mount in chosen] == ["/", "/dev/shm", "/run/user/1000", "/srv/my shop"]


def test_the_fullest_local_writable_file_system_stands_for_the_host(lay: Lay, text: Text) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})
    spaces: Dict[str, Space] = {
        str(root) + "/": (4096, 1000, 400, 100, 90),
        str(root) + "/dev/shm": (4096, 1000, 900, 0, 0),
        str(root) + "/boot": (4096, 1000, 10, 100, 50),  # read-only by intent: full by nature
        str(root) + "/mnt/backup": (4096, 1000, 20, 0, 0),  # another machine's
        str(root) + "/srv/my shop": (4096, 1000, 250, 100, 20),
    }
    samples = Filesystems(root, statvfs=lambda path: spaces[path]).sweep(0)
    assert values(samples)["fs.used_pct"] == 75.0
    assert values(samples)["fs.inode_pct"] == 80.0
    assert values(samples, "/boot")["fs.used_pct"] == 99.0
    assert values(samples, "/mnt/backup")["fs.used_pct"] == 98.0


def test_growth_is_told_after_a_minute(lay: Lay, text: Text) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})
    free = [900_000]
    found = Filesystems(root, statvfs=lambda path: (4096, 1_000_000, free[0], 0, 0))
    assert "fs.growth_gb_h" not in values(found.sweep(0))
    free[0] -= 8738  # 34 MiB in two minutes
    assert round(values(found.sweep(120_000))["fs.growth_gb_h"], 2) == 1.0


def test_a_mount_that_was_writable_and_is_not_any_more_is_told(lay: Lay, text: Text) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})
    found = Filesystems(root, statvfs=lambda path: (4096, 10, 5, 0, 0))
    assert values(found.sweep(0))["fs.ro"] is False
    lay({"proc/self/mountinfo": text("el9/mountinfo").replace("/dev/vdb1 rw,", "/dev/vdb1 ro,")})
    samples = found.sweep(10_000)
    assert values(samples)["fs.ro"] is True
    assert values(samples, "/srv/my shop")["fs.ro"] is True
    assert values(samples, "/boot")["fs.ro"] is False


@pytest.mark.parametrize("word", ["emergency_ro", "shutdown"])
def test_newer_kernels_say_by_another_word_that_an_error_ended_all_writing(
    lay: Lay, text: Text, word: str
) -> None:
    """Linux 6.14 and later leave ``rw`` in the options; seen on ext4 over a device that returns errors."""
    mountinfo = text("el9/mountinfo")
    line = next(line for line in mountinfo.splitlines() if "/dev/vdb1" in line)
    root = lay({"proc/self/mountinfo": mountinfo.replace(line, f"{line},errors=remount-ro,{word}")})
    samples = Filesystems(root, statvfs=lambda path: (4096, 10, 5, 0, 0)).sweep(0)
    assert values(samples, "/srv/my shop")["fs.ro"] is True, "though the agent came after the error"
    assert values(samples, "/boot")["fs.ro"] is False


@pytest.mark.parametrize("word", ["EIO", "ENOTCONN", "ESTALE"])
def test_a_mount_that_fails_at_once_is_a_signal_of_its_own_and_the_others_are_seen(
    lay: Lay, text: Text, word: str
) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})
    is_sick = True

    def statvfs(path: str) -> Space:
        if is_sick and path.endswith("backup"):
            raise OSError(getattr(errno, word), "no good")
        return 4096, 10, 5, 0, 0

    found = Filesystems(root, statvfs=statvfs)
    samples = found.sweep(0)
    assert values(samples, "/mnt/backup")["fs.error"] == word
    assert values(samples, "/mnt/backup")["fs.hung"] is False
    assert values(samples)["fs.error"] == word
    assert values(samples, "/srv/my shop")["fs.error"] == "ok"
    assert values(samples, "/srv/my shop")["fs.used_pct"] == 50.0
    is_sick = False
    samples = found.sweep(10_000)
    assert (values(samples, "/mnt/backup")["fs.error"], values(samples)["fs.error"]) == ("ok", "ok")


@pytest.mark.parametrize("word", ["ENOENT", "EACCES", "EPERM"])
def test_a_mount_that_is_gone_or_not_ours_to_see_is_no_fault_and_no_health(
    lay: Lay, text: Text, word: str
) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})

    def statvfs(path: str) -> Space:
        if path.endswith("backup"):
            raise OSError(getattr(errno, word), "not for you")
        return 4096, 10, 5, 0, 0

    samples = Filesystems(root, statvfs=statvfs).sweep(0)
    assert "fs.error" not in values(samples, "/mnt/backup")
    assert values(samples)["fs.error"] == "ok"


def test_a_mount_that_never_answers_is_a_signal_and_costs_one_thread(lay: Lay, text: Text) -> None:
    root = lay({"proc/self/mountinfo": text("el9/mountinfo")})
    release = threading.Event()
    asked: List[str] = []

    def statvfs(path: str) -> Space:
        asked.append(path)
        if path.endswith("backup"):
            release.wait(60)
        return 4096, 10, 5, 0, 0

    found = Filesystems(root, statvfs=statvfs, wait_s=2.0)
    try:
        before = threads.running()
        for at_ms in range(0, 60_000, 10_000):
            samples = found.sweep(at_ms)
            assert values(samples, "/srv/my shop")["fs.used_pct"] == 50.0, "the others are still seen"
        assert values(samples, "/mnt/backup")["fs.hung"] is True
        assert values(samples)["fs.hung"] is True
        assert threads.since(before) == 1
        assert len([path for path in asked if path.endswith("backup")]) == 1
    finally:
        release.set()
    found._hung["/mnt/backup"].errand.wait(20)
    assert values(found.sweep(70_000), "/mnt/backup")["fs.hung"] is False
