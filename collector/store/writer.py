"""The one thread that writes to a SQLite file: groups, their bound, and the log's way into the database file.

A group is what shares one commit. It takes functions until ``GROUP_S`` have passed: whoever stands behind waits for one
group and not for all that was in the line before. The tick's lane leads, but when a group had no room for the other lane
the next one begins there: a tick in slices and the intake take turns. One function is never cut in two.

The log (WAL) goes into the database file beside the writer, in a thread of its own: done inside a commit it kept every
report of that moment waiting for 20 ms. That thread never finishes under load, since the writer adds to the log
meanwhile; so the writer moves the few pages that are left between two groups, and the log begins anew.

Refuses: to go on with a group whose transaction SQLite undid by itself (full disk, I/O error); every asker is told.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from collector.store.errors import StoreBusy, StoreClosed
from collector.store.place import Place
from config.clock import perf_seconds
from config.log import fields

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP_MAX = 64
"""Most functions that share one commit."""

GROUP_S = 0.005
"""After so long a group takes nothing more in."""

CHECKPOINT_COMMITS = 200
CHECKPOINT_BYTES = 16 * 1024 * 1024
"""The log is moved after so many groups, and when its file grew by so much."""

HOOKS = "vartovyi_hooks"

_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"


@contextlib.contextmanager
def savepoint(tx: Connection, name: str = "step") -> Iterator[None]:
    """What happens inside is undone when it raises.

    Straight to the driver: SQLAlchemy's own compiles two statements under new names each time, which cost a judged
    finding more than its judging.
    """
    _tell(tx, f"SAVEPOINT {name}")
    try:
        yield
    except BaseException:
        # Where the database undid the whole transaction there is no savepoint any more, and the first error tells why.
        with contextlib.suppress(DBAPIError):
            _tell(tx, f"ROLLBACK TO SAVEPOINT {name}")
            _tell(tx, f"RELEASE SAVEPOINT {name}")
        raise
    _tell(tx, f"RELEASE SAVEPOINT {name}")


def _tell(tx: Connection, statement: str) -> None:
    driver: Any = tx.connection.dbapi_connection
    try:
        driver.execute(statement)
    except tx.dialect.loaded_dbapi.Error as error:
        raise OperationalError(statement, None, error) from error


class Hooks:
    """What must follow one function's fate."""

    __slots__ = ("done", "undone")

    def __init__(self) -> None:
        self.done: list[Callable[[], None]] = []
        self.undone: list[Callable[[], None]] = []

    def settle(self, committed: bool) -> None:
        """Run what was asked for that fate."""
        for act in self.done if committed else reversed(self.undone):
            act()


class Job:
    """One submitted function with its future."""

    __slots__ = ("error", "fn", "future", "hooks", "value")

    def __init__(self, fn: Callable[[Connection], Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.hooks = Hooks()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self, conn: Connection) -> None:
        """Run inside a savepoint; an error is kept for the future, and undone."""
        conn.info[HOOKS] = self.hooks
        try:
            with savepoint(conn, "job"):
                self.value = self.fn(conn)
        except Exception as error:  # the boundary between the writer and whoever asked: the asker gets it
            self.error = error

    def settle(self, error: BaseException | None = None) -> None:
        """Tell hooks, then the waiting side."""
        failed = self.error or error
        try:
            self.hooks.settle(committed=failed is None)
        except Exception as hook_error:  # a hook's bug must not leave the asker waiting for ever
            failed = failed or hook_error
        if not self.future.set_running_or_notify_cancel():
            return
        if failed is not None:
            self.future.set_exception(failed)
        else:
            self.future.set_result(self.value)


class SqliteWriter:
    """The lanes, the thread, and the log's mover."""

    def __init__(self, engine: Engine, queue_max: int, mover: Engine, place: Place) -> None:
        self.engine = engine
        self._place = place
        self._queue_max = queue_max
        self._first: collections.deque[Job] = collections.deque()
        self._others: collections.deque[Job] = collections.deque()
        self._is_others_turn = False
        self._wake = threading.Condition()
        self._is_closing = False
        self._log = LogMover(mover)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, fn: Callable[[Connection], T], first: bool) -> T:
        """Submit and wait."""
        if threading.current_thread() is self._thread:
            raise AssertionError(
                "a function inside the writer must use its own transaction, not ask for another"
            )
        return self.submit(fn, first).result()

    def submit(self, fn: Callable[[Connection], T], first: bool) -> Future[T]:
        """Put it in its lane."""
        job = Job(fn)
        with self._wake:
            if self._is_closing:
                raise StoreClosed("the store is closed")
            lane = self._first if first else self._others
            if len(lane) >= self._queue_max:
                raise StoreBusy(f"{len(lane)} writes are waiting already")
            lane.append(job)
            self._wake.notify()
        return job.future

    def depth(self) -> int:
        """Functions that wait."""
        return len(self._first) + len(self._others)

    def close(self) -> None:
        """Write what is queued, then end."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()
        self._log.close()
        self.engine.dispose()

    def _run(self) -> None:
        while self._wait():
            self._commit_group()
            if self._log.is_nearly_moved:
                self._log.move_rest(self.engine)

    def _wait(self) -> bool:
        """Wait for something to write; False when closing and nothing is left."""
        with self._wake:
            while not self._first and not self._others:
                if self._is_closing:
                    return False
                self._wake.wait()
            return True

    def _commit_group(self) -> None:
        group: list[Job] = []
        try:
            with self.engine.connect() as conn:
                self._place.check()
                with conn.begin():
                    self._run_group(conn, group)
            # After the commit too: nobody is told of a row that nobody can find.
            self._place.check()
        except Exception as error:  # a failed BEGIN or COMMIT (disk full, file gone) is every asker's answer
            if not group:  # not even begun: who stands first is told, and the line moves on
                group = [self._next()]
            for job in group:
                job.settle(error)
        else:
            self._log.committed()
            for job in group:
                job.settle()

    def _run_group(self, conn: Connection, group: list[Job]) -> None:
        """Run what shares this commit; what ran, also half, stands in ``group``."""
        began_s = perf_seconds()
        lead, other = (self._first, self._others)
        if self._is_others_turn:
            lead, other = other, lead
        self._is_others_turn = bool(self._others)
        while len(group) < GROUP_MAX and (not group or perf_seconds() - began_s < GROUP_S):
            lane = lead or other
            if not lane:
                return
            if lane is self._others:
                self._is_others_turn = False
            job = self._pop(lane)
            group.append(job)
            job.run(conn)
            if job.error is not None and not _is_open(conn):
                raise job.error

    def _next(self) -> Job:
        return self._pop(self._first or self._others)

    def _pop(self, lane: collections.deque[Job]) -> Job:
        with self._wake:
            return lane.popleft()


def _is_open(conn: Connection) -> bool:
    """Whether the transaction still stands: SQLite undoes it by itself on a full disk or an I/O error."""
    driver: Any = conn.connection.dbapi_connection
    return driver.in_transaction


class LogMover:
    """Moves the log into the database file, beside the writer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._path = Path(f"{engine.url.database}-wal")
        self._commits = 0
        self._size = 0
        self._due = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self.is_nearly_moved = False
        """What the log held a moment ago is moved: the writer may finish it and let the log begin anew."""

    def committed(self) -> None:
        """One group more; called by the writer."""
        self._commits += 1
        if self._due.is_set() or (self._commits < CHECKPOINT_COMMITS and not self._has_grown()):
            return
        self._commits = 0
        if self._thread is None:  # a command line that writes twice needs none
            self._thread = threading.Thread(target=self._run, name="store-log", daemon=True)
            self._thread.start()
        self._due.set()

    def move_rest(self, writing: Engine) -> None:
        """Move what was added meanwhile, on the writer's own connection, between two groups."""
        self.is_nearly_moved = False
        _move(writing)

    def close(self) -> None:
        """End the thread. The last connection that closes moves the rest."""
        self._is_closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()
        self._engine.dispose()

    def _has_grown(self) -> bool:
        try:
            size = self._path.stat().st_size
        except OSError:
            return False
        if size < self._size + CHECKPOINT_BYTES:
            self._size = min(size, self._size)
            return False
        self._size = size
        return True

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._is_closing:
                return
            # The second pass takes what came during the first, which is long; the writer then has little left to move.
            if _move(self._engine) and _move(self._engine):
                self.is_nearly_moved = True
            self._due.clear()


def _move(engine: Engine) -> bool:
    """One pass over the log; whether it could be made. Nothing is lost where not: the log keeps it for the next pass."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(_CHECKPOINT)
        cursor.fetchall()
        cursor.close()
        return True
    except engine.dialect.loaded_dbapi.Error as error:
        log.warning("The store's log could not be moved now; it will be. %s", fields(error=str(error)[:200]))
        return False
    finally:
        raw.close()
