"""Runs an admin's own check: a program of the commands folder, by its name, as a Nagios plugin is run.

The folder is root's: every file in it, and the folder itself, must belong to root and be writable by nobody else, and so
must the program that an entry names (with each folder above it). Whatever else is found there is refused with that
reason. Settings, the collector's above all, may only name an entry; arguments stand in root's file.

An entry is one YAML file a name, ``/etc/vartovyi/commands.d/check_load.yaml``: ``run: [/usr/lib64/nagios/plugins/check_load,
-w, "5,4,3", -c, "10,8,6"]``. No shell: words are words. The plugin runs with an empty environment in a session of its own;
late, it is killed with everything that it started; and while even that does not end it, it is not started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import signal
import stat
import subprocess
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple, Union

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.spec import CheckSettings
from agent.signals.parsers.plugin import parse_plugin
from agent.signals.redact import redact
from config import loader
from config.loader import ConfigError, setting

FOLDER = Path("/etc/vartovyi/commands.d")
MAX_OUTPUT = 16 * 1024
"""What a plugin prints beyond it is read and thrown away, so that it is not stopped by a full pipe."""
AFTER_KILL_S = 0.5
AFTER_EXIT_S = 0.2
"""A child that a plugin left behind may hold its pipe open: not waited for longer than this."""
STATES = {0: "ok", 1: "warning", 2: "critical"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/", "TZ": "UTC"}


@dataclasses.dataclass(frozen=True)
class CommandEntry:
    """One file of the folder."""

    run: List[str] = setting(help="program by its full path, and its arguments", min=1, max=100)

    def faults(self) -> List[Tuple[str, str]]:
        """The program is a path; no word holds an octet that no program can be given."""
        found = []
        if self.run and not self.run[0].startswith("/"):
            found.append(("run", "must begin with the full path of a program"))
        if any("\0" in word or len(word) > 4096 for word in self.run):
            found.append(("run", "holds a word that is too long or has a zero octet"))
        return found


class Refused(NamedTuple):
    """Why a command is not run."""

    why: str


class _Left:
    """Children that a kill did not end, by command: the kernel holds them, and a second one would be held as well."""

    def __init__(self) -> None:
        self.children: Dict[str, subprocess.Popen] = {}

    def is_held(self, name: str) -> bool:
        child = self.children.get(name)
        if child is not None and child.poll() is not None:
            del self.children[name]
            child = None
        return child is not None


_left = _Left()


def run(spec: CheckSettings, timeout_s: float, folder: Path = FOLDER, owner: int = 0) -> CheckAnswer:
    """Run the named command. Facts: exit_status, numbers (its performance data in base units), units (those units)."""
    deadline = Deadline(timeout_s)
    entry = entry_named(spec.command, folder, owner)
    if isinstance(entry, Refused):
        return CheckAnswer("unknown", entry.why, deadline.spent_ms())
    if _left.is_held(spec.command):
        return CheckAnswer("hung", "an earlier run does not even end when it is killed", deadline.spent_ms())
    try:
        child = subprocess.Popen(
            entry.run,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            close_fds=True,
            start_new_session=True,
        )
    except OSError as error:
        return CheckAnswer("unknown", f"cannot be started: {error.strerror}", deadline.spent_ms())
    output, is_late = _read(child, deadline)
    if is_late:
        return _end(child, spec.command, timeout_s, deadline)
    return judge(child.returncode, output, deadline.spent_ms())


def judge(status: int, output: bytes, ms: float) -> CheckAnswer:
    """The answer for an exit status and what was printed. Pure."""
    said = parse_plugin(output.decode("utf-8", "replace"))
    facts = {"exit_status": status, "numbers": said.numbers, "units": said.units}
    state = STATES.get(status, "unknown")
    detail = redact(said.line) or "said nothing"
    if state == "unknown" and status != 3:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        detail = f"{how}: {detail}"
    return CheckAnswer(state, detail, ms, facts)


def _read(child: subprocess.Popen, deadline: Deadline) -> Tuple[bytes, bool]:
    """(what it printed, whether the time was over first)."""
    assert child.stdout is not None
    output = b""
    poller = select.poll()
    poller.register(child.stdout, select.POLLIN | select.POLLHUP)
    exited: List[Deadline] = []
    try:
        while True:
            left_s = min(deadline.left_s(), 0.1)
            if exited:
                exited[0].left_s()
            elif child.poll() is not None:
                exited.append(Deadline(AFTER_EXIT_S))
            if poller.poll(left_s * 1000):
                piece = os.read(child.stdout.fileno(), 65_536)
                if not piece:
                    break
                output += piece[: max(0, MAX_OUTPUT - len(output))]
        child.wait(timeout=deadline.left_s())
    except (subprocess.TimeoutExpired, TimeoutError, OSError):
        # Deadline says `timed out` as a socket does. A plugin that ended in time is not late for what it left behind.
        if child.poll() is None:
            return output, True
    child.stdout.close()
    return output, False


def _end(child: subprocess.Popen, name: str, timeout_s: float, deadline: Deadline) -> CheckAnswer:
    """Kill the plugin with its whole group; one that survives is held by the kernel."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    assert child.stdout is not None
    child.stdout.close()
    try:
        child.wait(timeout=AFTER_KILL_S)
    except subprocess.TimeoutExpired:
        _left.children[name] = child
        return CheckAnswer("hung", "does not even end when it is killed", deadline.spent_ms())
    return CheckAnswer("timeout", f"did not end within {timeout_s:g} s and was killed", deadline.spent_ms())


def entry_named(name: str, folder: Path = FOLDER, owner: int = 0) -> Union[CommandEntry, Refused]:
    """The command of that name, or why it is not run. Read at each run: what root changes is in force at once."""
    if not _NAME.fullmatch(name):
        return Refused("that is no name of a command")
    file = folder / f"{name}.yaml"
    fault = unsafe(file, owner)
    if fault:
        return Refused(fault)
    try:
        entry = loader.load(file, CommandEntry)
    except ConfigError as error:
        return Refused(str(error.faults[0]))
    fault = unsafe(Path(entry.run[0]), owner)
    return Refused(fault) if fault else entry


def unsafe(path: Path, owner: int = 0) -> str:
    """Why somebody else than root could change what stands at ``path``; "" where nobody can. Each link on the way counts."""
    try:
        places = [path, *path.parents]
        step = path
        for _ in range(20):
            if not step.is_symlink():
                break
            step = step.parent / step.readlink()
            places += step.parents
        real = Path(os.path.realpath(path))
        for place in (*places, real, *real.parents):
            found = place.stat()
            if found.st_uid not in (0, owner):
                return f"{place} does not belong to root"
            # What root puts into a sticky folder (/tmp) nobody else may replace.
            is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_sticky:
                return f"{place} can be written by others than root"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""
