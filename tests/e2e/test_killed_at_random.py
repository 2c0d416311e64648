"""kill -9 of agent and collector at random moments, fifty times: nothing lost, nothing doubled.

The household starts what was killed again, as systemd would. Faults come and go meanwhile. What the agent's spool took
is read from its file as it grows, and compared at the end with what the collector's store holds.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.spool import NAME
from agent.spool_file import body_of
from tests.e2e.house import House, household, wait_for
from tests.tools.needs import require_kernel

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 50
ROUND = 10  # kills, after which one fault is given the time to be told
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1_000_000)
OUTCOMES = {"opened", "joined", "reopened", "resolved", "recorded"}


class SpoolWatch(threading.Thread):
    """Reads the spool's file again and again: every change that it ever held."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.done = threading.Event()
        self.seen: dict[tuple[str, int], tuple[str, str, str]] = {}

    def run(self) -> None:
        while not self.done.wait(0.1):
            self.look()

    def look(self) -> None:
        """Note what is in the file now; a record that is just being written is seen the next time."""
        with contextlib.suppress(FileNotFoundError):
            stream, changes = _changes_in(self.path.read_bytes())
            for change in changes:
                self.seen[(stream, change["n"])] = (change["kind"], change["rule"], change["subject"])


def _changes_in(content: bytes) -> tuple[str, list[dict[str, Any]]]:
    """The stream's id, and every change whose record is whole."""
    stream, changes, offset = "", [], 0
    while offset + 8 <= len(content):
        end = offset + 8 + struct.unpack_from(">I", content, offset)[0]
        body = body_of(content[offset:end])
        if body is None:
            break
        stream = body.get("stream", stream)
        if body["t"] == "change":
            changes.append(body["c"])
        offset = end
    return stream, changes


def test_fifty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    require_kernel("mount_namespaces")
    print(f"replay: SEED={SEED} make e2e")
    chance = random.Random(SEED)
    with household(tmp_path, is_quick=True) as house:
        watch = SpoolWatch(house.state / "agent" / NAME)
        watch.start()
        _live_dangerously(house, chance)
        house.heal()
        wait_for("the host reports again", 60, lambda: house.host()["life"] == "alive")
        wait_for("every ticket of the machine is resolved", 120, lambda: not house.open_tickets())
        watch.done.set()
        watch.join()
        assert house.stop() == 0
        watch.look()
        store = house.state / "collector" / "collector.db"
        _compare(watch.seen, store)
        for log in ("agent.log", "collector.log"):
            faults = [line for line in (house.state / log).read_text().splitlines() if " ERROR " in line]
            assert not faults, f"{log}: {faults[0][:2000]}"


def _live_dangerously(house: House, chance: random.Random) -> None:
    """Kills at random moments; the small file system fills and empties on its own time."""
    is_full = False
    store = house.state / "collector" / "collector.db"
    for number in range(KILLS):
        moment = threading.Event()
        moment.wait(chance.uniform(0.05, 2.5))
        if chance.random() < 0.6:
            _eventually(house.heal if is_full else lambda: house.cause("disk"))
            is_full = not is_full
            moment.wait(chance.uniform(0.0, 2.5))
        name = chance.choice(("agent", "collector"))
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(house.pid(name), signal.SIGKILL)
        if number % ROUND == ROUND - 1:
            # Both must come up now and then, or the whole test would be one long outage; and whatever the moments
            # of this seed, one fault a round must live long enough to be told, or too little is there to be lost.
            _eventually(house.heal)
            wait_for("the store has no open finding", 120, lambda: _last_told(store) != "opened")
            _eventually(lambda: house.cause("disk"))
            is_full = True
            wait_for("the fault is in the store", 120, lambda: _last_told(store) == "opened")


def _last_told(store: Path) -> str | None:
    """The kind of the agent's newest finding in the collector's store, None if there is none."""
    asked = "SELECT kind FROM findings WHERE stream NOT LIKE 'collector:%' ORDER BY n DESC LIMIT 1"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            row = db.execute(asked).fetchone()
    except sqlite3.OperationalError as error:
        # A log left by a collector that was killed is put in order by the next one, not by a reader.
        raise OSError(str(error)) from error
    return row[0] if row else None


def _eventually(act: Any) -> None:
    """What was killed a moment ago may still be missing when a fault is caused."""

    def tried() -> bool:
        act()
        return True

    wait_for("the fault is caused", 60, tried)


def _compare(seen: dict[tuple[str, int], tuple[str, str, str]], store: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT stream, n, kind, rule, subject, handled_at_ms, outcome, ticket_id, why FROM findings"
            " WHERE stream NOT LIKE 'collector:%' ORDER BY stream, n"
        ).fetchall()
        doubled = db.execute(
            "SELECT contract_id, problem, count(*) FROM tickets WHERE open_mark = 1 GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
    stored = {(row[0], row[1]): row[2:5] for row in rows}
    openings = [row for row in rows if row[2] == "opened"]
    assert len(openings) >= 5, f"only {len(openings)} findings opened: too little happened to mean anything"
    assert len(stored) == len(rows), "a finding stands twice in the store"
    lost = {place: words for place, words in seen.items() if stored.get(place) != words}
    assert not lost, f"in the spool and not in the store: {lost}"
    for stream in {row[0] for row in rows}:
        numbers = [row[1] for row in rows if row[0] == stream]
        assert numbers == list(range(1, len(numbers) + 1)), f"stream {stream} has gaps: {numbers}"
    assert len({row[0] for row in rows}) == 1, "the agent had to leave its stream"
    for row in rows:
        assert row[5] is not None and row[6] in OUTCOMES, f"not accounted for: {row}"
        assert row[7] is not None or row[8] is not None, f"neither ticket nor reason: {row}"
    assert not doubled, f"two open tickets for one problem: {doubled}"
