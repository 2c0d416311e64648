"""kill -9 of a real worker at every point of a delivery, against the real desks: one ticket, each comment once, in order.

A run files a ticket with comments and a change of status, and kills the worker once to three times: before a request is
sent, while the desk works on it, after it was done and before the answer came, shortly after the answer, and before or
after the commit of each write of ours. ``RUNS`` runs a desk from a seed; `make mirrors-kill` does 200.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from config.loader import Duration
from tests.conformance.mirrors.conftest import Databases
from tests.conformance.mirrors.doomed import Doom, work
from tests.conformance.mirrors.proxy import Call, Fate, Pass
from tests.conformance.mirrors.rig import DESK, OurSide, Rig

RUNS = int(os.environ.get("MIRROR_KILLS", "6"))
FIRST = int(os.environ.get("MIRROR_FIRST", "0"))
"""Number of the first run: a long row of runs may be done in parts."""
SEED = int(os.environ.get("MIRROR_SEED", "1"))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.conformance.mirrors.doomed"])
MAX_LIVES = 12


@dataclasses.dataclass(frozen=True)
class Kill:
    """One death: at the n-th request that the proxy sees, or at the n-th write of the store."""

    where: str
    """before, during, after, late (a moment after the answer), write (before the commit), written (after it)."""
    at: int
    late_s: float = 0.0

    def doom(self) -> Doom:
        return Doom(self.at, self.where == "written") if self.where in ("write", "written") else Doom()


POINTS = ("before", "during", "after", "late", "write", "written")


def kills_of(rng: random.Random, run: int) -> list[Kill]:
    """The deaths of one run; every run begins with another point, so that all are met."""
    kills = []
    for n in range(rng.randint(1, 3)):
        where = POINTS[run % len(POINTS)] if n == 0 else rng.choice(POINTS)
        most = 16 if where in ("write", "written") else 12
        kills.append(Kill(where, rng.randint(1, most), rng.uniform(0, 0.04)))
    return kills


class Lives:
    """The lives of one run's worker."""

    def __init__(self, rig: Rig, url: str) -> None:
        self.rig = rig
        self.url = url
        self.terms = dataclasses.replace(rig.terms, settle=Duration(0.3))
        self.deaths: list[str] = []

    def live(self, kill: Kill | None) -> bool:
        """One life; True when the work was done, False when it was killed."""
        process = PROCESSES.Process(
            target=work, args=(self.url, DESK, self.terms, kill.doom() if kill else Doom()), daemon=True
        )
        count = 0
        lock = threading.Lock()

        def die() -> None:
            if kill is not None and kill.where == "late":
                time.sleep(kill.late_s)
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]

        def plan(method: str, path: str) -> Fate:
            nonlocal count
            with lock:
                count += 1
                is_now = (
                    kill is not None
                    and kill.where in ("before", "during", "after", "late")
                    and count == kill.at
                )
            return Call(die, kill.where) if is_now and kill is not None else Pass()

        self.rig.proxy.plan = plan
        process.start()
        process.join(90)
        assert process.exitcode is not None, "the worker does not end"
        # A worker's claim outlasts every request that it may have sent; here the claim is short, so we wait for them.
        self.rig.proxy.wait_until_idle()
        if process.exitcode == -signal.SIGKILL:
            assert kill is not None
            self.deaths.append(kill.where)
            return False
        assert process.exitcode == 0, f"the worker ended with {process.exitcode}"
        return True


@pytest.fixture
def words() -> tuple[str, ...]:
    return ("перше слово", "друге слово", "третє слово")


@pytest.mark.timeout(7200)
def test_a_worker_killed_at_any_point_leaves_one_ticket_and_each_comment_once_in_order(
    rig: Rig, databases: Databases, tmp_path: Path, words: tuple[str, ...], say: Any
) -> None:
    deaths: Counter[str] = Counter()
    began = time.monotonic()
    for run in range(FIRST, FIRST + RUNS):
        folder = tmp_path / str(run)
        folder.mkdir()
        kills = kills_of(random.Random(f"{SEED}/{rig.kind}/{run}"), run)
        url = databases.new(folder)
        met = _one_run(rig, url, words, kills, f"seed {SEED}, run {run}: {kills}")
        databases.drop(url)
        deaths.update(met)
        if run % 20 == 19:
            say(
                f"{rig.kind}: {run + 1 - FIRST} of {RUNS} runs, {time.monotonic() - began:.0f} s, deaths {dict(deaths)}"
            )
    assert sum(deaths.values()) >= RUNS * 0.7, f"too few workers died to show anything: {deaths}"
    if len(POINTS) * 2 <= RUNS:
        assert set(deaths) == set(POINTS), deaths
    say(f"{rig.kind}: {RUNS} runs from seed {SEED}, {time.monotonic() - began:.0f} s, deaths {dict(deaths)}")


def _one_run(rig: Rig, url: str, words: tuple[str, ...], kills: list[Kill], told: str) -> list[str]:
    ours = OurSide(rig, url, clock=SystemClock())
    try:
        ticket_id = ours.file()
        for word in words:
            ours.act(ticket_id, "note", text=word, is_public=True)
        ours.act(ticket_id, "resolve", cause="диск", remedy="почистили")
        lives = Lives(rig, url)
        for kill in [*kills, *[None] * MAX_LIVES]:
            if lives.live(kill):
                break
        else:
            raise AssertionError(f"{told}: the work does not end")
        rig.proxy.break_next()
        _is_right(rig, ours, ticket_id, words, told)
        return lives.deaths
    finally:
        ours.close()


def _is_right(rig: Rig, ours: OurSide, ticket_id: int, words: tuple[str, ...], told: str) -> None:
    assert not ours.pending(), told
    assert {row["state"] for row in ours.rows()} == {"delivered"}, told
    link = ours.link(ticket_id)
    assert rig.desk.find(link["key"]) == [link["remote_id"]], told
    sent = [row["message_id"] for row in ours.rows() if row["message_id"] != link["made_by"]]
    assert ours.said_there(ticket_id) == sent, told
    assert len(sent) == len(words) + 1
    assert rig.desk.read(link["remote_id"]).status == rig.statuses["resolved"], told
    assert ours.ticket(ticket_id)["state"] == "resolved", told
