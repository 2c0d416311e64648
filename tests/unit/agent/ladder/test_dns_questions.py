"""Our own DNS questions: against real servers on loopback, and answers of any shape."""

from __future__ import annotations

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.dns import ask_all, resolvers
from agent.signals.parsers.dns import parse_reply, question
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.resolv import parse_resolvers
from tests.tools.ports import free_port
from tests.unit.agent.ladder.dns_server import DnsServer, reply


@pytest.fixture
def server():
    made = DnsServer("127.0.0.1")
    made.start()
    yield made
    made.stop()


def said(server, timeout_s=2.0, record="A"):
    return ask_all(["127.0.0.1"], "shop.example", timeout_s, record, server.port)[0]


def test_an_answer_brings_its_addresses(server):
    assert said(server).reply.records == ("127.0.0.7",)
    assert said(server, record="AAAA").reply.records == ("::7",)


@pytest.mark.parametrize(
    ("mode", "is_good", "word"),
    [("servfail", False, "SERVFAIL"), ("refused", False, "REFUSED"), ("nxdomain", True, "NXDOMAIN")],
)
def test_what_a_resolver_says_is_told_from_what_it_resolves(server, mode, is_good, word):
    server.mode = mode
    answer = said(server)
    assert (answer.is_good, answer.why) == (is_good, word)


@pytest.mark.parametrize("mode", ["silent", "liar"])
def test_silence_and_lies_cost_the_time_out_and_are_asked_twice(server, mode):
    server.mode = mode
    begun = time.monotonic()
    answer = said(server, timeout_s=0.4)
    assert not answer.is_good and answer.why == "no answer in time"
    assert time.monotonic() - begun > 0.3 and server.asked == 2


def test_a_silent_server_does_not_delay_the_word_of_another(server):
    dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dead.bind(("127.0.0.2", server.port))
    with dead:
        first, second = ask_all(["127.0.0.2", "127.0.0.1"], "x.example", 2.0, "A", server.port)
    assert (first.is_good, second.is_good) == (False, True)
    assert second.ms < 1500


def test_a_port_where_nobody_listens_is_said_at_once():
    answer = ask_all(["127.0.0.1"], "x.example", 60.0, "A", free_port())[0]
    assert answer.why == "nobody listens there" and answer.ms < 30_000


@given(st.binary(max_size=300), st.integers(0, 60))
def test_no_answer_raises_anything_but_the_parse_error(octets, cut):
    whole = reply(question(7, "shop.example"), "answer")
    for raw in (octets, whole[:cut] + octets, whole[: len(whole) - cut], whole[:29] + octets):
        try:
            found = parse_reply(raw, 7, "shop.example")
        except ParseError:
            continue
        assert all(len(record) <= 260 for record in found.records)


def test_a_name_that_points_at_itself_ends():
    loop = question(7, "shop.example")
    head = bytearray(loop)
    head[2] = 0x81
    head[7] = 1
    raw = bytes(head) + b"\xc0\x0c" + b"\0\x05\0\x01\0\0\0\x01\0\x02" + b"\xc0\x28"
    asked = raw.replace(b"\0\x01\0\x01\xc0", b"\0\x05\0\x01\xc0", 1)
    assert parse_reply(asked, 7, "shop.example", "CNAME").records == ("",)


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", "x" * 300])
def test_a_name_that_dns_cannot_hold_is_refused(name):
    with pytest.raises(ValueError):
        question(1, name)


def test_resolv_conf_as_glibc_reads_it(tmp_path):
    text = "# nameserver 1.1.1.1\nsearch x\nnameserver 127.0.0.53 ; stub\nnameserver fe80::1%eth0\nnameserver nonsense\n"
    assert parse_resolvers(text) == ["127.0.0.53", "fe80::1%eth0"]
    assert parse_resolvers("nameserver 10.0.0.1\n" * 2 + "nameserver 10.0.0.2\n") == ["10.0.0.1", "10.0.0.2"]
    assert len(parse_resolvers("".join(f"nameserver 10.0.0.{n}\n" for n in range(9)))) == 3
    assert resolvers(tmp_path) == []
