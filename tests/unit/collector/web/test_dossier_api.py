"""The dossier over the API and the page: a draft for the staff, and the act that sends it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from config import loader
from tests import desk_world
from ticketing import contracts, ledger, tables
from ticketing.model import Reason
from ticketing.terms import Contract

DESKS = 'provider_desks: [{provider: alfa, to: [support@alfa.example], client_number: "K-77"}]\nhosts:'


@pytest.fixture
def with_desk(desk, context):
    """The desk, with a contract that says how the provider is written to; the others' tests see the one without."""
    loaded = contracts.Loaded(
        (
            loader.parse(desk_world.ACME.replace("hosts:", DESKS, 1), Contract),
            loader.parse(desk_world.BETA, Contract),
        ),
        (),
    )
    context.book = lambda: contracts.Book.of(loaded.contracts)
    return desk


def test_the_staff_reads_the_draft_and_a_client_is_told_of_none(with_desk, stranger, bearer):
    number = with_desk.tickets["child_acme"]
    found = stranger.get(f"/api/v1/tickets/{number}/dossier", headers=bearer("olena"))
    assert found.status_code == 200 and found.json()["to"] == ["support@alfa.example"]
    assert "K-77" in found.json()["text"] and "192.0.2.12" in found.json()["text"]
    for who in ("client-a", "client-b"):
        assert stranger.get(f"/api/v1/tickets/{number}/dossier", headers=bearer(who)).status_code == 404
    assert stranger.get("/api/v1/tickets/999999/dossier", headers=bearer("olena")).status_code == 404
    other = with_desk.tickets["child_beta"]
    assert stranger.get(f"/api/v1/tickets/{other}/dossier", headers=bearer("olena")).status_code == 404


def test_the_act_sends_it_with_the_persons_words(with_desk, stranger, bearer):
    number = with_desk.tickets["disk"]
    seen = stranger.get(f"/api/v1/tickets/{number}", headers=bearer("olena")).json()["version"]
    body = {"seen_version": seen, "text": "Диск на вузлі n7", "send": True}
    done = stranger.post(f"/api/v1/tickets/{number}/acts/ask_provider", json=body, headers=bearer("olena"))
    assert done.status_code == 200 and done.json()["state"] == "waiting_provider", done.text
    with with_desk.store.read() as conn:
        rows = (
            conn.execute(select(tables.outbox).filter_by(ticket_id=number, channel="mail")).mappings().all()
        )
    assert [r["payload"]["letter"]["paragraphs"] for r in rows if "letter" in r["payload"]] == [
        ["Диск на вузлі n7"]
    ]


def test_the_page_offers_it_as_a_box_that_is_not_ticked(desk, visit):
    page = visit("taras").get(f"/tickets/{desk.tickets['parent']}").text
    box = page.partition('name="send"')
    assert box[1] and "checked" not in box[2].partition(">")[0]


def test_the_page_shows_letters_with_their_files_and_what_went_to_the_provider(desk, visit):
    number = desk.tickets["filed"]
    letter = {
        "reason": Reason("reason.letter.stranger_on_ticket", {"sender": "eve@x.example"}).to_dict(),
        "text": "<b>hello</b>", "mail": 17, "from": "eve@x.example",
        "attachments": [{"number": 0, "name": "знімок.png", "type": "image/png", "bytes": 3, "sha256": "0"}],
    }  # fmt: skip
    sent = {
        "reason": Reason("reason.provider.sent", {"desk": "alfa", "to": "support@alfa.example"}).to_dict()
    }

    def write(tx):
        ledger.write_event(tx, number, desk_world.NOW_MS, "machine", "letter", letter)
        ledger.write_event(
            tx, number, desk_world.NOW_MS, "olena", "dossier", sent | {"dossier": {}, "text": ""}
        )

    desk.store.write(write)
    page = visit("olena").get(f"/tickets/{number}").text
    assert "знімок.png (3 B)" in page and "eve@x.example" in page and "&lt;b&gt;hello" in page
    assert "Досьє надіслано провайдеру (alfa): support@alfa.example" in page
    assert "eve@x.example" not in visit("client-a").get(f"/tickets/{number}").text, "for the staff only"
