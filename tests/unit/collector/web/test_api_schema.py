"""The API keeps its own OpenAPI document: schemathesis sends what fits it and what does not, as engineer and as client.

``positive_data_acceptance`` is left out: a body that fits the document may still name a contract that does not exist,
and the answer to that is 400 with the field's name.
"""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from collector.web.app import make_app
from collector.web.context import AppContext
from config.clock import FixedClock
from tests.desk_world import NOW_MS, make_desk
from tests.tools.examples import examples
from ticketing import people

pytestmark = [pytest.mark.collector, pytest.mark.slow]


class Door:
    """The app under test; the document is read while tests are collected, before there is a desk behind it."""

    def __init__(self) -> None:
        nothing = AppContext(None, lambda: None, FixedClock(NOW_MS))  # type: ignore[arg-type]
        self.app = make_app(nothing)

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


door = Door()
schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", door)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    desk = make_desk(tmp_path_factory.mktemp("schema"))
    door.app = make_app(AppContext(desk.store, lambda: desk.book, FixedClock(NOW_MS)))
    yield {
        name: desk.store.write(lambda tx, name=name: people.issue_token(tx, name, NOW_MS, "test"))
        for name in ("olena", "client-b")
    }
    desk.store.close()


bounded = settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)


@schema.parametrize()
@bounded
def test_every_answer_to_an_engineer_is_one_that_the_document_names(case, tokens):
    _ask(case, tokens["olena"])


@schema.parametrize()
@bounded
def test_every_answer_to_a_client_is_one_that_the_document_names(case, tokens):
    _ask(case, tokens["client-b"])


def _ask(case, token):
    case.call_and_validate(
        headers={"Authorization": f"Bearer {token}"}, excluded_checks=[positive_data_acceptance]
    )
