"""The collector's disk is full: reports are refused with a clear word and counted, agents keep theirs, and it goes on by itself.

A real collector on a small file system of its own, and the agent's real spool and connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from agent.send import Answered, Failed, Link
from agent.settings import CollectorSettings
from agent.spool import Spool
from agent.wire import REPORT_PATH, Evidence, FindingChange, Report, to_json
from collector.store.engine import Store
from collector.tables import findings, streams

PROGRAM = Path(sys.executable).parent / "vartovyi-collector"
WAIT_S = 60.0
DISK_MIB = 24

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def wait_for(what: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > deadline:
            raise AssertionError(why)
        time.sleep(0.1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of DISK_MIB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "vartovyi-test", place], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("kernel feature missing: mounting")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


class Collector:
    """The real process on the small disk."""

    def __init__(self, folder: Path, disk: Path) -> None:
        self.state = disk / "state"
        self.log = folder / "log"
        contracts = folder / "contracts"
        contracts.mkdir()
        (contracts / "acme.yaml").write_text(
            "id: acme\ntitle: Acme\nhosts: [{id: web-1, addresses: [127.0.0.1], interval: 60}]\n"
        )
        self.config = folder / "collector.yaml"
        self.config.write_text(f"state_dir: {self.state}\ncontracts: {contracts}\nlisten: {{port: 0}}\n")
        told = subprocess.run(
            [PROGRAM, "enroll", "web-1", "--contract", "acme", "--json", "--config", self.config],
            check=True,
            capture_output=True,
        )
        self.token = json.loads(told.stdout)["token"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", "--config", self.config], stdout=log, stderr=log
            )
        wait_for((self.state / "address").exists, f"did not start: {self.log.read_text()}")
        self.url = (self.state / "address").read_text().strip()

    def count(self, result: str) -> float:
        """Reports by what became of them, as /metrics tells it."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
            page = answer.read().decode()
        found = re.search(rf'^vartovyi_reports_total{{result="{result}"}} (\S+)', page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stored(self) -> tuple[list[int], int]:
        """The numbers of the findings that lie in the store, and the next one that its stream wants."""
        store = Store.open(f"sqlite:///{self.state / 'collector.db'}")
        try:
            with store.read() as conn:
                ns = list(
                    conn.scalars(select(findings.c.n).where(findings.c.stream == "s1").order_by(findings.c.n))
                )
                return ns, conn.scalar(select(streams.c.next_n).where(streams.c.stream == "s1")) or 0
        finally:
            store.close()


@pytest.fixture
def collector(tmp_path: Path, disk: Path) -> Iterator[Collector]:
    collector = Collector(tmp_path, disk)
    yield collector
    collector.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        collector.process.wait(WAIT_S)
    collector.process.kill()
    collector.process.wait()


class Agent:
    """The agent's spool and connection, with a finding of 50 KB whenever it is told to."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        (folder / "agent").mkdir()
        self.spool = Spool.open(folder / "agent", new_id=lambda: "s1", max_bytes=64 * 1024 * 1024)
        self.link = Link(CollectorSettings(url=collector.url), collector.token)
        self.mono_ms = 1000

    def find(self) -> None:
        """One more finding into the spool."""
        n = self.spool.next_n
        evidence = Evidence(notes={"text": "x" * 50_000})
        change = FindingChange(
            n=n, kind="opened", opening_n=n, rule="cpu_busy", subject=f"s{n}", family="cpu", at_ms=round(time.time() * 1000),
            severity="low", evidence=evidence, boot_id="b1", mono_ms=self.mono_ms,
        )  # fmt: skip
        assert self.spool.append(change) is not None

    def send(self) -> Answered | Failed:
        """One report with what waits; the spool forgets only what the answer takes."""
        self.mono_ms += 10
        report = Report(
            v=1, agent="0.1", boot_id="b1", run_id="r1", wall_ms=round(time.time() * 1000), mono_ms=self.mono_ms,
            boottime_ms=self.mono_ms, interval_s=60.0, stream=self.spool.stream, findings=self.spool.batch(),
        )  # fmt: skip
        outcome = self.link.post(to_json(report), self.spool.stream)
        if isinstance(outcome, Answered):
            self.spool.acknowledge(outcome.reply.want_n)
        return outcome


def test_a_full_disk_refuses_clearly_loses_nothing_and_heals_by_itself(
    tmp_path: Path, disk: Path, collector: Collector
) -> None:
    agent = Agent(tmp_path, collector)
    ballast = disk / "ballast"
    # A spool sends nothing before it knows what the collector has: the first report brings no finding.
    assert isinstance(agent.send(), Answered)
    agent.find()
    assert isinstance(agent.send(), Answered)

    # Somebody else's file takes all that is left: as it happens on servers.
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65_536)
    refused = None
    for _ in range(400):
        agent.find()
        outcome = agent.send()
        if isinstance(outcome, Failed):
            refused = outcome
            break
    taken = agent.spool.next_n - 1 - agent.spool.depth
    assert refused is not None, "the disk of this test never filled"
    told = json.loads(refused.detail)
    assert (refused.status, told["error"]) == (507, "store_full"), told
    assert "no room" in told["detail"] and refused.retry_after_s == 10
    assert collector.count("store_full") >= 1

    # Nothing half written, however often it is tried; the process lives, answers, and the spool holds all.
    for _ in range(5):
        agent.find()
        assert isinstance(agent.send(), Failed)
    assert collector.process.poll() is None
    assert collector.stored() == (list(range(1, taken + 1)), taken + 1)
    assert taken >= 1 and agent.spool.depth == agent.spool.next_n - 1 - taken >= 6
    with pytest.raises(urllib.error.HTTPError) as door:
        urllib.request.urlopen(collector.url + REPORT_PATH, timeout=10)
    assert door.value.code == 405

    ballast.unlink()
    wait_for(lambda: isinstance(agent.send(), Answered), "it did not go on by itself")
    wait_for(
        lambda: isinstance(agent.send(), Answered) and agent.spool.depth == 0, "the spool was not drained"
    )
    last = agent.spool.next_n - 1
    assert collector.stored() == (list(range(1, last + 1)), last + 1)
    wait_for(lambda: _handled(collector, last), "the tick did not go on")


def _handled(collector: Collector, count: int) -> bool:
    store = Store.open(f"sqlite:///{collector.state / 'collector.db'}")
    try:
        with store.read() as conn:
            rows = conn.execute(
                select(findings.c.n, findings.c.handled_at_ms).where(findings.c.stream == "s1")
            ).all()
        return len(rows) == count and all(row.handled_at_ms is not None for row in rows)
    finally:
        store.close()
