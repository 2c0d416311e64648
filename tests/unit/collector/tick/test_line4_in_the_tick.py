"""Line 4 in the tick: the dossier goes by itself once, reminders come when they are due, a quiet desk costs nothing."""

from __future__ import annotations

from sqlalchemy import select

from config import loader
from tests.unit.collector.tick.conftest import World
from ticketing import contracts, intake, tables
from ticketing.model import Confidence, Reason, Verdict
from ticketing.terms import Contract

ACME = """
id: acme
title: Acme
lines: 2
hosts: [{id: a1, addresses: [192.0.2.1], topology: {provider: alfa}}]
provider_desks: [{to: [support@alfa.example], send: by_itself, after: 1 min, remind_after: 1 h, reminders: 1}]
"""


def test_a_dossier_that_needs_no_yes_goes_out_with_the_tick_and_is_reminded() -> None:
    world = World()
    world.replace_contract(loader.parse(ACME, Contract))
    with world.store.read() as conn:
        book = contracts.current(conn)
    verdict = Verdict(
        class_=1, root_cause="virt.cpu_contention", scope="host:a1", subject="host:a1", family="cpu", affected=("a1",),
        began_at_ms=world.now_ms, confidence=Confidence.HIGH, reasons=(Reason("reason.letter.bounce", {}, 1.0),),
        summary=Reason("cause.virt.cpu_contention"),
    )  # fmt: skip
    world.store.write(lambda tx: intake.open_or_join(tx, book, verdict, "acme", world.now_ms))
    begun = world.now_ms
    counted = {"dossiers": [], "provider_reminders": []}
    for second in (1, 54, 60, 66, 72, 3_700, 3_706, 9_000):
        world.now_ms = begun + second * 1000
        counts = world.tick().counts
        for name, at in counted.items():
            at += [second] * counts.get(name, 0)
    assert counted == {"dossiers": [60], "provider_reminders": [3_700]}
    with world.store.read() as conn:
        sent = conn.execute(select(tables.outbox.c.message_id).filter_by(channel="mail")).scalars().all()
    assert len(sent) == len(set(sent)) == 2
