"""traffic.haproxy against a real HAProxy (D4); a provider that is slow, down, or rations its orders over real HTTP (D3)."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.lab.house import ADDRESS, House
from tests.lab.parts.balancer import Balancer
from tests.lab.parts.orders import ask, order
from tests.tools.needs import require_package

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(300)]
PORT = 8080


def serve(house: House, place: str) -> None:
    """Says where it stands to whoever connects."""
    sock = house.listen(place, PORT)

    def answer() -> None:
        while True:
            try:
                near, _ = sock.accept()
            except OSError:
                return
            with near:
                near.sendall(place.encode())

    threading.Thread(target=answer, daemon=True).start()


def served_by(house: House) -> str:
    def look() -> str:
        import socket

        with socket.create_connection((ADDRESS["oob"], PORT), timeout=10) as sock:
            return sock.recv(100).decode()

    return house.inside("probe2", look)


def test_d4_a_reload_that_forgets_is_seen_and_the_step_is_done_again(house: House) -> None:
    require_package("haproxy")
    for place in ("prim", "back"):
        serve(house, place)
    door = Balancer(house, PORT, keeps_state=True)
    mine = order(house, "traffic.haproxy", door.options())
    assert ask(house, "precheck", mine).outcome == "done"
    assert (ask(house, "probe", mine).outcome, served_by(house)) == ("not_done", "prim")
    assert ask(house, "act", mine).outcome == "done"
    assert (ask(house, "probe", mine).outcome, served_by(house)) == ("done", "back")

    door.reload()
    assert (ask(house, "probe", mine).outcome, served_by(house)) == ("not_done", "prim")
    assert ask(house, "act", mine).outcome == "done"
    assert served_by(house) == "back"

    door.keep_state()
    door.reload()  # a balancer that keeps its own state does not forget
    assert (ask(house, "probe", mine).outcome, served_by(house)) == ("done", "back")

    assert ask(house, "undo", mine).outcome == "done"
    assert served_by(house) == "prim"
    absent = ask(house, "act", order(house, "traffic.haproxy", door.options(new="b7")))
    assert (absent.outcome, "No such server" in absent.error) == ("not_done", True), absent
    assert served_by(house) == "prim"  # who serves is not taken away for somebody who is not there
    door.stop()
    assert ask(house, "probe", mine).outcome == "unknown"
    gone = ask(house, "act", mine)
    assert (gone.outcome, "no answer" in gone.error) == ("unknown", True), gone


class Interface:
    """A provider's interface at oob: who the address is routed to, orders counted, and ``faults`` by method."""

    def __init__(self, house: House) -> None:
        self.routed, self.orders = "a1", 0
        self.faults: dict[str, str] = {}
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say("GET", {"ip": {"server": outer.routed}})

            def do_POST(self) -> None:
                outer.orders += 1
                if "POST" not in outer.faults:
                    outer.routed = "b9"
                self._say("POST", {})

            def _say(self, verb: str, value: Any) -> None:
                fault = outer.faults.get(verb, "")
                if fault == "slow":
                    time.sleep(4)
                told = {"limit": (403, {"error": {"code": "RATE_LIMIT_EXCEEDED"}}), "down": (503, {})}
                status, value = told.get(fault, (200, value))
                octets = json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(octets)))
                    self.end_headers()
                    self.wfile.write(octets)
                except OSError:
                    return

            def log_message(self, format: str, *args: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers, bind_and_activate=False)
        server.socket.close()
        server.socket = house.listen("oob", PORT)
        server.daemon_threads, server.block_on_close = True, False
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def options(self, **changes: Any) -> dict[str, Any]:
        call = {"url": f"http://{ADDRESS['oob']}:{PORT}/ip"}
        act = {**call, "method": "POST"}
        return {"act": act, "read": call, "path": "ip.server", "done": ["b9"], "timeout_s": 30, **changes}


def test_d3_limits_failures_and_slowness_are_unknown_within_the_deadline_and_the_address_moves_in_the_end(
    house: House,
) -> None:
    there = Interface(house)
    paused: list[float] = []
    mine = order(house, "traffic.floating_ip", there.options(), deadline_s=20.0, pause=paused.append)
    try:
        there.faults = {"POST": "limit"}
        limited = ask(house, "act", mine)
        assert (limited.outcome, "rate limit" in limited.error, len(paused)) == ("unknown", True, 1), limited
        there.faults = {"POST": "down"}
        assert ask(house, "act", mine).outcome == "unknown"
        there.faults = {"GET": "down", "POST": "down"}
        assert ask(house, "probe", mine).outcome == "unknown"
        there.faults = {"GET": "slow", "POST": "slow"}
        short = order(house, "traffic.floating_ip", there.options(), deadline_s=3.0)
        slow = ask(
            house, "act", short
        )  # reading took half, ordering the other half: no more than the deadline
        assert (slow.outcome, "did not answer within" in slow.error) == ("unknown", True), slow
        # A fence orders nothing of an interface that it could not read.
        orders = there.orders
        there.faults = {"GET": "down"}
        fence = ask(house, "act", order(house, "fence.provider", there.options()))
        assert (fence.outcome, there.orders) == ("not_done", orders)
        there.faults = {}
        assert ask(house, "act", mine).outcome == "done"
        assert ask(house, "probe", mine).outcome == "done"
        orders = there.orders
        assert ask(house, "act", mine).outcome == "done"
        assert there.orders == orders  # it stands there already
    finally:
        there.close()
