"""The small program that reads as root what the agent may not: started for one question, answers it, ends.

Theory of operation. systemd starts one instance for a connection (Accept=yes) with the connection as its standard
input. A question is one line, ``NAME [ARGUMENT]``: a name of COMMANDS and, where the command is about a drive, a drive
of the kernel's own list. Nothing else gets through: no path, no option, no shell. The answer is one line of JSON
(``state``, ``why``, ``truncated``) and then what the command printed, at most MAX_OUTPUT octets.

Commands run at idle priority in a process group of their own, one at a time over all instances (a lock), TIMEOUT_S at
most, then the whole group is killed. One that outlives even that hangs in the kernel on its device: it keeps the lock
of its own question open, so the same question is answered ``hung`` without a second process until it is gone, and all
other questions go on. Why it is built so: docs/adr/0024.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.pid import parse_io
from config.clock import perf_seconds

TIMEOUT_S = 20.0
WAIT_S = 25.0
"""How long a question waits for the one before it."""
MAX_OUTPUT = 1024 * 1024
MAX_QUESTION = 200
MAX_FILES = 20
HEAD_BYTES = 64 * 1024
TAIL_BYTES = 128 * 1024
MAX_PROCESSES = 20_000
IO_BETWEEN_MS = 300
LOCKS = Path("/run/vartovyi")
FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(FOLDERS), "HOME": "/nonexistent"}
_GENTLY = (("ionice", "-c", "3"), ("nice", "-n", "19"))

STATES = ("ok", "hung", "busy", "missing", "failed", "refused")
DRIVE = re.compile(r"[a-z][a-z0-9]{1,31}")

CRASHES = ("sys/fs/pstore", "var/lib/systemd/pstore", "var/crash")
_CRASH_NAME = re.compile(r"(?:dmesg|vmcore-dmesg).*")


class Command(NamedTuple):
    """One thing that may be asked."""

    argv: Tuple[str, ...] = ()
    """Program and its words; ``{drive}`` stands for the drive's node. Empty: ``read`` reads files instead."""
    read: Optional[Callable[[Path], bytes]] = None
    is_about_a_drive: bool = False
    good_statuses: int = 0
    """Exit statuses up to this are answers; smartctl's status is a set of bits that say how the drive is."""
    places: Tuple[str, ...] = ()
    """Where else the program may be than in FOLDERS, by its full path: makers' tools live in /opt."""


class Answer(NamedTuple):
    """What came of a question."""

    state: str
    """One of STATES."""
    output: bytes = b""
    why: str = ""
    truncated: bool = False

    def octets(self) -> bytes:
        """As it goes over the connection."""
        head = {"state": self.state, "why": self.why[:300], "truncated": self.truncated}
        return json.dumps(head).encode() + b"\n" + self.output


def read_crashes(root: Path) -> bytes:
    """What a dying kernel left: JSON list of path, modification time and the end of each kernel log found."""
    found: List[Dict[str, Any]] = []
    for folder in CRASHES:
        for place, _, names in os.walk(root / folder):
            for name in sorted(names):
                if not _CRASH_NAME.fullmatch(name) or len(found) >= MAX_FILES:
                    continue
                path = Path(place, name)
                with contextlib.suppress(OSError):
                    text = _end_of(path, HEAD_BYTES).decode("utf-8", "replace")
                    about = path.lstat()
                    found.append(
                        {"path": f"/{path.relative_to(root)}", "at_s": int(about.st_mtime), "text": text}
                    )
    # The newest first, within what an answer holds.
    found.sort(key=lambda one: -int(one["at_s"]))
    return json.dumps(found[: MAX_OUTPUT // (4 * HEAD_BYTES)]).encode()


def read_messages(root: Path) -> bytes:
    """The end of syslog's main file, for machines whose journal does not outlive a boot (CentOS 7 and 8)."""
    return _end_of(root / "var/log/messages", TAIL_BYTES)


def read_secure(root: Path) -> bytes:
    """The end of the log in which sudo and logind write who asked for what."""
    return _end_of(root / "var/log/secure", TAIL_BYTES)


def read_beancounters(root: Path) -> bytes:
    """Limits of an OpenVZ container."""
    return _end_of(root / "proc/user_beancounters", TAIL_BYTES)


def read_io(root: Path) -> bytes:
    """Who reads and writes block devices now: JSON list of pid and octets a second, the ten busiest of two looks."""
    before, begun = _moved(root), perf_seconds()
    select.poll().poll(IO_BETWEEN_MS)
    after, seconds = _moved(root), max(0.01, perf_seconds() - begun)
    rates = [(round((n - before[pid]) / seconds), pid) for pid, n in after.items() if n > before.get(pid, n)]
    return json.dumps(
        [{"pid": pid, "bytes_ps": rate} for rate, pid in sorted(rates, reverse=True)[:10]]
    ).encode()


def _moved(root: Path) -> Dict[int, int]:
    """Process -> octets that it read and wrote since it began; names and arguments are not looked at."""
    found: Dict[int, int] = {}
    for entry in os.scandir(root / "proc"):
        if not entry.name.isdigit() or len(found) >= MAX_PROCESSES:
            continue
        with contextlib.suppress(OSError, ParseError), open(f"{entry.path}/io", encoding="ascii") as stream:
            found[int(entry.name)] = parse_io(stream.read())
    return found


def _end_of(path: Path, octets: int) -> bytes:
    """The last octets of a plain file; a link or a pipe in a log folder is not followed."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(22, "not a plain file")
        size = os.fstat(stream.fileno()).st_size
        if size > octets:
            stream.seek(size - octets)
        return stream.read(octets)


_RAID_TOOLS = ("/opt/MegaRAID/storcli/storcli64", "/opt/MegaRAID/perccli/perccli64")
COMMANDS: Dict[str, Command] = {
    "smart": Command(
        ("smartctl", "-n", "standby", "--json=c", "-i", "-H", "-A", "-l", "error", "{drive}"),
        is_about_a_drive=True,
        good_statuses=255,
    ),
    "sel": Command(("ipmitool", "sel", "elist", "last", "500")),
    "restart_cause": Command(("ipmitool", "chassis", "restart_cause")),
    "domains": Command(("virsh", "--readonly", "--connect", "qemu:///system", "domstats", "--state")),
    "beancounters": Command(read=read_beancounters),
    "crashes": Command(read=read_crashes),
    # Words that only show; its status is 1 where one of several controllers fails, which the document says better.
    "raid": Command(("storcli64", "/call", "show", "J", "nolog"), good_statuses=255, places=_RAID_TOOLS),
    "io": Command(read=read_io),
    "messages": Command(read=read_messages),
    "secure": Command(read=read_secure),
}


def drives(root: Path) -> List[str]:
    """Drives as the kernel lists them: whole block devices with a device behind them."""
    try:
        names = sorted(path.name for path in (root / "sys/block").iterdir())
    except OSError:
        return []
    return [
        name for name in names if DRIVE.fullmatch(name) and (root / "sys/block" / name / "device").exists()
    ]


def program_for(command: Command) -> str:
    """The program's full path, "" where it is not installed."""
    places = (*(f"{folder}/{command.argv[0]}" for folder in FOLDERS), *command.places)
    return next((place for place in places if os.access(place, os.X_OK)), "")


def answer(
    question: str,
    *,
    root: Path = Path("/"),
    locks: Path = LOCKS,
    commands: Optional[Dict[str, Command]] = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Answer one question. Never raises for what a question or a machine can do to it."""
    words = question.split()
    name, arguments = (words[0], words[1:]) if words else ("", [])
    command = (COMMANDS if commands is None else commands).get(name)
    if command is None or len(arguments) != int(command.is_about_a_drive):
        return Answer("refused", why="no such question")
    if command.is_about_a_drive and arguments[0] not in drives(root):
        return Answer("refused", why="the kernel lists no such drive")
    try:
        with _lock(locks / "one-at-a-time.lock", WAIT_S) as one:
            if one is None:
                return Answer("busy", why=f"another question took longer than {WAIT_S:g} s")
            with _lock(locks / f"{'-'.join(words)}.lock", 0.0) as mine:
                if mine is None:
                    return Answer("hung", why="an earlier one still hangs in the kernel")
                if command.read is not None:
                    return Answer("ok", command.read(root)[:MAX_OUTPUT])
                return _run(command, arguments, timeout_s, mine)
    except FileNotFoundError as error:
        return Answer("missing", why=f"{error.filename}: not there")
    except OSError as error:
        return Answer("failed", why=(error.strerror or str(error)).lower())


@contextlib.contextmanager
def _lock(path: Path, wait_s: float) -> Iterator[Optional[int]]:
    """Hold the file's lock; None where another holds it for too long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    begun = perf_seconds()
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if perf_seconds() - begun >= wait_s:
                    yield None
                    return
                select.poll().poll(100)
        yield handle
    finally:
        os.close(handle)


def _run(command: Command, arguments: List[str], timeout_s: float, lock: int) -> Answer:
    program = program_for(command)
    if not program:
        return Answer("missing", why=f"{command.argv[0]} is not installed")
    node = f"/dev/{arguments[0]}" if arguments else ""
    argv = [*_gently(), program, *(word.replace("{drive}", node) for word in command.argv[1:])]
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,
        # The lock goes on living in the child: as long as it hangs, nobody asks the same again.
        pass_fds=(lock,),
    )
    output, is_late, is_cut = _read_bounded(child, timeout_s)
    if is_late or is_cut:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    try:
        status = child.wait(timeout=2.0)
    except subprocess.TimeoutExpired:
        return Answer("hung", why=f"{command.argv[0]} hangs in the kernel and cannot even be killed")
    if is_late:
        return Answer("hung", why=f"{command.argv[0]} did not end within {timeout_s:g} s")
    if not is_cut and not 0 <= status <= command.good_statuses:
        return Answer("failed", output, f"{command.argv[0]} ended with status {status}")
    return Answer("ok", output, truncated=is_cut)


def _read_bounded(child: subprocess.Popen[bytes], timeout_s: float) -> Tuple[bytes, bool, bool]:
    """What it printed, whether it was late, whether it printed more than an answer holds."""
    assert child.stdout is not None
    until, parts, size = perf_seconds() + timeout_s, [], 0
    handle = child.stdout.fileno()
    while True:
        left = until - perf_seconds()
        if left <= 0 or not _is_ready(handle, left):
            return b"".join(parts), True, False
        part = os.read(handle, 65536)
        if not part:
            try:
                child.wait(timeout=max(0.0, until - perf_seconds()))
            except subprocess.TimeoutExpired:  # it closed its output and went on
                return b"".join(parts), True, False
            return b"".join(parts), False, False
        parts.append(part)
        size += len(part)
        if size > MAX_OUTPUT:
            return b"".join(parts)[:MAX_OUTPUT], False, True


def _is_ready(handle: int, within_s: float) -> bool:
    waiting = select.poll()  # select(2) knows no descriptor above 1023
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(within_s * 1000))


def _gently() -> List[str]:
    """ionice and nice in front, where they are (every CentOS has them)."""
    words: List[str] = []
    for program, *options in _GENTLY:
        place = next((f"{f}/{program}" for f in FOLDERS if os.access(f"{f}/{program}", os.X_OK)), "")
        words += [place, *options] if place else []
    return words


def main(arguments: List[str]) -> int:
    """Answer the question on standard input's connection; with words on the command line (a person's), answer those."""
    if arguments in (["-h"], ["--help"]):
        names = ", ".join(sorted(COMMANDS))
        sys.stdout.write(f"usage: python -m agent.privileged NAME [DRIVE]\n\nNAME is one of: {names}\n")
        return 0
    if arguments:
        said = answer(" ".join(arguments))
        sys.stdout.buffer.write(said.octets())
        return 0 if said.state == "ok" else 1
    question = b""
    while b"\n" not in question and len(question) <= MAX_QUESTION:
        if not _is_ready(0, 5.0):
            return 1
        part = os.read(0, MAX_QUESTION)
        if not part:
            break
        question += part
    line = question[:MAX_QUESTION].split(b"\n")[0].decode("ascii", "replace")
    octets = answer(line).octets()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it any more
        while octets:
            octets = octets[os.write(0, octets) :]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
