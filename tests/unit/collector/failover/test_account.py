"""What a switch cost, out of its journal alone."""

from __future__ import annotations

from typing import Any

import pytest

from collector.failover import journal
from collector.failover.account import account, told
from collector.failover.terms import PairTerms

pytestmark = pytest.mark.collector
T0 = 1_767_225_600_000
PAIR = PairTerms(primary="a1", backup="b9")


def entries(*states: tuple[str, int, dict[str, Any]]) -> list[journal.Entry]:
    """begin at T0, then these states at so many seconds after it."""
    made = [journal.following(None, "r1", T0, "begin", {})]
    for state, at_s, more in states:
        made.append(journal.following(made[-1], "r1", T0 + at_s * 1000, "enter", {"state": state, **more}))
    return made


def test_of_an_outage_it_counts_from_when_no_client_was_served_and_loses_what_the_promotion_says() -> None:
    run = entries(
        ("armed", 1, {"outage_at_ms": T0 - 70_000, "exposure_s": 9.0}),
        ("fencing", 2, {}),
        ("promoting", 20, {"exposure_s": 4.26}),
    )
    said = account(run, PAIR, T0 + 50_000)
    assert said == {
        "since_ms": T0 - 70_000, "decided_s": 70.0, "rto_s": 120.0, "rto_limit_s": 1800.0, "rpo_s": 4.3, "rpo_limit_s": 60.0,
    }  # fmt: skip
    assert told(said).key == "failover.achieved"
    assert told(said).params == {"rto": 120, "rto_limit": 1800, "rpo": 4, "rpo_limit": 60}


def test_of_a_planned_switch_it_counts_from_when_the_primary_was_asked_to_stop() -> None:
    run = entries(
        ("armed", 1, {"exposure_s": 2.0}), ("demoting", 3, {}), ("promoting", 9, {"exposure_s": 0.0})
    )
    said = account(run, PAIR, T0 + 13_000)
    assert (said["rto_s"], said["rpo_s"], said["decided_s"]) == (10.0, 0.0, None)


def test_what_nobody_measured_is_not_said_to_be_nothing() -> None:
    run = entries(
        ("armed", 1, {"outage_at_ms": T0, "exposure_s": None}), ("promoting", 2, {"exposure_s": None})
    )
    said = account(run, PAIR, T0 + 5_000)
    assert said["rpo_s"] is None
    assert told(said).key == "failover.achieved_rpo_unknown"
