"""The store: one door to SQLite or PostgreSQL. Other rooms are handed connections and never open one.

Theory of operation. A writer passes a function that takes the transaction; the store runs it, commits, and only then
returns its value: nobody can answer before the commit. On SQLite one thread does all writing
(``collector.store.writer``). What is queued when it becomes free shares one commit (one fsync), as far as it fits into a
few milliseconds, each function inside a savepoint of its own, so that a failing one takes nobody with it; the tick's
lane (``first=True``) leads. A second writing connection beside a group-commit writer would wait up to 131 ms for every
transaction (docs/adr/0009). On PostgreSQL every function gets a short transaction of its own from a pool, and is run
again when the server names a deadlock or a serialisation failure: functions must therefore touch nothing but their
transaction; what else must follow a commit goes through ``after_commit``.

An in-memory SQLite store (``sqlite://``) has neither thread nor pool: everything runs in the caller's thread on one
connection, which is what the simulation needs.

What was to be written never stands in an error's text: it may hold what a log must not (``hide_parameters``).

On SQLite nothing is acknowledged that lies in another file than the one at the store's path (``collector.store.place``).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from collector.store.errors import StoreBusy, StoreClosed
from collector.store.errors import StoreError as StoreError
from collector.store.errors import is_disk_full as is_disk_full
from collector.store.place import Place
from collector.store.writer import HOOKS, Hooks, Job, SqliteWriter
from collector.store.writer import savepoint as savepoint

T = TypeVar("T")

QUEUE_MAX = 4096
POOL_SIZE = 8
POOL_WAIT_S = 10.0
BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another process's rare write (an admin's command line)."""

WAL_ATTEMPTS = 100
"""How often the first opening of a new file is tried while others open it, each after a turn as its writer."""

PREPARED = 512
"""Statements that the SQLite driver keeps prepared for a connection."""

RETRIES = 5
_RETRY_STATES = ("40001", "40P01")
"""PostgreSQL: serialisation failure, deadlock detected."""


class Store:
    """A database behind ``read``, ``write`` and ``submit``; see the module's theory of operation."""

    def __init__(self, url: str, *, queue_max: int = QUEUE_MAX, pool_size: int = POOL_SIZE) -> None:
        self.url = url
        parsed = make_url(url)
        self.dialect = parsed.get_backend_name()
        self._queue_max = queue_max
        if self.dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
            self._lanes: _Inline | SqliteWriter | _PostgresWriters = _Inline(_memory_engine(url))
            self._readers = self._lanes.engine
        elif self.dialect == "sqlite":
            place = Place(str(parsed.database))
            self._lanes = SqliteWriter(
                _sqlite_engine(url, place, writing=True, pool_size=1),
                queue_max,
                _sqlite_engine(url, place, writing=True, pool_size=1),
                place,
            )
            self._readers = _sqlite_engine(url, place, writing=False, pool_size=pool_size)
        elif self.dialect == "postgresql":
            self._readers = _postgres_engine(url, pool_size)
            self._lanes = _PostgresWriters(self._readers, queue_max, pool_size)
        else:
            raise ValueError(f"the store is SQLite or PostgreSQL, not {self.dialect}")

    @staticmethod
    def open(url: str, *, queue_max: int = QUEUE_MAX, pool_size: int = POOL_SIZE) -> Store:
        """Open ``sqlite:///path``, ``sqlite://`` (in memory, in the caller's thread) or ``postgresql+psycopg://...``."""
        return Store(url, queue_max=queue_max, pool_size=pool_size)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one snapshot for all its statements, and it cannot write."""
        if isinstance(self._lanes, _Inline):
            with self._lanes.reading() as conn:
                yield conn
            return
        with self._readers.connect() as conn:
            if self.dialect == "postgresql":
                conn = conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with conn.begin():
                yield conn

    def write(self, fn: Callable[[Connection], T], *, first: bool = False) -> T:
        """Run ``fn`` inside one transaction; returns its value after the COMMIT, or raises what stopped it."""
        return self._lanes.write(fn, first)

    def submit(self, fn: Callable[[Connection], T], *, first: bool = False) -> Future[T]:
        """As ``write`` without waiting. Raises StoreBusy at once when the queue is full."""
        return self._lanes.submit(fn, first)

    def depth(self) -> int:
        """Functions that wait for the writer."""
        return self._lanes.depth()

    def close(self) -> None:
        """Finish what is queued, then close; later writes raise StoreClosed. Harmless when repeated."""
        self._lanes.close()
        self._readers.dispose()


def after_commit(tx: Connection, act: Callable[[], None]) -> None:
    """Run ``act`` once ``tx`` is durable; never, when the transaction or its savepoint is undone."""
    tx.info[HOOKS].done.append(act)


def after_undo(tx: Connection, act: Callable[[], None]) -> None:
    """Run ``act`` when what this function wrote in ``tx`` was undone."""
    tx.info[HOOKS].undone.append(act)


class _PostgresWriters:
    """A short transaction for each function, from a pool; a few threads for those that do not wait."""

    def __init__(self, engine: Engine, queue_max: int, threads: int) -> None:
        self.engine = engine
        self._queue_max = queue_max
        self._waiting = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._threads = ThreadPoolExecutor(
            max_workers=max(2, threads // 2), thread_name_prefix="store-writer"
        )

    def write(self, fn: Callable[[Connection], T], first: bool) -> T:
        if self._is_closed:
            raise StoreClosed("the store is closed")
        for attempt in range(1, RETRIES + 1):
            hooks = Hooks()
            try:
                with self.engine.connect() as conn, conn.begin():
                    conn.info[HOOKS] = hooks
                    value = fn(conn)
            except DBAPIError as error:
                hooks.settle(committed=False)
                if getattr(error.orig, "sqlstate", None) not in _RETRY_STATES or attempt == RETRIES:
                    raise
            except BaseException:
                hooks.settle(committed=False)
                raise
            else:
                hooks.settle(committed=True)
                return value
        raise AssertionError("the last attempt returns or raises")

    def submit(self, fn: Callable[[Connection], T], first: bool) -> Future[T]:
        with self._lock:
            if self._is_closed:
                raise StoreClosed("the store is closed")
            if self._waiting >= self._queue_max:
                raise StoreBusy(f"{self._waiting} writes are waiting already")
            self._waiting += 1
        future = self._threads.submit(self.write, fn, first)
        future.add_done_callback(self._one_less)
        return future

    def _one_less(self, _: Future[Any]) -> None:
        with self._lock:
            self._waiting -= 1

    def depth(self) -> int:
        return self._waiting

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self._is_closed = True


class _Inline:
    """One in-memory connection, used in the caller's thread; a nested write joins the transaction that is open."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._conn = engine.connect()
        self._lock = threading.RLock()
        self._is_closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._lock:
            if self._conn.in_transaction():
                yield self._conn
                return
            with self._conn.begin():
                yield self._conn

    def write(self, fn: Callable[[Connection], T], first: bool) -> T:
        return self.submit(fn, first).result()

    def submit(self, fn: Callable[[Connection], T], first: bool) -> Future[T]:
        with self._lock:
            if self._is_closed:
                raise StoreClosed("the store is closed")
            if self._conn.in_transaction():
                raise AssertionError("a function inside a transaction must use it, not ask for another")
            job = Job(fn)
            error: Exception | None = None
            try:
                with self._conn.begin():
                    # Alone in its transaction, it needs no savepoint.
                    self._conn.info[HOOKS] = job.hooks
                    job.value = fn(self._conn)
            except Exception as failure:  # the asker gets it through the future
                error = failure
            job.settle(error)
            return job.future

    def depth(self) -> int:
        return 0

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._conn.close()


def json_text(value: Any) -> str:
    """JSON for a column; takes the wire's dataclasses as they are."""
    return msgspec.json.encode(value).decode()


def _sqlite_engine(url: str, place: Place, *, writing: bool, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        connect_args={
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "cached_statements": PREPARED,
        },
        pool_size=pool_size,
        max_overflow=0 if writing else pool_size,
        pool_timeout=POOL_WAIT_S,
    )
    _set_up_sqlite(engine, begin="BEGIN IMMEDIATE" if writing else "BEGIN", read_only=not writing)

    @event.listens_for(engine, "do_connect")
    def _before_connect(*_: Any) -> None:
        # SQLite would make an empty file where the store is away, and the pool would keep it open.
        place.check()

    @event.listens_for(engine, "connect")
    def _after_connect(*_: Any) -> None:
        place.opened()

    return engine


def _memory_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        connect_args={"check_same_thread": False, "cached_statements": PREPARED},
        poolclass=StaticPool,
    )
    _set_up_sqlite(engine, begin="BEGIN IMMEDIATE", read_only=False)
    return engine


def _set_up_sqlite(engine: Engine, *, begin: str, read_only: bool) -> None:
    """Our own BEGIN: the driver's implicit one is deferred, and then fails at once however long the busy time-out."""

    @event.listens_for(engine, "connect")
    def _on_connect(dbapi_connection: Any, _: Any) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _write_ahead(cursor)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "wal_autocheckpoint=32768",  # 128 MiB: only where the writer's own mover cannot (collector.store.writer)
            "journal_size_limit=67108864",
            "cache_size=-16000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Turn the file to write-ahead logging. The busy time-out does not hold for that statement: of several processes that
    open a new store at once, all but one are told at once that it is locked. So wait as a writer does, and ask again."""
    for attempt in range(1, WAL_ATTEMPTS + 1):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == WAL_ATTEMPTS:
                raise
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ROLLBACK")


def _postgres_engine(url: str, pool_size: int) -> Engine:
    return create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "vartovyi-collector",
            "options": "-c lock_timeout=10000 -c statement_timeout=60000 -c timezone=UTC",
        },
    )
