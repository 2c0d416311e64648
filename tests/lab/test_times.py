"""What of a run's time is counted as our own, from journals made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from collector.failover import journal
from tests.lab.play import times_in

pytestmark = pytest.mark.collector


def written(*said: tuple[int, str, dict[str, Any]]) -> list[journal.Entry]:
    found: list[journal.Entry] = []
    for at_ms, kind, body in said:
        found.append(journal.following(found[-1] if found else None, "r", at_ms, kind, body, epoch=1))
    return found


BEGIN = (1_000, "begin", {"plan": {}, "mode": "auto", "reason": {}})
FENCE = [(1_200, "intent", {"step": "fence-0-0"}), (2_200, "result", {"step": "fence-0-0", "took_ms": 1_000})]
END = (8_000, "enter", {"state": "on_backup"})


def test_a_step_s_own_time_is_none_of_ours() -> None:
    assert times_in(written(BEGIN, *FENCE, END), 0).own == 6.0


def test_the_time_in_which_no_collector_lived_is_none_of_ours_either() -> None:
    probe = (7_000, "probe", {"step": "promote-0", "outcome": "done", "took_ms": 300})
    run = written(BEGIN, *FENCE, probe, END)
    assert times_in(run, 0).own == 5.7
    assert times_in(run, 0, [3_000]).own == 2.0
    assert times_in(run, 0, [500, 9_000]).own == 5.7


def test_a_person_s_own_time_is_none_of_ours() -> None:
    yes = (5_000, "approve", {"by": "kate"})
    assert times_in(written(BEGIN, yes, END), 0).own == 3.0
