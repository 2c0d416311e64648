"""The agent's weight beside a real collector: memory, processor time, disk writes, time to the first report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.house import House, weight
from tests.bench.table import Row

PSS_BUDGET_MIB = 26.0
CPU_BUDGET_S = 0.10
DISK_BUDGET_KIB = 20.0
START_BUDGET_S = 0.5
WARM_S = 30.0


def measure(seconds: float, python: str) -> list[Row]:
    """One agent with its default periods; ``python`` runs it (the budget is for 3.9)."""
    with tempfile.TemporaryDirectory(prefix="vt-bench-") as name, House(Path(name), 1) as house:
        folder = Path(name)
        house.enrol(round(time.time() * 1000))
        house.start()
        (folder / "token").write_text(house.tokens.read_text().split()[0] + "\n", encoding="utf-8")
        (folder / "token").chmod(0o600)
        settings = folder / "agent.yaml"
        settings.write_text(
            f"state_dir: {folder / 'agent'}\nlog_level: WARNING\ncollector: {{url: '{house.address}', "
            f"token_file: {folder / 'token'}}}\n",
            encoding="utf-8",
        )
        with (folder / "agent.log").open("wb") as log:
            began = time.monotonic()
            agent = subprocess.Popen(
                [python, "-m", "agent.cli", "run", "--config", settings],
                stdout=log,
                stderr=log,
                cwd=Path.cwd(),
            )
        try:
            while house.metrics().get('vartovyi_reports_total{result="ok"}', 0) < 1:
                if agent.poll() is not None or time.monotonic() - began > 60:
                    raise RuntimeError((folder / "agent.log").read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            # The page of /metrics is kept for a second: what is read is at most that much too late.
            first_s = time.monotonic() - began
            time.sleep(WARM_S)
            return _rows(agent.pid, seconds, python, first_s)
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(timeout=30)
            house.stop()


def _rows(pid: int, seconds: float, python: str, first_s: float) -> list[Row]:
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
        Row(
            "agent, start to first report",
            f"≤ {first_s:.2f} s",
            f"≤ {START_BUDGET_S:g} s",
            "seen with up to 1 s delay",
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
