"""G: what bounds the machine when it could act: how many at once, how soon again, planned work, the hours of a contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, update

from collector.failover import runs
from collector.failover.plan import Subject
from collector.failover.plan import make as make_plan
from collector.failover.terms import PairTerms, ScheduleTerms
from collector.observed import keep_newest, observe
from collector.tables import failover_runs, hosts
from tests.unit.collector.failover.houses import DAY_MS, PAIR, T0, House
from ticketing import intake
from ticketing.model import Confidence, Reason, Verdict
from ticketing.tables import ticket_events
from ticketing.terms import CalendarTerms, Window

pytestmark = pytest.mark.collector

_houses: list[House] = []
OTHERS = tuple((f"p{n}", f"q{n}") for n in range(5))


@pytest.fixture
def make() -> Iterator[Any]:
    def made(**of: Any) -> House:
        _houses.append(House(**of))
        return _houses[-1]

    yield made
    while _houses:
        _houses.pop().store.close()


def provider_falls(house: House, primaries: tuple[str, ...]) -> int:
    """One outage of a provider holds all of these; everything else is well and was rehearsed."""
    verdict = Verdict(
        class_=1, root_cause="net.provider_outage", scope="provider:alfa", subject="provider:alfa", family="silence",
        affected=primaries, began_at_ms=house.now_ms, confidence=Confidence.HIGH, severity="critical",
        reasons=(Reason("reason.test"),),
    )  # fmt: skip

    def write(tx: Any) -> int:
        for host in primaries:
            tx.execute(update(hosts).where(hosts.c.id == host).values(life="silent"))
            for vantage in ("", "probe2"):
                observe(tx, host, "ext.svc", "dead", house.now_ms, "probe", vantage=vantage)
        done = intake.open_or_join(tx, house.book_in(tx), verdict, "acme", house.now_ms)
        assert done.ticket_id is not None, done.reason
        return done.ticket_id

    return house.store.write(write)


def all_well(house: House, pairs: tuple[tuple[str, str], ...]) -> None:
    def write(tx: Any) -> None:
        for primary, backup in pairs:
            pair = f"{primary}>{backup}"
            runs.note_rehearsal(tx, pair, house.now_ms - DAY_MS, is_real=False, is_passed=True)
            runs.note_check(tx, pair, "fence-0-0", "done", "F4", "", house.now_ms)
            keep_newest(tx, backup, "repl.lag_s", 2.0, house.now_ms - 8_000, "agent", house.now_ms)

    house.store.write(write)


def test_of_six_primaries_of_one_provider_one_is_switched_and_five_are_asked_about(make) -> None:
    """G3."""
    house = make(more=OTHERS, max_per_day=6)
    pairs = (("a1", "b9"), *OTHERS)
    cause_id = provider_falls(house, tuple(primary for primary, _ in pairs))
    house.now_ms += 61_000
    all_well(house, pairs)
    for _ in range(3):
        house.tick(after_s=1.0)
    modes = sorted(run.mode for run in house.runs())
    assert modes == ["approve"] * 5 + ["auto"]
    assert {house.ticket(run.ticket_id)["parent_id"] for run in house.runs()} == {cause_id}
    asked = [house.ticket(run.ticket_id) for run in house.runs() if run.mode == "approve"]
    assert {ticket["verdict"]["reasons"][0]["key"] for ticket in asked} == {"failover.guard.rate"}


def test_a_second_failure_inside_the_hold_down_is_a_request(make) -> None:
    """G4: the pair was switched and led back by a person; ten minutes later its primary falls again."""
    house = make(max_per_day=9)
    house.well()
    house.store.write(
        lambda tx: runs.set_pair(tx, PAIR, serving="a1", hold_down_until_ms=house.now_ms + 3_000_000)
    )
    house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    (run,) = house.runs()
    assert run.mode == "approve"
    assert house.ticket(run.ticket_id)["verdict"]["reasons"][0]["key"] == "failover.guard.held_down"


def over(house: House, kind: str, cause_id: int) -> None:
    """A run of this kind for that ticket, ended now."""
    terms = house.pair
    plan = make_plan(terms, Subject(cause_id, "os.service_failed", "acme", 1), kind)

    def write(tx: Any) -> None:
        run_id = runs.begin(tx, plan, runs.Began("approve", Reason("x"), cause_id=cause_id), house.now_ms)
        ended = {"state": "hold_down", "open_mark": None, "ended_at_ms": house.now_ms}
        tx.execute(update(failover_runs).where(failover_runs.c.id == run_id).values(**ended))

    house.store.write(write)


def test_a_rehearsal_while_a_ticket_was_open_is_no_answer_to_its_outage(make) -> None:
    """Found by the laboratory: the outage that joined the ticket was never decided upon, and nobody was told."""
    house = make()
    house.well()
    cause_id = house.falls()
    over(house, "rehearsal", cause_id)
    house.now_ms += 61_000
    house.asked()
    house.tick()
    (run,) = [run for run in house.runs() if run.state == "decided"]
    assert (run.kind, run.mode, run.cause_id) == ("failover", "auto", cause_id)


@pytest.mark.parametrize("came_back", [True, False])
def test_a_switch_answers_for_its_outage_and_not_for_the_next_one_of_the_same_ticket(
    make, came_back: bool
) -> None:
    house = make()
    house.well()
    cause_id = house.falls()
    house.now_ms += 61_000
    over(house, "failover", cause_id)
    if came_back:
        house.now_ms += 1_000
        reopened = {
            "ticket_id": cause_id,
            "at_ms": house.now_ms,
            "actor": "machine",
            "kind": "reopen",
            "body": {},
        }
        house.store.write(lambda tx: tx.execute(insert(ticket_events).values(**reopened)))
    house.now_ms += 61_000
    house.asked()
    house.tick()
    assert [run.kind for run in house.runs() if run.state == "decided"] == ["failover"] * came_back


def window(from_s: int, to_s: int) -> Window:
    def moment(after_s: int) -> str:
        return dt.datetime.fromtimestamp(T0 / 1000 + after_s, ZoneInfo("Europe/Kyiv")).strftime(
            "%Y-%m-%d %H:%M"
        )

    return Window(title="kernel update", from_=moment(from_s), to=moment(to_s), hosts=["a1"])


def test_planned_work_forbids_a_switch_and_its_overrun_asks(make) -> None:
    """G5."""
    house = make(windows=(window(-600, 600),))
    house.well()
    cause_id = house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    assert house.runs() == []
    assert house.said(cause_id)[0]["reason"]["key"] == "failover.guard.planned"
    house.now_ms = T0 + 601_000
    house.store.write(lambda tx: keep_newest(tx, "b9", "repl.lag_s", 2.0, T0 - 8_000, "agent", T0))
    house.asked()
    house.tick()
    (run,) = house.runs()
    assert run.mode == "approve"
    assert house.ticket(run.ticket_id)["verdict"]["reasons"][0]["key"] == "failover.guard.overrun"


@pytest.mark.parametrize("day", ["2026-03-27", "2026-03-30", "2026-10-23", "2026-10-26"])
def test_the_mode_changes_at_the_contract_s_own_hour_on_both_sides_of_summer_time(day: str) -> None:
    """G2: workdays before and after the clocks of Kyiv go forward and back."""
    hours = {name: ["09:00-18:00"] for name in ("mon", "tue", "wed", "thu", "fri")}
    pair = PairTerms(
        "a1", "b9", mode="auto", schedule=[ScheduleTerms("approve", CalendarTerms("Europe/Kyiv", hours))]
    )
    for hour, before, after in (("09:00", "auto", "approve"), ("18:00", "approve", "auto")):
        local = dt.datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=ZoneInfo("Europe/Kyiv"))
        at_ms = round(local.timestamp() * 1000)
        assert (pair.mode_at(at_ms - 1), pair.mode_at(at_ms)) == (before, after)
