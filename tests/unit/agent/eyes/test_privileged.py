"""The root-only reader: a fixed list, the kernel's own drives, a bound on everything, and a hung command that is told."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from agent.privileged import COMMANDS, MAX_OUTPUT, Command, answer, drives
from agent.samplers.root_only import NoAnswer, ask, told

Lay = Callable[[Dict[str, str]], Path]
REPO = Path(__file__).resolve().parents[4]


@pytest.fixture
def root(lay: Lay) -> Path:
    return lay({"sys/block/sda/device/vendor": "ATA\n", "sys/block/loop0/size": "0\n"})


@pytest.mark.parametrize(
    "question",
    [
        "", "smart", "smart sda extra", "sel sda", "rm -rf /", "smart ../../etc/shadow", "smart sda;reboot", "smart sdb",
        "smart loop0", "smart $(reboot)", "SMART sda", "smart /dev/sda", "smart -V",
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_or_not_the_kernels_drive_is_refused(
    question: str, root: Path, tmp_path: Path
) -> None:
    assert answer(question, root=root, locks=tmp_path / "locks").state == "refused"


def test_a_drive_is_what_the_kernel_lists_with_a_device_behind_it(root: Path) -> None:
    assert drives(root) == ["sda"]


def test_every_command_is_a_program_and_fixed_words_or_a_file_reader() -> None:
    for name, command in COMMANDS.items():
        assert bool(command.argv) != bool(command.read), name
        assert all(word == "{drive}" or "{" not in word for word in command.argv)
        assert command.is_about_a_drive == ("{drive}" in command.argv)
        assert not {"sh", "bash", "sudo", "env"} & set(command.argv)


def test_a_command_that_prints_too_much_is_cut_and_ended(tmp_path: Path) -> None:
    said = answer("flood", locks=tmp_path, commands={"flood": Command(("yes",))})
    assert (said.state, said.truncated, len(said.output)) == ("ok", True, MAX_OUTPUT)


def test_a_late_command_is_killed_with_all_its_children_and_told_as_hung(tmp_path: Path) -> None:
    begun = time.monotonic()
    commands = {"slow": Command(("timeout", "61.7", "sleep", "61.7"))}
    said = answer("slow", locks=tmp_path, commands=commands, timeout_s=0.4)
    assert said.state == "hung"
    assert time.monotonic() - begun < 30
    assert not _runs("61.7")


def test_a_command_that_still_hangs_is_not_started_again_while_others_are_answered(tmp_path: Path) -> None:
    # What hangs in the kernel outlives the kill; a process that keeps the lock's descriptor stands for it.
    lock = os.open(tmp_path / "stuck.lock", os.O_RDWR | os.O_CREAT)
    code = (
        f"import fcntl, signal; fcntl.flock({lock}, fcntl.LOCK_EX); print('held', flush=True); signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], pass_fds=(lock,), stdout=subprocess.PIPE)
    os.close(lock)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        commands = {"stuck": Command(("true",)), "other": Command(("echo", "well"))}
        assert answer("stuck", locks=tmp_path, commands=commands).state == "hung"
        assert answer("other", locks=tmp_path, commands=commands).output == b"well\n"
    finally:
        child.kill()
        child.communicate()
    assert answer("stuck", locks=tmp_path, commands=commands).state == "ok"


def test_two_questions_never_run_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # `dd` cannot say when it ran: a reader of our own notes begin and end.
    running = []

    def read(root: Path) -> bytes:
        running.append(1)
        with log.open("a") as stream:
            stream.write(f"{len(running)} ")
        time.sleep(0.05)
        running.pop()
        return b""

    commands = {"one": Command(read=read), "two": Command(read=read)}
    threads = [
        threading.Thread(target=answer, args=(name,), kwargs={"locks": tmp_path, "commands": commands})
        for name in ("one", "two", "one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(log.read_text().split()) == {"1"}


def test_a_bad_end_and_a_missing_program_are_told_apart(tmp_path: Path) -> None:
    commands = {"bad": Command(("false",)), "none": Command(("no-such-program-here",))}
    assert answer("bad", locks=tmp_path, commands=commands).state == "failed"
    missing = answer("none", locks=tmp_path, commands=commands)
    assert (missing.state, missing.why) == ("missing", "no-such-program-here is not installed")


def test_a_link_in_a_log_folder_is_not_followed(lay: Lay, tmp_path: Path) -> None:
    root = lay(
        {"var/log/other": "secret\n", "var/crash/host/vmcore-dmesg.txt": "Kernel panic - not syncing: x\n"}
    )
    (root / "var/log/messages").symlink_to("other")
    assert answer("messages", root=root, locks=tmp_path / "locks").state == "failed"
    found = json.loads(answer("crashes", root=root, locks=tmp_path / "locks").output)
    assert [one["path"] for one in found] == ["/var/crash/host/vmcore-dmesg.txt"]
    assert "Kernel panic" in found[0]["text"]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """What systemd does: a process for each connection, with the connection as its standard input."""
    place = tmp_path / "ask.sock"
    children: List[subprocess.Popen[bytes]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen(4)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    children.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "agent.privileged"], stdin=connection.fileno(), cwd=REPO
                        )
                    )

        threading.Thread(target=serve, daemon=True).start()
        yield place
        listener.shutdown(socket.SHUT_RDWR)
    for child in children:
        child.wait(10)


def test_a_question_over_the_socket_is_answered_by_a_process_that_ends(listening: Path) -> None:
    said = ask(listening, "rm -rf /")
    assert said == NoAnswer("no such question")


def test_an_answer_that_is_none_is_told_as_such() -> None:
    assert isinstance(told(b""), NoAnswer)
    assert isinstance(told(b"[1]\nx"), NoAnswer)
    assert told(b'{"state": "ok", "why": "", "truncated": false}\nhello') == "hello"
    hung = told(b'{"state": "hung", "why": "late"}\n')
    assert isinstance(hung, NoAnswer) and hung.is_hung
    assert isinstance(ask(Path("/nonexistent/ask.sock"), "sel"), NoAnswer)


def _runs(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0") and path.parent.name != str(os.getpid()):
                os.kill(int(path.parent.name), signal.SIGKILL)
                return True
        except (OSError, ValueError):
            continue
    return False


def test_the_busiest_writer_of_this_machine_is_found_by_its_number(tmp_path: Path) -> None:
    code = (
        "import os\nhandle = os.open('f', os.O_RDWR | os.O_CREAT | os.O_SYNC)\nprint('on', flush=True)\n"
        "while True: os.pwrite(handle, b'x' * 65536, 0)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=_on_disk())
    try:
        assert child.stdout is not None and child.stdout.readline() == b"on\n"
        found = json.loads(answer("io", locks=tmp_path / "locks").output)
    finally:
        child.kill()
        child.communicate()
    assert child.pid in [one["pid"] for one in found]
    assert set(found[0]) == {"pid", "bytes_ps"}


def _on_disk() -> Path:
    """A folder on a block device: writing into memory is no I/O."""
    made = Path(tempfile.mkdtemp(prefix="vartovyi-io-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
