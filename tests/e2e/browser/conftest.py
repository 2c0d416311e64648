"""A real Chromium before a real server: uvicorn on a port of its own, the desk of tests/desk_world.py behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from collector.web.app import make_app
from collector.web.context import AppContext, WebOptions
from config.clock import SystemClock
from tests.desk_world import PASSWORD, Desk, make_desk
from tests.tools import needs

WAIT_S = 30

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
    "--lang=uk",
)


class Site:
    """The server under test."""

    def __init__(self, desk: Desk, context: AppContext, url: str) -> None:
        self.desk = desk
        self.context = context
        self.url = url


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    clock = SystemClock()
    desk = make_desk(tmp_path, now_ms=clock.now_ms())
    context = AppContext(desk.store, lambda: desk.book, clock, options=WebOptions(pulse_s=0.5))
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(128)  # so that a browser that is quicker than the server waits instead of being refused
    config = uvicorn.Config(make_app(context), log_level="warning", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    yield Site(desk, context, f"http://127.0.0.1:{door.getsockname()[1]}")
    context.bell.close()
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "open live pages must not keep the server from stopping"
    desk.store.close()


class Browser:
    """What the tests do with a browser, in a person's words."""

    def __init__(self, driver: webdriver.Chrome, site: Site) -> None:
        self.driver = driver
        self.site = site

    def open(self, path: str) -> None:
        self.driver.get(self.site.url + path)

    def one(self, css: str):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def has(self, css: str) -> bool:
        return bool(self.driver.find_elements(By.CSS_SELECTOR, css))

    def until(self, what) -> None:
        """Wait until ``what()`` is true."""
        # Between two pages an element may be of the one that just went.
        passing = [StaleElementReferenceException, NoSuchElementException]

        def holds(_: object) -> bool:
            try:
                return what()
            except WebDriverException as error:
                # chromedriver's raw word for the same, when the page goes in the middle of what it asks of it.
                if "unhandled inspector error" in str(error.msg):
                    return False
                raise

        WebDriverWait(self.driver, WAIT_S, 0.05, ignored_exceptions=passing).until(holds)

    def until_live(self) -> None:
        self.until(lambda: self.one("#live").get_attribute("data-state") == "live")

    def log_in(self, name: str) -> None:
        self.open("/login")
        self.one("#login").send_keys(name)
        self.one("#password").send_keys(PASSWORD)
        self.one("main form button").click()
        self.until(lambda: self.driver.current_url.endswith("/tickets"))

    def faults(self) -> list[str]:
        """What the browser's console complained of: scripts, blocked styles, missing files."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    needs.require_package("chromium")
    needs.require_package("chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.set_capability("unhandledPromptBehavior", "accept")
    started = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield started
    started.quit()


@pytest.fixture
def browser(driver, site) -> Iterator[Browser]:
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    yield Browser(driver, site)
    driver.get("about:blank")
