"""A few days of the desk's month over a change of summer time; and that planted bugs are found."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.sim.desk_month import Variant, live

START_MS = int(dt.datetime(2026, 10, 23, tzinfo=dt.timezone.utc).timestamp() * 1000)
"""Kyiv changes on the 25th."""


def test_every_clock_of_a_few_days_adds_up_and_no_ticket_is_without_a_next_step() -> None:
    verdict = live(seed=5, wanted=60, days=4, start_ms=START_MS)
    assert verdict.is_right, "seed 5\n" + "\n".join(verdict.lines())
    for name in ("ask_client", "ask_provider", "resolve", "requalify", "escalate", "tick clock_warn"):
        assert verdict.counts.get(name), f"too little happened: no {name}"


@pytest.mark.parametrize(
    ("variant", "word"),
    [
        (Variant(counts_in_utc=True), "the wall clock counts"),
        (Variant(loses_a_step=True), "audit_faults"),
        (Variant(forgets_what_was_told=True), "told"),
        (Variant(forgets_pauses=True), "clocks_repaired"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_planted_bug_of_the_desk_is_found(variant: Variant, word: str) -> None:
    verdict = live(seed=5, wanted=80, days=4, start_ms=START_MS, variant=variant)
    assert not verdict.is_right and word in "\n".join(verdict.wrong), "seed 5\n" + "\n".join(verdict.lines())
