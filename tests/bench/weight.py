"""The agent's weight beside a real collector: memory, processor time, disk writes, time to the first report."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

from collector.store.engine import Store
from collector.tables import streams
from tests.bench.house import House, weight
from tests.bench.table import Row

PSS_BUDGET_MIB = 26.0
CPU_BUDGET_S = 0.10
DISK_BUDGET_KIB = 20.0
START_BUDGET_S = 0.5
WARM_S = 30.0
START_S = 60.0


STARTS = 5


def measure(seconds: float, python: str) -> list[Row]:
    """One agent with its default periods; ``python`` runs it (the budget is for 3.9)."""
    with tempfile.TemporaryDirectory(prefix="vt-bench-") as name, House(Path(name), STARTS) as house:
        house.enrol(round(time.time() * 1000))
        house.start()
        starts = [_start_s(house, n, python) for n in range(1, STARTS)]
        agent, first_s = _agent(house, 0, python)
        try:
            starts.append(first_s)
            time.sleep(WARM_S)
            return [*_rows(agent.pid, seconds, python), _start_row(starts)]
        finally:
            _stop(agent)
            house.stop()


def _start_s(house: House, n: int, python: str) -> float:
    agent, first_s = _agent(house, n, python)
    _stop(agent)
    return first_s


def _agent(house: House, n: int, python: str) -> tuple[subprocess.Popen[bytes], float]:
    """A new agent of the n-th host, and how long after its start the collector had its first report.

    The collector itself says when: a new stream is announced by the first report, with the time of its receipt.
    """
    folder = house.folder / f"agent{n}"
    folder.mkdir()
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(house.tokens.read_text().split()[n] + "\n", encoding="utf-8")
    settings = folder / "agent.yaml"
    settings.write_text(
        f"state_dir: {folder / 'state'}\nlog_level: WARNING\n"
        f"collector: {{url: '{house.address}', token_file: {token}}}\n",
        encoding="utf-8",
    )
    with (folder / "log").open("wb") as log:
        began_ms = time.time() * 1000
        agent = subprocess.Popen(
            [python, "-m", "agent.cli", "run", "--config", settings], stdout=log, stderr=log, cwd=Path.cwd()
        )
    deadline = time.monotonic() + START_S
    while (announced_ms := _announced_ms(house, n)) is None:
        if agent.poll() is not None or time.monotonic() > deadline:
            _stop(agent)
            raise RuntimeError((folder / "log").read_text(errors="replace")[-2000:])
        time.sleep(0.05)
    return agent, (announced_ms - began_ms) / 1000


def _announced_ms(house: House, n: int) -> int | None:
    store = Store.open(house.url)
    try:
        with store.read() as conn:
            wanted = select(streams.c.announced_at_ms).where(streams.c.host_id == f"h{n:05d}")
            return conn.execute(wanted.limit(1)).scalar()
    finally:
        store.close()


def _stop(agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is None:
        agent.send_signal(signal.SIGTERM)
    agent.wait(timeout=30)


def _start_row(starts: list[float]) -> Row:
    figure = f"median {statistics.median(starts):.2f} s, worst {max(starts):.2f} s"
    note = f"{len(starts)} starts, from exec to the collector's receipt"
    return Row("agent, start to first report", figure, f"≤ {START_BUDGET_S:g} s", note)


def _rows(pid: int, seconds: float, python: str) -> list[Row]:
    before, disk_before = weight(pid), _written_kib(pid)
    time.sleep(seconds)
    after, disk_after = weight(pid), _written_kib(pid)
    minutes = seconds / 60
    helpers = _children(pid)
    pss = after.pss_mib + sum(weight(child).pss_mib for child in helpers)
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    note = (
        f"Python {version}; private {after.private_mib:.1f} MiB, {len(helpers)} helpers; over {seconds:.0f} s"
    )
    cpu = (after.cpu_s - before.cpu_s) / minutes
    disk = (disk_after - disk_before) / minutes
    return [
        Row("agent, PSS with its helpers", f"{pss:.1f} MiB", f"≤ {PSS_BUDGET_MIB:g} MiB", note),
        Row("agent, CPU", f"{cpu:.3f} s/min", f"≤ {CPU_BUDGET_S:.2f} s/min", ""),
        Row(
            "agent, disk writes while connected", f"{disk:.1f} KiB/min", f"≤ {DISK_BUDGET_KIB:g} KiB/min", ""
        ),
    ]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _written_kib(pid: int) -> float:
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"]) / 1024


def default_python() -> str:
    """Python 3.9 with the agent's packages where `make test-agent` made one, else the one that runs this."""
    old = Path(".venv-3.9/bin/python")
    return str(old) if old.exists() and os.access(old, os.X_OK) else sys.executable
