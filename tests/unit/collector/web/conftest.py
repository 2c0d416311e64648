"""The web room on a real desk (tests/desk_world.py), asked over ASGI in this process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from collector.web.app import make_app
from collector.web.context import AppContext, WebOptions
from config.clock import FixedClock
from tests.desk_world import NOW_MS, PASSWORD, Desk, make_desk
from ticketing import people, texts

pytestmark = pytest.mark.collector


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Schemathesis makes its cases while it is collected, for seconds: only where slow tests are wanted."""
    wanted = config.getoption("markexpr") or ""
    is_left_out = "not slow" in wanted or wanted.startswith("e2e")
    return True if is_left_out and collection_path.name == "test_api_schema.py" else None


@pytest.fixture(autouse=True)
def _strict_texts() -> Iterator[None]:
    texts.set_strict(True)
    yield
    texts.set_strict(False)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    made = make_desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def clock() -> FixedClock:
    return FixedClock(NOW_MS)


@pytest.fixture(scope="module")
def context(desk, clock) -> AppContext:
    """Its thread bounds belong to one event loop: ``served``'s."""
    return AppContext(desk.store, lambda: desk.book, clock, options=WebOptions(keepalive_s=0.2, pulse_s=0.1))


@pytest.fixture(scope="module")
def served(context) -> Iterator[TestClient]:
    """The app, once a file: the framework takes a tenth of a second to read its routes."""
    with TestClient(make_app(context), base_url="http://desk.test") as client:
        yield client


@pytest.fixture
def stranger(served) -> TestClient:
    """Somebody without a session."""
    served.cookies.clear()
    return served


class Visit:
    """A browser of somebody who logged in, as far as HTTP goes; several share the test's one server."""

    def __init__(self, client: TestClient, secret: str) -> None:
        self.client = client
        self.cookies = {"vartovyi_session": secret}

    def get(self, path: str, **more):
        return self._ask("GET", path, **more)

    def token(self) -> str:
        return re.search(r'name="csrf" value="([0-9a-f]{64})"', self.get("/hosts").text).group(1)

    def post(self, path: str, form: dict | None = None, **more):
        return self.bare_post(path, data={"csrf": self.token(), **(form or {})}, **more)

    def bare_post(self, path: str, **more):
        return self._ask("POST", path, **more)

    def _ask(self, method: str, path: str, headers: dict | None = None, **more):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.client.cookies.clear()
        return self.client.request(
            method, path, headers={"cookie": cookie, **(headers or {})}, follow_redirects=False, **more
        )


@pytest.fixture
def visit(stranger, desk, clock):
    """``visit("olena")``: her session, opened without the slow password."""

    def enter(name: str) -> Visit:
        with desk.store.read() as conn:
            person = people.person(conn, name)
        secret = desk.store.write(lambda tx: people.open_session(tx, person, clock.now_ms(), "192.0.2.9"))
        return Visit(stranger, secret)

    return enter


@pytest.fixture
def bearer(desk, clock):
    """``bearer("olena")``: headers with her API token."""

    def issue(name: str) -> dict[str, str]:
        token = desk.store.write(lambda tx: people.issue_token(tx, name, clock.now_ms(), "test"))
        return {"Authorization": f"Bearer {token}"}

    return issue


@pytest.fixture
def password() -> str:
    return PASSWORD
