"""H2: a host whose disk is full, whose PATH or locale is odd: the wrapper says so, and nothing is half begun."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.ssh import Said, say
from tests.lab.sshd import Sshd
from tests.tools import needs

pytestmark = [pytest.mark.collector, pytest.mark.slow]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    needs.require_root()
    needs.require_package("openssh-server")
    made = Sshd(tmp_path / "sshd")
    made.allow("steps", "touch", f"touch {tmp_path}/done\n")
    made.allow("asks", "lc", 'echo "$LC_ALL $PATH"\n')
    yield made
    made.stop()


@pytest.fixture
def small_disk(sshd: Sshd) -> Iterator[Path]:
    """The wrapper's state on a disk of its own of a few pages."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "lab", str(sshd.state)]
    subprocess.run(mount, check=True, capture_output=True, timeout=30)
    yield sshd.state
    subprocess.run(["umount", "-l", str(sshd.state)], check=True, capture_output=True, timeout=30)


def asked(sshd: Sshd, *words: str) -> Said:
    return say(sshd.target(), " ".join(words), 30)


def test_on_a_full_disk_no_epoch_is_taken_and_no_step_begins(
    sshd: Sshd, small_disk: Path, tmp_path: Path
) -> None:
    sshd.start()
    assert asked(sshd, "arm", "a+b", "3", "b").rc == 0
    with (
        (small_disk / "ballast").open("wb", buffering=0) as ballast,
        pytest.raises(OSError, match="No space"),
    ):
        while True:
            ballast.write(b"x" * 1024)
    assert asked(sshd, "arm", "a+b", "4", "b").rc == 73
    assert asked(sshd, "expect", "a+b", "4").rc == 73
    assert asked(sshd, "epoch", "a+b").out == "epoch 3 primary b orders 3\n"
    said = asked(sshd, "run", "a+b", "3", "key-1", "10", "touch")
    assert (said.state, said.rc) == ("ok", 73), said
    assert not (tmp_path / "done").exists()
    (small_disk / "ballast").unlink()
    assert asked(sshd, "arm", "a+b", "4", "b").rc == 0
    assert asked(sshd, "run", "a+b", "4", "key-1", "10", "touch").rc == 0, "what did not begin may begin now"


def test_a_strange_environment_changes_nothing(sshd: Sshd, tmp_path: Path) -> None:
    config = sshd.folder / "sshd_config"
    config.write_text(
        config.read_text() + "SetEnv PATH=/nowhere LC_ALL=uk_UA.KOI8-U LANG=tr_TR.UTF-8 IFS=x\n"
    )
    sshd.start()
    assert asked(sshd, "arm", "a+b", "3", "b").rc == 0
    assert asked(sshd, "run", "a+b", "3", "key-1", "10", "touch").rc == 0
    locale, _, path = asked(sshd, "ask", "a+b", "10", "lc").out.strip().partition(" ")
    assert (locale, path.split(":")[0]) == ("C", "/usr/local/sbin")
