"""SSH against a real sshd: what a link, a host or a key can do wrong is bounded, told apart, and never hangs (H1)."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from collector.ssh import Target, say

pytestmark = [pytest.mark.collector, pytest.mark.slow]
E_WORDS = "epoch a1+b9"


def test_the_wrapper_answers(sshd) -> None:
    said = say(sshd.target(), "ping", 10)
    assert (said.state, said.rc) == ("ok", 0)
    assert said.out.startswith("vartovyi-step 1 ")


def test_the_key_may_run_nothing_but_the_wrapper(sshd) -> None:
    said = say(sshd.target(), "cat /etc/passwd", 10)
    assert (said.state, said.rc) == ("ok", 64)
    assert "root:" not in said.out
    assert say(sshd.target(), "ping; id", 10).rc == 64
    assert say(sshd.target(), "run a1+b9 1 k 5 $(id)", 10).rc == 64


def test_another_host_key_is_a_stop(sshd, tmp_path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    other = " ".join((tmp_path / "k.pub").read_text().split()[:2])
    assert say(sshd.target(host_key=other), "ping", 10).state == "wrong_key"
    rsa = other.replace("ssh-ed25519", "ssh-rsa")
    assert say(sshd.target(host_key=rsa), "ping", 10).state == "wrong_key"
    assert say(sshd.target(host_key=""), "ping", 10).state == "no_key"


def test_a_log_in_key_that_is_not_known_is_told_as_such(sshd, tmp_path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    assert say(sshd.target(key_file=tmp_path / "k"), "ping", 10).state == "auth"
    assert say(sshd.target(key_file=tmp_path / "missing"), "ping", 10).state == "auth"


def test_a_closed_port_and_a_silent_one_are_told_apart(sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        said = say(sshd.target(port=silent.getsockname()[1]), "ping", 2)
        assert said.state == "banner_timeout"
        assert time.monotonic() - began < 20
        port = silent.getsockname()[1]
    assert say(sshd.target(port=port), "ping", 2).state == "refused"


def test_a_banner_and_then_nothing_ends_in_time(sshd) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            peer, _ = server.accept()
            peer.sendall(b"SSH-2.0-half\r\n")
            over.wait(60)
            peer.close()

        threading.Thread(target=greet, daemon=True).start()
        began = time.monotonic()
        said = say(sshd.target(port=server.getsockname()[1]), "ping", 3)
        assert said.state == "kex_timeout"
        assert time.monotonic() - began < 30
        over.set()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_link_that_is_cut_in_the_middle_never_hangs_and_the_step_was_done_all_the_same(
    sshd, cut, tmp_path
) -> None:
    begun, proof = tmp_path / "begun", tmp_path / "done"
    sshd.allow("asks", "slow", f"echo x > {begun}; sleep 1; echo x > {proof}; sleep 60\n")

    def cut_it() -> None:
        until(begun.exists)
        cut.is_cut.set()

    threading.Thread(target=cut_it, daemon=True).start()
    began = time.monotonic()
    said = say(sshd.target(port=cut.port), "ask a1+b9 50 slow", 4)
    assert said.is_unknown
    assert time.monotonic() - began < 30
    until(proof.exists)


def test_a_command_that_does_not_end_is_late_at_the_deadline(sshd) -> None:
    sshd.allow("asks", "forever", "sleep 60\n")
    began = time.monotonic()
    assert say(sshd.target(), "ask a1+b9 50 forever", 2).state == "late"
    assert time.monotonic() - began < 30


def test_a_hundred_megabytes_do_not_fill_our_memory(sshd) -> None:
    sshd.allow("asks", "much", "head -c 20000000 /dev/zero | tr '\\0' x; echo much >&2\n")
    said = say(sshd.target(), "ask a1+b9 50 much", 30)
    assert said.state == "ok"
    assert len(said.out) == 64 * 1024


def test_no_route_and_no_name_are_answers_and_not_errors(sshd) -> None:
    assert say(sshd.target(address="no-such-name.invalid"), "ping", 3).state == "timeout"
    assert isinstance(sshd.target(), Target)
