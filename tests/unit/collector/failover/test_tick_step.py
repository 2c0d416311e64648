"""What the tick makes of a pair in trouble: a run with its request, or a reason on the trouble's ticket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from collector.failover import gather, runs
from collector.failover.states import State
from collector.observed import keep_newest, observe
from collector.providers.poller import note
from collector.tables import failover_journal, hosts, own_state
from tests.unit.collector.failover.houses import PAIR, House
from ticketing.model import Reason

pytestmark = pytest.mark.collector

_houses: list[House] = []


@pytest.fixture
def make() -> Iterator[Any]:
    def made(**terms: Any) -> House:
        _houses.append(House(**terms))
        return _houses[-1]

    yield made
    while _houses:
        _houses.pop().store.close()


def fallen(house: House, after_s: float = 61.0, **of: Any) -> int:
    """The pair well, a1 fallen, and the dwell passed."""
    house.well()
    cause_id = house.falls(**of)
    house.now_ms += round(after_s * 1000)
    house.asked()
    house.tick()
    return cause_id


def test_a_dead_primary_of_an_automatic_contract_begins_a_run_and_its_request(make) -> None:
    house = make()
    cause_id = fallen(house)
    (run,) = house.runs()
    assert (run.mode, run.state, run.cause_id) == ("auto", "decided", cause_id)
    request = house.ticket(run.ticket_id)
    assert (request["class"], request["parent_id"], request["affected"]) == (2, cause_id, ["a1", "b9"])
    (said,) = house.said(run.ticket_id)
    assert said["plan_hash"] == run.plan_hash
    assert [step["type"] for step in said["plan"]["steps"]][:2] == ["gate.epoch", "fence.ipmi"]


def test_nothing_begins_before_the_dwell_is_over(make) -> None:
    house = make()
    fallen(house, after_s=59.0)
    assert house.runs() == []
    assert house.tick().next_wake_ms <= house.now_ms + 1_000
    house.tick(after_s=2.0)
    assert len(house.runs()) == 1


def test_a_contract_that_asks_gets_a_request_with_its_deadline(make) -> None:
    house = make(mode="approve")
    fallen(house)
    (row,) = house.runs()
    with house.store.read() as conn:
        run = runs.load(conn, row.id)
    assert run is not None
    assert row.mode == "approve"
    # RTO 1800 s, the switch takes 240 s, and it was down for 61 s already.
    assert run.approve_until_ms == house.now_ms - 61_000 + 1_560_000
    texts = [reason["key"] for reason in house.ticket(row.ticket_id)["verdict"]["reasons"]]
    assert texts[0] == "failover.guard.mode"
    assert {"failover.request.exposure", "failover.request.plan", "failover.request.latest"} <= set(texts)


def test_a_cause_that_follows_the_service_is_refused_once_with_its_reason(make) -> None:
    house = make()
    cause_id = fallen(house, cause="os.syn_flood", family="service", class_=2)
    for _ in range(3):
        house.tick(after_s=10)
    assert house.runs() == []
    (said,) = house.said(cause_id)
    assert said["reason"]["key"] == "failover.guard.cause"
    assert said["reason"]["params"]["why"] == "attack"


def test_lost_writes_beyond_the_contract_make_a_request(make) -> None:
    house = make()
    house.well()
    house.store.write(lambda tx: keep_newest(tx, "b9", "repl.lag_s", 90.0, house.now_ms - 1_000, "agent", 0))
    house.falls()
    house.now_ms += 61_000
    house.asked()
    house.tick()
    (run,) = house.runs()
    assert run.mode == "approve"
    assert house.ticket(run.ticket_id)["verdict"]["reasons"][0]["key"] == "failover.guard.exposure"


def test_a_backup_that_never_told_its_lag_makes_a_request(make) -> None:
    house = make()
    house.store.write(lambda tx: runs.note_rehearsal(tx, PAIR, house.now_ms, is_real=False, is_passed=True))
    house.falls()
    house.now_ms += 61_000
    house.asked()
    assert house.facts().exposure_s() is None
    house.tick()
    assert house.runs()[0].mode == "approve"


def test_the_fences_are_asked_anew_before_anything_is_decided(make) -> None:
    house = make()
    house.well()
    house.now_ms += 1
    house.falls()
    house.tick(after_s=61.0)
    assert house.runs() == []
    house.asked()
    house.tick()
    assert house.runs()[0].mode == "auto"


def test_a_fence_that_nobody_can_ask_makes_a_request_in_the_end(make) -> None:
    house = make()
    house.well()
    house.now_ms += 1
    house.falls()
    house.tick(after_s=95.0)
    house.tick(after_s=300.0)
    (run,) = house.runs()
    assert run.mode == "approve"


def test_failover_that_is_switched_off_refuses(make) -> None:
    house = make()
    house.store.write(lambda tx: tx.execute(insert(own_state).values(key="failover_off", value="olena")))
    cause_id = fallen(house)
    assert house.runs() == []
    assert house.said(cause_id)[0]["reason"]["key"] == "failover.guard.off"


def test_a_vantage_that_is_served_forbids(make) -> None:
    house = make()
    house.store.write(
        lambda tx: observe(tx, "a1", "ext.svc", "ok", house.now_ms, "vantage", vantage="probe3")
    )
    cause_id = fallen(house)
    assert house.runs() == []
    assert house.said(cause_id)[0]["reason"]["key"] == "failover.guard.served"


def test_nothing_begins_by_a_clock_of_ours_that_does_not_go_well_and_no_try_is_spent(make) -> None:
    house = make()
    is_sane = []
    house.ctx.is_clock_sane = lambda: bool(is_sane)
    cause_id = fallen(house)
    for _ in range(5):
        assert house.tick(after_s=5.0).next_wake_ms <= house.now_ms + 5_000
    assert (house.runs(), house.said(cause_id)) == ([], [])
    is_sane.append(True)
    house.asked()
    house.tick()
    assert [run.mode for run in house.runs()] == ["auto"]


def test_a_second_pair_of_the_same_hour_is_a_request_while_the_first_runs(make) -> None:
    house = make()
    fallen(house)
    (run,) = house.runs()
    assert house.facts().history.running == 0
    other = house.pair
    # Its own run does not count; to any other pair it does.
    seen = type(other)(**{**other.__dict__, "primary": "c1"})
    with house.store.read() as conn:
        facts = gather.gather(conn, house.book, house.contract, seen, house.now_ms, gather.Sight())
    assert facts.history.running == 1
    assert run.mode == "auto"


def test_a_run_that_a_person_called_off_does_not_begin_again(make) -> None:
    house = make(mode="approve")
    fallen(house)
    (run,) = house.runs()
    body = {
        "state": "aborted",
        "reason": {"key": "failover.aborted", "params": {"why": "order"}},
        "level": "",
    }
    house.store.write(lambda tx: runs.append(tx, run.id, "enter", body, house.now_ms))
    house.tick(after_s=30.0)
    assert house.runs() == []


def test_a_pair_that_runs_on_its_backup_has_nothing_behind_it(make) -> None:
    house = make()
    house.store.write(lambda tx: runs.set_pair(tx, PAIR, serving="b9"))
    cause_id = fallen(house)
    assert house.runs() == []
    assert house.said(cause_id)[0]["reason"]["key"] == "failover.on_backup_already"


def test_a_backup_in_trouble_of_its_own_is_not_switched_to(make) -> None:
    house = make()
    house.store.write(lambda tx: tx.execute(update(hosts).where(hosts.c.id == "b9").values(life="silent")))
    cause_id = fallen(house)
    assert house.said(cause_id)[0]["reason"]["key"] == "failover.guard.backup_alive"


def test_the_second_open_run_of_a_pair_is_refused_by_the_database(make) -> None:
    house = make()
    fallen(house)
    (row,) = house.runs()
    with house.store.read() as conn:
        run = runs.load(conn, row.id)
    assert run is not None
    began = runs.Began("auto", Reason("failover.may_act"))
    with pytest.raises(IntegrityError):
        house.store.write(lambda tx: runs.begin(tx, run.plan, began, house.now_ms + 5))


def test_who_lost_the_lease_or_has_not_read_the_newest_entry_writes_nothing(make) -> None:
    house = make()
    fallen(house)
    (row,) = house.runs()
    write = house.store.write
    kept = {"order": "abort"}
    assert (
        write(lambda tx: runs.append(tx, row.id, "order", kept, house.now_ms, holds=lambda _: False)) is None
    )
    assert write(lambda tx: runs.append(tx, row.id, "order", kept, house.now_ms, after_seq=7)) is None
    assert write(lambda tx: runs.append(tx, row.id, "order", kept, house.now_ms, after_seq=0)) is not None
    assert write(lambda tx: runs.append(tx, row.id, "order", kept, house.now_ms, after_seq=0)) is None
    with house.store.read() as conn:
        assert runs.broken_at(conn, row.id) is None
        run = runs.load(conn, row.id)
    assert run is not None
    assert run.ordered == "abort"


def test_an_entry_that_was_changed_in_the_store_is_found(make) -> None:
    house = make()
    fallen(house)
    (row,) = house.runs()
    for n in range(3):
        house.store.write(lambda tx, n=n: runs.append(tx, row.id, "note", {"n": n}, house.now_ms))
    forged = update(failover_journal).where(failover_journal.c.seq == 2).values(actor="nobody")
    house.store.write(lambda tx: tx.execute(forged))
    with house.store.read() as conn:
        assert runs.broken_at(conn, row.id) == 2


def test_the_epoch_only_grows(make) -> None:
    house = make()
    assert [house.store.write(lambda tx: runs.raise_epoch(tx, PAIR)) for _ in range(3)] == [1, 2, 3]
    with house.store.read() as conn:
        assert runs.pair_state(conn, PAIR).epoch == 3
    assert State.STUCK in runs.STILL_OPEN
    assert State.HOLD_DOWN not in runs.STILL_OPEN


def announced(house: House, status: str, in_s: int | None) -> None:
    """a1's provider says how it is, and when it will be well again; None = it takes that back."""
    until_ms = 0 if in_s is None else house.now_ms + in_s * 1000

    def write(tx: Any) -> None:
        tx.execute(update(hosts).where(hosts.c.id == "a1").values(topology={"provider": "alfa"}))
        note(tx, "alfa", "", house.now_ms, status=status, until_ms=until_ms)

    house.store.write(write)


def test_a_repair_that_is_announced_for_sooner_than_a_switch_is_waited_for_and_no_longer(make) -> None:
    house = make()
    house.well()
    house.falls()
    house.now_ms += 61_000
    house.asked()
    announced(house, "incident", 120)  # a switch takes 240 s, as the contract guesses
    house.tick()
    assert house.runs() == []
    house.asked()
    house.tick(119.0)
    assert house.runs() == []
    house.asked()
    house.tick(1.0)
    assert [run.mode for run in house.runs()] == ["auto"]


@pytest.mark.parametrize(
    ("status", "in_s"), [("incident", 241), ("incident", None), ("ok", 120), ("incident", -60)]
)
def test_a_repair_that_comes_later_or_is_no_longer_announced_is_not_waited_for(make, status, in_s) -> None:
    house = make()
    house.well()
    house.falls()
    house.now_ms += 61_000
    house.asked()
    announced(house, status, in_s)
    house.tick()
    assert [run.mode for run in house.runs()] == ["auto"]
