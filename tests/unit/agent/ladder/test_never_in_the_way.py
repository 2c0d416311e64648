"""A mount that never answers, a plugin that hangs, a resolver that is silent: the heartbeat goes on, nothing grows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.tools.stage import Stage
from tests.unit.agent.ladder.dns_server import DnsServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class HungStage(Stage):
    """An agent beside a hung FUSE mount, in a mount namespace of their own."""

    def begin(self, mount: Path) -> int:
        mount.mkdir()
        command = [
            "unshare", "--mount", "--propagation", "private", sys.executable,
            str(Path(__file__).with_name("hung_mount.py")), str(mount),
            sys.executable, "-m", "agent.cli", "run", "--config", str(self.folder / "agent.yaml"),
        ]  # fmt: skip
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(self.folder / "log").open("ab"))
        self.children.append(child)
        assert child.stdout is not None
        self._agent = int(child.stdout.readline())
        return self._agent

    def stop(self) -> None:
        # The mount's program made the agent: it does not end with it.
        with contextlib.suppress(ProcessLookupError, AttributeError):
            os.kill(self._agent, signal.SIGKILL)
        super().stop()


@pytest.fixture
def stage(tmp_path, require_kernel):
    require_kernel("mount_namespaces")
    made = HungStage(tmp_path)
    yield made
    made.stop()


def weight(pid: int) -> Dict[str, int]:
    tasks = os.listdir(f"/proc/{pid}/task")
    blocked = [t for t in tasks if Path(f"/proc/{pid}/task/{t}/stat").read_text().rsplit(")", 1)[1][1] == "D"]
    return {"threads": len(tasks), "fds": len(os.listdir(f"/proc/{pid}/fd")), "blocked": len(blocked)}


def children(pid: int) -> List[str]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_what_hangs_is_a_finding_and_neither_heartbeat_nor_threads_notice(stage: Any, tmp_path: Path) -> None:
    mount = tmp_path / "dead"
    plugin = Path("/etc/vartovyi/commands.d")
    silent = DnsServer("127.0.0.1", mode="silent")
    silent.start()
    name = f"hangs-{os.getpid()}"
    made_folder = not plugin.exists()
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / f"{name}.yaml").write_text(f"run: [/bin/cat, '{mount}/x']\n")
    (plugin / f"{name}-asleep.yaml").write_text("run: [/bin/sleep, '1000']\n")
    try:
        stage.write(
            "rules: {fs_hung: {raise: {all: ['fs.hung == true'], for: 1}}, "
            "check_fails: {raise: {all: ['check.state == timeout'], for: 1}}, "
            "check_hangs: {raise: {all: ['check.state == hung'], for: 1}}}\n"
        )
        text = (tmp_path / "agent.yaml").read_text()
        first = text.index("checks: [")
        text = text[:first] + (
            "checks:\n"
            f"  - {{name: backup, type: file, path: '{mount}/db.gz', interval_s: 2, timeout_s: 1}}\n"
            f"  - {{name: backups, type: file, path: '{mount}/*.gz', interval_s: 2, timeout_s: 1}}\n"
            f"  - {{name: plugin, type: command, command: {name}, interval_s: 2, timeout_s: 1}}\n"
            f"  - {{name: asleep, type: command, command: {name}-asleep, interval_s: 2, timeout_s: 1}}\n"
            f"  - {{name: names, type: dns, host: 127.0.0.1, port: {silent.port}, query: x.example, "
            "interval_s: 2, timeout_s: 1}\n" + text[text.index("rules: {fs_hung") :]
        )
        (tmp_path / "agent.yaml").write_text(text)
        pid = stage.begin(mount)
        wanted = {
            ("fs_hung", str(mount)), ("check_hangs", "backup"), ("check_hangs", "backups"),
            ("check_hangs", "plugin"), ("check_fails", "asleep"), ("check_fails", "names"),
        }  # fmt: skip
        stage.until(
            lambda: wanted <= {(c["rule"], c["subject"]) for c in stage.changes if c["kind"] == "opened"},
            seconds=60,
        )
        early, reports, began = weight(pid), len(stage.reports), time.monotonic()
        most_children = 0
        while time.monotonic() - began < 20:
            time.sleep(0.5)
            most_children = max(most_children, len(children(pid)))
        late, seen = weight(pid), len(stage.reports) - reports
        assert late["threads"] <= early["threads"] + 2 and late["fds"] <= early["fds"] + 3, (early, late)
        assert late["blocked"] <= early["blocked"] + 1
        assert most_children <= 2, "the plugin that the kernel holds, and the one that sleeps"
        assert seen >= 15, f"{seen} heartbeats of 20"
        ages = [r["sweep_age_s"] for r in stage.reports[-3:]]
        assert all(age["cpu"] < 3 and age["filesystems"] < 3 and age["checks"] < 15 for age in ages), ages
        assert {c["rule"] for c in stage.changes} & {"sampler_stuck", "guest_paused"} == set()
    finally:
        silent.stop()
        for file in plugin.glob(f"{name}*.yaml"):
            file.unlink()
        if made_folder:
            with contextlib.suppress(OSError):  # somebody else's lies there by now
                plugin.rmdir()
                plugin.parent.rmdir()


def test_hostile_names_break_no_output_and_reach_no_shell(stage: Any, tmp_path: Path) -> None:
    """A mount point, a process and a check whose names hold newlines, escape sequences and shell words."""
    nasty = "$(touch owned)`id`\x1b[31m\nX"
    program = tmp_path / "$(id)\x1b\nx"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    sleeper = subprocess.Popen([str(program), "60"])
    try:
        stage.begin(tmp_path / nasty)
        stage.until(
            lambda: [c for c in stage.changes if c["rule"] == "fs_hung" and c["subject"].endswith("X")],
            seconds=60,
        )
        found = next(c for c in stage.changes if c["rule"] == "fs_hung" and c["kind"] == "opened")
        assert "\x1b" not in str(found["evidence"]) and "\n" not in str(found["evidence"])
        assert not list(tmp_path.glob("**/owned")) and not Path("owned").exists()
        log = (tmp_path / "log").read_text()
        assert "\x1b" not in log
        words = [sys.executable, "-m", "agent.cli", "status", "--config", str(tmp_path / "agent.yaml")]

        def status() -> str:
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
            assert "\x1b" not in said
            return said

        # The page is made between two reports: it may be a few seconds behind the finding.
        stage.until(lambda: "fs_hung" in status(), seconds=30)
    finally:
        sleeper.kill()
        sleeper.wait()
