"""The agent's weight beside a real collector, and node_exporter, netdata and zabbix-agent2 in the same run.

Memory, processor time (quiet, and with 480 processes and 2,000 sockets), disk writes, threads, /metrics, time to the first
report. All run at once, over the same minutes: what the machine does to one it does to all.
"""

from __future__ import annotations

import contextlib
import dataclasses
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
from tests.bench import beside
from tests.bench.house import House, weight
from tests.bench.table import Row
from tests.tools.ports import free_port

PSS_BUDGET_MIB = 26.0
CPU_BUDGET_S = 0.10
CPU_BUSY_BUDGET_S = 0.15
DISK_BUDGET_KIB = 20.0
PAGE_BUDGET_MS = 2.0
START_BUDGET_S = 0.5
WARM_S = 30.0
SETTLE_S = 10.0
START_S = 60.0
STARTS = 5
OURS = "agent"


@dataclasses.dataclass(frozen=True)
class Use:
    """What a program with all its processes used in a span of time."""

    pss_mib: float
    private_mib: float
    cpu_s_per_min: float
    disk_kib_per_min: float
    threads: int
    processes: int


def measure(seconds: float, python: str) -> list[Row]:
    """One agent with its default periods beside its peers; ``python`` runs it (the budget is for 3.9).

    ``seconds`` of quiet and as many of load, and about a minute around them.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vt-bench-", dir="/var/tmp") as name,
        House(Path(name), STARTS) as house,
    ):
        house.enrol(round(time.time() * 1000))
        house.start()
        _tell(f"{STARTS} starts")
        starts = [_start_s(house, n, python) for n in range(1, STARTS)]
        port = free_port()
        agent, first_s = _agent(house, 0, python, f"127.0.0.1:{port}")
        try:
            starts.append(first_s)
            _tell("the peers start")
            with beside.peers(house.folder) as (others, missing):
                all_ = [beside.Watched(OURS, agent.pid, f"http://127.0.0.1:{port}/metrics"), *others]
                rows = _beside(all_, seconds, python, missing)
            return [*rows, _start_row(starts)]
        finally:
            _stop(agent)
            house.stop()


def _tell(what: str) -> None:
    print(f"  weight: {what}", file=sys.stderr, flush=True)


def _beside(all_: list[beside.Watched], seconds: float, python: str, missing: dict[str, str]) -> list[Row]:
    with beside.scraping([one.page for one in all_ if one.page]):
        _tell(f"{WARM_S:.0f} s of warming up, then {seconds:.0f} s quiet")
        time.sleep(WARM_S)
        quiet = _used({one.name: one.pid for one in all_}, seconds)
        with beside.busy():
            _tell(f"{seconds:.0f} s busy")
            time.sleep(SETTLE_S)
            loaded = _used({one.name: one.pid for one in all_}, seconds)
    _tell("scrapes")
    pages = {
        one.name: beside.p99_ms(one.page, 300 if one.name != "netdata" else 100) for one in all_ if one.page
    }
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    absent = "".join(f"; {name}: {reason}" for name, reason in missing.items())
    ours = quiet[OURS]
    shape = f"Python {version}, {ours.processes - 1} helpers{absent}"

    def row(what: str, unit: str, budget: str, values: dict[str, float], digits: int, note: str = "") -> Row:
        mine = values[OURS]
        rest = {name: value for name, value in values.items() if name != OURS}
        ratio = ", ".join(f"{name} × {mine / value:.2f}" for name, value in rest.items() if value > 0)
        said = ", ".join(f"{name} {value:.{digits}f}" for name, value in rest.items())
        return Row(
            f"agent, {what}",
            f"{mine:.{digits}f} {unit}".strip(),
            budget,
            "; ".join(filter(None, (said, note))),
            ratio=ratio,
        )

    def of(uses: dict[str, Use], field: str) -> dict[str, float]:
        return {name: float(getattr(use, field)) for name, use in uses.items()}

    return [
        row("PSS with its helpers", "MiB", f"≤ {PSS_BUDGET_MIB:g} MiB", of(quiet, "pss_mib"), 1, shape),
        row("private memory", "MiB", "", of(quiet, "private_mib"), 1),
        row("PSS when busy", "MiB", "", of(loaded, "pss_mib"), 1),
        row("CPU, quiet", "s/min", f"≤ {CPU_BUDGET_S:.2f} s/min", of(quiet, "cpu_s_per_min"), 3, f"over {seconds:.0f} s"),
        row("CPU, with 480 processes and 2,000 sockets", "s/min", f"≤ {CPU_BUSY_BUDGET_S:.2f} s/min",
            of(loaded, "cpu_s_per_min"), 3),
        row("/metrics, p99", "ms", f"≤ {PAGE_BUDGET_MS:g} ms", pages, 2, "client included; zabbix-agent2 has no page"),
        row("disk writes while connected", "KiB/min", f"≤ {DISK_BUDGET_KIB:g} KiB/min", of(quiet, "disk_kib_per_min"), 1,
            "zabbix-agent2 with its SQLite buffer"),
        row("threads", "", "", of(quiet, "threads"), 0),
    ]  # fmt: skip


def _used(pids: dict[str, int], seconds: float) -> dict[str, Use]:
    """What each program used in the next ``seconds``, all in the same span."""
    before = {name: (_cpu_s(pid), _written_kib(pid)) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(seconds)
    minutes = (time.monotonic() - began) / 60
    found = {}
    for name, pid in pids.items():
        tree = _tree(pid)
        weights = [weight(one) for one in tree]
        cpu_s, disk_kib = before[name]
        found[name] = Use(
            sum(w.pss_mib for w in weights),
            sum(w.private_mib for w in weights),
            (_cpu_s(pid) - cpu_s) / minutes,
            (_written_kib(pid) - disk_kib) / minutes,
            sum(1 for one in tree for _ in Path(f"/proc/{one}/task").iterdir()),
            len(tree),
        )
    return found


def _start_s(house: House, n: int, python: str) -> float:
    agent, first_s = _agent(house, n, python)
    _stop(agent)
    return first_s


def _agent(house: House, n: int, python: str, listen: str = "") -> tuple[subprocess.Popen[bytes], float]:
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
        f"state_dir: {folder / 'state'}\nlog_level: WARNING\nmetrics: {{listen: '{listen}'}}\n"
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


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _cpu_s(pid: int) -> float:
    """Of the whole tree; what ended meanwhile counts with whoever waited for it."""
    ticks = 0
    for one in _tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _written_kib(pid: int) -> float:
    written = 0
    for one in _tree(pid):
        lines = dict(line.split(": ") for line in Path(f"/proc/{one}/io").read_text().splitlines())
        written += int(lines["write_bytes"])
    return written / 1024


def default_python() -> str:
    """Python 3.9 with the agent's packages where `make test-agent` made one, else the one that runs this."""
    old = Path(".venv-3.9/bin/python")
    return str(old) if old.exists() and os.access(old, os.X_OK) else sys.executable
