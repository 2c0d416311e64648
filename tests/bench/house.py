"""A collector for a measurement: own state folder, a fleet put straight into its store, the real process, its weight."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from collector.enrol import hash_token
from collector.fleet_cache import bump_fleet_version
from collector.store.engine import Store
from collector.store.migrate import migrate
from collector.tables import hosts, open_findings, streams

START_S = 60.0


@dataclasses.dataclass(frozen=True)
class Weight:
    """What a process has used so far."""

    cpu_s: float
    rss_mib: float
    pss_mib: float
    private_mib: float


class House:
    """One collector with ``fleet`` enrolled hosts."""

    def __init__(self, folder: Path, fleet: int, settings: str = "", database: str = "") -> None:
        self.folder = folder
        self.fleet = fleet
        self.state = folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.url = database or f"sqlite:///{self.state / 'collector.db'}"
        self.config = folder / "collector.yaml"
        (folder / "contracts").mkdir(exist_ok=True)
        (folder / "contracts" / "acme.yaml").write_text("id: acme\ntitle: Acme\nlines: 3\n", encoding="utf-8")
        (folder / "collector.yaml").write_text(
            f"state_dir: {self.state}\ncontracts: {folder / 'contracts'}\nlisten: {{port: 0}}\n"
            f"log_level: WARNING\n{f'database: {{url: {database!r}}}' if database else ''}\n{settings}",
            encoding="utf-8",
        )
        self.tokens = folder / "tokens"
        self.booted_ms = 0
        """When its hosts booted; their monotonic clocks count from here."""
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def enrol(self, now_ms: int, held: int = 0, *, stream: str = "") -> None:
        """Migrate and put the fleet in, all at once; ``held`` hosts have an open finding each.

        With ``stream`` every host has announced it: the first report of a host is written durably, and that is no steady
        state.
        """
        self.booted_ms = now_ms - 3_600_000
        migrate(self.url)
        tokens = [f"bench-token-{n:06d}" for n in range(self.fleet)]
        self.tokens.write_text("\n".join(tokens) + "\n", encoding="utf-8")
        rows = [self.host_row(n, token, now_ms) for n, token in enumerate(tokens)]
        store = Store.open(self.url)

        def run(tx: Any) -> None:
            for start in range(0, len(rows), 1000):
                tx.execute(insert(hosts), rows[start : start + 1000])
            if stream:
                common = {"stream": stream, "next_n": 1, "announced_at_ms": now_ms, "is_current": True}
                tx.execute(insert(streams), [{"host_id": row["id"], **common} for row in rows])
            if held:
                tx.execute(insert(open_findings), [open_row(rows[n]["id"], now_ms) for n in range(held)])
            bump_fleet_version(tx)

        store.write(run)
        store.close()

    def host_row(self, n: int, token: str, now_ms: int) -> dict[str, Any]:
        """One enrolled host; five providers with sites, racks and nodes."""
        provider = f"p{n % 5}"
        return {
            "id": f"h{n:05d}",
            "contract_id": "acme",
            "addresses": ["192.0.2.1"],
            "topology": {
                "provider": provider,
                "site": f"{provider}-s{n % 3}",
                "node": f"{provider}-n{n // 40}",
            },
            "token_hash": hash_token(token),
            "enrolled_at_ms": now_ms,
            "life": "awaited",
            "life_since_ms": now_ms,
            "interval_s": 10.0,
            "vitals": {},
            "lacks": {},
            "sweep_age_s": {},
        }

    def start(self) -> None:
        """Start the real process and wait for its address."""
        program = Path(sys.executable).parent / "vartovyi-collector"
        known = self.state / "address"
        known.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "serve", "--config", self.config], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not known.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)
        self.address = known.read_text().strip()

    def weight(self) -> Weight:
        """CPU and memory of the running process."""
        assert self.process is not None
        return weight(self.process.pid)

    def log_tail(self) -> str:
        """What the collector said last."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def metrics(self) -> dict[str, float]:
        """The collector's own numbers, by sample."""
        with urllib.request.urlopen(self.address + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines)
            if name[:1] not in ("#", "")
        }

    def counters(self) -> dict[str, float]:
        """How many reports had which result."""
        return {
            name: value for name, value in self.metrics().items() if name.startswith("vartovyi_reports_total")
        }

    def stop(self) -> None:
        """An orderly end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process = None

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def open_row(host_id: str, now_ms: int) -> dict[str, Any]:
    """A finding that holds on a host, with the facts and evidence of a usual one (2 KiB)."""
    facts = {f"fs.fact_{n}": {"now": 97.5, "before": 61.0, "usual": 58.5, "unit": "%"} for n in range(8)}
    lines = [
        {"at_ms": now_ms, "source": "kernel", "text": "EXT4-fs warning (device vda1): " * 4} for _ in range(8)
    ]
    return {
        "host_id": host_id,
        "rule": "cpu_busy",
        "subject": "",
        "stream": "bench",
        "opening_n": 1,
        "family": "cpu",
        "severity": "low",
        "at_ms": now_ms,
        "changed_at_ms": now_ms,
        "body": {"facts": facts, "evidence": {"log": lines}},
    }


def weight(pid: int) -> Weight:
    """CPU seconds and memory of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    rolled: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        rolled[name] = int(rest.split()[0])
    private = rolled["Private_Clean"] + rolled["Private_Dirty"]
    return Weight(cpu_s, rolled["Rss"] / 1024, rolled["Pss"] / 1024, private / 1024)
