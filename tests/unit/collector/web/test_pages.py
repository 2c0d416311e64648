"""The pages over ASGI: who sees what, what a forged or stale form does, and that both languages have every word."""

from __future__ import annotations

import re

import pytest

from ticketing import audit

pytestmark = pytest.mark.collector


def test_a_stranger_is_sent_to_the_log_in_and_back(stranger):
    answer = stranger.get("/tickets/2?x=1", follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"] == "/login?next=%2Ftickets%2F2%3Fx%3D1"


def test_log_in_opens_a_session_with_a_safe_cookie_and_goes_on(stranger, password):
    form = {
        "login": "olena",
        "password": password,
        "next": "/hosts",
        "csrf": _form_token(stranger.get("/login").text),
    }
    answer = stranger.post("/login", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/hosts")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("vartovyi_session="))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie


def test_a_log_in_form_of_another_site_is_refused(stranger, password):
    answer = stranger.post(
        "/login", data={"login": "olena", "password": password, "csrf": "0" * 64}, follow_redirects=False
    )
    assert answer.status_code == 403
    assert "vartovyi_session=" not in str(answer.headers)


def test_wrong_names_and_wrong_passwords_read_the_same_and_are_throttled(stranger, desk):
    texts = set()
    for login in ("nobody", "kate"):
        form = {
            "login": login,
            "password": "wrong wrong wrong",
            "csrf": _form_token(stranger.get("/login").text),
        }
        answer = stranger.post("/login", data=form)
        assert answer.status_code == 401
        texts.add(re.search(r'role="alert"[^>]*>([^<]+)<', answer.text).group(1))
    assert len(texts) == 1
    for _ in range(12):
        form = {
            "login": "kate",
            "password": "wrong wrong wrong",
            "csrf": _form_token(stranger.get("/login").text),
        }
        answer = stranger.post("/login", data=form)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    with desk.store.read() as conn:
        assert audit.of(conn, "person:kate")


@pytest.mark.parametrize("language", ["uk", "en"])
@pytest.mark.parametrize("path", ["/tickets", "/tickets?show=all", "/tickets/1", "/tickets/2", "/tickets/3", "/tickets/4",
                                  "/tickets/6", "/tickets/new", "/hosts", "/hosts/acme-web-1", "/hosts/acme-old"])  # fmt: skip
def test_every_page_is_there_in_both_languages_with_every_word(visit, path, language):
    """Texts are strict in tests: a missing key or parameter would be a 500."""
    browser = visit("olena")
    browser.cookies["vartovyi_language"] = language
    answer = browser.get(path)
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert not re.search(r">\s*web\.[a-z_.]+\s*<", answer.text)


def test_pages_hold_no_inline_script_or_style_and_carry_the_safety_headers(visit):
    answer = visit("olena").get("/tickets/2")
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


def test_a_client_sees_its_own_tickets_and_hosts_only(visit, desk):
    browser = visit("client-b")
    assert browser.get(f"/tickets/{desk.tickets['disk']}").status_code == 404
    assert browser.get("/hosts/acme-web-1").status_code == 404
    page = browser.get("/tickets?show=all").text
    assert f"/tickets/{desk.tickets['child_beta']}" in page
    assert "acme" not in page.lower()
    own = browser.get(f"/tickets/{desk.tickets['child_beta']}")
    assert own.status_code == 200
    assert "acme-db-1" not in own.text


def test_a_form_without_the_token_changes_nothing(visit, desk):
    browser = visit("olena")
    answer = browser.bare_post("/tickets/2/acts/take", data={"seen_version": "1"})
    assert answer.status_code == 403
    assert "ніхто не взяв" in browser.get("/tickets/2").text


def test_an_api_write_with_a_cookie_needs_the_token_and_with_a_bearer_token_does_not(visit, bearer, stranger):
    body = {"title": "Перевірка", "class": 6, "contract": "acme"}
    browser = visit("olena")
    assert browser.bare_post("/api/v1/tickets", json=body).status_code == 403
    with_token = browser.bare_post("/api/v1/tickets", json=body, headers={"X-CSRF-Token": browser.token()})
    assert with_token.status_code == 201
    assert stranger.post("/api/v1/tickets", json=body, headers=bearer("olena")).status_code == 201


def test_a_stale_act_says_what_changed_and_keeps_the_typed_words(visit, desk):
    ticket = desk.tickets["child_beta"]
    kate, taras = visit("kate"), visit("taras")
    page = taras.get(f"/tickets/{ticket}").text
    seen = {
        name: re.search(rf'name="{name}" value="(\d+)"', page).group(1)
        for name in ("seen_version", "seen_event")
    }
    assert (
        kate.post(f"/tickets/{ticket}/acts/take", {"seen_version": seen["seen_version"]}).status_code == 303
    )
    answer = taras.post(f"/tickets/{ticket}/acts/note", {**seen, "text": "Довгі слова <b>Тараса</b>"})
    assert answer.status_code == 409
    assert "Довгі слова &lt;b&gt;Тараса&lt;/b&gt;" in answer.text
    assert "Kate Holm" in answer.text
    again = re.search(r'acts/note".*?name="seen_version" value="(\d+)"', answer.text, re.DOTALL).group(1)
    assert int(again) > int(seen["seen_version"])
    assert taras.post(f"/tickets/{ticket}/acts/note", {"seen_version": again, "text": "x"}).status_code == 303


def test_filing_without_a_class_proposes_one_with_its_reason(visit):
    browser = visit("client-a")
    form = {"title": "Сайт не працює з ранку", "contract": "acme", "body": "білий екран"}
    proposed = browser.post("/tickets/new", form)
    assert proposed.status_code == 200
    assert '<option value="3" selected>' in proposed.text
    filed = browser.post("/tickets/new", {**form, "class": "3"})
    assert filed.status_code == 303
    assert browser.get(filed.headers["location"]).status_code == 200


def test_class_2_for_a_server_that_the_contract_does_not_hold_is_refused_with_the_reason(visit):
    form = {"title": "Мало місця", "contract": "acme", "host": "acme-old", "class": "2"}
    answer = visit("olena").post("/tickets/new", form)
    assert answer.status_code == 400
    assert 'value="Мало місця"' in answer.text
    assert 'role="alert"' in answer.text


def test_the_search_finds_by_number_host_cause_and_words(visit, desk):
    browser = visit("olena")
    assert browser.get("/tickets?q=%232").headers["location"] == "/tickets/2"
    assert f"/tickets/{desk.tickets['disk']}" in browser.get("/tickets?q=acme-web-1").text
    assert f"/tickets/{desk.tickets['disk']}" in browser.get("/tickets?q=файлову систему").text
    found = browser.get("/tickets?q=ПОКУПЦІ").text
    assert f'id="t{desk.tickets["filed"]}"' in found
    assert f'id="t{desk.tickets["disk"]}"' not in found


def test_an_unknown_ticket_and_a_mistyped_address_are_a_page_with_a_way_on(visit):
    browser = visit("olena")
    for path in (
        "/tickets/999999",
        "/tickets/99999999999999999999",
        "/hosts/nope",
        "/nowhere",
        "/tickets/2/acts/explode",
    ):
        answer = browser.get(path)
        assert answer.status_code in (302, 404), path
        assert answer.status_code == 302 or 'href="/tickets"' in answer.text


def test_log_out_ends_the_session_on_the_server(visit):
    browser = visit("olena")
    assert browser.post("/logout").status_code == 303
    assert browser.get("/tickets").status_code == 302


def _form_token(page: str) -> str:
    return re.search(
        r'action="/login">\s*<input type="hidden" name="csrf" value="([0-9a-f]{64})"', page
    ).group(1)
