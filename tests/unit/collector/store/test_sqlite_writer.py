"""The one writer of a SQLite file: whose turn it is, what one group may take, and that its log stays small."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from collector.store.engine import Store, savepoint
from collector.store.errors import StoreGone
from collector.store.migrate import migrate
from collector.store.writer import CHECKPOINT_BYTES, GROUP_S
from collector.tables import own_state

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collector.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    migrate(f"sqlite:///{path}")
    store = Store.open(f"sqlite:///{path}")
    yield store
    store.close()


def _held(store: Store, gate: threading.Event) -> Future[Any]:
    """The writer stands in a function until the gate opens, so that a line forms behind it and its own group."""
    began = threading.Event()
    held = store.submit(lambda tx: (began.set(), gate.wait(10), time.sleep(2 * GROUP_S)))
    assert began.wait(10)
    return held


def test_slices_of_the_tick_and_other_writes_take_turns(store: Store) -> None:
    """Both lanes are full of functions longer than a group: neither waits for the end of the other."""
    gate, order = threading.Event(), []

    def slow(name: str) -> None:
        time.sleep(GROUP_S * 1.2)
        order.append(name)

    jobs = [_held(store, gate)]
    for _ in range(6):
        jobs.append(store.submit(lambda tx: slow("tick"), first=True))
        jobs.append(store.submit(lambda tx: slow("report")))
    gate.set()
    wait(jobs, timeout=20)
    assert [job.exception() for job in jobs] == [None] * 13
    assert order == ["tick", "report"] * 6


def test_quick_writes_share_a_group_and_the_tick_leads(store: Store) -> None:
    gate, order = threading.Event(), []
    jobs = [_held(store, gate)]
    jobs += [store.submit(lambda tx: order.append("report")) for _ in range(3)]
    jobs.append(store.submit(lambda tx: order.append("tick"), first=True))
    gate.set()
    wait(jobs, timeout=20)
    assert order == ["tick", "report", "report", "report"]


def test_the_log_stays_small_while_the_writer_never_rests(store: Store, path: Path) -> None:
    """Many times the log's bound goes through it; the writer's own commits leave no gap in which to finish."""
    blob, stop, largest = "x" * MIB, threading.Event(), 0

    def small() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            key = f"s{n % 50}"
            store.write(
                lambda tx, key=key: (
                    tx.execute(text("REPLACE INTO own_state VALUES (:k, '')"), {"k": key}) and None
                )
            )

    beside = threading.Thread(target=small)
    beside.start()
    try:
        for n in range(160):
            key = f"k{n % 4}"
            store.write(
                lambda tx, key=key: (
                    tx.execute(text("REPLACE INTO own_state VALUES (:k, :v)"), {"k": key, "v": blob}) and None
                )
            )
            largest = max(largest, Path(f"{path}-wal").stat().st_size)
    finally:
        stop.set()
        beside.join()
    assert largest < 6 * CHECKPOINT_BYTES, f"160 MiB went through a log of {largest / MIB:.0f} MiB"


def test_what_stands_in_a_savepoint_is_undone_alone(store: Store) -> None:
    def run(tx: Any) -> str:
        tx.execute(insert(own_state).values(key="kept", value=""))
        with pytest.raises(IntegrityError), savepoint(tx):
            tx.execute(insert(own_state).values(key="gone", value=""))
            tx.execute(insert(own_state).values(key="kept", value="twice"))
        return tx.execute(select(own_state.c.key)).scalar_one()

    assert store.write(run) == "kept"


def test_a_group_that_the_database_undid_by_itself_is_nobody_s_success(store: Store) -> None:
    """SQLite ends the transaction itself on a full disk; a ROLLBACK in one function stands for it here."""
    gate, settled = threading.Event(), []

    def undone(tx: Any) -> None:
        tx.connection.dbapi_connection.execute("ROLLBACK")
        raise DBAPIError("the disk is full", None, Exception("disk"))

    jobs = [_held(store, gate)]
    jobs.append(store.submit(lambda tx: tx.execute(insert(own_state).values(key="a", value="")) and None))
    jobs.append(store.submit(undone))
    jobs.append(store.submit(lambda tx: settled.append("after")))
    gate.set()
    wait(jobs, timeout=20)
    assert [type(job.exception()) for job in jobs[1:]] == [DBAPIError, DBAPIError, type(None)]
    with store.read() as conn:
        assert conn.execute(select(own_state.c.key)).all() == []
    assert store.write(lambda tx: tx.execute(insert(own_state).values(key="b", value="")).rowcount) == 1


def _kept(path: Path) -> list[str]:
    """What somebody finds who opens the store at its path."""
    store = Store.open(f"sqlite:///{path}")
    try:
        with store.read() as conn:
            return list(conn.execute(select(own_state.c.key).order_by(own_state.c.key)).scalars())
    finally:
        store.close()


def _put(store: Store, key: str) -> None:
    store.write(lambda tx: tx.execute(insert(own_state).values(key=key, value="")))


def test_nothing_is_acknowledged_that_goes_into_a_file_which_is_gone_and_it_goes_on_when_that_is_back(
    store: Store, path: Path, tmp_path: Path
) -> None:
    _put(store, "before")
    away = tmp_path / "away"
    away.mkdir()
    for part in tmp_path.glob("collector.db*"):
        part.rename(away / part.name)
    with pytest.raises(StoreGone, match="is gone"):
        _put(store, "meanwhile")
    assert not path.exists(), "an empty store was made where the real one is away"
    for part in away.iterdir():
        part.rename(tmp_path / part.name)
    _put(store, "after")
    assert _kept(path) == ["after", "before"]


def test_nothing_is_acknowledged_that_goes_into_a_file_which_was_replaced(store: Store, path: Path) -> None:
    _put(store, "before")
    copy = path.with_name("copy")
    with sqlite3.connect(path) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    db.close()
    for part in path.parent.glob("collector.db*"):
        part.unlink()
    copy.rename(path)
    with pytest.raises(StoreGone, match="was replaced"):
        _put(store, "into the old one")
    assert _kept(path) == ["before"]


def test_a_file_that_goes_while_its_group_is_written_is_no_acknowledgement(store: Store, path: Path) -> None:
    _put(store, "before")

    def write(tx: Any) -> None:
        tx.execute(insert(own_state).values(key="lost", value=""))
        for part in path.parent.glob("collector.db*"):
            part.unlink()

    with pytest.raises(StoreGone):
        store.write(write)


def test_a_reader_that_comes_while_the_file_is_away_makes_no_empty_one(store: Store, path: Path) -> None:
    _put(store, "before")
    path.rename(path.with_name("away"))
    with pytest.raises(StoreGone), store.read():
        pass
    path.with_name("away").rename(path)
    with store.read() as conn:
        assert conn.execute(select(own_state.c.key)).scalars().all() == ["before"]


def test_an_error_s_text_does_not_hold_what_was_to_be_written(store):
    with pytest.raises(DBAPIError) as told:
        store.write(lambda tx: tx.execute(text("INSERT INTO nowhere VALUES (:what)"), {"what": "s3cret"}))
    assert "nowhere" in str(told.value)
    assert "s3cret" not in str(told.value)


def test_stores_that_open_a_new_file_at_once_all_open_it(tmp_path: Path) -> None:
    """SQLite turns a new file to write-ahead logging for one of them and tells the others at once that it is locked."""
    failed: list[Exception] = []
    for number in range(30):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        gate = threading.Barrier(4)

        def start(url: str = url, gate: threading.Barrier = gate) -> None:
            store = Store.open(url)
            try:
                gate.wait(30)
                assert store.write(lambda tx: tx.scalar(text("PRAGMA journal_mode"))) == "wal"
            except Exception as error:
                failed.append(error)
            finally:
                store.close()

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
