"""The people who may decide on a switch get a letter with a link of their own, through a real SMTP server; no secret is kept."""

from __future__ import annotations

import email
import email.policy
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from litestar.testing import TestClient
from sqlalchemy import select

from collector.failover import approvals, runs
from collector.mail_settings import MailSettings
from collector.settings import CollectorSettings
from collector.tables import metadata
from collector.tick.context import TEXTS_FOLDER
from collector.web.app import make_app
from collector.web.context import AppContext, WebOptions
from collector.workers import OutboxWorkers
from config import loader
from config.clock import FixedClock
from tests.unit.collector.failover.houses import House
from ticketing.channels import chat
from ticketing.tables import outbox, ticket_events
from ticketing.texts import register

pytestmark = pytest.mark.collector
URL = "https://desk.example"
register(TEXTS_FOLDER)


class Postbox:
    """What a real SMTP server took, after it refused ``busy`` letters."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.busy = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.taken.append((envelope.rcpt_tos[0], letter))
        if self.busy:
            self.busy -= 1
            return "451 busy"
        return "250 OK"


class _FreePort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, int]]:
    box = Postbox()
    server = _FreePort(box, hostname="127.0.0.1", port=0)
    server.start()
    yield box, server.port
    server.stop()


def _asked(folder: Path, **terms: Any) -> House:
    house = House(f"sqlite:///{folder}/store.db", mode="approve", **terms)
    house.well()
    house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    return house


def _workers(house: House, port: int) -> OutboxWorkers:
    settings = CollectorSettings(
        public_url=URL,
        mail=MailSettings(host="127.0.0.1", port=port, tls="none", sender="desk@vartovyi.example"),
    )
    return OutboxWorkers(house.store, FixedClock(house.now_ms), settings, "test")


def _rows(house: House) -> list[Any]:
    with house.store.read() as conn:
        wanted = select(outbox).order_by(outbox.c.id)
        return [r for r in conn.execute(wanted).mappings() if "switch" in r["payload"]]


def _deliver(house: House, port: int) -> None:
    workers = _workers(house, port)
    while workers.round("w"):
        pass


def _text(letter: Any) -> str:
    return letter.get_body(("plain",)).get_content()


def _secret(letter: Any) -> str:
    found = re.search(rf"{URL}/failover/link/(\S+)", _text(letter).replace("\n", " "))
    assert found is not None, _text(letter)
    return found.group(1)


def _await(house: House) -> Any:
    (row,) = house.runs()
    body = {"state": "await_approval", "reason": {"key": "failover.guard.mode", "params": {}}, "level": ""}
    house.store.write(lambda tx: runs.append(tx, row.id, "enter", body, house.now_ms))
    return row


def _confirmed(house: House, secret: str) -> int:
    context = AppContext(
        house.store,
        lambda: house.book,
        FixedClock(house.now_ms),
        options=WebOptions(keepalive_s=0.2, pulse_s=0.1),
    )
    with TestClient(make_app(context), base_url="http://desk.test") as client:
        page = client.get(f"/failover/link/{secret}")
        if page.status_code != 200:
            return page.status_code
        csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
        assert csrf is not None
        form = {"word": "approve", "csrf": csrf.group(1)}
        return client.post(f"/failover/link/{secret}", data=form).status_code


def test_who_may_decide_gets_a_letter_whose_link_says_yes_once(tmp_path, postbox) -> None:
    box, port = postbox
    house = _asked(tmp_path)
    row = _await(house)
    assert [r["destination"] for r in _rows(house)] == ["kate@desk.example"], (
        "leads, where the pair names nobody"
    )
    _deliver(house, port)
    (to, letter), *_ = [(to, one) for to, one in box.taken if "failover/link" in _text(one)]
    assert to == "kate@desk.example"
    said = _text(letter)
    assert "60 с" in said and "fence.ipmi" in said, "what is at stake and what would be done"
    assert said.count("fence.ipmi") == 1, "and that once"
    html = letter.get_body(("html",)).get_content()
    assert f'href="{URL}/failover/link/{_secret(letter)}"' in html
    assert _confirmed(house, _secret(letter)) == 200
    with house.store.read() as conn:
        run = runs.load(conn, row.id)
    assert run is not None and run.approval is not None and run.approval.person == "kate"
    assert _confirmed(house, _secret(letter)) == 410
    house.store.close()


def test_the_secret_is_in_the_letter_and_nowhere_else(tmp_path, postbox, caplog) -> None:
    box, port = postbox
    caplog.set_level(logging.DEBUG)
    house = _asked(tmp_path)
    _deliver(house, port)
    secrets = [_secret(letter) for _, letter in box.taken if "failover/link" in _text(letter)]
    assert secrets
    with house.store.read() as conn:
        for table in metadata.sorted_tables:
            told = str(conn.execute(select(table)).all())
            assert not any(secret in told for secret in secrets), table.name
    assert not any(secret in caplog.text for secret in secrets)
    assert not any(secret in str(letter.items()) for _, letter in box.taken for secret in secrets), (
        "no header"
    )
    house.store.close()


def test_a_letter_that_is_tried_again_keeps_its_id_and_has_a_link_that_works(tmp_path, postbox) -> None:
    box, port = postbox
    house = _asked(tmp_path)
    _await(house)
    box.busy = len(_rows(house)) + 5
    _deliver(house, port)
    box.busy = 0
    house.now_ms += 60_000
    _deliver(house, port)
    letters = [letter for _, letter in box.taken if "failover/link" in _text(letter)]
    assert len(letters) >= 2 and len({letter["Message-ID"] for letter in letters}) == 1
    assert _secret(letters[0]) != _secret(letters[-1])
    assert _confirmed(house, _secret(letters[-1])) == 200
    house.store.close()


def test_past_its_time_a_letter_has_no_link(tmp_path, postbox) -> None:
    box, port = postbox
    house = _asked(tmp_path)
    until_ms = _rows(house)[0]["payload"]["switch"]["until_ms"]
    house.now_ms = until_ms
    _deliver(house, port)
    assert box.taken and not any("failover/link" in _text(letter) for _, letter in box.taken)
    house.store.close()


def test_named_people_are_asked_and_nobody_else_and_lost_writes_are_asked_of_who_answers_for_them(
    tmp_path,
) -> None:
    named = _asked(tmp_path, approval={"people": ["olena"]})
    assert [r["payload"]["person"] for r in _rows(named)] == ["olena"]
    pair = named.pair
    named.store.close()
    (tmp_path / "b").mkdir()
    other = _asked(tmp_path / "b", approval={"people": ["olena"]}, data_loss_authority=["petro"], rpo=1)
    assert [r["payload"]["person"] for r in _rows(other)] in (["petro"], []), (
        "the backup is two seconds behind"
    )
    assert approvals.is_allowed(pair, approvals.Asker("olena", "engineer"), loses_writes=False)
    other.store.close()


def test_where_nobody_can_be_reached_the_request_says_so(tmp_path) -> None:
    house = House(f"sqlite:///{tmp_path}/store.db", mode="approve", approval={"people": ["ghost"]})
    house.well()
    house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    (row,) = house.runs()
    with house.store.read() as conn:
        wanted = select(ticket_events.c.body).where(
            ticket_events.c.ticket_id == row.ticket_id, ticket_events.c.kind == "call"
        )
        bodies = conn.execute(wanted).scalars().all()
    assert "failover.ask.nobody" in [body["reason"]["key"] for body in bodies]
    house.store.close()


def test_a_chat_asks_too(tmp_path) -> None:
    house = _asked(tmp_path)
    payload = _rows(house)[0]["payload"]
    _, body = chat.compose(payload, URL, f"{URL}/failover/link/abc")
    assert f"{URL}/failover/link/abc" in body
    assert loader.parse("{}", CollectorSettings).public_url == ""
    house.store.close()
