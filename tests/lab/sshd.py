"""A real sshd whose key may only run the shipped wrapper: on loopback for single steps, or in a place of the laboratory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collector.ssh import Target
from tests.tools.ports import free_port

SHIPPED = Path(__file__).resolve().parents[2] / "systemd" / "failover"
SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin") or "sshd"
START_S = 60.0

Spawn = Callable[[Sequence[str], Any], "subprocess.Popen[Any]"]


def _here(argv: Sequence[str], log: Any) -> subprocess.Popen[Any]:
    return subprocess.Popen(list(argv), stderr=log)


class Sshd:
    """One sshd with its own host key, one log-in key, and the wrapper as its forced command."""

    def __init__(
        self, folder: Path, *, address: str = "127.0.0.1", port: int = 0, spawn: Spawn = _here
    ) -> None:
        self.folder, self.address, self._spawn = folder, address, spawn
        folder.mkdir(parents=True, exist_ok=True)
        self.etc, self.state = folder / "etc", folder / "state"
        for path in (self.etc / "steps", self.etc / "asks", self.etc / "pairs", self.state):
            path.mkdir(parents=True)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
            )
        self.port = port or free_port()
        self.let_in(self.folder / "user.pub")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {address}\nHostKey {folder / 'host'}\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\n"
            f"PidFile {folder / 'pid'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nLoginGraceTime 20\n"
            # A caller that lost its power in mid-call says no good-bye: its session must not stand here for hours.
            "ClientAliveInterval 5\nClientAliveCountMax 3\n"
            # What root's shell does when it starts on this machine (rehash, banners) is no part of any test.
            f"SetEnv HOME={folder}\n"
        )
        self.process: subprocess.Popen[Any] | None = None

    def let_in(self, *public_keys: Path) -> None:
        """These keys may log in, and run the wrapper alone."""
        forced = (
            f'command="VARTOVYI_FAILOVER_ETC={self.etc} VARTOVYI_FAILOVER_STATE={self.state} '
            f'{SHIPPED / "vartovyi-step"}",restrict '
        )
        (self.folder / "authorized_keys").write_text("".join(forced + key.read_text() for key in public_keys))

    def start(self, answers: Callable[[], bool] | None = None) -> None:
        """Start it, and wait until it answers."""
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = self._spawn([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], log)
        ends_s = time.monotonic() + START_S
        while not (answers or self.answers)():
            if time.monotonic() > ends_s or self.process.poll() is not None:
                raise AssertionError((self.folder / "sshd.log").read_text())
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether its port is open, seen from the caller's network."""
        try:
            socket.create_connection((self.address, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def host_key(self) -> str:
        """``type base64``."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def target(self, **changes: Any) -> Target:
        whole = {
            "address": self.address,
            "user": "root",
            "key_file": self.folder / "user",
            "host_key": self.host_key,
            "port": self.port,
        }
        return Target(**{**whole, **changes})

    def allow(self, kind: str, name: str, text: str) -> None:
        """An executable of ETC/steps or ETC/asks."""
        path = self.etc / kind / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
