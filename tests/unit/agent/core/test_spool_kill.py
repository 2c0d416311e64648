"""kill -9 of a real process that spools and reports: a hundred times, at random moments, with torn and corrupt tails."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, List

import pytest

from agent.spool import NAME

CHILD = r"""
import itertools, json, random, secrets, sys
from agent.spool import Spool
from agent.wire import Evidence, FindingChange, change_to_dict
from pathlib import Path

folder, life = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(life)
spool = Spool.open(folder, new_id=lambda: secrets.token_hex(4), max_bytes=1 << 20)
print(json.dumps({"started": spool.notes}), flush=True)
for i in itertools.count():
    mine = [c for c in spool.open_findings()]
    for _ in range(chance.randrange(1, 4)):
        if mine and chance.random() < 0.5:
            c = mine.pop()
            change = FindingChange(0, "closed", 0, c.rule, c.subject, "fs", life * 10**6 + i)
        else:
            evidence = Evidence(notes={"x": "y" * chance.randrange(3000)})
            subject = f"{life}-{i}-{chance.random()}"
            change = FindingChange(0, "opened", 0, "r", subject, "fs", life * 10**6 + i, evidence=evidence)
        taken = spool.append(change)
        if taken is not None:
            print(json.dumps({"taken": [taken.kind, taken.subject, taken.at_ms]}), flush=True)
    report = {"stream": spool.stream, "changes": [[c.n, c.kind, c.opening_n, c.subject, c.at_ms] for c in spool.batch(5)]}
    print(json.dumps(report), flush=True)
    spool.acknowledge(int(sys.stdin.readline()))
"""


class Collector:
    """Takes only the next n of each stream, and remembers."""

    def __init__(self) -> None:
        self.want: Dict[str, int] = {}
        self.got: List[tuple] = []

    def take(self, stream: str, changes: List[list]) -> int:
        want = self.want.setdefault(stream, 1)
        for n, kind, _, subject, at_ms in changes:
            if n == want:
                self.got.append((kind, subject, at_ms))
                want += 1
        self.want[stream] = want
        return want


def live(
    folder: Path, life: int, collector: Collector, announced: List[tuple], chance: random.Random
) -> None:
    """One life of the child, ended by SIGKILL after a random while."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(life)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert child.stdin is not None and child.stdout is not None
    killer = threading.Timer(0.15 + chance.random() * 0.25, child.kill)
    killer.start()
    for line in child.stdout:
        if not line.endswith("\n"):
            break  # killed in the middle of a line
        said = json.loads(line)
        if "taken" in said:
            announced.append(tuple(said["taken"]))
        elif "stream" in said:
            want = collector.take(said["stream"], said["changes"])
            try:
                child.stdin.write(f"{want}\n")
                child.stdin.flush()
            except OSError:
                break
    child.wait(10)
    killer.cancel()
    assert child.returncode == -9, "the child ended by itself: the spool refused to start or to write"


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing_that_was_taken_and_deliver_nothing_twice(tmp_path):
    chance, collector, announced = random.Random(20), Collector(), []
    for life in range(100):
        live(tmp_path, life, collector, announced, chance)
        if life % 3 == 0:
            with (tmp_path / NAME).open("ab") as stream:  # what a torn append leaves behind
                stream.write(bytes(chance.randrange(256) for _ in range(chance.randrange(1, 200))))
    rest = drain(tmp_path, collector)
    assert rest == 0
    got, spoken = set(collector.got), set(announced)
    assert len(got) == len(collector.got), "a change was delivered twice"
    assert len(announced) > 300
    assert [change for change in announced if change not in got] == []
    assert [change for change in collector.got if change in spoken] == announced


def drain(folder: Path, collector: Collector) -> int:
    """Deliver what is left; what is undelivered after that."""
    from agent.spool import Spool

    spool = Spool.open(folder, new_id=lambda: "last", max_bytes=1 << 20)
    for _ in range(1000):
        changes = [[c.n, c.kind, c.opening_n, c.subject, c.at_ms] for c in spool.batch()]
        spool.acknowledge(collector.take(spool.stream, changes))
    return spool.depth
