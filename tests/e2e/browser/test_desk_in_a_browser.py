"""The desk as an engineer meets it, in a real browser."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from ticketing import acts, intake
from ticketing.queries import Viewer

pytestmark = [pytest.mark.e2e, pytest.mark.collector, pytest.mark.slow]

KATE = Viewer("kate", "engineer", None, "en", "192.0.2.201")


def test_an_engineer_logs_in_and_reads_a_ticket_without_a_fault_in_the_console(browser):
    browser.log_in("olena")
    browser.until_live()
    browser.one(f"#t{browser.site.desk.tickets['disk']} a.title").click()
    browser.until(lambda: browser.has("#acts"))
    assert browser.has(".plots svg")
    assert "mysqldump" in browser.one("#main").text
    assert browser.faults() == []


def test_the_list_shows_a_new_ticket_and_a_taken_one_without_reloading(browser):
    browser.log_in("olena")
    browser.until_live()
    browser.driver.execute_script("window.stayed = true")
    desk, now_ms = browser.site.desk, browser.site.context.clock.now_ms()
    filed = desk.store.write(lambda tx: acts.file(tx, desk.book, KATE, "beta", 3, "Shop is down", "", now_ms))
    browser.site.context.bell.ring_ticket(filed)
    browser.until(lambda: browser.has(f"#t{filed}"))
    # The pulse tells of what nobody in this process rang for.
    desk.store.write(lambda tx: acts.perform(tx, desk.book, "take", filed, KATE, 1, now_ms + 5))
    browser.until(lambda: "Kate Holm" in browser.one(f"#t{filed}").text)
    assert browser.driver.execute_script("return window.stayed")


def test_what_a_person_types_and_the_focus_survive_a_live_change(browser):
    desk = browser.site.desk
    ticket = desk.tickets["disk"]
    browser.log_in("olena")
    browser.open(f"/tickets/{ticket}")
    browser.until_live()
    browser.one("#act-note summary").click()
    words = browser.one("#note-text")
    words.send_keys("Пишу довгу нотатку")
    now_ms = browser.site.context.clock.now_ms()
    desk.store.write(
        lambda tx: intake.add_evidence(tx, ticket, {"reason": {"key": "did.evidence", "params": {}}}, now_ms)
    )
    desk.store.write(lambda tx: acts.perform(tx, desk.book, "take", ticket, KATE, 1, now_ms))
    browser.site.context.bell.ring_ticket(ticket)
    browser.until(lambda: "Kate Holm" in browser.one(".chips").text)
    assert words.get_attribute("value") == "Пишу довгу нотатку"
    assert browser.driver.switch_to.active_element == words
    assert browser.one("#held").is_displayed()


def test_an_act_on_a_stale_page_shows_the_conflict_and_loses_no_word(browser):
    desk = browser.site.desk
    ticket = desk.tickets["disk"]
    browser.log_in("olena")
    browser.open(f"/tickets/{ticket}")
    browser.until_live()
    browser.one("#act-note summary").click()
    browser.one("#note-text").send_keys("Мої слова не пропадуть")
    now_ms = browser.site.context.clock.now_ms()
    desk.store.write(lambda tx: acts.perform(tx, desk.book, "take", ticket, KATE, 1, now_ms))
    browser.one("#form-note button").click()
    browser.until(lambda: browser.has("#conflict [role=alert]"))
    assert "Kate Holm" in browser.one("#conflict").text
    assert browser.one("#note-text").get_attribute("value") == "Мої слова не пропадуть"
    browser.until_live()
    desk.store.write(lambda tx: intake.add_evidence(tx, ticket, {"text": "marker"}, now_ms + 9))
    browser.site.context.bell.ring_ticket(ticket)
    browser.until(lambda: "marker" in browser.one(".history").text)
    assert browser.has("#conflict [role=alert]")
    assert not browser.one("#held").is_displayed()
    assert browser.one("#note-text").get_attribute("value") == "Мої слова не пропадуть"
    browser.one("#form-note button").click()
    browser.until(lambda: browser.driver.current_url.endswith(f"/tickets/{ticket}"))
    assert "Мої слова не пропадуть" in browser.one(".history").text


def test_the_language_switches_and_stays(browser):
    browser.log_in("olena")
    assert browser.one("h1").text == "Заявки"
    browser.one("button[name=language][value=en]").click()
    browser.until(lambda: browser.one("h1").text == "Tickets")
    browser.open("/hosts")
    assert browser.one("html").get_attribute("lang") == "en"
    assert browser.one("h1").text == "Hosts"


def test_a_form_whose_token_was_tampered_with_is_rejected(browser):
    ticket = browser.site.desk.tickets["disk"]
    browser.log_in("olena")
    browser.open(f"/tickets/{ticket}")
    # In one breath: a live change between the two would bring the form anew, with its own token.
    browser.driver.execute_script(
        "const form = document.querySelector('#form-take');"
        "form.querySelector('input[name=csrf]').value = 'f'.repeat(64);"
        "form.querySelector('button').click()"
    )
    browser.until(lambda: "403" in browser.one("main").text)
    browser.open(f"/tickets/{ticket}")
    assert browser.has("#form-take")


def test_every_control_has_a_name_and_the_page_fits_a_phone(browser):
    browser.log_in("olena")
    driver = browser.driver
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        for path in (
            "/tickets",
            f"/tickets/{browser.site.desk.tickets['disk']}",
            "/tickets/new",
            "/hosts",
            "/hosts/acme-web-1",
        ):
            browser.open(path)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= 360, path
            driver.execute_script(
                "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
            )
            for control in driver.find_elements(
                By.CSS_SELECTOR, "input:not([type=hidden]), select, textarea, button"
            ):
                if not control.is_displayed():
                    continue
                assert control.accessible_name, (path, control.get_attribute("outerHTML"))
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
