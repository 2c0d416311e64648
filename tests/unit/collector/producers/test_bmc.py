"""Management controllers: a real exchange over UDP, and that one which never answered is never called dead."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.checks import bmc
from collector.asks import rows_of, write_seen
from collector.observed import recent
from collector.probes import RealNetwork
from collector.store.engine import Store
from collector.vantage import Vantage
from tests.tools.ports import free_port

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000


@contextmanager
def controller(*answers: bytes) -> Iterator[int]:
    """Answers each ping with the next of these; {tag} is put in place of 0xEE."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def serve() -> None:
            for answer in answers:
                asked, peer = sock.recvfrom(512)
                assert asked[:8] == bmc._HEAD and asked[8] == 0x80 and len(asked) == 12
                if answer:
                    sock.sendto(answer.replace(b"\xee", asked[9:10]), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1]
        thread.join(5)
        assert not thread.is_alive()


PONG = bmc._HEAD + b"\x40\xee\x00\x10" + b"\0" * 16


def test_a_controller_that_answers_is_there_at_once_or_at_the_second_ping() -> None:
    with controller(PONG) as port:
        answer = RealNetwork().answer("bmc", {"address": "127.0.0.1", "port": port}, 2.0)
    assert answer["state"] == "ok"
    with controller(b"", PONG) as port:
        assert bmc.run("127.0.0.1", 1.0, port).state == "ok"


def test_rubbish_and_another_ones_answer_are_no_answer() -> None:
    other = bmc._HEAD + b"\x40\xff\x00\x10" + b"\0" * 16
    with controller(b"hello", other) as port:
        assert bmc.run("127.0.0.1", 0.4, port).state == "dead"
    assert not bmc.is_pong(PONG[:11], 0xEE) and bmc.is_pong(PONG, 0xEE)


def test_where_nobody_listens_it_is_dead_and_a_name_that_is_none_is_said_so() -> None:
    assert bmc.run("127.0.0.1", 0.5, free_port()).state == "dead"
    assert bmc.run("no-such-name.invalid", 0.5).state in ("dns", "dead")


def test_only_a_controller_that_has_answered_can_be_dead(store: Store) -> None:
    def told(state: str, at_ms: int) -> bool:
        return store.write(lambda tx: write_seen(tx, "web-1", "bmc", {"state": state}, at_ms))

    assert [told(s, T0 + n) for n, s in enumerate(("dead", "unknown", "ok", "ok", "dead"))] == [
        False,
        False,
        True,
        False,
        True,
    ]
    with store.read() as conn:
        assert [(o.signal, o.value) for o in recent(conn, ["web-1"], 0)] == [
            ("ext.bmc", "ok"),
            ("ext.bmc", "dead"),
        ]


def test_no_vantage_is_asked_about_a_controller() -> None:
    rows = rows_of(
        "web-1", [("bmc", {"address": "x"}), ("icmp", {"address": "y"})], [Vantage("v1")], "return", 1, 2
    )
    assert [row["kind"] for row in rows] == ["icmp"]
