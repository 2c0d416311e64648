"""What the daemon asks of the machine about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.host import Busy, boot_id, is_host_stopping, own_address, says_stopping, single_instance

JOBS = """ 1497 reboot.target            start waiting
 1523 nginx.service            stop  running
"""


@pytest.mark.parametrize(
    ("jobs", "state", "answer"),
    [
        (JOBS, "running", True),
        ("12 poweroff.target start waiting", "", True),
        ("", "stopping\n", True),
        ("", "running\n", False),
        ("", "", False),
        ("12 nginx.service start running", "degraded", False),
        ("12 my-reboot.target.service start running", "running", False),
        ("12 shutdown.target stop waiting", "running", False),
    ],
)
def test_a_goodbye_tells_a_shutdown_from_a_stopped_service(jobs, state, answer):
    assert says_stopping(jobs, state) is answer


def test_a_question_that_the_stop_signal_killed_is_put_again(tmp_path, monkeypatch):
    """As systemd does without KillMode=mixed: whatever is in the unit's control group gets its SIGTERM."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f"""#!/bin/sh
echo "$1" >> {tmp_path}/asked
[ "$(wc -l < {tmp_path}/asked)" -gt 1 ] || kill -TERM $$
echo stopping
"""
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert is_host_stopping()
    assert (tmp_path / "asked").read_text().split() == ["is-system-running"] * 2


def test_one_folder_is_held_by_one_agent_and_freed_afterwards(tmp_path):
    folder = tmp_path / "state"
    with single_instance(folder), pytest.raises(Busy, match="another agent"), single_instance(folder):
        pass
    with single_instance(folder):
        assert (folder / "lock").exists()


def test_the_boot_is_known_by_the_kernels_id(tmp_path):
    assert boot_id(tmp_path) == ""
    path = tmp_path / "proc/sys/kernel/random"
    path.mkdir(parents=True)
    (path / "boot_id").write_text("abc\n")
    assert boot_id(tmp_path) == "abc"


def test_the_own_address_is_the_one_toward_the_collector():
    assert own_address("https://127.0.0.1:8443") == "127.0.0.1"
    assert own_address("") == ""


def test_a_container_that_boots_again_has_another_boot_id_than_before_on_the_same_node(
    tmp_path: Path,
) -> None:
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/1").mkdir()
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("231e1154-eaa3-4fa6-b34d-e87908261b04\n")
    stat = "1 (systemd) S 0 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0 1 0 {} 0 256 0 0 0 0 0 0 0 0 0 0 0\n"

    def named(ticks: int) -> str:
        (tmp_path / "proc/1/stat").write_text(stat.format(ticks))
        return boot_id(tmp_path)

    assert named(1) == "231e1154-eaa3-4fa6-b34d-e87908261b04"
    assert named(90_000) != named(95_000)
    assert len(named(10**12)) <= 64
