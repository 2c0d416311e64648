"""Real systemd machines for the tests: Debian, booted by systemd-nspawn, joined by a wire of their own.

What each is made of lies in ``base.py``. A machine is a copy that is thrown away; all names begin with OURS and our
process id, every process dies with ours, and what a killed run left behind is swept at the next start.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

OURS = "vtm"
UP_WITHIN_S = 60
DOWN_WITHIN_S = 60
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(AssertionError):
    """A command in a machine ended badly; the text holds what it said."""


class Wire:
    """An Ethernet switch in a network namespace of its own: a machine's end dies with it, the others stay."""

    def __init__(self, label: str = "") -> None:
        self.name = f"{OURS}-{os.getpid()}{label}"
        self._made = 0

    def make(self) -> None:
        _host("ip", "netns", "add", self.name)
        _host("ip", "-n", self.name, "link", "add", "wire", "type", "bridge")
        _host("ip", "-n", self.name, "link", "set", "wire", "up")

    def plug(self) -> str:
        """A fresh cable; the name of the end that a machine takes."""
        self._made += 1
        end = f"{OURS}{os.getpid()}-{self._made}"[-15:]
        port = f"port{self._made}"
        _host("ip", "link", "add", end, "type", "veth", "peer", "name", port, "netns", self.name)
        _host("ip", "-n", self.name, "link", "set", port, "master", "wire", "up")
        return end

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False, timeout=20)


class Machine:
    """One machine: its disk outlives a power-off, like a real one's."""

    def __init__(self, name: str, root: Path, wire: Wire, wheels: Path) -> None:
        self.name = name
        self.root = root
        self._wire = wire
        self._wheels = wheels
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Switch it on; returns when systemd says that it is up."""
        command = [
            "setpriv", "--pdeathsig", "KILL", "--",  # a killed test leaves no machine behind
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}",
            f"--machine={OURS}-{os.getpid()}-{self.name}", "--private-network", "--register=no",
            "--keep-unit", "--link-journal=no", "--console=pipe",
            # What a server of its own has and a container is denied: the kernel's log, reading how the clock is kept.
            "--capability=CAP_SYSLOG", "--bind=/dev/kmsg", "--system-call-filter=adjtimex clock_adjtime",
            f"--bind-ro={self._wheels}:/wheels",
        ]  # fmt: skip
        with Path(f"{self.root}.console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        self._leader = within(UP_WITHIN_S, "the machine has no first process", self._find_leader)
        # Not by --network-interface: it wants a udev on this side that has seen the cable.
        _host("ip", "link", "set", self._wire.plug(), "netns", str(self._leader))
        within(UP_WITHIN_S, f"{self.name} does not come up", self._is_up)

    def run(self, script: str, *, stdin: str = "", timeout_s: float = 120) -> str:
        """What bash printed; Failed where it ended badly or said nothing in time."""
        done = subprocess.run(
            self._inside("bash", "-euo", "pipefail", "-c", script),
            input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(
                f"{self.name}: status {done.returncode} of:\n{script}\n--- said:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def json(self, command: str, *, timeout_s: float = 60) -> Any:
        """What a command answered as JSON."""
        return json.loads(self.run(command, timeout_s=timeout_s))

    def show(self, unit: str, property_: str) -> str:
        """One property of a unit."""
        return self.run(f"systemctl show --value -p {property_} {shlex.quote(unit)}").strip()

    def journal(self, unit: str, *options: str) -> list[str]:
        """The unit's lines of this boot, its program's and systemd's."""
        words = ["journalctl", "--boot", "--no-pager", "--output=cat", "--quiet", f"--unit={unit}", *options]
        return self.run(shlex.join(words)).splitlines()

    def shut_down(self) -> None:
        """The orderly way: as the button on the front does it."""
        if not self._leader:  # process 0 would be everybody in our own group: the test run itself
            raise Failed(f"{self.name} is off already")
        os.kill(self._leader, signal.SIGRTMIN + 4)
        self._wait_off()

    def pull_the_plug(self) -> None:
        """Power off hard: every process is gone at once, and the cable's end with them."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader or self._nspawn.pid, signal.SIGKILL)
        self._wait_off()

    def _wait_off(self) -> None:
        assert self._nspawn is not None
        try:
            self._nspawn.wait(DOWN_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(10)
            raise
        finally:
            self._leader = 0

    def _inside(self, *words: str) -> list[str]:
        where = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root")
        return [
            "nsenter", f"--target={self._leader}", *where, "--",
            "env", "-i", "-C", "/root/vartovyi", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", *words,
        ]  # fmt: skip

    def _find_leader(self) -> int:
        """Our id of its process 1, which systemd-nspawn has for a child."""
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise Failed(f"systemd-nspawn ended:\n{Path(f'{self.root}.console').read_text(errors='replace')}")
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text(encoding="ascii", errors="replace")
                if re.search(rf"(?m)^PPid:\s{self._nspawn.pid}$", text) and re.search(
                    r"(?m)^NSpid:\s\d+\s1$", text
                ):
                    return int(status.parent.name)
        return 0

    def _is_up(self) -> bool:
        done = subprocess.run(
            [*self._inside("systemctl", "is-system-running")],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return done.stdout.strip() in ("running", "degraded")


def within(seconds: float, or_else: str, look: Callable[[], Any], every_s: float = 0.2) -> Any:
    """What ``look`` says as soon as it is true; Failed with the last answer when it is not in time."""
    end = time.monotonic() + seconds
    while True:
        said = look()
        if said:
            return said
        if time.monotonic() > end:
            raise Failed(f"{or_else} within {seconds:g} s; at last: {said!r}")
        time.sleep(every_s)


@contextlib.contextmanager
def workshop(folder: Path, label: str = "") -> Iterator[tuple[Path, Wire]]:
    """A folder for disks and a wire, both swept afterwards, with those of runs that were killed.

    ``label`` (".NAME") tells a second one of this process from the first.
    """
    _sweep(folder)
    mine = folder / f"{OURS}-{os.getpid()}{label}"
    wire = Wire(label)
    mine.mkdir(mode=0o700)
    try:
        wire.make()
        yield mine, wire
    finally:
        wire.remove()
        shutil.rmtree(mine, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for left in [*folder.glob(f"{OURS}-*"), *Path("/run/netns").glob(f"{OURS}-*")]:
        if Path("/proc", left.name.partition("-")[2].partition(".")[0]).exists():
            continue
        if left.parent == folder:
            shutil.rmtree(left, ignore_errors=True)
        else:
            subprocess.run(["ip", "netns", "del", left.name], capture_output=True, check=False, timeout=20)


def _host(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise Failed(f"{shlex.join(words)}: {done.stderr}")
