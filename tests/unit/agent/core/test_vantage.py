"""A host as a vantage, against a real HTTP server: it answers what it may, refuses the rest, and costs others nothing."""

from __future__ import annotations

import http.server
import ipaddress
import json
import random
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List

import pytest

from agent.checks.asks import Ask, answer_from_dict, ask_from_dict, ask_within, hops_of, is_allowed
from agent.lookout import Lookout
from agent.settings import AgentSettings
from agent.vantage import Bucket
from config.clock import SystemClock
from config.loader import ConfigError, parse

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
WIDE = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]


class Collector:
    """The other side of the poll: what it asks, what it was answered, with which token."""

    def __init__(self) -> None:
        self.asks: List[Dict[str, Any]] = []
        self.answers: List[Dict[str, Any]] = []
        self.tokens: List[str] = []
        self.polls = 0
        self.status = 200
        self.closing = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                collector.polls += 1
                collector.tokens.append(self.headers["Authorization"])
                deadline = time.monotonic() + 5
                while not collector.asks and time.monotonic() < deadline and not collector.closing.wait(0.01):
                    pass
                asks, collector.asks = collector.asks, []
                self._say({"asks": asks})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.answers += body["answers"]
                self._say({"taken": len(body["answers"])})

            def _say(self, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(collector.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def look(collector: Collector, tmp_path: Any) -> Iterator[Callable[..., Lookout]]:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    made: List[Lookout] = []

    def start(networks: str = "[127.0.0.0/8]", more: str = "") -> Lookout:
        text = (
            f"collector: {{url: 'http://127.0.0.1:{collector.port}', token_file: {token}}}\n"
            f"vantage: {{networks: {networks}{more}}}\n"
        )
        lookout = Lookout(SystemClock(), random.Random(1))
        made.append(lookout)
        lookout.follow(parse(text, AgentSettings))
        return lookout

    yield start
    for lookout in made:
        lookout.stop()


def until(holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return holds()
        time.sleep(0.01)
    raise AssertionError("not in time")


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def tcp_service(port: int) -> Dict[str, Any]:
    return {"address": "127.0.0.1", "name": "shop", "check": {"type": "tcp", "port": port}}


def test_what_the_collector_asks_is_answered_with_the_hosts_own_token(
    collector: Collector, look: Callable[..., Lookout]
) -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
        collector.asks = [
            {"id": 7, "kind": "service", "target": tcp_service(port), "timeout_s": 1},
            {"id": 8, "kind": "ssh", "target": {"address": "127.0.0.1", "port": port}, "timeout_s": 0.3},
        ]
        look()
        until(lambda: len(collector.answers) == 2)
    told = {answer["id"]: answer["state"] for answer in collector.answers}
    assert told == {7: "ok", 8: "banner_timeout"}
    assert set(collector.tokens) == {"Bearer s3cret"}


def test_what_no_vantage_may_do_is_refused_with_the_reason_and_never_done(
    collector: Collector, look: Callable[..., Lookout]
) -> None:
    with listening() as sock:
        sock.settimeout(0.3)
        port = sock.getsockname()[1]
        collector.asks = [
            {"id": 1, "kind": "command", "target": {"command": "reboot"}, "timeout_s": 1},
            {"id": 2, "kind": "service", "target": {"check": {"type": "unit", "unit": "x"}}, "timeout_s": 1},
            {"id": 3, "kind": "service", "target": tcp_service(port), "timeout_s": 1},
            {"id": 4, "kind": "icmp", "target": {"address": "192.0.2.1"}, "timeout_s": 1},
            {"id": 5, "kind": "trace", "target": {"address": "127.0.0.1"}, "timeout_s": 1},
            "rubbish",
        ]
        look("[198.51.100.0/24]")
        until(lambda: len(collector.answers) == 5)
        with pytest.raises(socket.timeout):
            sock.accept()
    assert {answer["state"] for answer in collector.answers} == {"unknown"}
    assert all(answer["detail"] for answer in collector.answers)


def test_asks_over_the_rate_are_refused_and_the_others_answered(
    collector: Collector, look: Callable[..., Lookout]
) -> None:
    with listening() as sock:
        target = tcp_service(sock.getsockname()[1])
        collector.asks = [{"id": n, "kind": "service", "target": target, "timeout_s": 1} for n in range(12)]
        look(more=", per_minute: 30")
        until(lambda: len(collector.answers) == 12)
    refused = [a for a in collector.answers if "too many" in a["detail"]]
    assert len(refused) == 7, "30 a minute are 5 at once"


def test_a_collector_that_does_not_want_us_is_left_in_peace(
    collector: Collector, look: Callable[..., Lookout]
) -> None:
    collector.status = 403
    collector.closing.set()
    look()
    until(lambda: collector.polls == 1)
    time.sleep(0.5)
    assert collector.polls == 1


def test_new_settings_end_the_vantage_while_it_waits_on_its_poll(
    collector: Collector, look: Callable[..., Lookout]
) -> None:
    lookout = look()
    until(lambda: collector.polls == 1)
    assert lookout.vantage is not None
    threads = lookout.vantage._threads
    lookout.follow(parse("{}", AgentSettings))
    for thread in threads:
        thread.join(30)
    assert lookout.vantage is None and not any(thread.is_alive() for thread in threads)


def test_a_host_that_is_no_vantage_does_not_even_import_it() -> None:
    code = "import agent.daemon, sys; print([m for m in sys.modules if m in ('agent.vantage', 'agent.checks.asks')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_redirect_does_not_lead_out_of_the_networks() -> None:
    reached = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.server.server_address[0])
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.2:{self.server.server_address[1]}/secrets")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    target = {"name": "shop", "check": {"type": "http", "url": url}}
    answer = ask_within(Ask(1, "service", target, 2.0), [ipaddress.ip_network("127.0.0.1/32")])
    server.server_close()
    assert (answer["state"], reached) == ("unknown", ["127.0.0.1"])


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("198.51.100.7", WIDE, True),
        ("127.0.0.1", WIDE, False),
        ("169.254.169.254", WIDE, False),
        ("::ffff:127.0.0.1", WIDE, False),
        ("fe80::1%eth0", WIDE, False),
        ("::1", WIDE, False),
        ("2001:db8::1", WIDE, True),
        ("127.0.0.9", LOOPBACK, True),
        ("198.51.100.7", LOOPBACK, False),
        ("not an address", WIDE, False),
    ],
)
def test_a_wide_network_does_not_open_the_host_itself(address: str, networks: Any, allowed: bool) -> None:
    assert is_allowed(address, networks) is allowed


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"id": True, "kind": "icmp", "target": {}, "timeout_s": 1},
        {"id": 1, "kind": "unit", "target": {}, "timeout_s": 1},
        {"id": 1, "kind": "icmp", "target": "x", "timeout_s": 1},
        {"id": 1, "kind": "icmp", "target": {"address": "x" * 5000}, "timeout_s": 1},
        {"id": 1, "kind": "icmp", "target": {}, "timeout_s": float("nan")},
    ],
)
def test_what_is_no_ask_is_said_so(raw: Any) -> None:
    with pytest.raises(ValueError):
        ask_from_dict(raw)


def test_a_time_out_has_bounds() -> None:
    raw = {"id": 1, "kind": "icmp", "target": {}}
    assert ask_from_dict({**raw, "timeout_s": 9999}).timeout_s == 10
    assert ask_from_dict({**raw, "timeout_s": -1}).timeout_s == 0.1


def test_of_an_answer_only_known_words_and_numbers_are_taken() -> None:
    raw = {
        "state": "ok",
        "detail": "fine\x1b[31m" + "x" * 500,
        "ms": 3.04,
        "facts": {"http_status": 200, "banner": "<script>", "port": "evil", "stage": "kex", "sent": "3"},
    }
    kept = answer_from_dict("service", raw)
    assert kept["facts"] == {"http_status": 200, "stage": "kex"}
    assert len(kept["detail"]) == 200 and "\x1b" not in kept["detail"]
    for wrong in ({"state": "root"}, {"state": "ok", "ms": "1"}, {"state": "ok", "facts": []}):
        if wrong.get("facts") == []:
            assert answer_from_dict("icmp", wrong)["facts"] == {}
            continue
        with pytest.raises(ValueError):
            answer_from_dict("icmp", wrong)


def test_of_a_trace_only_whole_hops_are_taken() -> None:
    rows = [
        [2, "192.0.2.1", "transit"],
        [1, "10.0.0.1", "transit"],
        [99, "192.0.2.1", "transit"],
        [3, "x", "host"],
        7,
    ]
    found = hops_of({"state": "ok", "facts": {"hops": rows}})
    assert [tuple(hop) for hop in found.hops] == [(1, "10.0.0.1", "transit"), (2, "192.0.2.1", "transit")]
    assert hops_of({"state": "ok"}).hops == () and hops_of({}).state == "unknown"


def test_the_bucket_fills_again_with_time() -> None:
    bucket = Bucket(60, 0)
    assert [bucket.take(0) for _ in range(11)].count(True) == 10
    assert bucket.take(1_000) and not bucket.take(1_000)


def test_a_network_that_is_none_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="does not appear to be"):
        parse("vantage: {networks: [everything]}", AgentSettings)
