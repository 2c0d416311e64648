"""Letters and dossiers on both databases: many hands at once, each letter acted on once, each dossier sent once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import select, update

from collector.store import retention
from collector.store.engine import Store
from config import loader
from tests.unit.ticketing.letters.conftest import ACME, BETA, KEY, NOW_MS, PEOPLE, letter
from ticketing import contracts, intake, line4, tables
from ticketing.letters import acting, rows
from ticketing.model import Confidence, Reason, Verdict
from ticketing.terms import Contract

DAY_S = 86_400.0


def make_book(store: Store, acme: str = ACME) -> contracts.Book:
    loaded = contracts.Loaded(
        (loader.parse(acme, Contract), loader.parse(BETA, Contract)),
        tuple(loader.parse(text, contracts.Person) for text in PEOPLE),
    )
    store.write(lambda tx: contracts.apply(tx, loaded, NOW_MS - 1000, "test"))
    with store.read() as conn:
        return contracts.current(conn)


def together(*works: Callable[[], None]) -> None:
    """Run them at once; the first error is the test's."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_collectors_that_read_one_mailbox_at_once_take_and_do_each_letter_once(store: Store) -> None:
    """While the lease moves, two may read: the rows decide."""
    book = make_book(store)
    house = acting.House(KEY, frozenset({"desk@desk.example"}))
    letters = [rows.Fetched(n, NOW_MS, letter(subject=f"n{n}", text=f"оплата {n}")) for n in range(1, 13)]

    def read() -> None:
        for one in letters:
            store.write(lambda tx, one=one: rows.take(tx, "box", 7, [one], NOW_MS))

    def act() -> None:
        while store.write(lambda tx: acting.act_on_next(tx, book, house, NOW_MS)) is not None:
            pass

    together(read, read)
    together(act, act, act)
    act()
    with store.read() as conn:
        titles = conn.execute(select(tables.tickets.c.title)).scalars().all()
        outcomes = conn.execute(select(tables.mails.c.outcome)).scalars().all()
        assert rows.read_up_to(conn, "box", 7) == 12
    assert sorted(titles) == sorted(f"n{n}" for n in range(1, 13)) and set(outcomes) == {"filed"}


def test_a_dossier_goes_by_itself_once_and_is_reminded_on_both(store: Store) -> None:
    book = make_book(store, ACME.replace("client_number:", "send: by_itself, after: 1 min, client_number:"))
    verdict = Verdict(
        class_=1, root_cause="virt.cpu_contention", scope="host:a1", subject="host:a1", family="cpu", affected=("a1",),
        began_at_ms=NOW_MS, confidence=Confidence.HIGH, reasons=(Reason("reason.letter.bounce", {}, 1.0),),
        summary=Reason("cause.virt.cpu_contention"),
    )  # fmt: skip
    store.write(lambda tx: intake.open_or_join(tx, book, verdict, "acme", NOW_MS))
    later = NOW_MS + 61_000
    found = [store.write(lambda tx: line4.run(tx, book, later, 10)) for _ in range(2)]
    assert [f["dossiers"] for f in found] == [1, 0]
    found = store.write(lambda tx: line4.run(tx, book, later + 4 * 3_600_000, 10))
    assert found["provider_reminders"] == 1
    with store.read() as conn:
        sent = conn.execute(select(tables.outbox.c.destination).filter_by(channel="mail")).scalars().all()
    assert sent.count("support@alfa.example") == 2


def test_old_letters_go_and_those_that_somebody_needs_stay(store: Store) -> None:
    book = make_book(store)
    house = acting.House(KEY, frozenset())
    raws = [
        letter(text="оплата"),
        letter(sender="eve@evil.example"),
        letter(sender="robot@x.example", Precedence="bulk"),
    ]
    for uid, raw in enumerate(raws, 1):
        store.write(
            lambda tx, uid=uid, raw=raw: rows.take(tx, "box", 7, [rows.Fetched(uid, NOW_MS, raw)], NOW_MS)
        )
        store.write(lambda tx: acting.act_on_next(tx, book, house, NOW_MS))
    store.write(lambda tx: rows.take(tx, "box", 7, [rows.Fetched(9, NOW_MS, letter(text="ще"))], NOW_MS))
    later = NOW_MS + round(500 * DAY_S * 1000)
    store.write(lambda tx: retention.sweep(tx, later, {"mails": 400 * DAY_S}))
    with store.read() as conn:
        left = conn.execute(select(tables.mails.c.outcome).order_by(tables.mails.c.id)).scalars().all()
    assert left == ["filed", "held", ""], "of an open ticket; waiting for a person; not yet done"
    store.write(lambda tx: tx.execute(update(tables.tickets).values(open_mark=None)))
    store.write(lambda tx: retention.sweep(tx, later, {"mails": 400 * DAY_S}))
    with store.read() as conn:
        assert len(conn.execute(select(tables.mails.c.id)).all()) == 2
        assert rows.read_up_to(conn, "box", 7) == 9, "how far the mailbox was read outlives its letters"
