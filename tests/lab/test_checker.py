"""The checker finds what it is for: each law with a history that keeps it, and one with the violation planted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collector.failover import journal
from tests.lab import checker
from tests.lab.checker import Seen, faults
from tests.lab.clients import Ack

pytestmark = pytest.mark.collector
PLAN = {
    "pair": "p>b", "primary": "p", "backup": "b", "ticket_id": 1, "cause": "hw.power", "contract_id": "c",
    "contract_version": 1, "kind": "failover", "fence_min": "F3", "steps": [],
}  # fmt: skip


def ack(node: str, epoch: int, at_s: float, client: str = "vip") -> Ack:
    return Ack(client, f"{client}-{at_s}", node, epoch, at_s - 0.01, at_s)


def entries(*kinds: tuple[str, dict[str, Any]], epochs: tuple[int, ...] = ()) -> list[journal.Entry]:
    begin = ("begin", {"plan": PLAN, "mode": "auto", "reason": {}})
    found: list[journal.Entry] = []
    for n, (kind, body) in enumerate((begin, *kinds)):
        epoch = epochs[n] if n < len(epochs) else 1
        found.append(journal.following(found[-1] if found else None, "r", 1000 + n, kind, body, epoch=epoch))
    return found


STEPS = (
    ("enter", {"state": "armed"}),
    ("enter", {"state": "fencing"}),
    ("intent", {"step": "fence-0-0"}),
    ("result", {"step": "fence-0-0", "outcome": "done"}),
    ("enter", {"state": "fenced"}),
    ("enter", {"state": "promoting"}),
    ("intent", {"step": "promote-0"}),
    ("probe", {"step": "promote-0", "outcome": "done"}),
    ("enter", {"state": "promoted"}),
)
ACKS = [*(ack("p", 0, t / 10) for t in range(20)), *(ack("b", 1, t / 10) for t in range(50, 100))]


def seen(**changes: Any) -> Seen:
    """A clean switch: p until 2 s, b from 5 s, everything kept."""
    good = entries(*STEPS)
    whole: dict[str, Any] = {
        "acks": ACKS,
        "began_s": 0.0,
        "ended_s": 10.0,
        "kept": {a.value for a in ACKS},
        "journals": {"r": good},
        "stored_sha256": {"r": [entry.sha256 for entry in good]},
        "holders": ["b"],
        "effects": [("fence", 1003), ("promote", 1008)],
        "may_write": ["b"],
        "tickets": [{"id": 7, "state": "resolved"}],
        "runs": [{"id": "r", "kind": "failover", "state": "hold_down", "ticket_id": 7}],
        "named": {"p": (0, "p"), "b": (1, "b")},
    }
    return Seen(**{**whole, **changes})


def with_journal(*kinds: tuple[str, dict[str, Any]], epochs: tuple[int, ...] = ()) -> Seen:
    made = entries(*kinds, epochs=epochs)
    return seen(journals={"r": made}, stored_sha256={"r": [entry.sha256 for entry in made]})


def found(one: Seen, rto_s: float | None = 5.0) -> list[str]:
    return faults(one, rpo_s=1.0, rto_s=rto_s, serves="b")


def test_a_clean_switch_has_no_faults() -> None:
    assert found(seen()) == []


def test_a_switch_there_and_back_is_no_split() -> None:
    back = [ack("p", 2, t / 10) for t in range(120, 130)]
    assert checker.two_writers([*ACKS, *back]) == []


def _forged() -> Seen:
    good = entries(*STEPS)
    return seen(journals={"r": [*good[:3], dataclasses.replace(good[3], actor="nobody"), *good[4:]]})


PLANTED = [
    ("both acknowledged", seen(acks=[*ACKS, ack("p", 0, 5.5, "prim")])),
    ("acknowledged under epoch 0 after epoch 1", seen(acks=[*ACKS, ack("b", 0, 10.5)])),
    ("are gone, back to 1.9", seen(kept={a.value for a in ACKS if a.node == "b"})),
    ("without service", seen(ended_s=20.0)),
    ("the chain is broken at 4", _forged()),
    ("a stored link is not", seen(stored_sha256={"r": ["0"]})),
    ("has a result without an intent", with_journal(*(s for s in STEPS if s != STEPS[2]))),
    ("before the old primary was fenced", with_journal(*STEPS[:2], *STEPS[6:7])),
    ("begun again while nobody knew", with_journal(*STEPS[:3], STEPS[2], *STEPS[3:])),
    ("promoting does not follow fencing", with_journal(*STEPS[:4], *STEPS[5:])),
    ("the epoch goes back from 1 to 0", with_journal(*STEPS, epochs=(0, 1, 1, 0))),
    ("leads to nobody", seen(holders=[])),
    ("leads to p, b", seen(holders=["p", "b"])),
    ("clients are led to p, not to b", seen(holders=["p"])),
    ("p, b takes writes, not b", seen(may_write=["p", "b"])),
    ("nobody takes writes", seen(may_write=[])),
    ("no intent had announced", seen(effects=[("fence", 1002)])),
    ("no intent had announced", seen(effects=[("promote", 2000), ("promote", 2001)])),
    ("stale lock: prim", seen(locks=["prim: lock"])),
    ("stray process: prim", seen(strays=["prim: 7 sleep"])),
    ("its request is new", seen(tickets=[{"id": 7, "state": "new"}])),
    ("its request 7 is gone", seen(tickets=[])),
    ("has no request", seen(runs=[{"id": "r", "kind": "failover", "state": "hold_down", "ticket_id": None}])),
    ("b takes b for the primary of epoch 2", seen(named={"p": (0, "p"), "b": (2, "b")})),
    ("takes b for the primary of epoch 1", with_journal(*STEPS[:5])),
    ("is resolved already", seen(runs=[{"id": "r", "kind": "failover", "state": "stuck", "ticket_id": 7}])),
]


@pytest.mark.parametrize(("words", "planted"), PLANTED, ids=range(len(PLANTED)))
def test_a_planted_violation_is_found(words: str, planted: Seen) -> None:
    assert any(words in fault for fault in found(planted)), found(planted)


def test_a_lease_may_name_the_new_primary_before_any_promotion() -> None:
    waits = ("intent", {"step": "fence-0-0", "type": "fence.lease"})
    assert checker.displaced(with_journal(*STEPS[:2], waits)) == []


def test_lost_writes_within_the_rpo_and_outages_of_what_was_not_to_be_switched_are_no_faults() -> None:
    last = {a.value for a in ACKS if not 1.2 < a.got_s < 3}
    assert found(seen(kept=last)) == []
    assert found(seen(ended_s=20.0), rto_s=None) == []
