"""Filing by page and API, what line 1 confirms, what a client is asked; and what a ticket shows of earlier ones."""

from __future__ import annotations

import re

import pytest

from collector.observed import observe
from collector.web import changes
from ticketing import filing
from ticketing.queries import Viewer, ticket

pytestmark = pytest.mark.collector

OLENA = Viewer("olena", "engineer")


def _ticket(answer) -> int:
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rsplit("/", 1)[1])


def test_the_form_proposes_class_and_line_with_the_reason_and_what_is_open_about_the_server(visit, desk):
    browser = visit("client-a")
    browser.cookies["vartovyi_language"] = "en"
    form = {"title": "Сервер не пускає по ssh", "host": "acme-web-1"}
    answer = browser.post("/tickets/new", form)
    assert answer.status_code == 200
    assert "Proposed: class 2, line 2." in answer.text
    assert "ssh" in answer.text and "deeper knowledge" in answer.text
    assert f'href="/tickets/{desk.tickets["disk"]}"' in answer.text
    filed = _ticket(browser.post("/tickets/new", {**form, "class": "2"}))
    with desk.store.read() as conn:
        view = ticket(conn, OLENA, filed)
    assert (view.class_, view.line, view.contract_id) == (2, 1, "acme")
    # Nothing is a client's to confirm; line 1 finds the form open, with the proposal in it.
    assert "act-qualify" not in browser.get(f"/tickets/{filed}").text
    page = visit("kate").get(f"/tickets/{filed}").text
    assert re.search(r'id="act-qualify" open', page)
    done = visit("kate").post(
        f"/tickets/{filed}/acts/qualify", {"seen_version": "1", "class_": "2", "line": "2"}
    )
    assert done.status_code == 303
    with desk.store.read() as conn:
        view = ticket(conn, OLENA, filed)
    assert view.line == 2 and filing.unconfirmed(view.origin, view.events) is None
    assert "act-qualify" not in visit("kate").get(f"/tickets/{filed}").text


def test_a_wish_needs_no_second_step_and_is_class_2(visit, desk):
    filed = _ticket(
        visit("client-a").post("/tickets/new", {"title": "Перемкніть нас", "wish": "switch_to_backup"})
    )
    with desk.store.read() as conn:
        assert ticket(conn, OLENA, filed).class_ == 2


def test_what_the_contract_does_not_hold_is_told_kindly_recorded_and_keeps_the_words(visit, desk):
    form = {
        "title": "Поставте новий PHP на старий сервер",
        "body": "Будь ласка",
        "host": "acme-old",
        "wish": "upkeep",
    }
    answer = visit("client-a").post("/tickets/new", form)
    assert answer.status_code == 400
    assert "Будь ласка" in answer.text and "записано" in answer.text
    with desk.store.read() as conn:
        recorded = filing.not_taken(conn, "acme")
    assert recorded[0].title == form["title"]
    assert recorded[0].reason.key == "reason.intake.class2_kind"


def test_whether_another_clients_server_exists_shows_nowhere_in_the_form(visit):
    known = visit("client-b").get("/tickets/new?host=acme-web-1").text
    unknown = visit("client-b").get("/tickets/new?host=acme-web-9").text
    cut = re.compile(r'name="csrf" value="[^"]+"|acme-web-\d')
    assert cut.sub("", known) == cut.sub("", unknown)
    assert 'value="acme-web-1"' not in known


def test_the_api_proposes_a_class_and_says_that_line_1_confirms_it(stranger, bearer):
    body = {"title": "Не проходить оплата", "contract": "acme", "application": "Крамниця"}
    answer = stranger.post("/api/v1/tickets", json=body, headers=bearer("client-a"))
    assert answer.status_code == 201
    told = answer.json()
    assert (told["class"], told["line"], told["is_confirmed"]) == (4, 1, False)
    assert told["proposed"]["line"] == 3 and told["proposed"]["reasons"]
    full = stranger.get(f"/api/v1/tickets/{told['id']}", headers=bearer("olena")).json()
    assert full["proposed"] == told["proposed"]
    refused = stranger.post(
        "/api/v1/tickets", json={**body, "application": "Чужа"}, headers=bearer("client-a")
    )
    assert refused.status_code == 400 and set(refused.json()["fields"]) == {"application"}


def test_a_client_reads_the_question_first_and_finds_the_answer_form_open(visit, desk):
    page = visit("client-a").get(f"/tickets/{desk.tickets['filed']}").text
    assert "Чекаємо на вашу відповідь" in page and "консолі браузера" in page
    assert re.search(r'id="act-client_answered" open', page)
    # What was typed before is untouched by the question.
    assert "Клієнта запитали" in visit("olena").get(f"/tickets/{desk.tickets['filed']}").text


def test_a_ticket_shows_what_helped_before_and_why_that_is_like_it(visit, desk):
    page = visit("olena").get(f"/tickets/{desk.tickets['disk']}").text
    assert "Видалено копії, старші за 7 днів" in page
    assert "та сама причина" in page and "той самий сервер acme-web-1" in page
    steps = re.search(r'<ol class="steps">(.*?)</ol>', page, re.DOTALL).group(1)
    assert "<code>df -h</code>" in steps


def test_a_ticket_shows_what_changed_just_before_and_a_client_not_who_typed_what(
    visit, stranger, bearer, desk
):
    with desk.store.read() as conn:
        began_ms = ticket(conn, OLENA, desk.tickets["disk"]).began_at_ms
    told = (
        ("acme-web-1", "ops.action", "systemctl restart mariadb (sudo, user root)", began_ms - 300_000),
        ("acme-web-1", "ops.action", "packages installed: kernel-5.14 (dnf)", began_ms - 600_000),
        ("alfa", "prov.event", "live migration", began_ms - 900_000),
        ("acme-web-1", "ops.action", "too long ago", began_ms - changes.BEFORE_MS - 1),
        ("beta-shop", "ops.action", "another client's", began_ms - 60_000),
    )
    for host, signal, value, at_ms in told:
        desk.store.write(lambda tx, h=host, s=signal, v=value, a=at_ms: observe(tx, h, s, v, a, "test"))
    address = f"/api/v1/tickets/{desk.tickets['disk']}"
    shown = stranger.get(address, headers=bearer("olena")).json()["changed_before"]
    assert [
        (one["kind"], one["text"][:12]) for one in shown if one["kind"] not in ("ticket", "contract")
    ] == [
        ("act", "systemctl re"),
        ("package", "packages ins"),
        ("provider", "live migrati"),
    ]
    page = visit("olena").get(f"/tickets/{desk.tickets['disk']}").text
    assert "systemctl restart mariadb" in page and "за 5 хв до початку" in page
    client = visit("client-a").get(f"/tickets/{desk.tickets['disk']}").text
    assert "systemctl restart mariadb" not in client and "live migration" in client
    own = stranger.get(address, headers=bearer("client-a")).json()
    assert own["next_steps"] == [] and {one["kind"] for one in own["changed_before"]} <= {
        "provider",
        "contract",
        "ticket",
    }
