"""Our own anchors: counted by real connections, told as the vocabulary counts them."""

from __future__ import annotations

import socket

import pytest

from collector.anchors import SELF, anchors_value, look, reaches, transit_value, write_anchors
from collector.observed import recent
from collector.store.engine import Store

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ([True], 3),
        ([False], 0),
        ([True, False], 1),
        ([True, True, False], 2),
        ([True] + [False] * 9, 1),
        ([True] * 15 + [False], 2),
    ],
)
def test_three_is_all_and_nought_is_none(answers: list[bool], value: int) -> None:
    assert anchors_value(answers) == value


def test_uplinks_that_work_are_named() -> None:
    assert transit_value({"x": [True, False], "y": [True]}) == "all"
    assert transit_value({"x": [False], "y": [True]}) == "y"
    assert transit_value({"x": [False], "y": []}) == "none"


def test_a_real_listener_is_reached_and_a_refusal_proves_the_way_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reaches(f"127.0.0.1:{port}")
    assert reaches(f"127.0.0.1:{port}")  # nobody listens now: refused by the other end


def test_what_we_reach_is_observed_of_ourselves_when_it_changes(store: Store) -> None:
    up = {"a:1": True, "b:1": True, "c:1": True}
    uplinks = {"transit-X": ["a:1"], "transit-Y": ["b:1"]}
    down = {**up, "a:1": False}
    for at, state in ((0, up), (10, up), (20, down), (30, down)):
        seen = look(list(state), ask=lambda address, state=state: state[address])
        store.write(lambda tx, at=at, seen=seen: write_anchors(tx, seen, sorted(up), uplinks, T0 + at))
    store.write(lambda tx: write_anchors(tx, {}, [], {}, T0 + 40))
    with store.read() as conn:
        assert [(o.signal, o.value, o.at_ms - T0) for o in recent(conn, [SELF], 0)] == [
            ("col.anchors", 3, 0),
            ("col.transit", "all", 0),
            ("col.anchors", 2, 20),
            ("col.transit", "transit-Y", 20),
        ]
