"""E2 on PostgreSQL: the store's server stops in mid-plan. Nothing happens that could not be written down, and then it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import SQLAlchemyError

from collector.failover import runs
from collector.failover.settings import FailoverSettings
from collector.failover.worker import FailoverWorker
from collector.store.engine import Store
from collector.store.lease import Lease
from config.clock import SystemClock
from config.loader import load
from tests.conformance.pg import PostgresServer
from tests.tools.needs import require_package
from tests.unit.collector.failover.steps.test_crashes import Provider, Stage

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(300)]
LONG_S = 120.0
TRIES = 3
"""Moves that fail while the server is away, before it comes back."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of its own: it is stopped."""
    require_package("postgresql")
    made = PostgresServer()
    yield made
    made.stop()


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def _until(holds: Callable[[], bool], what: str) -> None:
    ends_s = time.monotonic() + LONG_S
    while time.monotonic() < ends_s:
        try:
            if holds():
                return
        except SQLAlchemyError:
            pass  # its pooled connections are of the server before
        time.sleep(0.1)
    raise AssertionError(f"not within {LONG_S:g} s: {what}")


@pytest.mark.parametrize(("boundary", "step"), [("acted", "fence-0-0"), ("intent", "promote-0")])
def test_a_store_whose_server_stops_lets_nothing_new_happen_and_the_run_goes_on_when_it_is_back(
    sshd, provider, server, tmp_path, boundary, step
) -> None:
    stage = Stage(tmp_path / "x", sshd, provider, server.url(server.create()))
    store, clock, away, over = Store.open(stage.url), SystemClock(), threading.Event(), threading.Event()
    lease = Lease(store, "one", 15.0)
    book = stage.house.book

    def watch(what: str, _run: str, where: str) -> None:
        if (what, where) == (boundary, step) and not away.is_set():
            server.halt()
            away.set()

    def hold() -> None:
        while not over.wait(0.1):
            try:
                lease.try_hold(clock.mono_ms())
            except SQLAlchemyError:
                continue  # as the decider's thread: the next turn tries again

    settings = load(stage.folder / "settings.yaml", FailoverSettings)
    worker = FailoverWorker(store, clock, lease, settings, lambda: book, watch=watch)
    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    worker.start()
    try:
        assert away.wait(LONG_S)
        done = _traces(stage)
        _until(lambda: worker.failures > 0, "a move failed")
        for _ in range(TRIES):
            worker.wake()
            time.sleep(0.2)
        assert _traces(stage) == done
        server.resume()

        def state() -> str:
            with stage.house.store.read() as conn:
                run = runs.load(conn, stage.run.id)
            assert run is not None
            return run.state.value

        _until(lambda: state() in ("hold_down", "stuck", "aborted"), "the run is over")
        assert state() == "hold_down"
        stage.audit()
        assert stage.traces("promoted") == 1
        assert provider.orders == ["b9"]
    finally:
        over.set()
        holder.join()
        worker.stop()
        store.close()
        stage.close()


def _traces(stage: Stage) -> tuple[int, int, int]:
    return stage.traces("fenced"), stage.traces("promoted"), len(stage.provider.orders)
