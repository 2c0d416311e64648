"""kill -9 of the real agent a hundred times at random moments, its spool's tail torn or spoilt in between; outages.

``tests/unit/agent/core/test_spool_kill.py`` does this to the spool alone, and ``tests/e2e/test_killed_at_random.py`` to
agent and collector together; here the whole agent starts on what the kill left, with what a dying disk adds to it.
Findings come and go meanwhile: a port that a check watches opens and shuts.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.spool import NAME
from agent.spool_file import body_of
from tests.e2e.faults.scene import Scene, scene
from tests.tools.needs import require_kernel, require_root

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 100
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1_000_000)
ONLY_CHECKS = """
without: [processes, units, kernel_log, witness, hardware, drives, virtual, operators, sockets]
evidence: false
checks: [{{name: shop, type: tcp, host: 127.0.0.1, port: {port}, interval_s: 1, timeout_s: 1}}]
rules:
  check_fails: {{raise: {{all: [check.state not in ok slow loss]}}, clear: {{all: [check.state in ok slow loss]}}}}
"""
"""Only what the test needs, and no hold: most lives are shorter than a second after the start."""


@pytest.fixture
def stage() -> Iterator[Scene]:
    require_root()
    require_kernel("mount_namespaces")
    with scene() as made:
        made.configure(ONLY_CHECKS.format(port=made.free_port))
        yield made


class Door:
    """The port that is watched."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", self._port))

    def shut(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def turn(self) -> None:
        self.shut() if self._socket else self.open()


def test_a_hundred_kills_and_spoilt_tails_lose_nothing_double_nothing_and_never_stop_a_start(
    stage: Scene,
) -> None:
    print(f"replay: SEED={SEED}")
    chance = random.Random(SEED)
    door, spool = Door(stage.free_port), stage.folder / "state" / NAME
    for _ in range(KILLS):
        agent = stage.start()
        if chance.random() < 0.5:
            known = len(stage.reports)
            stage.until(lambda known=known: len(stage.reports) > known)
        if chance.random() < 0.4:
            door.turn()
        time.sleep(chance.uniform(0, 1.0))
        assert agent.poll() is None, (
            f"the agent ended by itself: {(stage.folder / 'log').read_text()[-2000:]}"
        )
        agent.kill()
        agent.wait(10)
        stage.children.remove(agent)
        _spoil(spool, chance)
    door.open()
    stage.start()
    known = len(stage.reports)
    stage.until(lambda: len(stage.reports) > known + 2 and stage.reports[-1]["spool_depth"] == 0, 30)
    stage.until(lambda: not _open_at_the_end(stage), 30)
    door.shut()
    stage.until(lambda: ("check_fails", "shop") in _open_at_the_end(stage), 30)
    door.open()
    stage.until(lambda: not _open_at_the_end(stage), 30)
    _assert_is_whole(stage)
    door.shut()


def test_findings_of_an_outage_come_in_order_when_the_collector_is_back(stage: Scene) -> None:
    """A real short one; ``tests/unit/agent/core/test_outage.py`` has the day."""
    door = Door(stage.free_port)
    door.open()
    address = stage.server.server_port
    agent = stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    stage.leave()
    log = stage.folder / "log"
    for number in range(1, 4):
        door.shut()
        _until_said(stage, log, "opened rule=check_fails subject=shop", number)
        door.open()
        _until_said(stage, log, "closed rule=check_fails subject=shop", number)
    assert stage.changes_of("check_fails", "shop") == []
    stage.listen(address)
    stage.until(lambda: len(stage.changes_of("check_fails", "shop")) == 6, 30)
    kinds = [change["kind"] for change in stage.changes_of("check_fails", "shop")]
    assert kinds == ["opened", "closed"] * 3
    times = [change["at_ms"] for change in stage.changes_of("check_fails", "shop")]
    assert times == sorted(times) and times[-1] - times[0] >= 2000, "each with its own time"
    assert agent.poll() is None
    _assert_is_whole(stage)
    door.shut()


def _until_said(stage: Scene, log: Path, words: str, times: int) -> None:
    stage.until(lambda: log.read_text().count(words) >= times, 20)


def _spoil(spool: Path, chance: random.Random) -> None:
    """What a kill in the middle of a write, or a dying disk behind it, leaves at the end of the file."""
    records = _records(spool.read_bytes()) if spool.exists() else []
    kind = chance.choice(("none", "noise", "torn", "spoilt"))
    if not records or kind == "none":
        return
    tail = bytearray(chance.choice(records))
    if kind == "noise":
        tail = bytearray(chance.randbytes(chance.randrange(1, 300)))
    elif kind == "torn":
        del tail[chance.randrange(1, len(tail)) :]
    else:
        tail[chance.randrange(len(tail))] ^= 1 << chance.randrange(8)
    with spool.open("ab") as file:
        file.write(tail)


def _records(content: bytes) -> list[bytes]:
    """Every whole record of the file."""
    records: list[bytes] = []
    offset = 0
    while offset + 8 <= len(content):
        end = offset + 8 + struct.unpack_from(">I", content, offset)[0]
        if body_of(content[offset:end]) is None:
            break
        records.append(content[offset:end])
        offset = end
    return records


def _open_at_the_end(stage: Scene) -> set[tuple[str, str]]:
    """What is open by the collector's book, but what this machine itself suffers."""
    state = {(c["rule"], c["subject"]): c["kind"] for c in stage.changes}
    return {key for key, kind in state.items() if kind != "closed" and key[0] == "check_fails"}


def _assert_is_whole(stage: Scene) -> None:
    """One stream, numbered without gaps; each finding opens, may change, closes, and opens again only then."""
    assert len({report["stream"] for report in stage.reports}) == 1, "the agent had to leave its stream"
    assert [c["n"] for c in stage.changes] == list(range(1, len(stage.changes) + 1))
    assert stage.reports[-1]["spool_dropped"] == 0
    openings: dict[tuple[str, str], int] = {}
    for change in stage.changes:
        key = (change["rule"], change["subject"])
        if change["kind"] == "opened":
            assert key not in openings, f"opened twice: {change}"
            openings[key] = change["n"]
        else:
            assert openings.get(key) == change["opening_n"], f"belongs to no opening: {change}"
            if change["kind"] == "closed":
                del openings[key]
    counts = Counter(c["kind"] for c in stage.changes if c["rule"] == "check_fails")
    assert counts["opened"] == counts["closed"] >= 3, f"too little happened to mean anything: {counts}"
