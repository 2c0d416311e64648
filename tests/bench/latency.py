"""How soon a ticket is there: after a finding, and after a host stops speaking. A real collector, an agent's reports."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from pathlib import Path

from sqlalchemy import func, select

from agent.wire import REPORT_PATH, FindingChange, Report, to_json
from collector.store.engine import Store
from tests.bench.house import House
from tests.bench.table import Row
from ticketing.tables import tickets

FINDING_BUDGET_S = 1.5
SILENCE_BUDGETS_S = {1: 3.0, 10: 25.0}
LOOK_S = 0.02
ROUNDS = 5


class Sender:
    """Speaks for one host."""

    def __init__(self, house: House, token: str) -> None:
        self.house = house
        self.token = token
        self.n = 0

    def send(self, *, finding: bool = False) -> None:
        """One report; with a finding that makes a ticket."""
        now = round(time.time() * 1000)
        mono = time.monotonic_ns() // 1_000_000
        changes = []
        if finding:
            self.n += 1
            changes = [
                FindingChange(
                    n=self.n, kind="opened", opening_n=self.n, rule="fs_full", subject=f"/data{self.n}", family="fs_space",
                    at_ms=now, severity="high", boot_id="b1", mono_ms=mono,
                )
            ]  # fmt: skip
        body = Report(
            v=1, agent="0.1", boot_id="b1", run_id="r1", wall_ms=now, mono_ms=mono, boottime_ms=mono, interval_s=1.0,
            stream="s1", findings=changes,
        )  # fmt: skip
        request = urllib.request.Request(
            self.house.address + REPORT_PATH,
            data=to_json(body),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            json.loads(answer.read())


def measure(slow: bool) -> list[Row]:
    """Findings and silence; ``slow`` adds the 10 s heartbeat."""
    rows = []
    for interval, budget in SILENCE_BUDGETS_S.items():
        if interval > 1 and not slow:
            continue
        with tempfile.TemporaryDirectory(prefix="vt-bench-") as folder, House(Path(folder), 2) as house:
            (house.folder / "contracts" / "acme.yaml").write_text(_contract(interval), encoding="utf-8")
            house.enrol(round(time.time() * 1000))
            house.start()
            store = Store.open(house.url)
            tokens = house.tokens.read_text().split()
            sender = Sender(house, tokens[0])
            if interval == 1:
                rows.append(_finding_row(sender, store))
            rows.append(
                _silence_row(Sender(house, tokens[0]), Sender(house, tokens[1]), store, interval, budget)
            )
            store.close()
            house.stop()
    return rows


def _finding_row(sender: Sender, store: Store) -> Row:
    sender.send()
    took = []
    for _ in range(ROUNDS):
        before = _tickets(store)
        began = time.monotonic()
        sender.send(finding=True)
        took.append(_until(store, before, began, 30))
        time.sleep(1)
        sender.send()
    took.sort()
    return Row(
        "local finding → ticket, from the send",
        f"median {took[len(took) // 2]:.2f} s, worst {took[-1]:.2f} s",
        f"≤ {FINDING_BUDGET_S:g} s",
        "the agent's own time from the rule to the send is not in it",
    )


def _silence_row(dying: Sender, living: Sender, store: Store, interval: int, budget: float) -> Row:
    """``dying`` beats and then stops; ``living`` goes on, so that the collector is not the one cut off."""
    last = time.monotonic()
    for _ in range(4):
        dying.send()
        living.send()
        last = time.monotonic()
        time.sleep(interval)
    before, next_beat = _tickets(store), last + interval
    while _tickets(store) == before and time.monotonic() - last < budget * 4:
        if time.monotonic() >= next_beat:
            living.send()
            next_beat += interval
        time.sleep(LOOK_S)
    took = time.monotonic() - last
    name = f"frozen host → ticket at a {interval} s heartbeat, from its last report"
    return Row(name, f"{took:.2f} s", f"≤ {budget:g} s", "address answers nothing (192.0.2.0/24)")


def _contract(interval: int) -> str:
    host = f"addresses: [192.0.2.1], kind: vds, web_environment: true, exclusive_access: true, interval: {interval}"
    hosts = "\n".join(f"  - {{id: h0000{n}, {host}}}" for n in range(2))
    return f"id: acme\ntitle: Acme\nhosts:\n{hosts}\n"


def _tickets(store: Store) -> int:
    with store.read() as conn:
        return conn.execute(select(func.count()).select_from(tickets)).scalar_one()


def _until(store: Store, before: int, began: float, limit_s: float) -> float:
    while _tickets(store) == before:
        if time.monotonic() - began > limit_s:
            return limit_s
        time.sleep(LOOK_S)
    return time.monotonic() - began
