"""What every channel must keep, against real receivers: at least once, one id, bounded in time, and no secret anywhere.

A new channel is a new ``Place`` here: how its receiver is started, how a row for it looks, and where its id is read.
"""

from __future__ import annotations

import base64
import email
import email.policy
import json
import logging
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from ticketing.channels import chat, mail, provider_api, webhook
from ticketing.outbox import Delivered, GaveUp, Later

SECRET = base64.b64encode(os.urandom(32)).decode()
TOKEN = "tok-7f3a9c0e51"
NOW_MS = 1_767_600_000_000


class Receiver:
    """What came in, and how to answer the next one: ok, later, never, lost (taken, answer cut off), hang."""

    def __init__(self):
        self.taken: list[Any] = []
        self.mode = "ok"
        self.port = 0
        self.release = threading.Event()

    def stop(self):
        self.release.set()


class Web(Receiver):
    def __init__(self):
        super().__init__()
        receiver = self

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                if receiver.mode in ("ok", "lost"):
                    receiver.taken.append((dict(self.headers.items()), raw))
                if receiver.mode == "hang":
                    receiver.release.wait(30)
                if receiver.mode in ("lost", "hang"):
                    self.close_connection = True
                    return
                status = {"ok": 200, "later": 503, "never": 410}[receiver.mode]
                body = b'{"ticket": {"id": "ALFA-5521"}}' if status == 200 else b""
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        super().stop()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class Post(Receiver):
    def __init__(self):
        super().__init__()
        receiver = self

        class Taker:
            async def handle_DATA(self, server, session, envelope):
                if receiver.mode in ("ok", "lost"):
                    receiver.taken.append(({}, envelope.content))
                if receiver.mode == "lost":
                    server.transport.abort()
                    return "250 OK"
                if receiver.mode == "hang":
                    import asyncio

                    await asyncio.sleep(5)
                return {"ok": "250 OK", "later": "451 later", "never": "550 never", "hang": "250 OK"}[
                    receiver.mode
                ]

        class FreePort(Controller):
            def _trigger_server(self):
                self.port = self.server.sockets[0].getsockname()[1]
                super()._trigger_server()

        self._controller = FreePort(Taker(), hostname="127.0.0.1", port=0)
        self._controller.start()
        self.port = self._controller.port

    def stop(self):
        super().stop()
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


class SmtpSettings:
    host, tls, user, password_file, ca_file, sender, timeout_s = (
        "127.0.0.1",
        "none",
        "",
        None,
        None,
        "desk@desk.example",
        1.0,
    )

    def __init__(self, port):
        self.port = port


class WebOptions:
    public_url = "https://desk.example"


def payload(**more):
    ticket = {
        "id": 7, "class": 2, "root_cause": "os.disk_full", "confidence": "high", "severity": "high", "state": "new",
        "line": 2, "assignee": None, "scope": "host:a1", "affected": ["a1"], "affected_count": 1, "title": "",
        "began_at_ms": NOW_MS, "created_at_ms": NOW_MS, "resolved_at_ms": None, "summary": None, "reasons": [],
    }  # fmt: skip
    return {
        "contract": {"id": "acme", "title": "Акме", "zone": "Europe/Kyiv"},
        "ticket": ticket, "clocks": {}, "event": "opened", "event_id": 3, "at_ms": NOW_MS, "reasons": [],
        "text": "Диск «/var» заповнено", "language": "uk",
    } | more  # fmt: skip


def row(destination, kind, /, **more):
    return {
        "id": 1, "ticket_id": 7, "channel": kind, "destination": destination, "message_id": "vt-7-3-0123456789abcdef",
        "created_at_ms": NOW_MS, "payload": payload(**more),
    }  # fmt: skip


class Place:
    """A channel with its receiver."""

    def __init__(self, kind, folder):
        self.kind = kind
        self.receiver = Post() if kind == "mail" else Web()
        self.url = f"http://127.0.0.1:{self.receiver.port}/in"
        self.secret = ""
        if kind.startswith("webhook"):
            self.secret = SECRET
            (folder / "key").write_text(f"whsec_{SECRET}\n")
        elif kind == "chat":
            self.secret = TOKEN
            (folder / "key").write_text(f"json://{TOKEN}:pw@127.0.0.1:{self.receiver.port}/in?cto=1&rto=1\n")
        elif kind == "provider":
            self.secret = TOKEN
            (folder / "key").write_text(TOKEN)
        self.file = str(folder / "key")

    @property
    def row(self):
        if self.kind == "mail":
            return row("ops@acme.example", "mail")
        if self.kind == "chat":
            return row(self.file, "chat", channel={"type": "chat", "url_file": self.file})
        if self.kind == "provider":
            api = {
                "method": "POST", "body": {"t": "{subject}", "b": "{text}", "c": "{client_number}"}, "headers": {},
                "secret_headers": {"Authorization": [self.file, "Bearer "]}, "key_header": "Idempotency-Key",
                "number": "ticket.id", "timeout_s": 1.0, "client_number": "K-77",
            }  # fmt: skip
            letter = {"subject": "S", "title": "T", "paragraphs": ["P"], "parts": [], "zone": "UTC"}
            return row(self.url, "provider", api=api, letter=letter)
        form = "structured" if self.kind.endswith("structured") else "binary"
        return row(self.url, "webhook", channel={"type": "webhook", "secret_file": self.file, "format": form})

    def send(self):
        if self.kind == "mail":
            return mail.deliver(
                self.row, SmtpSettings(self.receiver.port), mail.Extras("https://desk.example")
            )
        if self.kind == "chat":
            return chat.deliver(self.row, "https://desk.example")
        if self.kind == "provider":
            return provider_api.deliver(self.row)
        return webhook.deliver(self.row, WebOptions(), timeout_s=1.0)

    def id_of(self, taken):
        headers, raw = taken
        lowered = {name.lower(): value for name, value in headers.items()}
        if self.kind == "mail":
            return email.message_from_bytes(raw)["Message-ID"].strip("<>").partition("@")[0]
        if self.kind == "chat":
            # Chats know no id; the ticket's number tells a person that it is the same.
            assert "[#7]" in json.loads(raw)["title"]
            return "vt-7-3-0123456789abcdef"
        return lowered["idempotency-key" if self.kind == "provider" else "webhook-id"]


HOLDING_A_SECRET = ["webhook", "webhook structured", "chat", "provider"]
"""A mail itself holds none of ours."""


@pytest.fixture(params=["mail", "webhook", "webhook structured", "chat", "provider"])
def place(request, tmp_path):
    found = Place(request.param, tmp_path)
    yield found
    found.receiver.stop()


def test_what_the_receiver_took_is_delivered_once(place):
    result = place.send()
    assert isinstance(result, Delivered), result
    assert [place.id_of(taken) for taken in place.receiver.taken] == ["vt-7-3-0123456789abcdef"]
    assert result.reference == ("ALFA-5521" if place.kind == "provider" else "")


def test_a_receiver_that_is_busy_is_tried_again(place):
    place.receiver.mode = "later"
    assert isinstance(place.send(), Later)
    place.receiver.mode = "ok"
    assert isinstance(place.send(), Delivered) and len(place.receiver.taken) == 1


def test_a_receiver_whose_answer_is_lost_gets_the_same_again_under_the_same_id(place):
    place.receiver.mode = "lost"
    assert isinstance(place.send(), Later)
    place.receiver.mode = "ok"
    assert isinstance(place.send(), Delivered)
    assert len(place.receiver.taken) == 2 and len({place.id_of(taken) for taken in place.receiver.taken}) == 1


def test_a_receiver_that_will_never_take_it_ends_it(place):
    place.receiver.mode = "never"
    # Apprise says yes or no and nothing more, so a chat is tried until the attempts are over.
    assert isinstance(place.send(), Later if place.kind == "chat" else GaveUp)


def test_nobody_there_is_later(place):
    place.receiver.stop()
    assert isinstance(place.send(), Later)


def test_a_receiver_that_hangs_holds_nobody_for_long(place):
    place.receiver.mode = "hang"
    begun = time.monotonic()
    assert isinstance(place.send(), Later)
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("place", HOLDING_A_SECRET, indirect=True)
@pytest.mark.parametrize("mode", ["ok", "later", "never", "lost"])
def test_no_secret_is_in_a_result_a_row_or_a_log(place, mode, caplog):
    assert place.secret
    caplog.set_level(logging.DEBUG)
    place.receiver.mode = mode
    result = place.send()
    for said in (repr(result), repr(place.row), caplog.text):
        assert place.secret not in said and TOKEN not in said


@pytest.mark.parametrize("place", HOLDING_A_SECRET, indirect=True)
def test_a_file_that_is_gone_or_wrong_is_told_by_its_name_alone(place, tmp_path):
    (tmp_path / "key").unlink()
    assert isinstance(place.send(), Later)
    if place.kind == "chat":
        (tmp_path / "key").write_text(f"json://{TOKEN}@a\njson://{TOKEN}@b\n")
        result = place.send()
        assert isinstance(result, Later) and "one address" in result.error and TOKEN not in result.error
        (tmp_path / "key").write_text(f"nosuch://{TOKEN}\n")
        result = place.send()
        assert isinstance(result, GaveUp) and TOKEN not in result.error


def test_the_structured_envelope_is_what_cloudevents_asks_for(tmp_path):
    place = Place("webhook structured", tmp_path)
    place.send()
    headers, raw = place.receiver.taken[0]
    place.receiver.stop()
    lowered = {name.lower(): value for name, value in headers.items()}
    event = json.loads(raw)
    assert lowered["content-type"].startswith("application/cloudevents+json")
    assert not [name for name in lowered if name.startswith("ce-")]
    assert {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"} == set(event)
    assert (
        event["specversion"] == "1.0"
        and event["id"] == lowered["webhook-id"]
        and event["data"]["ticket"]["id"] == 7
    )
    wanted = webhook.sign(event["id"], int(lowered["webhook-timestamp"]), raw, base64.b64decode(SECRET))
    assert lowered["webhook-signature"] == wanted, "the signature covers the body as it was sent"


def test_a_chat_is_a_few_lines_in_the_contracts_language(tmp_path):
    title, body = chat.compose(payload(), "https://desk.example")
    assert title == "[#7] Нова заявка" and body.splitlines()[-1] == "https://desk.example/tickets/7"
    assert len(body.splitlines()) <= 6 and "Диск «/var» заповнено" in body


def test_a_template_is_filled_with_the_dossier_and_the_key(tmp_path):
    place = Place("provider", tmp_path)
    place.send()
    headers, raw = place.receiver.taken[0]
    place.receiver.stop()
    body = json.loads(raw)
    assert body["c"] == "K-77" and body["t"] == "S" and "P" in body["b"]
    assert headers["Authorization"] == f"Bearer {TOKEN}"
