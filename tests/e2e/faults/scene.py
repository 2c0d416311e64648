"""A real agent in a mount and network namespace of its own, real faults beside it, and a recording collector.

What is tested is the chain: sampler, rule, finding with its evidence, delivery. So the rules are the shipped ones with
every ``for:`` shortened to a second (a quarter of an hour of pressure tests nothing more than two seconds of it), and
the samplers run twenty times as often. Levels are the shipped ones but where a test says otherwise.

The namespaces end with the process that holds them, and every mount in them ends with them.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent.settings import SHIPPED
from tests.tools.stage import Stage

ROOT = Path(__file__).resolve().parents[3]
CLONE_NEWNET = 0x40000000
PROGRAM = "vartovyi-fault-scene"


def agent_python() -> str:
    """The oldest Python that we support where it is set up, else the one of the tests."""
    old = ROOT / ".venv-3.9" / "bin" / "python"
    return str(old) if old.exists() else sys.executable


def short_rules() -> str:
    """The shipped rules, each condition to hold for a second only."""
    text = (SHIPPED / "rules.yaml").read_text(encoding="utf-8")
    return re.sub(r"\bfor: [0-9.]+ (?:s|min|h)\b", "for: 1 s", text)


class Weight(NamedTuple):
    """What the agent costs just now."""

    threads: int
    files: int
    uninterruptible: int
    cpu_s: float


class Scene(Stage):
    """The recording collector, the namespaces, and the agent in them."""

    def __init__(self, *, own_network: bool = False) -> None:
        # Not pytest's folder: it may lie on /dev/shm, whose mounts are no storage to the agent.
        folder = Path(tempfile.mkdtemp(prefix="vartovyi-fault-", dir="/var/tmp"))
        self.folder = folder
        self._own_network = own_network
        self._beside: list[subprocess.Popen[bytes]] = []
        kinds = ["--mount", "--propagation", "private", *(["--net"] if own_network else [])]
        self._holder = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"ready\n"
        if own_network:
            self.run("ip", "link", "set", "lo", "up")
            # /sys shows the network of whoever mounted it.
            self.run("mount", "-t", "sysfs", "sysfs", "/sys")
        super().__init__(folder)
        if own_network:
            self._listen_inside()
        self.configure()

    def _listen_inside(self) -> None:
        """The collector's socket in the scene's network; a socket stays in the network that it was made in."""
        libc = ctypes.CDLL(None, use_errno=True)
        made: list[http.server.ThreadingHTTPServer] = []

        def make() -> None:
            with open(f"/proc/{self._holder.pid}/ns/net") as inside:
                assert libc.setns(inside.fileno(), CLONE_NEWNET) == 0
            made.append(self.receiver())

        # The thread alone changes its network, and ends there.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        self.server.shutdown()
        self.server.server_close()
        self.serve(made[0])

    def configure(self, more: str = "", *, url: str = "") -> None:
        """Settings with the shortened rules, and what the test adds to them."""
        (self.folder / "rules.yaml").write_text(short_rules(), encoding="utf-8")
        url = url or f"http://127.0.0.1:{self.server.server_port}"
        (self.folder / "agent.yaml").write_text(
            f"state_dir: {self.folder}/state\nperiod: 0.5\ninterval: 1\nmetrics: {{listen: ''}}\n"
            f"collector: {{url: '{url}', token_file: '{self.folder}/token', retry_max: 2}}\n"
            f"rules_file: {self.folder}/rules.yaml\n" + more,
            encoding="utf-8",
        )

    def inside(self, *words: str) -> list[str]:
        """The command as it is run in the scene's namespaces."""
        kinds = ["--mount", *(["--net"] if self._own_network else [])]
        return ["nsenter", f"--target={self._holder.pid}", *kinds, f"--wd={ROOT}", *words]

    def run(self, *words: str) -> str:
        """A command inside, to its end; its output."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def beside(self, *words: str) -> subprocess.Popen[bytes]:
        """A program inside that runs until it is stopped, or the scene ends."""
        with (self.folder / "beside.log").open("ab") as log:
            # A group of its own: what it starts itself ends with it.
            child = subprocess.Popen(self.inside(*words), stdout=log, stderr=log, start_new_session=True)
        self._beside.append(child)
        return child

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """The agent; nsenter becomes it, so the process is the agent's own."""
        config = str(self.folder / "agent.yaml")
        with (self.folder / "log").open("ab") as log:
            child = subprocess.Popen(
                self.inside(agent_python(), "-m", "agent.cli", "run", "--config", config),
                stderr=log,
                env={**os.environ, **environment},
            )
        self.children.append(child)
        return child

    def changes_of(self, rule: str, subject: str) -> list[dict[str, Any]]:
        return [c for c in self.changes if (c["rule"], c["subject"]) == (rule, subject)]

    def opened(self, rule: str, subject: str = "", seconds: float = 30) -> dict[str, Any]:
        """The finding's opening as the collector got it, once it is there."""
        return self.until(
            lambda: [c for c in self.changes_of(rule, subject) if c["kind"] == "opened"], seconds
        )[-1]

    def closed(self, rule: str, subject: str = "", seconds: float = 30) -> dict[str, Any]:
        """The finding's end."""

        def last() -> list[dict[str, Any]]:
            changes = self.changes_of(rule, subject)
            return changes[-1:] if changes and changes[-1]["kind"] == "closed" else []

        return self.until(last, seconds)[0]

    def weight(self, agent: subprocess.Popen[bytes]) -> Weight:
        """Threads, open files, threads that wait in the kernel and count as load, CPU spent."""
        proc = Path(f"/proc/{agent.pid}")
        states = []
        for stat in proc.glob("task/*/stat"):
            with contextlib.suppress(OSError):
                states.append(stat.read_text().rsplit(")", 1)[1].split()[0])
        ticks = (proc / "stat").read_text().rsplit(")", 1)[1].split()
        cpu_s = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        return Weight(len(states), len(list((proc / "fd").iterdir())), states.count("D"), cpu_s)

    def longest_silence_s(self, since: float) -> float:
        """Longest time between two reports since then, on the monotonic clock; the time until now counts."""
        moments = [since, *(at for at in list(self.arrived) if at > since), time.monotonic()]
        return max(after - before for before, after in zip(moments, moments[1:]))

    def end(self) -> None:
        """Everything that was started here ends by its id; then the namespaces go, and the folder."""
        for child in [*self._beside, *self.children]:
            kill_group(child) if child in self._beside else child.kill()
        for child in [*self._beside, *self.children]:
            child.wait(20)
        self._holder.kill()
        self._holder.wait(20)
        self.stop()
        for log in ("log", "beside.log"):
            if (self.folder / log).exists():
                print(f"== {log}\n" + (self.folder / log).read_text(errors="replace")[-6000:])
        shutil.rmtree(self.folder, ignore_errors=True)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a program that leads a group, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, 9)


@contextlib.contextmanager
def scene(*, own_network: bool = False) -> Iterator[Scene]:
    """A scene that is surely gone afterwards."""
    made = Scene(own_network=own_network)
    try:
        yield made
    finally:
        made.end()


def loop_ext4(stage: Scene, image: Path, mount: Path, *words: str, shown_as: Path | None = None) -> None:
    """A file with an ext4 in it, mounted over a loop device that frees itself with the mount.

    ``shown_as`` is where another file system of the scene shows the same file: that one is mounted.
    """
    subprocess.run(["mkfs.ext4", "-q", "-F", *words, str(image)], check=True, capture_output=True, timeout=30)
    mount.mkdir()
    stage.run("mount", "-o", "loop,errors=remount-ro", str(shown_as or image), str(mount))
