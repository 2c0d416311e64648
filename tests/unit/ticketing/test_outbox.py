"""Outgoing rows: one id over all attempts, bounded retries, a claim that a dead worker cannot keep."""

from __future__ import annotations

from sqlalchemy import select

from ticketing import intake, outbox, tables
from ticketing.model import Reason
from ticketing.outbox import Delivered, GaveUp, Later

NOW_MS = 1_767_600_000_000


def _rows(tx):
    return tx.execute(select(tables.outbox).order_by(tables.outbox.c.id)).mappings().all()


def test_an_opened_ticket_tells_each_receiver_once(tx, book, verdict):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    rows = _rows(tx)
    assert [(r["channel"], r["destination"], r["state"]) for r in rows] == [
        ("mail", "oncall@acme.example", "pending"),
        ("webhook", "https://hook.example/v", "pending"),
    ]
    assert len({r["message_id"] for r in rows}) == 2
    assert rows[0]["payload"]["language"] == "uk"


def test_a_claimed_row_is_nobody_else_s_until_the_claim_ends(tx, book, verdict):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    assert len(outbox.claim(tx, "one", NOW_MS, 1)) == 1
    assert len(outbox.claim(tx, "two", NOW_MS, 5)) == 1
    assert outbox.claim(tx, "two", NOW_MS, 5) == []
    assert len(outbox.claim(tx, "three", NOW_MS + outbox.CLAIM_MS, 5)) == 2


def test_a_mirrors_messages_of_one_ticket_wait_for_each_other_and_nobody_else_does(tx, book, verdict):
    first = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    for row in _rows(tx):
        outbox.settle(tx, row["id"], Delivered(), NOW_MS)
    common = {"destination": "office", "payload": {}, "now_ms": NOW_MS, "ticket_id": first}
    for n in range(3):
        outbox.enqueue(tx, channel="mirror:office", message_id=f"m{n}", **common)
    outbox.enqueue(tx, channel="mirror:other", message_id="o0", **common)
    (one, other) = outbox.claim(tx, "a", NOW_MS, 9)
    assert [one["message_id"], other["message_id"]] == ["m0", "o0"]
    assert outbox.claim(tx, "b", NOW_MS, 9) == [], "the second waits for the first, though nobody holds it"
    outbox.settle(tx, one["id"], Later("away"), NOW_MS)
    assert outbox.claim(tx, "b", NOW_MS, 9) == []
    outbox.settle(tx, one["id"], GaveUp("for ever"), NOW_MS)
    assert [row["message_id"] for row in outbox.claim(tx, "b", NOW_MS, 9)] == ["m1"]


def test_what_waits_for_a_channel_that_is_away_waits_together_and_no_attempt_is_counted(tx, book, verdict):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    for n in range(3):
        channel = "mirror:office" if n else "mirror:other"
        outbox.enqueue(tx, channel=channel, destination="x", message_id=f"m{n}", payload={}, now_ms=NOW_MS)
    outbox.postpone(tx, "mirror:office", NOW_MS + 60_000)
    waiting = {row["message_id"]: row for row in _rows(tx)}
    assert [waiting[f"m{n}"]["next_attempt_at_ms"] - NOW_MS for n in range(3)] == [0, 60_000, 60_000]
    assert {waiting[f"m{n}"]["attempts"] for n in range(3)} == {0}
    outbox.postpone(tx, "mirror:office", NOW_MS + 1_000)
    assert _rows(tx)[-1]["next_attempt_at_ms"] == NOW_MS + 60_000, "never sooner"


def test_a_worker_whose_claim_was_taken_settles_nothing(tx, book, verdict):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    row = outbox.claim(tx, "slow", NOW_MS, 1)[0]
    outbox.claim(tx, "quick", NOW_MS + outbox.CLAIM_MS, 1)
    assert outbox.settle(tx, row["id"], GaveUp("late"), NOW_MS + outbox.CLAIM_MS, worker="slow") == "pending"
    assert outbox.settle(tx, row["id"], Delivered(), NOW_MS + outbox.CLAIM_MS, worker="quick") == "delivered"


def test_failures_wait_longer_each_time_and_end_as_an_event(tx, book, verdict):
    ticket_id = intake.open_or_join(tx, book, verdict, "acme", NOW_MS).ticket_id
    row, now, waits = _rows(tx)[0], NOW_MS, []
    for _ in range(outbox.MAX_ATTEMPTS):
        outbox.settle(tx, row["id"], Later("no route"), now)
        after = _rows(tx)[0]
        assert after["message_id"] == row["message_id"]
        if after["state"] == "pending":
            waits.append(after["next_attempt_at_ms"] - now)
            now = after["next_attempt_at_ms"]
    assert after["state"] == "given_up" and after["next_attempt_at_ms"] is None
    assert waits == sorted(waits) and len(waits) == len(outbox.RETRY_S)
    assert all(base * 1000 <= wait <= base * 1250 for base, wait in zip(outbox.RETRY_S, waits, strict=True))
    events = tables.ticket_events
    body = tx.execute(
        select(events.c.body).where(events.c.ticket_id == ticket_id, events.c.kind == "delivery")
    ).scalar_one()
    assert Reason.from_dict(body["reason"]).key == "reason.delivery.given_up"


def test_a_row_that_is_settled_stays_settled(tx, book, verdict):
    intake.open_or_join(tx, book, verdict, "acme", NOW_MS)
    row = _rows(tx)[0]
    outbox.settle(tx, row["id"], Delivered(), NOW_MS)
    assert outbox.settle(tx, row["id"], GaveUp("x"), NOW_MS + 1) == "delivered"
    assert outbox.settle(tx, 10_000, Delivered(), NOW_MS) == ""


def test_the_other_side_may_ask_for_more_time_within_a_day():
    assert outbox.retry_wait_ms("id", 1, 7200) == 7_200_000
    assert outbox.retry_wait_ms("id", 1, 10**9) == 86_400_000
    assert outbox.retry_wait_ms("id", 1) == outbox.retry_wait_ms("id", 1)


def test_the_same_forecast_is_told_once(tx, book, make):
    for later in (0, 1):
        intake.open_or_join(tx, book, make(preventive=True), "acme", NOW_MS + later)
    assert len(_rows(tx)) == 1


def test_internal_notes_and_unwanted_moments_go_nowhere(tx, book, verdict, make):
    intake.open_or_join(tx, book, make(affected=("b1",), subject="host:b1"), "beta", NOW_MS)
    assert _rows(tx) == []  # beta has no channels
