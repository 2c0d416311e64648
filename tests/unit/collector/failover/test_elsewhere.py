"""The second vantage at verification: its "dead" outweighs our own "ok", its silence does not, and both are written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from agent.checks.spec import CheckSettings
from collector import asks
from collector.failover import elsewhere
from collector.tables import hosts, probes, vantages
from collector.trace import HopOwners
from tests.unit.collector.failover.houses import House

pytestmark = pytest.mark.collector
CHECK = CheckSettings(name="public", type="tcp", host="www.client.example", port=443)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(f"sqlite:///{tmp_path}/store.db")

    def place(tx) -> None:
        for name, provider in (("b9", "beta"), ("c1", "gamma"), ("c2", "beta")):
            tx.execute(update(hosts).where(hosts.c.id == name).values(topology={"provider": provider}))
        for name in ("c1", "c2"):
            tx.execute(insert(vantages).values(host_id=name, polled_at_ms=made.now_ms, is_lost=False))

    made.store.write(place)
    yield made
    made.store.close()


def ask(house: House) -> list[int]:
    return house.store.write(
        lambda tx: elsewhere.asked(tx, house.book_in(tx), ("c1", "c2"), "b9", CHECK, house.now_ms)
    )


def words(house: House, ids: list[int]) -> dict[str, str]:
    with house.store.read() as conn:
        return elsewhere.answered(conn, ids)


def test_only_who_stands_apart_is_asked_and_its_word_comes_by_its_poll(house: House) -> None:
    ids = ask(house)
    with house.store.read() as conn:
        rows = conn.execute(select(probes).where(probes.c.id.in_(ids))).all()
    assert [(row.vantage, row.why) for row in rows] == [("c1", "failover")]
    assert words(house, ids) == {}
    handed = house.store.write(lambda tx: asks.hand_out(tx, "c1", house.now_ms, lambda _: 3.0))
    assert handed[0]["target"]["check"] == {"type": "tcp", "host": "www.client.example", "port": 443}
    told = {"id": handed[0]["id"], "state": "timeout", "detail": "", "ms": 1.0, "facts": {}}
    house.store.write(lambda tx: asks.take_answers(tx, "c1", [told], house.now_ms, HopOwners(), 2))
    assert words(house, ids) == {"c1": "dead"}


def test_where_nobody_can_be_asked_nothing_is_waited_for(house: House) -> None:
    house.now_ms += 60_000  # both have left their poll
    assert ask(house) == []


def test_the_wait_ends_with_the_last_word_or_with_its_time() -> None:
    said = iter([{}, {"c1": "ok"}])
    assert elsewhere.wait_for(lambda: next(said), 1, lambda _: None) == {"c1": "ok"}
    rounds = []
    assert elsewhere.wait_for(dict, 1, rounds.append) == {}
    assert sum(rounds) == pytest.approx(elsewhere.WAIT_S)
