"""The nightly proof: clocks that differ from their events are found, repaired with a row, and told; and the auditor's looks."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from collector.tick import proof
from collector.tick.auditor import LATE_MS
from ticketing import tables
from ticketing.intake import open_or_join
from ticketing.model import Confidence, Verdict

FULL = {"fs.used_pct": {"now": 99.0, "before": 70.0, "usual": 68.0}}
HOUR_MS = 3_600_000


def _opened(world: Any, n: int) -> list[int]:
    """``n`` tickets of one contract."""
    world.add_host("a1")

    def verdict(number: int) -> Verdict:
        return Verdict(
            2,
            "os.disk_full",
            "host:a1",
            f"host:a1/fs:/{number}",
            "fs_space",
            ("a1",),
            world.now_ms,
            Confidence.HIGH,
        )

    def run(tx: Any) -> list[int]:
        from ticketing import contracts

        book = contracts.current(tx)
        opened = [open_or_join(tx, book, verdict(k), "acme", world.now_ms) for k in range(n)]
        return [outcome.ticket_id for outcome in opened if outcome.ticket_id is not None]

    return world.store.write(run)


def _next_night(world: Any) -> None:
    """The tick knows of its first night; then the clock stands at it."""
    world.tick()
    world.now_ms = proof.next_night_ms(world.now_ms)


def _internal(world: Any) -> list[Any]:
    return [t for t in world.tickets() if t["contract_id"] == "internal"]


@pytest.mark.parametrize(
    ("now", "due"),
    [("2026-01-05T00:59:59", "2026-01-05T01:00:00"), ("2026-01-05T01:00:00", "2026-01-06T01:00:00")],
)
def test_the_night_begins_at_one_in_the_morning(now: str, due: str) -> None:
    def at(text: str) -> int:
        return int(dt.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)

    assert proof.next_night_ms(at(now)) == at(due)


def test_clocks_that_agree_are_proved_in_slices_and_say_nothing(world: Any) -> None:
    ids = _opened(world, proof.SLICE + 5)
    _next_night(world)
    first, second = world.tick(), world.tick()
    assert (first.counts["clocks_proved"], second.counts["clocks_proved"]) == (proof.SLICE, 5)
    assert "clocks_proved" not in world.tick().counts, "once a night"
    assert _internal(world) == [] and len(ids) == proof.SLICE + 5


def test_a_clock_that_differs_is_put_right_from_the_events_and_told(world: Any) -> None:
    wrong, gone, *_ = _opened(world, 3)
    clocks = tables.clocks
    resolution = (clocks.c.ticket_id == wrong) & (clocks.c.kind == "resolution")
    with world.store.read() as conn:
        right = conn.execute(select(clocks).where(resolution)).mappings().one()
    world.store.write(
        lambda tx: (
            tx.execute(update(clocks).where(resolution).values(spent_ms=77, due_at_ms=1)),
            tx.execute(delete(clocks).where(clocks.c.ticket_id == gone, clocks.c.kind == "reaction")),
        )
    )
    _next_night(world)
    # What the proof finds at night it found before anything else counted on it.
    world.store.write(
        lambda tx: tx.execute(update(tables.tickets).values(next_step_at_ms=world.now_ms + HOUR_MS))
    )
    assert world.tick().counts["clocks_repaired"] == 2
    with world.store.read() as conn:
        now = conn.execute(select(clocks).where(resolution)).mappings().one()
        kinds = conn.execute(select(clocks.c.kind).where(clocks.c.ticket_id == gone)).scalars().all()
        event = conn.execute(
            select(tables.ticket_events.c.body).where(
                tables.ticket_events.c.ticket_id == wrong, tables.ticket_events.c.kind == "repair"
            )
        ).scalar_one()
        audited = (
            conn.execute(select(tables.audit.c.object).where(tables.audit.c.act == "clock_repair"))
            .scalars()
            .all()
        )
    assert (now["spent_ms"], now["due_at_ms"]) == (0, right["due_at_ms"])
    assert sorted(kinds) == ["reaction", "resolution"]
    assert event["repaired"]["resolution"]["before"]["spent_ms"] == 77
    assert sorted(audited) == [f"ticket:{wrong}", f"ticket:{gone}"]
    causes = [t["root_cause"] for t in _internal(world)]
    assert proof.CAUSE in causes


def test_a_restart_goes_on_where_the_proof_stood(world: Any) -> None:
    _opened(world, proof.SLICE + 3)
    _next_night(world)
    world.tick()
    world.ctx.proof_due_ms = 0  # a new process knows only what the store remembers
    assert world.tick().counts["clocks_proved"] == 3


def test_an_open_ticket_without_its_resolution_clock_or_with_a_step_long_overdue_is_told(world: Any) -> None:
    lost, late, *_ = _opened(world, 3)
    clocks, tickets = tables.clocks, tables.tickets
    lost_clock = (clocks.c.ticket_id == lost) & (clocks.c.kind == "resolution")
    world.store.write(lambda tx: tx.execute(delete(clocks).where(lost_clock)))
    world.run(61, beating=("a1",))
    assert [t["root_cause"] for t in _internal(world)] == ["internal.audit"]
    assert str(lost) in str(_internal(world)[0]["verdict"]["reasons"][0]["params"]["tickets"])
    # A step that nothing takes: the clock step is kept from it, as a fault of it would.
    since_ms = world.now_ms - LATE_MS - 120_000
    left_lying = update(tickets).where(tickets.c.id == late).values(next_step_at_ms=since_ms)
    world.store.write(lambda tx: tx.execute(left_lying))

    from collector.tick.auditor import audit
    from collector.tick.context import TickReport
    from ticketing import contracts

    def look() -> int:
        report = TickReport()
        world.now_ms += 60_000
        world.store.write(lambda tx: audit(tx, world.now_ms, world.ctx, contracts.current(tx), report))
        return report.counts["audit_faults"]

    assert look() == 1, "seen for the first time"
    assert look() == 2, "the very same step at the next look"
    moved = update(tickets).where(tickets.c.id == late).values(next_step_at_ms=since_ms + 1000)
    world.store.write(lambda tx: tx.execute(moved))
    assert look() == 1, "a step that moved is being made up for"


def test_a_missing_next_step_is_planned_anew(world: Any) -> None:
    (one,) = _opened(world, 1)
    tickets = tables.tickets
    world.store.write(
        lambda tx: tx.execute(update(tickets).where(tickets.c.id == one).values(next_step_at_ms=None))
    )
    world.run(63, beating=("a1",))
    with world.store.read() as conn:
        step = conn.execute(select(tickets.c.next_step_at_ms).where(tickets.c.id == one)).scalar_one()
    assert step is not None and step > world.now_ms - 5000
    assert [t["root_cause"] for t in _internal(world)] == ["internal.audit"]
