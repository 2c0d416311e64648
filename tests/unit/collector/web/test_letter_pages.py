"""Letters that wait for a person, on their pages: read safely, put onto a ticket, filed, set aside, each once."""

from __future__ import annotations

import email.message
import email.policy
import itertools

import pytest
from sqlalchemy import select

from tests.desk_world import NOW_MS
from ticketing import tables
from ticketing.letters import rows
from ticketing.letters.decide import Outcome
from ticketing.letters.rows import Fetched
from ticketing.model import Reason

pytestmark = pytest.mark.collector
_UIDS = itertools.count(1)
EVIL = '<script>alert("x")</script> <img src="https://spy.example/p.png">'


@pytest.fixture
def held(desk):
    """``held(...)``: a letter of a stranger that waits; its number."""

    def make(subject="Help", text="The shop is down.", files=()):
        uid = next(_UIDS)
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["From"], message["To"] = "stranger@far.example", "desk@desk.example"
        message["Subject"], message["Message-ID"] = subject, f"<{uid}@far.example>"
        message.set_content(text)
        for name, kind, octets in files:
            main, _, sub = kind.partition("/")
            message.add_attachment(octets, maintype=main, subtype=sub, filename=name)
        raw = message.as_bytes()

        def write(tx):
            rows.take(tx, "box", 1, [Fetched(uid, NOW_MS - 3_600_000, raw)], NOW_MS)
            row = tx.execute(select(tables.mails).where(tables.mails.c.uid == uid)).mappings().one()
            reason = Reason("reason.letter.stranger", {"sender": "stranger@far.example"})
            rows.settle(tx, row["id"], Outcome.HELD, reason, NOW_MS)
            return row["id"]

        return desk.store.write(write)

    return make


def _row(desk, mail_id):
    with desk.store.read() as conn:
        return rows.one(conn, mail_id)


def _open_ticket(desk):
    with desk.store.read() as conn:
        found = conn.execute(
            select(tables.tickets.c.id).where(tables.tickets.c.open_mark == 1).limit(1)
        ).scalar()
    assert found is not None
    return found


def test_the_list_names_what_waits_and_why_and_the_tickets_page_points_there(visit, held):
    one = held(subject="Оплата не проходить")
    olena = visit("olena")
    page = olena.get("/letters")
    assert page.status_code == 200
    assert f'href="/letters/{one}"' in page.text and "Оплата не проходить" in page.text
    assert "stranger@far.example" in page.text
    assert 'href="/letters"' in olena.get("/tickets").text


def test_a_stranger_s_markup_is_text_and_nothing_of_it_is_loaded(visit, held):
    page = visit("olena").get(f"/letters/{held(subject=EVIL, text=EVIL)}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text and '<img src="https://spy' not in page.text
    assert "&lt;script&gt;" in page.text


def test_a_letter_is_put_onto_a_ticket_once(visit, desk, held):
    mail_id, ticket_id = held(text="It is still down."), _open_ticket(desk)
    olena = visit("olena")
    done = olena.post(f"/letters/{mail_id}", {"word": "put", "ticket": f"#{ticket_id}"})
    assert (done.status_code, done.headers["location"]) == (303, f"/tickets/{ticket_id}")
    assert "It is still down." in olena.get(f"/tickets/{ticket_id}").text
    assert (_row(desk, mail_id)["outcome"], _row(desk, mail_id)["ticket_id"]) == ("remarked", ticket_id)
    again = olena.post(f"/letters/{mail_id}", {"word": "put", "ticket": str(ticket_id)})
    assert again.status_code == 409
    with desk.store.read() as conn:
        events = tables.ticket_events
        wanted = select(events.c.body).where(events.c.ticket_id == ticket_id, events.c.kind == "letter")
        said = [body for body in conn.execute(wanted).scalars() if body.get("mail") == mail_id]
    assert len(said) == 1
    page = olena.get(f"/letters/{mail_id}")
    assert page.status_code == 200 and 'name="word"' not in page.text, "what was done stays to be read"


def test_a_ticket_that_is_not_there_is_told_and_the_letter_waits_on(visit, desk, held):
    mail_id = held()
    for wrong in ("999999", "x"):
        page = visit("olena").post(f"/letters/{mail_id}", {"word": "put", "ticket": wrong})
        assert page.status_code == 404 and wrong in page.text
    assert _row(desk, mail_id)["outcome"] == "held"


def test_a_letter_becomes_a_ticket_of_the_chosen_contract(visit, desk, held):
    contract = min(c for c in desk.book.contracts if c != "internal")
    mail_id = held(subject="New shop", text="Please look.")
    done = visit("olena").post(f"/letters/{mail_id}", {"word": "file", "contract": contract, "class": "4"})
    assert done.status_code == 303
    with desk.store.read() as conn:
        number = int(done.headers["location"].rpartition("/")[2])
        row = conn.execute(select(tables.tickets).where(tables.tickets.c.id == number)).mappings().one()
    assert (row["contract_id"], row["class"], row["title"], row["origin"]) == (
        contract,
        4,
        "New shop",
        "mail",
    )
    assert _row(desk, mail_id)["ticket_id"] == number


def test_setting_aside_needs_a_reason_and_keeps_it(visit, desk, held):
    mail_id = held()
    olena = visit("olena")
    assert olena.post(f"/letters/{mail_id}", {"word": "drop", "why": "  "}).status_code == 400
    done = olena.post(f"/letters/{mail_id}", {"word": "drop", "why": "реклама"})
    assert (done.status_code, done.headers["location"]) == (303, "/letters")
    assert f'href="/letters/{mail_id}"' not in olena.get("/letters").text
    assert "реклама" in olena.get(f"/letters/{mail_id}").text
    with desk.store.read() as conn:
        acts = conn.execute(
            select(tables.audit.c.act).where(tables.audit.c.object == f"mail:{mail_id}")
        ).scalars()
        assert list(acts) == ["mail_drop"]


def test_a_file_is_saved_and_never_shown(visit, held):
    mail_id = held(files=[("page.html", "text/html", b"<script>1</script>")])
    got = visit("olena").get(f"/letters/{mail_id}/files/0")
    assert got.status_code == 200 and got.content == b"<script>1</script>"
    assert got.headers["content-type"].startswith("application/octet-stream")
    assert got.headers["content-disposition"].startswith("attachment;")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert visit("olena").get(f"/letters/{mail_id}/files/7").status_code == 404


def test_clients_and_strangers_see_no_letters_and_a_forged_form_does_nothing(visit, desk, held, stranger):
    mail_id = held()
    with desk.store.read() as conn:
        people = tables.people
        client = conn.execute(select(people.c.id).where(people.c.role == "client").limit(1)).scalar()
    one = visit(client)
    for path in ("/letters", f"/letters/{mail_id}", f"/letters/{mail_id}/files/0"):
        assert one.get(path).status_code == 403
        assert stranger.get(path, follow_redirects=False).status_code in (302, 303, 401)
    assert one.post(f"/letters/{mail_id}", {"word": "drop", "why": "x"}).status_code == 403
    assert 'href="/letters"' not in one.get("/tickets").text
    forged = visit("olena").bare_post(
        f"/letters/{mail_id}", data={"word": "drop", "why": "x", "csrf": "0" * 64}
    )
    assert forged.status_code == 403 and _row(desk, mail_id)["outcome"] == "held"


def test_a_letter_that_is_not_there_is_404(visit):
    assert visit("olena").get("/letters/99999999").status_code == 404
