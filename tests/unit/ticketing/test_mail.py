"""Mail against a real SMTP server: what arrives, under which id, and what each refusal means."""

from __future__ import annotations

import dataclasses
import email
import email.policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import select

from ticketing import intake, messages, tables, texts
from ticketing.channels import mail
from ticketing.model import Reason
from ticketing.outbox import Delivered, GaveUp, Later

NOW_MS = 1_767_600_000_000


@dataclasses.dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 0
    tls: str = "none"
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: str = "vartovyi@desk.example"
    timeout_s: float = 5.0


class Box:
    """Takes letters, or answers as told."""

    def __init__(self):
        self.letters = []
        self.answer = "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server, session, envelope):
        self.letters.append(
            (envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=email.policy.default))
        )
        return "250 OK"


class FreePort(Controller):
    """aiosmtpd's controller knocks at the port that it was given; here that is 0, so it must look which one it got."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def box():
    handler = Box()
    controller = FreePort(handler, hostname="127.0.0.1", port=0)
    controller.start()
    handler.port = controller.port
    yield handler
    controller.stop()


@pytest.fixture
def row(tx, book, verdict):
    texts.set_strict(True)
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    yield tx.execute(select(tables.outbox).where(tables.outbox.c.channel == "mail")).mappings().one()
    texts.set_strict(False)


def test_a_letter_arrives_in_both_forms_under_its_own_id(box, row):
    for _ in range(2):  # a retry says the same under the same id
        assert mail.deliver(row, Settings(port=box.port), mail.Extras("https://desk.example/")) == Delivered()
    (receivers, first), (_, second) = box.letters
    assert receivers == ["oncall@acme.example"]
    assert first["Message-ID"] == second["Message-ID"] == f"<{row['message_id']}@desk.example>"
    assert first["References"].startswith("<vt-1-") and first["Auto-Submitted"] == "auto-generated"
    text = first.get_body(("plain",)).get_content()
    assert first["Subject"] == "[#1] Нова заявка: Щось негаразд; причину ще не з’ясовано"
    for piece in (
        "Acme",
        "2 – Сервер",
        "Файлову систему заповнено",
        "05.01.2026 09:59:00 EET",
        "https://desk.example/tickets/1",
        "du -x",
    ):
        assert piece in text, piece
    assert text.replace("\r", "") == second.get_body(("plain",)).get_content().replace("\r", "")
    html = first.get_body(("html",)).get_content()
    assert '<html lang="uk">' in html and "<script" not in html


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("550 no such user", GaveUp), ("451 greylisted, come back", Later), ("552 full", GaveUp)],
)
def test_a_final_refusal_ends_it_and_a_passing_one_does_not(box, row, answer, kind):
    box.answer = answer
    result = mail.deliver(row, Settings(port=box.port))
    assert isinstance(result, kind) and answer[:3] in result.error


def test_no_server_is_final_and_a_closed_port_is_not(box, row):
    assert isinstance(mail.deliver(row, Settings(host="")), GaveUp)
    box_gone = mail.deliver(row, Settings(port=1, timeout_s=1))
    assert isinstance(box_gone, Later)


def test_plain_mail_leaves_this_machine_never(row):
    assert "loopback" in mail.deliver(row, Settings(host="mail.example", tls="none")).error


def test_a_server_without_starttls_is_not_trusted_with_a_letter(box, row):
    assert isinstance(mail.deliver(row, Settings(port=box.port, tls="starttls")), Later)
    assert box.letters == []


def test_a_missing_password_is_tried_again_later(box, row):
    settings = Settings(port=box.port, user="u", password_file=Path("/nonexistent/secret"))
    assert "password_file" in mail.deliver(row, settings).error


def test_what_a_client_typed_can_neither_break_headers_nor_html(row):
    payload = {**row["payload"], "text": "<script>alert(1)</script>"}
    payload["ticket"] = {**payload["ticket"], "title": "Hi\r\nBcc: all@example <b>", "summary": None}
    message = messages.compose(payload, "")
    assert "\n" not in message.subject and "<script" not in message.html and "<b>" not in message.html


@pytest.mark.parametrize("language", ["uk", "en"])
@pytest.mark.parametrize(
    "event", ["opened", "requalified", "resolved", "breached", "ask_client", "preventive"]
)
def test_every_kind_of_message_has_all_its_words(row, language, event):
    """Strict texts raise on any word that a language lacks."""
    reasons = [
        Reason("reason.clock.breach", {"clock": "resolution", "pct": 100, "due_at_ms": NOW_MS}).to_dict()
    ]
    payload = {**row["payload"], "language": language, "event": event, "reasons": reasons, "text": "a\nb"}
    message = messages.compose(payload, "https://desk.example")
    assert message.subject and message.text.endswith("\n")
