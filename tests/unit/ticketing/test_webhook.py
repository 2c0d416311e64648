"""Webhooks against a real HTTP server: signature, ids, and what each answer means."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import http.server
import json
import threading

import pytest
from sqlalchemy import select

from config.clock import FixedClock
from ticketing import intake, tables
from ticketing.channels import webhook
from ticketing.outbox import Delivered, GaveUp, Later

NOW_MS = 1_767_600_000_000
SECRET = b"0123456789abcdef0123456789abcdef"


@dataclasses.dataclass(frozen=True)
class Settings:
    public_url: str = "https://desk.example"


class _Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((dict(self.headers), body))
        status, headers = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    server.seen, server.answer = [], (204, {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def row(tx, book, verdict, receiver, tmp_path):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    secret_file = tmp_path / "secret"
    secret_file.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    found = dict(
        tx.execute(select(tables.outbox).where(tables.outbox.c.channel == "webhook")).mappings().one()
    )
    found["destination"] = f"http://127.0.0.1:{receiver.server_port}/hook"
    found["payload"] = {**found["payload"], "channel": {"secret_file": str(secret_file)}}
    return found


def _deliver(row):
    return webhook.deliver(row, Settings(), clock=FixedClock(NOW_MS))


def test_a_receiver_can_check_who_sent_it_and_drop_a_repeat(receiver, row):
    assert _deliver(row) == _deliver(row) == Delivered()
    (headers, body), (again, _) = receiver.seen
    assert headers["webhook-id"] == again["webhook-id"] == headers["ce-id"] == row["message_id"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-timestamp"] == str(NOW_MS // 1000)
    assert (headers["ce-specversion"], headers["ce-type"]) == ("1.0", "vartovyi.ticket.opened")
    assert headers["ce-time"] == "2026-01-05T08:00:00.000Z" and headers["ce-source"] == "https://desk.example"
    said = json.loads(body)
    assert said["ticket"]["class"] == 2 and said["url"] == "https://desk.example/tickets/1"
    assert "secret" not in body.decode()


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ((200, {}), Delivered()),
        ((410, {}), GaveUp("the receiver says that it is gone (410)")),
        ((400, {}), Later("the receiver answered 400")),
        ((302, {"location": "http://elsewhere.example/"}), Later("the receiver answered 302")),
        ((429, {"retry-after": "120"}), Later("the receiver answered 429", 120.0)),
        ((503, {"retry-after": "Mon, 05 Jan 2026 08:01:00 GMT"}), Later("the receiver answered 503", 60.0)),
        ((503, {"retry-after": "soon"}), Later("the receiver answered 503")),
    ],
)
def test_each_answer_means_one_thing(receiver, row, answer, result):
    receiver.answer = answer
    assert _deliver(row) == result


def test_two_secrets_sign_twice_while_they_rotate(receiver, row, tmp_path):
    (tmp_path / "secret").write_text(
        "\n".join("whsec_" + base64.b64encode(s * 16).decode() for s in (b"a", b"b"))
    )
    _deliver(row)
    assert len(receiver.seen[0][0]["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize("content", ["", "whsec_short", "whsec_!!!"])
def test_a_bad_secret_sends_nothing_and_waits_for_a_better_one(receiver, row, tmp_path, content):
    (tmp_path / "secret").write_text(content)
    assert isinstance(_deliver(row), Later) and receiver.seen == []


def test_a_missing_secret_and_a_closed_door_are_tried_again(row, tmp_path):
    closed = {**row, "destination": "http://127.0.0.1:1/"}
    assert isinstance(_deliver(closed), Later)
    (tmp_path / "secret").unlink()
    assert "secret_file" in _deliver(row).error


def test_an_address_that_is_none_is_given_up(row):
    assert isinstance(_deliver({**row, "destination": "http://"}), GaveUp)
