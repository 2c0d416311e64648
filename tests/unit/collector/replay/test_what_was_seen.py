"""The one door of what the collector's side sees: held values when they change, events each time."""

from __future__ import annotations

import pytest

from collector import tables
from collector.observed import newest, observe, recent
from collector.store.engine import Store
from tests.tools.tables import make_tables

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000


@pytest.fixture
def store():
    store = Store.open("sqlite://")
    store.write(lambda tx: make_tables(tx, tables.metadata))
    yield store
    store.close()


def test_a_held_value_is_written_when_it_changes_and_for_each_vantage(store):
    def see(tx):
        return [
            observe(tx, "a1", "ext.icmp", "ok", T0, "vantage", vantage="v2"),
            observe(tx, "a1", "ext.icmp", "ok", T0 + 1, "vantage", vantage="v2"),
            observe(tx, "a1", "ext.icmp", "ok", T0 + 2, "vantage", vantage="v3"),
            observe(tx, "a1", "ext.icmp", "dead", T0 + 3, "vantage", vantage="v2"),
        ]

    assert store.write(see) == [True, False, True, True]
    with store.read() as conn:
        assert {k: o.value for k, o in newest(conn, ["a1"], "ext.icmp").items()} == {
            ("a1", "v2"): "dead",
            ("a1", "v3"): "ok",
        }


def test_an_event_is_written_each_time_and_is_over_afterwards(store):
    store.write(lambda tx: [observe(tx, "a1", "ops.action", "reboot", T0 + i, "ops") for i in (0, 10)])
    with store.read() as conn:
        assert [o.at_ms for o in recent(conn, ["a1"], T0 + 5)] == [T0 + 10]


def test_what_held_before_is_known_still(store):
    store.write(lambda tx: observe(tx, "alfa", "prov.status", "incident", T0, "prov"))
    with store.read() as conn:
        assert [o.value for o in recent(conn, ["alfa", "a1"], T0 + 999_999)] == ["incident"]
