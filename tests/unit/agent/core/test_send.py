"""When a report leaves, and to whom: the plan without a network, the connection against a server on loopback."""

from __future__ import annotations

import http.client
import http.server
import json
import random
import socket
import threading
from pathlib import Path

import pytest

from agent.send import SEGMENT_BYTES, Answered, Cadence, Failed, Link, Sender
from agent.settings import CollectorSettings


def cadence(interval_s=10.0, retry_max_s=60.0, seed=1):
    return Cadence(interval_s, retry_max_s, random.Random(seed), 0)


def test_the_first_report_is_due_at_once_and_then_each_interval():
    plan = cadence()
    assert plan.due_ms(has_news=False, now_ms=0) == 0
    plan.sent(0)
    assert plan.due_ms(has_news=True, now_ms=5) is None, "one report at a time"
    plan.answered()
    assert plan.due_ms(has_news=False, now_ms=5) == 10_000


def test_news_is_due_at_once():
    plan = cadence()
    plan.sent(0)
    plan.answered()
    assert plan.due_ms(has_news=True, now_ms=3000) == 3000


def test_failures_hurry_at_first_and_never_pause_longer_than_the_interval():
    """A collector that returns gives every host interval + grace: one that paused longer would be called silent."""
    plan, pauses = cadence(), []
    for _ in range(12):
        plan.sent(0)
        plan.failed(0)
        pauses.append(plan.due_ms(has_news=True, now_ms=0))
    assert all(500 <= p <= 1000 for p in pauses[:2])
    assert all(5_000 <= p <= 10_000 for p in pauses[-5:])
    plan.sent(0)
    plan.answered()
    assert plan.due_ms(has_news=True, now_ms=3) == 3 and plan.failures == 0


def test_two_hosts_do_not_come_back_in_the_same_moment():
    dues = set()
    for seed in range(30):
        plan = cadence(seed=seed)
        for _ in range(6):
            plan.failed(0)
        dues.add(plan.due_ms(has_news=False, now_ms=0) // 100)
    assert len(dues) > 20


def test_retry_after_is_honoured_within_reason():
    plan = cadence()
    plan.failed(0, 42)
    assert plan.due_ms(has_news=False, now_ms=0) == 42_000
    plan.failed(0, 1e9)
    assert plan.due_ms(has_news=False, now_ms=0) == 300_000


def test_plain_http_beyond_loopback_is_refused():
    with pytest.raises(ValueError, match="loopback"):
        Link(CollectorSettings(url="http://example.net", token_file=Path("t")), "t")


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: list
    seen: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.headers["Authorization"], body, self.client_address))
        status, headers, content = self.answers.pop(0) if self.answers else (200, {}, {"v": 1, "want_n": 7})
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


@pytest.fixture
def collector():
    handler = type("Handler", (Collector,), {"answers": [], "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


def link(collector, **more):
    return Link(CollectorSettings(url=collector.url, token_file=Path("t"), **more), "secret")


def test_a_report_is_posted_with_the_token_over_one_kept_connection(collector):
    line = link(collector)
    first, second = line.post(b"{}", "s1"), line.post(b"[]", "s1")
    assert isinstance(first, Answered) and first.reply.want_n == 7 and first.stream == "s1"
    assert isinstance(second, Answered)
    assert [seen[:2] for seen in collector.seen] == [("Bearer secret", b"{}"), ("Bearer secret", b"[]")]
    assert collector.seen[0][2] == collector.seen[1][2]
    line.close()


def test_reports_travel_in_small_segments_so_that_a_hole_for_large_packets_lets_them_through(collector):
    line = link(collector)
    assert isinstance(line.post(b"x" * 5_000, "s"), Answered)
    assert line._connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= SEGMENT_BYTES
    line.close()


def test_a_connection_that_was_let_go_is_never_made_anew_past_the_pin(collector):
    line = link(collector)
    line.post(b"{}", "s")
    line._connection.close()
    with pytest.raises(http.client.NotConnected):
        line._connection.request("GET", "/")
    assert isinstance(line.post(b"{}", "s"), Answered), (
        "the link itself dials again, with everything that belongs to it"
    )


def test_a_conflict_is_an_answer_that_says_what_is_wanted(collector):
    collector.answers.append((409, {}, {"v": 1, "error": "order", "want_n": 3}))
    outcome = link(collector).post(b"{}", "s")
    assert isinstance(outcome, Answered) and (outcome.reply.want_n, outcome.reply.error) == (3, "order")


@pytest.mark.parametrize(
    ("answer", "status", "retry_after_s"),
    [
        ((503, {"Retry-After": "7"}, {"error": "busy"}), 503, 7.0),
        ((401, {}, {"error": "token"}), 401, None),
        ((200, {}, b"<html>"), 0, None),
        ((200, {}, {"want_n": -1}), 0, None),
        ((200, {}, {"want_n": "x"}), 0, None),
    ],
)
def test_anything_else_is_a_failure_with_words(collector, answer, status, retry_after_s):
    collector.answers.append(answer)
    outcome = link(collector).post(b"{}", "s")
    assert isinstance(outcome, Failed)
    assert (outcome.status, outcome.retry_after_s) == (status, retry_after_s) and outcome.detail


def test_nobody_there_is_a_failure(collector):
    settings = CollectorSettings(url="http://127.0.0.1:1", token_file=Path("t"))
    outcome = Link(settings, "t").post(b"{}", "s")
    assert isinstance(outcome, Failed) and "refused" in outcome.detail


def test_a_kept_connection_that_the_collector_closed_meanwhile_is_no_failure(collector):
    line = link(collector)
    line.post(b"{}", "s")
    line._connection.sock.shutdown(2)
    assert isinstance(line.post(b"{}", "s"), Answered)


def test_the_sender_carries_what_was_handed_over_and_wakes_the_loop(collector):
    woken = threading.Event()
    sender = Sender(link(collector), woken.set)
    sender.start()
    sender.hand_over(b"{}", "s")
    assert woken.wait(30)
    (outcome,) = sender.outcomes()
    assert isinstance(outcome, Answered) and sender.outcomes() == []
    sender.stop()
    sender.join(30)
    assert not sender.is_alive()
