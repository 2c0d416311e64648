"""Where a ticket's mirrors are seen (page, API, command line), and the door of desks' webhooks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select

from collector.front import Front
from collector.mirror_hooks import BODY_MAX, HooksApp
from collector.settings import networks
from config.clock import FixedClock
from tests.desk_world import NOW_MS, Desk
from ticketing import cli, outbox, tables
from ticketing.mirrors.desks import Desks
from ticketing.mirrors.terms import DeskTerms
from ticketing.texts import texts

SECRET = b"something long enough"


@pytest.fixture
def mirrored(desk: Desk):
    """A ticket that stands in one desk, and waits for another that is away."""
    ticket_id = desk.tickets["disk"]

    def write(tx: Any) -> None:
        link = {
            "ticket_id": ticket_id,
            "desk": "office",
            "key": "vt-1-aa",
            "made_by": "m0",
            "created_at_ms": NOW_MS,
        }
        tx.execute(
            insert(tables.mirrored).values(**link, remote_id="77", url="https://office.example.org/issues/77")
        )
        for name in ("office", "theirs"):
            outbox.enqueue(
                tx, channel=f"mirror:{name}", destination=name, message_id=f"vt-1-{name}", payload={}, now_ms=NOW_MS,
                ticket_id=ticket_id,
            )  # fmt: skip
        rows = tables.outbox
        row = tx.execute(select(rows.c.id).where(rows.c.channel == "mirror:theirs")).scalar()
        outbox.settle(tx, row, outbox.Later("the desk answered 503"), NOW_MS)

    desk.store.write(write)
    yield ticket_id
    desk.store.write(lambda tx: tx.execute(delete(tables.mirrored)))
    desk.store.write(
        lambda tx: tx.execute(delete(tables.outbox).where(tables.outbox.c.channel.like("mirror:%")))
    )


def test_page_and_api_say_where_a_ticket_is_mirrored_and_what_waits(
    visit, bearer, stranger, mirrored
) -> None:
    page = visit("olena").get(f"/tickets/{mirrored}").text
    assert '<a href="https://office.example.org/issues/77" rel="noreferrer">#77</a>' in page
    assert "надсилається" in page and "ще не доставлено" in page and "the desk answered 503" in page
    told = stranger.get(f"/api/v1/tickets/{mirrored}", headers=bearer("olena")).json()
    office, theirs = told["mirrors"]
    assert (office["desk"], office["number"], office["state"], office["waiting"]) == (
        "office",
        "77",
        "waiting",
        1,
    )
    assert (theirs["desk"], theirs["number"], theirs["state"]) == ("theirs", "", "behind")
    assert theirs["problem"] == "the desk answered 503"
    lines = "\n".join(cli.describe(told, texts("en").at("Europe/Kyiv"), NOW_MS))
    assert "office #77 https://office.example.org/issues/77 (on its way)" in lines
    assert "theirs (not delivered yet: the desk answered 503)" in lines


def test_a_client_is_not_shown_our_desks(visit, bearer, stranger, mirrored) -> None:
    assert "office.example.org" not in visit("client-a").get(f"/tickets/{mirrored}").text
    assert stranger.get(f"/api/v1/tickets/{mirrored}", headers=bearer("client-a")).json()["mirrors"] == []


def _hook(
    desk: Desk, folder: Path, body: bytes, *, path: str = "/api/v1/desks/office/hook", **more: Any
) -> int:
    """The status that a webhook through the front door is answered with."""
    files = {name: folder / name for name in ("secret", "token")}
    files["secret"].write_bytes(SECRET + b"\n")
    files["token"].write_text("1-2-abcdef")
    terms = {
        "office": DeskTerms(
            "rt", "http://127.0.0.1:1", files["token"], "Key", hook_secret_file=files["secret"]
        ),
        "quiet": DeskTerms("rt", "http://127.0.0.1:1", files["token"], "Key"),
    }
    app = HooksApp(desk.store, FixedClock(NOW_MS), Desks(terms, FixedClock(NOW_MS)), lambda: None)
    front = Front(None, None, None, hooks=app, metrics_from=networks([]))  # type: ignore[arg-type]
    good = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    headers = [(b"x-vartovyi-signature-256", more.get("signature", good).encode())]
    scope = {"type": "http", "path": path, "method": more.get("method", "POST"), "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(front(scope, receive, send))
    return sent[0]["status"]


def test_a_signed_webhook_makes_its_ticket_be_looked_at_and_nothing_more(desk, mirrored, tmp_path) -> None:
    def link() -> Any:
        with desk.store.read() as conn:
            return conn.execute(select(tables.mirrored)).mappings().one()

    assert _hook(desk, tmp_path, b'{"ticket": 78}') == 202, "a ticket that is none of ours"
    assert link()["look_at_ms"] is None
    for _ in range(3):
        assert _hook(desk, tmp_path, b'{"ticket": 77, "status": "resolved"}') == 202
    assert (link()["look_at_ms"], link()["looks"]) == (NOW_MS, 2)
    with desk.store.read() as conn:
        state = conn.execute(select(tables.tickets.c.state).where(tables.tickets.c.id == mirrored)).scalar()
    assert state != "resolved"


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (401, {"signature": "sha256=" + "0" * 64}),
        (401, {"signature": ""}),
        (404, {"path": "/api/v1/desks/nowhere/hook"}),
        (404, {"path": "/api/v1/desks/quiet/hook"}),
        (404, {"path": "/api/v1/desks/office/other"}),
        (405, {"method": "GET"}),
        (400, {"body": b"[1]"}),
        (413, {"body": b"x" * (BODY_MAX + 1)}),
    ],
)
def test_other_webhooks_are_refused_with_a_reason(
    desk, mirrored, tmp_path, status: int, more: dict[str, Any]
) -> None:
    assert _hook(desk, tmp_path, more.pop("body", b'{"ticket": 77}'), **more) == status
