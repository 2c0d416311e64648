"""A person's word on a switch, by page and by link: its own plan, its own person, once, in time (G1, I18)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from sqlalchemy import select

from collector.failover import approvals, runs
from collector.failover.approvals import Asker
from collector.observed import keep_newest
from collector.tick.context import TEXTS_FOLDER
from collector.web.app import make_app
from collector.web.context import AppContext, WebOptions
from config.clock import FixedClock
from tests.unit.collector.failover.houses import House
from ticketing import people
from ticketing.tables import audit
from ticketing.texts import register

pytestmark = pytest.mark.collector
KATE = Asker("kate", "lead")


@pytest.fixture
def house(tmp_path) -> Iterator[House]:
    made = House(f"sqlite:///{tmp_path}/store.db", mode="approve")
    made.well()
    made.falls()
    made.now_ms += 61_000
    made.asked()
    made.tick()
    (row,) = made.runs()
    body = {"state": "await_approval", "reason": {"key": "failover.guard.mode", "params": {}}, "level": ""}
    made.store.write(lambda tx: runs.append(tx, row.id, "enter", body, made.now_ms))
    yield made
    made.store.close()


def run_of(house: House) -> Any:
    (row,) = house.runs()
    with house.store.read() as conn:
        return runs.load(conn, row.id)


def approve(house: House, asker: Asker = KATE, plan: str = "", after_s: float = 0) -> str:
    run = run_of(house)
    now_ms = house.now_ms + round(after_s * 1000)
    return house.store.write(
        lambda tx: approvals.approve(tx, house.book_in(tx), run.id, plan or run.plan.hash, asker, now_ms)
    )


def test_a_lead_says_yes_once_and_it_is_bound_to_plan_and_epoch(house) -> None:
    assert approve(house, plan="0" * 64) == "plan_changed"
    assert approve(house) == ""
    given = run_of(house).approval
    assert (given.person, given.plan_hash, given.epoch) == ("kate", run_of(house).plan.hash, 0)
    assert approve(house) == "twice"
    with house.store.read() as conn:
        assert conn.execute(select(audit.c.act).where(audit.c.actor == "kate")).scalars().all() == [
            "approve_failover"
        ]


def test_who_is_not_named_may_not_and_too_late_is_too_late(house) -> None:
    assert approve(house, Asker("olena", "engineer")) == "not_yours"
    assert approve(house, after_s=86_400) == "late"
    assert run_of(house).approval is None


def test_named_people_alone_decide_and_lost_writes_are_for_those_who_answer_for_them(tmp_path) -> None:
    made = House(
        f"sqlite:///{tmp_path}/store.db",
        mode="approve",
        approval={"people": ["olena"]},
        data_loss_authority=["petro"],
    )
    pair = made.pair
    assert approvals.is_allowed(pair, Asker("olena", "engineer"), loses_writes=False)
    assert not approvals.is_allowed(pair, KATE, loses_writes=False)
    assert not approvals.is_allowed(pair, Asker("olena", "engineer"), loses_writes=True)
    assert approvals.is_allowed(pair, Asker("petro", "client"), loses_writes=True)
    made.store.close()


def test_an_order_that_does_not_fit_the_state_is_refused(house) -> None:
    run = run_of(house)

    def say(word: str) -> str:
        return house.store.write(
            lambda tx: approvals.order(tx, house.book_in(tx), run.id, word, KATE, house.now_ms)
        )

    assert say("promote") == "not_now"
    assert say("acknowledge") == "not_now"
    assert say("abort") == ""
    assert run_of(house).ordered == "abort"


@pytest.mark.parametrize(("lag_s", "who_may"), [(2.0, {"kate"}), (600.0, {"petro"})])
def test_promoting_by_hand_what_loses_writes_is_for_those_who_answer_for_them(
    tmp_path, lag_s, who_may
) -> None:
    people_named = {"approval": {"people": ["kate"]}, "data_loss_authority": ["petro"]}
    house = House(f"sqlite:///{tmp_path}/store.db", mode="approve", **people_named)
    house.well()
    house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    (row,) = house.runs()
    reason = {"key": "failover.guard.mode", "params": {}}
    fenced_ms = house.now_ms + 5_000
    house.store.write(lambda tx: keep_newest(tx, "b9", "repl.lag_s", lag_s, fenced_ms, "agent", fenced_ms))
    for state in ("fenced", "stuck"):
        body = {"state": state, "reason": reason, "level": "F1"}
        house.store.write(lambda tx, body=body: runs.append(tx, row.id, "enter", body, fenced_ms))
    for name in ("kate", "petro"):
        why = house.store.write(
            lambda tx, name=name: approvals.order(
                tx, house.book_in(tx), row.id, "promote", Asker(name, "client"), fenced_ms + 1000
            )
        )
        assert why == ("" if name in who_may else "not_yours")
    house.store.close()


@pytest.fixture(autouse=True)
def _words() -> None:
    register(TEXTS_FOLDER)


@pytest.fixture
def client(house) -> Iterator[TestClient]:
    clock = FixedClock(house.now_ms)
    context = AppContext(
        house.store, lambda: house.book, clock, options=WebOptions(keepalive_s=0.2, pulse_s=0.1)
    )
    with TestClient(make_app(context), base_url="http://desk.test") as made:
        yield made


def enter(house: House, name: str) -> dict[str, str]:
    with house.store.read() as conn:
        person = people.person(conn, name)
    assert person is not None
    secret = house.store.write(lambda tx: people.open_session(tx, person, house.now_ms, "192.0.2.9"))
    return {"cookie": f"vartovyi_session={secret}"}


def csrf(text: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', text)
    assert found is not None
    return found.group(1)


def test_the_page_shows_the_plan_and_its_button_says_yes(house, client) -> None:
    (row,) = house.runs()
    kate = enter(house, "kate")
    found = client.get(f"/tickets/{row.ticket_id}/failover", headers=kate, follow_redirects=False)
    assert found.headers["location"] == f"/failover/{row.id}"
    page = client.get(f"/failover/{row.id}", headers=kate)
    assert page.status_code == 200
    assert "fence.ipmi" in page.text and row.plan_hash in page.text
    # Who it is about, what is at stake and whose word began it, before anything is pressed.
    for told in (
        "Acme",
        "<code>b9</code>",
        "договір дозволяє 60 с",
        f'href="/tickets/{row.ticket_id}"',
        "Вартовий.",
    ):
        assert told in page.text, told
    form = {"csrf": csrf(page.text), "word": "approve", "plan": "0" * 64}
    assert client.post(f"/failover/{row.id}", headers=kate, data=form).status_code == 409
    form["plan"] = row.plan_hash
    done = client.post(f"/failover/{row.id}", headers=kate, data=form, follow_redirects=False)
    assert done.status_code == 303
    assert run_of(house).approval.person == "kate"


def test_an_engineer_who_is_not_named_is_told_so_and_a_forged_form_is_refused(house, client) -> None:
    (row,) = house.runs()
    olena = enter(house, "olena")
    page = client.get(f"/failover/{row.id}", headers=olena)
    form = {"csrf": csrf(page.text), "word": "approve", "plan": row.plan_hash}
    assert client.post(f"/failover/{row.id}", headers=olena, data=form).status_code == 403
    forged = {**form, "csrf": "0" * 64}
    assert client.post(f"/failover/{row.id}", headers=enter(house, "kate"), data=forged).status_code == 403
    assert client.get(f"/failover/{row.id}", follow_redirects=False).status_code in (302, 303, 401)
    assert run_of(house).approval is None


def test_a_link_shows_a_page_first_and_its_button_counts_once(house, client) -> None:
    run = run_of(house)
    secret = house.store.write(
        lambda tx: approvals.make_link(tx, run.id, "kate", run.plan.hash, house.now_ms, house.now_ms + 60_000)
    )
    page = client.get(f"/failover/link/{secret}")
    assert page.status_code == 200
    assert run_of(house).approval is None  # following it changes nothing: mail programs follow links too
    assert (
        client.post(f"/failover/link/{secret}", data={"word": "approve", "csrf": "0" * 64}).status_code == 403
    )
    page = client.get(f"/failover/link/{secret}")
    done = client.post(f"/failover/link/{secret}", data={"word": "approve", "csrf": csrf(page.text)})
    assert done.status_code == 200
    given = run_of(house).approval
    assert given.person == "kate"
    assert client.get(f"/failover/link/{secret}").status_code == 410
    assert client.get("/failover/link/nonsense").status_code == 410


def test_a_link_of_an_older_plan_or_past_its_time_says_so(house, client) -> None:
    run = run_of(house)
    for plan_hash, until in (("0" * 64, 60_000), (run.plan.hash, -1)):
        secret = house.store.write(
            lambda tx, p=plan_hash, u=until: approvals.make_link(
                tx, run.id, "kate", p, house.now_ms, house.now_ms + u
            )
        )
        page = client.get(f"/failover/link/{secret}")
        if until < 0:
            assert page.status_code == 410
            continue
        done = client.post(f"/failover/link/{secret}", data={"word": "approve", "csrf": csrf(page.text)})
        assert done.status_code == 409
    assert run_of(house).approval is None
