"""The contract and its monthly statement on pages, in files, by API and command line; nobody reads another client's."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re

import pytest
from litestar import Litestar
from sqlalchemy import insert

from collector.tables import failover_journal, failover_runs, findings
from collector.tick.rows import OUTSIDE_STREAM
from collector.web.app import litestar_app
from tests.desk_world import MINUTE, NOW_MS
from ticketing import acts
from ticketing.queries import Viewer
from ticketing.statement import table

pytestmark = pytest.mark.collector

MONTH = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.timezone.utc).strftime("%Y-%m")
PAGE = f"/contracts/acme/statements/{MONTH}"


@pytest.mark.parametrize("language", ["uk", "en"])
@pytest.mark.parametrize("path", ["/contracts", "/contracts/acme", "/contracts/beta", "/contracts/acme?version=1",
                                  "/contracts/internal", PAGE, "/contracts/beta/statements/" + MONTH, PAGE + "/html",
                                  f"/contracts/internal/statements/{MONTH}"])  # fmt: skip
def test_every_page_is_there_in_both_languages_with_every_word(visit, path, language):
    browser = visit("olena")
    browser.cookies["vartovyi_language"] = language
    answer = browser.get(path)
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in answer.text
    assert not re.search(r">\s*(web|statement)\.[a-z_.]+\s*<", answer.text)


def test_the_contract_says_what_is_promised_and_which_servers_are_worked_on(visit):
    page = visit("client-a").get("/contracts/acme").text
    assert "30 хв" in page and "8 год" in page
    assert "acme-old" in page and "не передбачено" in page
    assert "Крамниця" in page
    assert visit("client-a").get("/contracts").headers["location"] == "/contracts/acme"


def test_what_the_contract_does_not_hold_stands_with_the_contract_and_in_the_statement(visit, desk):
    refused = {"title": "Оновіть старий сервер", "host": "acme-old", "wish": "upkeep"}
    assert visit("client-a").post("/tickets/new", refused).status_code == 400
    assert "Оновіть старий сервер" in visit("olena").get("/contracts/acme").text
    assert "Оновіть старий сервер" in visit("olena").get(PAGE).text


@pytest.mark.parametrize("month", ["2026-13", "abc", "2999-01"])
def test_a_month_that_is_none_or_has_not_begun_is_refused_with_a_page(visit, bearer, stranger, month):
    assert visit("olena").get(f"/contracts/acme/statements/{month}").status_code == 400
    answer = stranger.get(f"/api/v1/contracts/acme/statements/{month}", headers=bearer("olena"))
    assert answer.status_code == 400 and "month" in answer.json()["fields"]


def test_the_statement_has_the_months_tickets_whose_minutes_and_none_for_no_failover(visit, desk):
    browser = visit("olena")
    browser.cookies["vartovyi_language"] = "en"
    page = browser.get(PAGE).text
    assert f'href="/tickets/{desk.tickets["disk"]}"' in page
    # Parents of several contracts and other clients' tickets are not in it.
    assert f'href="/tickets/{desk.tickets["child_beta"]}"' not in page
    assert "Чи бачите ви помилку в консолі браузера?" in page
    section = re.search(r'id="failovers-title".*?</section>', page, re.DOTALL).group(0)
    assert "None." in section
    assert page.count("<svg") == 2


def _switched(desk, run_id: str, account: dict | None) -> None:
    """A switch of this month that came to its end, with what it cost."""
    run = {"id": run_id, "pair": "acme-1>acme-2", "contract_id": "acme", "kind": "failover", "mode": "auto",
           "state": "hold_down", "plan_hash": "0" * 64, "began_at_ms": NOW_MS - MINUTE, "acted_at_ms": NOW_MS - MINUTE,
           "ended_at_ms": NOW_MS}  # fmt: skip
    body = {"state": "on_backup", **({"account": account} if account else {})}
    entry = {"run_id": run_id, "seq": 9, "at_ms": NOW_MS, "kind": "enter", "actor": "engine", "term": 1, "epoch": 1,
             "body": body, "prev_sha256": "0" * 64, "sha256": "0" * 64}  # fmt: skip
    desk.store.write(lambda tx: tx.execute(insert(failover_runs).values(run)))
    desk.store.write(lambda tx: tx.execute(insert(failover_journal).values(entry)))


def test_the_statement_says_what_each_switch_took_and_lost_against_the_contract(
    visit, bearer, stranger, desk
):
    limits = {"rto_limit_s": 300.0, "rpo_limit_s": 60.0}
    _switched(desk, "kept", {"rto_s": 187.4, "rpo_s": 3.2, **limits})
    _switched(desk, "missed", {"rto_s": 301.0, "rpo_s": 60.6, **limits})
    _switched(desk, "unknown", {"rto_s": 20.0, "rpo_s": None, **limits})
    _switched(desk, "of-before", None)
    browser = visit("client-a")
    browser.cookies["vartovyi_language"] = "en"
    section = re.search(r'id="failovers-title".*?</section>', browser.get(PAGE).text, re.DOTALL).group(0)
    assert [re.findall(r'tone-(\w+)">([^<]+)<', part) for part in section.split("<li>")[1:]] == [
        [("good", "back after 187 s (RTO 300 s: kept)"), ("good", "at most 3 s of writes lost (RPO 60 s: kept)")],
        [("bad", "back after 301 s (RTO 300 s: missed)"), ("bad", "at most 61 s of writes lost (RPO 60 s: missed)")],
        [("good", "back after 20 s (RTO 300 s: kept)"), ("warn", "lost writes not measured (RPO 60 s)")],
        [],
    ]  # fmt: skip
    browser.cookies["vartovyi_language"] = "uk"
    assert "відновлено за 187 с (RTO 300 с: дотримано)" in browser.get(PAGE).text
    answer = stranger.get(f"/api/v1/contracts/acme/statements/{MONTH}", headers=bearer("olena")).json()
    assert [(one["rto_s"], one["rpo_s"], one["rto_limit_s"]) for one in answer["failovers"]] == [
        (187.4, 3.2, 300.0), (301.0, 60.6, 300.0), (20.0, None, 300.0), (None, None, None),
    ]  # fmt: skip
    rows = list(
        csv.DictReader(io.StringIO(browser.get(PAGE + "/csv?part=failovers").text.removeprefix("\ufeff")))
    )
    assert [row["rto_s"] for row in rows] == ["187.4", "301.0", "20.0", ""]


def test_csv_opens_in_a_spreadsheet_and_starts_no_formula(visit, desk):
    olena = Viewer("olena", "engineer")
    desk.store.write(lambda tx: acts.file(tx, desk.book, olena, "acme", 6, "=1+1|cmd", "", NOW_MS - MINUTE))
    answer = visit("olena").get(PAGE + "/csv?part=tickets")
    assert answer.headers["content-disposition"] == f'attachment; filename="acme-{MONTH}-tickets.csv"'
    assert answer.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert any(row["summary"] == "'=1+1|cmd" for row in rows)
    filed = next(row for row in rows if row["ticket"] == str(desk.tickets["filed"]))
    # Filed 95 minutes ago, the client asked 15 minutes later and silent since: 15 minutes ours, 80 the client's.
    assert (filed["ours_min"], filed["client_min"], filed["resolution"]) == ("15.0", "80.0", "paused")
    for part in table.PARTS:
        assert visit("olena").get(f"{PAGE}/csv?part={part}").status_code == 200
    assert visit("olena").get(PAGE + "/csv?part=secrets").status_code == 404


def test_outside_probes_count_where_no_ticket_came_of_them(visit, desk, stranger, bearer):
    def seen(tx) -> None:
        for n, kind, at_ms in ((1, "opened", NOW_MS - 300 * MINUTE), (2, "closed", NOW_MS - 240 * MINUTE)):
            tx.execute(
                insert(findings).values(
                    host_id="acme-web-1", stream=OUTSIDE_STREAM, n=n, kind=kind, opening_n=1, rule="svc.outside",
                    subject="site", family="service", severity="high", at_ms=at_ms, received_at_ms=at_ms, body={},
                )
            )  # fmt: skip

    desk.store.write(seen)
    made = stranger.get(f"/api/v1{PAGE}", headers=bearer("olena")).json()
    (site,) = [row for row in made["availability"] if row["service"] == "site"]
    assert (site["host"], site["down_ms"], site["outages"]) == ("acme-web-1", 60 * MINUTE, 1)


def test_the_parts_of_the_minutes_add_up_in_the_api_too(stranger, bearer):
    made = stranger.get(f"/api/v1{PAGE}", headers=bearer("olena")).json()
    for name in made["minutes"]:
        assert made["minutes"][name] == sum(ticket["minutes"][name] for ticket in made["tickets"])


def test_the_stream_tells_how_far_it_is_and_ends_with_the_statement(stranger, bearer):
    for form in ("json", "csv", "html"):
        answer = stranger.get(f"/api/v1{PAGE}/stream?form={form}", headers=bearer("client-a"))
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines[0]["done"] == 0 and lines[-2]["done"] == lines[-2]["of"] > 0
        assert lines[-1]["form"] == form and lines[-1]["body"]
    # Of its own language, not of who asks: it is the client's statement.
    english = stranger.get(
        f"/api/v1/contracts/beta/statements/{MONTH}/stream?form=html", headers=bearer("olena")
    )
    assert "Statement for" in json.loads(english.text.splitlines()[-1])["body"]


def test_the_file_stands_alone_and_its_links_lead_nowhere(visit):
    text = visit("olena").get(PAGE + "/html").text
    assert "<style>" in text and "@page" in text
    assert not re.search(r"<(script|link|img)|href=", text)


OWN_PATHS = {
    "ticket_id": ("child_acme", "child_beta"),
    "host_id": ("acme-web-1", "beta-shop"),
    "contract_id": ("acme", "beta"),
    "run_id": ("", "run-beta"),
}
"""Parameter of a path -> what is the client's own, what is another client's."""
STAFF_ONLY = "/letters/"
"""Where no client gets anywhere, whosever it is: letters that wait for a person."""
OPEN = {"/static/{name:str}", "/api/v1/{path:str}", "/failover/link/{secret:str}"}
"""Files and the API's own description, the same for everybody; and what a secret of its own opens, session or not."""
MAY_BE_NONE = ("failover", "dossier")
"""Pages that the tickets of this desk need not have, for nobody."""


def _paths(app: Litestar) -> list[tuple[str, str]]:
    found = []
    for route in app.routes:
        for method in sorted(getattr(route, "methods", ()) - {"OPTIONS", "HEAD"}):
            if "{" in route.path and route.path not in OPEN:
                found.append((method, route.path))
    return found


def test_a_client_reaches_nothing_of_another_contract_by_any_route(context, stranger, bearer, visit, desk):
    """Every route with a parameter, with another client's ids: the answer is that there is no such thing."""
    tried = 0
    client, staff = visit("client-a"), visit("olena")
    token = client.token()
    run = {"pair": "x>y", "kind": "failover", "mode": "auto", "state": "done", "plan_hash": "0" * 64}
    values = {"id": "run-beta", "contract_id": "beta", "began_at_ms": NOW_MS, **run}
    desk.store.write(lambda tx: tx.execute(insert(failover_runs).values(values)))
    for method, path in _paths(litestar_app(context)):
        names = re.findall(r"\{(\w+):?\w*\}", path)
        if path.startswith(STAFF_ONLY):
            tell = {"data": {"csrf": token}} if method == "POST" else {}
            said = client.bare_post if method == "POST" else client.get
            assert said(re.sub(r"\{\w+:int\}", "1", path), **tell).status_code == 403, path
            continue
        foreign = path
        for name in names:
            value = OWN_PATHS.get(name, ("", ""))[1]
            value = str(desk.tickets[value]) if value in desk.tickets else value
            value = value or {"month": MONTH, "act": "note"}.get(name, "")
            assert value, f"{path}: say in this test whose `{name}` may be"
            foreign = re.sub(r"\{" + name + r":?\w*\}", value, foreign)
        if not set(names) & set(OWN_PATHS):
            continue
        tried += 1
        if method == "GET":
            answer = client.get(foreign)
            # It is there, for who may see it: else this would prove nothing.
            assert staff.get(foreign).status_code != 404 or any(word in path for word in MAY_BE_NONE), foreign
        elif foreign.startswith("/api/"):
            body = {"seen_version": 1, "text": "x"}
            answer = stranger.request(method, foreign, json=body, headers=bearer("client-a"))
        else:
            answer = client.bare_post(foreign, data={"csrf": token, "seen_version": "1", "text": "x"})
        # The address of an act leads back to the ticket, which is not there.
        if path.startswith("/tickets/") and path.endswith("/acts/{act:str}") and method == "GET":
            assert answer.status_code == 302
            continue
        assert answer.status_code == 404, (method, foreign, answer.status_code)
        assert "beta" not in answer.text.lower().replace(foreign.lower(), ""), foreign
    assert tried >= 12


def test_lists_and_searches_name_nothing_of_another_contract(stranger, bearer, visit):
    headers = bearer("client-a")
    for path in ("/api/v1/tickets?state=all&contract=beta", "/api/v1/tickets?state=all&host=beta-shop",
                 "/api/v1/tickets?state=all&q=beta", "/api/v1/hosts?contract=beta", "/api/v1/contracts"):  # fmt: skip
        assert "beta" not in stranger.get(path, headers=headers).text, path
    for path in ("/tickets?show=all&contract=beta", "/tickets?show=all&q=beta-shop", "/hosts?contract=beta",
                 "/tickets/new?host=beta-shop", "/contracts/acme", PAGE):  # fmt: skip
        text = visit("client-a").get(path).text
        # What was asked for stands in the search box and in the way back again.
        shown = re.sub(r'value="[^"]*"', "", text).lower()
        assert "beta" not in shown, path
