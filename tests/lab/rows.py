"""Cases played beside each other, each in a process and a house of its own, and their rows as lines and as a table."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.lab.house import ROOT
from tests.lab.play import Row, Times, play
from tests.lab.random_runs import play_random
from tests.lab.table import case_of


def play_one(case_id: str, folder: str) -> Row:
    """One case in a process of its own."""
    case = case_of(case_id)
    if case.why_not:
        return Row(case.id, case.fault, case.expected, case.why_not, "not built")
    if case.test:
        return _tested(case_id)
    return play(case, Path(folder) / case_id.replace(".", "-"))


def _tested(case_id: str) -> Row:
    """A case that a test elsewhere proves: the test is run, and its word counts."""
    case = case_of(case_id)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", *case.test.rstrip(":").split()],
        cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False, env={**os.environ, "FAILOVER_LAB": "1"},
    )  # fmt: skip
    passed = re.findall(r"(\d+) passed", done.stdout)
    is_good = done.returncode == 0 and bool(passed)
    got = f"{passed[0]} tests passed" if passed else "no test passed"
    faults = () if is_good else (done.stdout[-3000:],)
    return Row(case.id, case.fault, case.expected, got, "pass" if is_good else "FAIL", Times(), faults)


def play_seed(seed: int, folder: str) -> Row:
    return play_random(seed, Path(folder) / f"seed-{seed}")


def rows_of(
    cases: Sequence[str],
    seeds: Sequence[int],
    jobs: int,
    folder: str,
    tell: Callable[[str], None] = lambda line: print(line, flush=True),
) -> list[Row]:
    """Play them, ``jobs`` at a time, each process for one house; rows in the table's order, seeds after."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        made = [pool.submit(play_one, case, folder) for case in cases]
        made += [pool.submit(play_seed, seed, folder) for seed in seeds]
        for n, future in enumerate(concurrent.futures.as_completed(made), 1):
            row = future.result()
            tell(f"[{n}/{len(made)}] {line_of(row)}")
            for fault in row.faults:
                tell("    " + fault.replace("\n", "\n    "))
        return [future.result() for future in made]


def line_of(row: Row) -> str:
    """One row for a terminal."""
    times = " ".join(f"{name} {value:g}" for name, value in vars(row.times).items() if value is not None)
    outage = "" if row.outage_s is None else f" outage {row.outage_s:g}"
    return f"{row.id:11} {row.verdict:9} {row.got:18} {times}{outage}  [{row.fault}]"


def table_of(rows: Sequence[Row], runs: Sequence[Row], seed: int) -> str:
    """The page's table."""
    head = "| case | fault | expected | got | verdict | decide | fence | promote | traffic | verify | own | outage |"
    lines = [head, "|" + "---|" * 12]
    for row in rows:
        t = row.times
        times = [t.decide, t.fence, t.promote, t.traffic, t.verify, t.own, row.outage_s]
        told_times = " | ".join("" if value is None else f"{value:g}" for value in times)
        lines.append(
            f"| {row.id} | {row.fault} | {row.expected} | {row.got} | {row.verdict} | {told_times} |"
        )
    if runs:
        clean = sum(not row.faults for row in runs)
        ends = ", ".join(
            f"{end} {sum(row.got == end for row in runs)}" for end in sorted({row.got for row in runs})
        )
        lines.append(
            f"\nJ1: {len(runs)} random schedules from seed {seed}: checker clean in {clean}; ends: {ends}."
        )
    return "\n".join(lines)
