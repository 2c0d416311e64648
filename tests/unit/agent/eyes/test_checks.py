"""Checks against small real servers on loopback, and what they refuse to do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from agent.checks import icmp, processes, ssh, systemctl, units
from agent.checks.answer import CheckAnswer, service_word
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings, from_dict, to_dict
from agent.samplers.watching import Checks
from agent.signals.parsers.systemd import UnitState
from config import loader
from tests.tools.ports import free_port

Lay = Callable[[Dict[str, str]], Path]
SHORT_S = 0.05


@contextlib.contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that talks so to everybody who connects; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    held: List[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                connection.settimeout(5)
                with contextlib.suppress(OSError):
                    talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # shutdown wakes accept(); close alone would leave the thread waiting.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)
        for connection in held:
            connection.close()


def answering(page: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(page)
        connection.shutdown(socket.SHUT_WR)

    return talk


def http_of(port: int, **more: Any) -> CheckAnswer:
    return run_check(
        CheckSettings(
            name="c", type="http", url=f"http://127.0.0.1:{port}/x?a=b c".replace(" ", "%20"), **more
        )
    )


# --- tcp ---------------------------------------------------------------------------------------------------------


def test_tcp_is_ok_where_something_listens_and_refused_where_nothing_does() -> None:
    with server(lambda connection: None) as port:
        assert run_check(CheckSettings(name="c", type="tcp", host="127.0.0.1", port=port)).state == "ok"
    assert (
        run_check(CheckSettings(name="c", type="tcp", host="127.0.0.1", port=free_port())).state == "refused"
    )


def test_tcp_may_wait_for_a_greeting() -> None:
    with server(lambda connection: connection.sendall(b"220 mail ready\r\n")) as port:
        spec = CheckSettings(name="c", type="tcp", host="127.0.0.1", port=port, text="220 ")
        assert run_check(spec).state == "ok"
    with server(answering(b"")) as port:
        spec = CheckSettings(
            name="c", type="tcp", host="127.0.0.1", port=port, text="220 ", timeout_s=SHORT_S
        )
        assert run_check(spec).state == "timeout"


def test_an_answer_later_than_slow_ms_is_slow_and_still_good() -> None:
    def talk(connection: socket.socket) -> None:
        threading.Event().wait(0.01)
        connection.sendall(b"hello")

    with server(talk) as port:
        answer = run_check(
            CheckSettings(name="c", type="tcp", host="127.0.0.1", port=port, text="hello", slow_ms=3)
        )
    assert (answer.state, answer.is_good) == ("slow", True)


# --- http --------------------------------------------------------------------------------------------------------


def test_http_judges_status_and_text() -> None:
    with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwelcome!\n")) as port:
        assert http_of(port, text="welcome").state == "ok"
        assert http_of(port, text="checkout").state == "text"
        assert http_of(port, status=204).state == "status"
    with server(answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as port:
        answer = http_of(port)
    assert (answer.state, answer.detail, answer.facts["http_status"]) == (
        "status",
        "answered 502 Bad Gateway",
        502,
    )


def test_a_server_that_drips_one_byte_at_a_time_does_not_outlast_the_deadline() -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for _ in range(200):
            connection.sendall(b"H")
            threading.Event().wait(0.005)

    with server(drip) as port:
        answer = http_of(port, timeout_s=SHORT_S)
    assert answer.state in ("timeout", "protocol")
    assert answer.ms < 1000


def test_http_follows_a_redirect_but_not_to_another_scheme_and_not_for_ever() -> None:
    with server(
        answering(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
    ) as port:
        assert http_of(port).state == "protocol"
    with server(answering(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")) as port:
        assert http_of(port).detail == "redirects more than 3 times"
        assert http_of(port, status=302).state == "ok"


def test_something_else_than_http_is_said_so() -> None:
    with server(answering(b"SSH-2.0-OpenSSH_8.0\r\n")) as port:
        assert http_of(port).state == "protocol"


def test_a_listener_without_tls_fails_an_https_check_as_tls() -> None:
    with server(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        answer = run_check(CheckSettings(name="c", type="http", url=f"https://127.0.0.1:{port}/"))
    assert answer.state == "tls"


# --- ssh ---------------------------------------------------------------------------------------------------------


def ssh_of(port: int, timeout_s: float = 2.0) -> CheckAnswer:
    return run_check(CheckSettings(name="c", type="ssh", host="127.0.0.1", port=port, timeout_s=timeout_s))


def read_packet(connection: socket.socket, got: bytes) -> bytes:
    while len(got) < 4 or len(got) < 4 + struct.unpack(">I", got[:4])[0]:
        got += connection.recv(4096)
    return got[4 + struct.unpack(">I", got[:4])[0] :]


def test_ssh_tells_the_stage_that_was_reached() -> None:
    with server(lambda connection: None) as port:
        assert ssh_of(port, SHORT_S).state == "banner_timeout"
    with server(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_8.7\r\n")) as port:
        answer = ssh_of(port, SHORT_S)
    assert (answer.state, answer.facts["banner"]) == ("kex_timeout", "SSH-2.0-OpenSSH_8.7")
    assert ssh_of(free_port()).state == "refused"


def test_ssh_is_ok_when_the_key_exchange_is_answered() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"welcome to web1\r\nSSH-2.0-OpenSSH_8.7\r\n" + ssh.packet(ssh.offer()))
        got = b""
        while b"\n" not in got:
            got += connection.recv(4096)
        got = read_packet(connection, got.partition(b"\n")[2])
        read_packet(connection, got)
        connection.sendall(ssh.packet(bytes([ssh.KEX_REPLY]) + b"host key"))

    with server(talk) as port:
        answer = ssh_of(port)
    assert (answer.state, answer.facts["stage"]) == ("ok", "done")


def test_ssh_refuses_to_read_for_ever_from_something_else() -> None:
    with server(lambda connection: connection.sendall(b"x" * 100_000)) as port:
        assert ssh_of(port).state == "protocol"


def test_our_offer_fills_more_than_one_packet_of_the_usual_size() -> None:
    assert len(ssh.packet(ssh.offer())) > 1500
    assert len(ssh.packet(b"abc")) % 8 == 0


# --- icmp --------------------------------------------------------------------------------------------------------


def test_an_echo_request_has_a_valid_checksum_and_its_reply_is_known() -> None:
    request = icmp.echo_request(socket.AF_INET, 7, 2)
    total = sum(struct.unpack(f">{len(request) // 2}H", request))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    reply = b"\0" + request[1:]
    assert icmp.is_reply(reply, socket.AF_INET, None, 2)
    assert not icmp.is_reply(reply, socket.AF_INET, None, 1)
    assert icmp.is_reply(b"\x45" + b"\0" * 19 + reply, socket.AF_INET, 7, 2)
    assert not icmp.is_reply(b"\x45" + b"\0" * 19 + reply, socket.AF_INET, 8, 2)
    assert not icmp.is_reply(b"", socket.AF_INET, 7, 2)


def test_loopback_answers_or_we_may_not_ask() -> None:
    assert run_check(CheckSettings(name="c", type="icmp", host="127.0.0.1", timeout_s=1)).state in (
        "ok",
        "unknown",
    )


# --- units and processes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "sub", "load", "state"),
    [
        ("active", "running", "loaded", "ok"),
        ("activating", "start", "loaded", "starting"),
        ("activating", "auto-restart", "loaded", "dead"),
        ("failed", "failed", "loaded", "dead"),
        ("inactive", "dead", "not-found", "dead"),
    ],
)
def test_a_unit_is_judged_by_its_states(active: str, sub: str, load: str, state: str) -> None:
    assert units.judge(UnitState("x.service", load, active, sub, "", 0, 0), 1.0).state == state


@pytest.mark.parametrize(
    "name", ["-H evil", "--host=evil", "a b.service", "x;reboot", "$(id)", "../x", "x\n"]
)
def test_a_hostile_unit_name_is_never_asked(name: str) -> None:
    assert systemctl.show([name], 1.0) == systemctl.Unavailable("no valid unit name was given")
    assert CheckSettings(name="c", type="unit", unit=name).faults()


def process_of(lay: Lay, name: str, state: str, pid: int) -> Path:
    tail = " ".join(["1"] * 30)
    return lay(
        {
            f"proc/{pid}/stat": f"{pid} ({name}) {state} {tail}\n",
            f"proc/{pid}/cmdline": "/usr/sbin/shop-worker-daemon\0-x\0",
        }
    )


def test_processes_are_counted_by_name_and_zombies_are_not(lay: Lay) -> None:
    process_of(lay, "nginx", "S", 10)
    process_of(lay, "nginx", "Z", 11)
    root = process_of(lay, "nginx", "R", 12)
    answer = processes.run(CheckSettings(name="c", type="process", process="nginx", least=2), 1.0, root)
    assert (answer.state, answer.facts["count"]) == ("ok", 2)
    assert (
        processes.run(CheckSettings(name="c", type="process", process="nginx", least=3), 1.0, root).state
        == "dead"
    )
    assert processes.run(CheckSettings(name="c", type="process", process="redis"), 1.0, root).state == "dead"


def test_a_frozen_process_is_stopped_and_not_ok(lay: Lay) -> None:
    root = process_of(lay, "nginx", "T", 10)
    assert (
        processes.run(CheckSettings(name="c", type="process", process="nginx"), 1.0, root).state == "stopped"
    )


def test_a_name_longer_than_the_kernel_keeps_is_compared_by_the_program(lay: Lay) -> None:
    root = process_of(lay, "shop-worker-dae", "S", 10)
    spec = CheckSettings(name="c", type="process", process="shop-worker-daemon")
    assert processes.run(spec, 1.0, root).state == "ok"
    assert (
        processes.run(CheckSettings(name="c", type="process", process="shop-worker-daemons"), 1.0, root).state
        == "dead"
    )


# --- settings, words, the sampler --------------------------------------------------------------------------------


def test_a_check_that_lacks_what_its_type_needs_is_a_fault_with_its_key() -> None:
    with pytest.raises(loader.ConfigError) as raised:
        loader.parse("{name: x, type: http}", CheckSettings)
    assert [(fault.key, "needed" in fault.message) for fault in raised.value.faults] == [("url", True)]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://", "http://a b/", "gopher://x", "http://x:99999/"]
)
def test_a_url_that_is_no_web_address_is_refused(url: str) -> None:
    assert CheckSettings(name="c", type="http", url=url).faults()


def test_a_check_survives_the_journey_through_json() -> None:
    spec = CheckSettings(name="front", type="http", url="https://shop.example/", status=200)
    assert from_dict({**to_dict(spec), "new_field": 1}) == spec
    with pytest.raises(ValueError, match="no check is of type"):
        from_dict({"name": "x", "type": "shell"})


def test_states_map_to_the_words_of_the_vocabulary() -> None:
    assert [service_word(s) for s in ("ok", "slow", "loss", "warning", "refused", "status", "unknown")] == [
        "ok", "slow", "slow", "slow", "dead", "dead", "unknown",
    ]  # fmt: skip


def test_the_sampler_runs_what_is_due_and_never_twice_at_once() -> None:
    release = threading.Event()
    ran: List[str] = []

    def run(spec: CheckSettings, **_: Any) -> CheckAnswer:
        ran.append(spec.name)
        if spec.name == "hangs":
            release.wait(10)
        return CheckAnswer("ok" if spec.name != "blind" else "unknown", "said", 1.5, {"tls_days": 9.0})

    specs = [
        CheckSettings(name=name, type="tcp", host="x", port=1, interval_s=10)
        for name in ("a", "hangs", "blind")
    ]
    checks = Checks(specs, run=run, first_wait_s=0.005)
    try:
        checks.sweep(0)
        checks.settle(0.005)
        found = {(s.signal, s.subject): s.value for s in checks.sweep(1_000)}
        assert found == {
            ("check.state", "a"): "ok",
            ("check.ms", "a"): 1.5,
            ("tls.days", "a"): 9.0,
            ("tls.days", ""): 9.0,
        }
        assert checks.lacks() == {"check.state{blind}": "said"}
        checks.sweep(20_000)
        checks.settle(0.005)
        assert sorted(ran) == ["a", "a", "blind", "blind", "hangs"]
    finally:
        release.set()
