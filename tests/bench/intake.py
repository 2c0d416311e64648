"""Intake over real HTTP: heartbeats and durable findings a second, and the 99th percentile at half of the budget.

The load client is wrk (Debian's package) with a script that sends every host's next report; it runs on the same cores.
Without wrk nothing is measured and the table says so. CPU a report is printed beside: on a busy machine it is the
steadier figure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.house import House
from tests.bench.table import Row

SCRIPT = Path(__file__).parent / "reports.lua"
CONNECTIONS = 64
PACED_CONNECTIONS = 256
"""Enough that a report which is due always finds a free connection."""

THREADS = 2
BEATS_BUDGET = 10_000
FINDINGS_BUDGET = 4_000
P99_BUDGET_MS = 50.0
SETTLE_S = 180.0
HEARD_S = 2.0
"""In so long every host is heard; fewer seconds than a deadline are left after it for the run itself."""

# Every host sends far more here than any agent does.
SETTINGS = "intake: {reports_per_host_s: 100000}\n"


def load(
    house: House, kind: str, seconds: float, *, rate: int = 0, first: int = 0, count: int = 0
) -> dict[str, Any]:
    """One run of wrk; ``rate`` reports a second, 0 = as many as it takes. Adds the collector's CPU a report."""
    connections = CONNECTIONS if rate == 0 else PACED_CONNECTIONS
    command = [
        "wrk", "-t", str(THREADS), "-c", str(connections), "-d", f"{round(seconds)}s", "--timeout", "10s", "-s", str(SCRIPT),
        house.address, "--", str(house.tokens), kind, str(rate), str(house.booted_ms), str(THREADS),
        str(first), str(count or house.fleet),
    ]  # fmt: skip
    before = house.weight()
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    after = house.weight()
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    result["rate"] = result["requests"] / result["seconds"]
    result["cpu_us"] = (after.cpu_s - before.cpu_s) / max(1, result["requests"]) * 1e6
    result["rss_mib"] = after.rss_mib
    if result["bad"] or result["errors"]:
        told = f"{house.log_tail()} {house.counters()}"
        raise RuntimeError(f"{result['bad']} refused, {result['errors']} broken requests: {told}")
    return result


def settle(house: House) -> None:
    """Let what the run before left be judged, and all hosts be heard: else half a load is measured beside a backlog, and
    beside an outage of the hosts that were not part of that run."""
    deadline = time.monotonic() + SETTLE_S
    load(house, "beat", HEARD_S)
    while house.metrics()["vartovyi_findings_unhandled"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"findings are not judged {SETTLE_S:g} s after the load: {house.log_tail()}")
        time.sleep(0.5)
    load(house, "beat", HEARD_S)


def measure(seconds: float, fleet: int) -> list[Row]:
    """Every figure of the intake."""
    if shutil.which("wrk") is None:
        return [Row("intake", "not measured: wrk is missing (Debian: apt install wrk)", "", "")]
    with (
        tempfile.TemporaryDirectory(prefix="vt-bench-") as folder,
        House(Path(folder), fleet, SETTINGS) as house,
    ):
        house.enrol(round(time.time() * 1000), held=min(1000, fleet // 10), stream="bench")
        house.start()
        load(house, "beat", 2)
        full = load(house, "beat", seconds)
        rows = _rows("heartbeats/s", BEATS_BUDGET, full, load(house, "beat", seconds, rate=BEATS_BUDGET // 2))
        weight = house.weight()
        note = (
            f"{fleet:,} hosts, {min(1000, fleet // 10):,} open findings; private {weight.private_mib:.0f} MiB"
        )
        rows.append(
            Row("collector RSS, after the heartbeats", f"{weight.rss_mib:.0f} MiB", "≤ 300 MiB", note)
        )
        third = fleet // 3
        full = load(house, "finding", seconds, first=0, count=third)
        settle(house)
        half = load(house, "finding", seconds, rate=FINDINGS_BUDGET // 2, first=third, count=third)
        rows += _rows("durable reports/s, one finding of 2 KiB each", FINDINGS_BUDGET, full, half)
        settle(house)
        storm = load(house, "storm", seconds, first=2 * third, count=third)
        note = f"every host opens a problem that the tick must judge; p99 {storm['p99_ms']:.0f} ms"
        rows.append(Row("intake, the same in a storm", f"{storm['rate']:,.0f}", "", note, storm["rate"]))
        house.stop()
    return rows


def _rows(name: str, budget: int, full: dict[str, Any], half: dict[str, Any]) -> list[Row]:
    figure = f"{full['rate']:,.0f}"
    note = f"{full['cpu_us']:.0f} µs CPU each, p99 {full['p99_ms']:.1f} ms"
    return [
        Row(f"intake, {name}", figure, f"≥ {budget:,}", note, full["rate"]),
        Row(
            f"intake, {name}: p99 at {half['rate']:,.0f}/s",
            f"{half['p99_ms']:.1f} ms",
            f"≤ {P99_BUDGET_MS:g} ms",
            "",
        ),
    ]
