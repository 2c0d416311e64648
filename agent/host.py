"""What the daemon asks of the machine about itself: its boot, its address, its lock, whether the host goes down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.pid import parse_stat

_LAST_TARGETS = {"shutdown.target", "reboot.target", "poweroff.target", "halt.target", "kexec.target"}

ROLL_OUT_MARK = "run/vartovyi-roll-out"
"""Made by systemd/install (or a package's script) before it restarts the agent; gone with the next boot."""
ROLL_OUT_MARK_MS = 600_000
"""An older mark was forgotten by an upgrade that broke off."""

KERNEL_BOOTS_IN_TICKS = 6_000
"""A minute: no kernel takes so long before its first process."""

ASK_S = 4.0
"""For each question. A host on its way down is a busy one, and the unit leaves 15 s for the whole goodbye."""

ASK_TIMES = 3
"""A question that a signal ended is put again."""


class Busy(Exception):
    """Another agent holds this state folder."""


@contextlib.contextmanager
def single_instance(folder: Path) -> Any:
    """Hold the folder's lock; Busy when another agent does. The kernel lets go of it however we end."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"another agent works in {folder}") from error
        yield
    finally:
        os.close(handle)


def boot_id(root: Path) -> str:
    """The kernel's random id of this boot; empty where there is none (a strange container).

    A container has the node's id and reboots without it: there the beginning of its process 1 is added (in clock
    ticks; on a machine of its own that process begins with the kernel, and nothing is added).
    """
    try:
        kernel = (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    began = first_process_ticks(root)
    return f"{kernel}+{began}" if began > KERNEL_BOOTS_IN_TICKS else kernel


def first_process_ticks(root: Path) -> int:
    """When process 1 began, in clock ticks since the kernel did; 0 where nobody tells."""
    try:
        return parse_stat((root / "proc/1/stat").read_text(encoding="utf-8", errors="replace")).start_ticks
    except (OSError, ParseError):
        return 0


def is_rolling_out(root: Path, now_ms: int) -> bool:
    """Whether the package is just being replaced: whoever installs it leaves a mark before it restarts us."""
    try:
        age_ms = now_ms - (root / ROLL_OUT_MARK).stat().st_mtime_ns // 1_000_000
    except OSError:
        return False
    return -ROLL_OUT_MARK_MS <= age_ms <= ROLL_OUT_MARK_MS


def own_address(url: str) -> str:
    """The address that this host would use toward the collector; a route look-up, nothing is sent."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    try:
        family, kind, _, _, target = socket.getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def is_host_stopping() -> bool:
    """Whether a shutdown, reboot, halt or poweroff is under way. Asks systemd, for at most ASK_S each."""
    # The second only where the first did not answer, or says no more than that something is degraded.
    return says_stopping("", _ask_systemd("is-system-running")) or says_stopping(
        _ask_systemd("list-jobs", "--no-legend", "--no-pager"), ""
    )


def says_stopping(jobs: str, state: str) -> bool:
    """The same from what `systemctl list-jobs` and `systemctl is-system-running` printed. Pure."""
    queued = {
        words[1] for words in map(str.split, jobs.splitlines()) if len(words) > 2 and words[2] == "start"
    }
    return bool(queued & _LAST_TARGETS) or state.strip() == "stopping"


def _ask_systemd(*words: str) -> str:
    """What systemctl printed; "" where there is none, or it was not done in time."""
    said = b""
    for _ in range(ASK_TIMES):
        try:
            answer = subprocess.run(
                ["systemctl", *words],
                capture_output=True,
                timeout=ASK_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired):
            break
        said = answer.stdout
        # A unit without KillMode=mixed: the signal that stops us was meant for the question as well.
        if answer.returncode >= 0:
            break
    return said.decode("utf-8", errors="replace")
