"""The one door to systemd: ``systemctl`` by its full path, with a deadline, an empty environment and no shell.

Every look costs a process; callers ask at most once a minute, and for many units at once. (D-Bus would need a
library that costs each server more memory than the process costs it time.)
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from pathlib import Path
from typing import List, Optional, Sequence, Union

from agent.checks.spec import UNIT_NAME

_PLACES = ("/usr/bin/systemctl", "/bin/systemctl")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "MainPID",
    "Type",
    "UnitFileState",
)


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """systemd could not be asked, and why."""

    why: str


def absence(root: Path = Path("/")) -> Optional[Unavailable]:
    """Why systemd cannot be asked on this machine, or None where it can."""
    if not (root / "run/systemd/system").is_dir():
        return Unavailable("systemd is not running here")
    if not any(Path(place).exists() for place in _PLACES):
        return Unavailable("systemctl is not installed")
    return None


def show(units: Sequence[str], timeout_s: float) -> Union[str, Unavailable]:
    """The output of ``systemctl show`` for these units. Names that systemd could not have are left out unasked."""
    names = [unit for unit in units if UNIT_NAME.fullmatch(unit)]
    if not names:
        return Unavailable("no valid unit name was given")
    return ask(["show", "--no-pager", "--property=" + ",".join(PROPERTIES), "--", *names], timeout_s)


def show_all_services(timeout_s: float) -> Union[str, Unavailable]:
    """The same for every service that is loaded: a pattern of systemd's own, so nothing is listed twice."""
    return ask(["show", "--no-pager", "--property=" + ",".join(PROPERTIES), "--", "*.service"], timeout_s)


def show_failed(timeout_s: float) -> Union[str, Unavailable]:
    """``systemctl list-units --failed``, one unit a line."""
    return ask(
        ["list-units", "--failed", "--all", "--plain", "--no-legend", "--no-pager", "--full"], timeout_s
    )


def ask(arguments: List[str], timeout_s: float) -> Union[str, Unavailable]:
    """Run systemctl with these arguments; its output, or why there is none."""
    program = next((place for place in _PLACES if Path(place).exists()), None)
    if program is None:
        return Unavailable("systemctl is not installed")
    return run_program([program, *arguments], timeout_s)


def run_program(command: List[str], timeout_s: float) -> Union[str, Unavailable]:
    """Run a program given by its full path; it is killed when late, and left behind when even that does not end it."""
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            close_fds=True,
        )
    except OSError as error:
        return Unavailable(f"{command[0]} cannot be started: {error.strerror}")
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        # One that hangs in the kernel is not waited for; init reaps it when the kernel lets go.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=0.5)
        return Unavailable(f"{command[0]} did not answer within {timeout_s:g} s")
    if child.returncode != 0:
        return Unavailable(f"{command[0]} ended with status {child.returncode}")
    return output.decode("utf-8", "replace")
