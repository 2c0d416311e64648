"""No growth over a day: core, usual hours, spool and every sampler with its real parsers, 8,640 sweeps of simulated time.

The samplers read this machine; beside them come and go findings, units and mounts with ever new names, which is what makes
tables grow. After the first hours nothing may grow any more: allocated blocks, private memory, threads, open files.

The day is lived in a process of its own (``python -m tests.unit.agent.core.test_a_day FOLDER``): in pytest's own, what other
tests left behind and what pytest keeps of each log line would be weighed with it.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Dict, List, NamedTuple

import pytest

from agent.core import MAX_ACTS_KEPT, AgentCore, Identity, Status
from agent.findings import Now
from agent.given import Given
from agent.history import MAX_POINTS, MAX_SERIES
from agent.metrics import MAX_PARTS
from agent.samplers.base import LoopNotes
from agent.samplers.registry import make_samplers
from agent.signals.catalogue import UNITS
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.usual import UsualHours
from agent.wire import Reply
from config.clock import FixedClock

SWEEPS = 8_640
PERIOD_MS = 10_000
SETTLED = SWEEPS // 3
"""Histories of a quarter of an hour and windows of an hour are full long before."""
LOOK_EVERY = SWEEPS // 12
ACKS_EVERY = 6
CHURN = 40
"""New names an hour of each kind."""

BLOCKS_MAY_GROW = 0.01
PRIVATE_MAY_GROW_KIB = 2048
"""One step of 1.3 MiB about the fourteenth hour was measured, with flat blocks: the C allocator's; nothing after it."""


class Weighed(NamedTuple):
    """What the process held at one moment."""

    blocks: int
    private_kib: int
    threads: int
    fds: int


def weigh() -> Weighed:
    gc.collect()
    rolled: Dict[str, int] = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        rolled[name] = int(rest.split()[0])
    private = rolled["Private_Clean"] + rolled["Private_Dirty"]
    return Weighed(
        sys.getallocatedblocks(), private, threading.active_count(), len(os.listdir("/proc/self/fd"))
    )


def churn(sweep: int, mono_ms: int) -> List[Sample]:
    """A full mount and a failed unit live for twenty minutes under names that never come again."""
    turn = sweep * CHURN // 360
    is_bad = sweep % 240 < 120
    return [
        Sample("fs.used_pct", f"/mnt/snapshot-{turn}", 97.0 if is_bad else 40.0, mono_ms),
        Sample("svc.unit_failed", f"session-{turn}.scope", is_bad, mono_ms),
        Sample("disk.await_ms", f"dm-{turn}", 3.0 + sweep % 7, mono_ms),
        Sample("ops.action", "", f"root ran command {sweep}" if sweep % 30 == 0 else None, mono_ms),
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_day_of_sweeps_leaves_the_agent_as_light_as_its_first_hours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.agent.core.test_a_day", str(tmp_path)]
    root = Path(__file__).resolve().parents[4]
    day = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1790, check=False)
    assert day.returncode == 0, day.stderr[-4000:]
    *looks, end = [json.loads(line) for line in day.stdout.splitlines()]
    weighed = [Weighed(*look) for look in looks]
    assert len(weighed) == SWEEPS // LOOK_EVERY and end["sweeps"] == SWEEPS
    first, last = weighed[SETTLED // LOOK_EVERY - 1], weighed[-1]
    told = "\n".join(map(str, weighed))
    assert end["changes"] > 1_000, "the day was too quiet to prove anything"
    assert last.blocks <= first.blocks * (1 + BLOCKS_MAY_GROW), told
    assert last.private_kib <= first.private_kib + PRIVATE_MAY_GROW_KIB, told
    # An errand that is under way at the moment of the look holds a thread and a file.
    assert last.threads <= first.threads + 2 and last.fds <= first.fds + 4, told


def live_a_day(folder: Path) -> None:
    """Print what each look weighed, a JSON list a line, and at the end how much happened."""
    clock = FixedClock()
    given = Given.from_file(None)
    ids = (f"id{n}" for n in itertools.count())
    spool = Spool.open(folder, new_id=lambda: next(ids), max_bytes=1 << 20)

    def now() -> Now:
        return Now(clock.now_ms(), clock.mono_ms(), clock.boottime_ms())

    usual = UsualHours.open(folder)
    core = AgentCore(spool, given.rules, Identity("1", "boot", "run"), now(), units=UNITS, usual=usual)
    samplers = make_samplers(given.settings, Path("/"), LoopNotes(newest=core.history.value))
    # What keeps files of its own in the agent's folder or asks root has tests of its own.
    samplers = [
        one for one in samplers if one.name not in ("witness", "kernel_log", "controller", "operators")
    ]
    due = dict.fromkeys((one.name for one in samplers), 0.0)
    changes = 0
    for sweep in range(1, SWEEPS + 1):
        clock.advance(PERIOD_MS)
        for sampler in samplers:
            if clock.mono_ms() >= due[sampler.name]:
                due[sampler.name] = clock.mono_ms() + sampler.period_s * 1000
                changes += len(core.take(sampler.sweep(clock.mono_ms()), now(), sampler.name))
        changes += len(core.take(churn(sweep, clock.mono_ms()), now(), "churn"))
        if sweep % ACKS_EVERY == 0:
            report = core.report(now(), Status(10.0))
            want_n = max((change.n for change in report.findings), default=0) + 1
            core.replied(Reply(want_n=max(want_n, spool.next_n - spool.depth)), now(), stream=spool.stream)
        if sweep % LOOK_EVERY == 0:
            print(json.dumps(weigh()), flush=True)
            _is_bounded(core, spool)
    print(json.dumps({"sweeps": sweep, "changes": changes}))


def _is_bounded(core: AgentCore, spool: Spool) -> None:
    newest = core.history.all_newest()
    assert len(newest) <= MAX_SERIES
    assert all(len(core.history.series(one.signal, one.subject)) <= MAX_POINTS for one in newest[:MAX_PARTS])
    assert core.held == 0 and core.held_dropped == 0
    assert len(core.acts.batch(10**6)) <= MAX_ACTS_KEPT
    assert spool.live_bytes <= spool.max_bytes


if __name__ == "__main__":
    live_a_day(Path(sys.argv[1]))
