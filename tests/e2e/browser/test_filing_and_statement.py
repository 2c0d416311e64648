"""Filing, the first line's yes and the monthly statement as people meet them, in a real browser."""

from __future__ import annotations

import base64
import datetime as dt
from zoneinfo import ZoneInfo

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.collector, pytest.mark.slow]


def _wide(browser) -> int:
    """By how much the page is wider than its window."""
    return browser.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")


def test_a_client_files_on_a_phone_and_line_1_confirms(browser):
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.log_in("client-a")
    browser.open("/tickets/new")
    browser.one("#title").send_keys("Сервер не пускає по ssh")
    browser.one("#host").send_keys("acme-web-1")
    browser.one("main form button").click()
    browser.until(lambda: browser.has("main .notice[role=status]"))
    assert browser.one("#class").get_attribute("value") == "2"
    assert _wide(browser) <= 0
    browser.one("main form button").click()
    browser.until(lambda: "/tickets/new" not in browser.driver.current_url)
    ticket = browser.driver.current_url.rsplit("/", 1)[1]
    assert browser.faults() == []
    browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.log_in("kate")
    browser.open(f"/tickets/{ticket}")
    browser.until(lambda: browser.has("#act-qualify[open]"))
    browser.one("#form-qualify button").click()
    browser.until(lambda: not browser.has("#act-qualify"))
    assert "line 2" in browser.one(".chips").text
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_statement_shows_without_a_fault_and_prints_on_paper(browser):
    browser.log_in("olena")
    now = dt.datetime.fromtimestamp(browser.site.context.clock.now_ms() / 1000, ZoneInfo("Europe/Kyiv"))
    browser.open(f"/contracts/acme/statements/{now:%Y-%m}")
    assert browser.has(".tiles") and browser.has("svg.owners")
    assert _wide(browser) <= 0
    assert browser.faults() == []
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.one(".statement-nav").is_displayed()
    assert not browser.one(".top nav").is_displayed()
    paper = browser.driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert base64.b64decode(paper["data"]).startswith(b"%PDF")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
