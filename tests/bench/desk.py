"""Lists and pages with a million tickets in the store, over real HTTP, one request after another.

One host has a hundredth of all tickets and one contract a two-hundredth, as the oldest clients will have.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy import text

from collector.store.engine import Store
from tests.bench.house import House
from tests.bench.table import Row

BUDGET_MS = 50.0
REQUESTS = 200
WARM = 20
OPEN_OF = 1000
"""One ticket in so many is open."""

T0 = 1_767_225_600_000

# The rows are made by the database itself: a million round trips would take longer than the measurement.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
_CONTRACT = "CASE i % 200 WHEN 7 THEN 'acme' ELSE 'c' || (i % 200) END"
_HOST = "CASE i % 100 WHEN 1 THEN 'h00001' ELSE 'h' || (100000 + i % 10000) END"
_VERDICT = (
    '{"class":2,"root_cause":"os.disk_full","scope":"host:h00001","subject":"host:h00001/fs:/var","family":"fs_space",'
    '"affected":["h00001"],"began_at_ms":1767225600000,"confidence":"high","severity":"high","reasons":[],'
    '"would_change":[],"provisional":false,"summary":{"key":"summary.os.disk_full","params":{"host":"h00001",'
    '"part":"/var","scope":"h00001","n":1},"weight":0,"group":""}}'
)
_TICKETS = f"""
INSERT INTO tickets (id, contract_id, contract_version, problem, open_mark, origin, class, root_cause, scope, family, affected,
  confidence, severity, verdict, title, body, state, line, profile, language, began_at_ms, created_at_ms, reacted_at_ms,
  resolved_at_ms, closed_at_ms, updated_at_ms, next_step_at_ms, recurrences, version)
{_NUMBERS} SELECT i, {_CONTRACT}, 1, 'fs_space|host:h' || i, CASE WHEN i % {OPEN_OF} = 0 THEN 1 END, 'machine', 1 + i % 2,
  'os.disk_full', 'host:' || {_HOST}, 'fs_space', '["' || {_HOST} || '"]', 'high', 'high', :verdict, '', '',
  CASE WHEN i % {OPEN_OF} = 0 THEN 'new' ELSE 'closed' END, 1 + i % 3, '', 'uk', {T0} + i * 1000, {T0} + i * 1000, NULL,
  NULL, NULL, {T0} + i * 1000, CASE WHEN i % {OPEN_OF} = 0 THEN 99999999999999 END, 0, 1 FROM n
"""
_EVENTS = f"""
INSERT INTO ticket_events (ticket_id, at_ms, actor, kind, is_public, body)
{_NUMBERS} SELECT 1 + (i - 1) / 3, {T0} + i * 1000, 'machine', 'note', 1, '{{"text":"seen"}}' FROM n
"""
_CLOCKS = f"""
INSERT INTO clocks (ticket_id, kind, state, started_at_ms, target_ms, spent_ms, pause_reason, calendar, warned_pct, escalated_pct,
  outcome)
{_NUMBERS} SELECT 1 + (i - 1) / 2, CASE i % 2 WHEN 0 THEN 'reaction' ELSE 'resolution' END, 'stopped', {T0}, 900000, 1000, '',
  '24x7', 0, 0, 'kept' FROM n
"""


_LINKS = f"""
INSERT INTO ticket_hosts (host_id, ticket_id, updated_at_ms) {_NUMBERS} SELECT {_HOST}, i, {T0} + i * 1000 FROM n
"""


def fill(store: Store, count: int) -> None:
    """``count`` tickets, each with a host, three events and two clocks; one in a thousand is open."""
    for statement, rows in ((_TICKETS, count), (_LINKS, count), (_EVENTS, count * 3), (_CLOCKS, count * 2)):
        values: dict[str, Any] = {"count": rows}
        if ":verdict" in statement:
            values["verdict"] = _VERDICT
        store.write(
            lambda tx, statement=statement, values=values: tx.execute(text(statement), values) and None
        )
        print(f"  {rows:,} rows", file=sys.stderr, flush=True)
    store.write(lambda tx: tx.execute(text("ANALYZE")) and None)


def paths(count: int) -> dict[str, tuple[str, list[str]]]:
    """What is asked for: name -> (role, addresses)."""
    lists, newest = "/api/v1/tickets", count - count % OPEN_OF or count
    some = [1 + n * 977 % newest for n in range(50)]
    return {
        "ticket list (JSON)": ("lead", [f"{lists}?state={what}" for what in ("all", "open", "closed", "all&class=2&line=3")]),
        "open tickets of one line (JSON)": ("lead", [f"{lists}?state=open&line={line}" for line in (1, 2, 3)]),
        "list of a host with a hundredth of them (JSON)": (
            "lead", [f"{lists}?host=h00001&state={state}" for state in ("all", "open", "closed")],
        ),
        "a client's list (JSON)": ("client", [f"{lists}?state={state}" for state in ("all", "open", "closed")]),
        "ticket (JSON)": ("lead", [f"{lists}/{n}" for n in some]),
        "ticket list (page)": ("lead", ["/tickets?state=all", "/tickets", "/tickets?state=closed"]),
        "ticket (page)": ("lead", [f"/tickets/{n}" for n in some]),
        "page of a host with a hundredth of them": ("lead", ["/hosts/h00001"]),
    }  # fmt: skip


def measure(count: int) -> list[Row]:
    """p99 of lists and pages, as HTML and as JSON."""
    with tempfile.TemporaryDirectory(prefix="vt-bench-") as folder, House(Path(folder), 10) as house:
        house.enrol(round(time.time() * 1000))
        store = Store.open(house.url)
        fill(store, count)
        store.close()
        tokens = {role: _token(house, role) for role in ("lead", "client")}
        house.start()
        rows = []
        for name, (role, group) in paths(count).items():
            p50, p99 = _times(house, tokens[role], group)
            rows.append(
                Row(
                    f"{name}, {count:,} tickets",
                    f"p99 {p99:.1f} ms (median {p50:.1f})",
                    f"≤ {BUDGET_MS:g} ms",
                )
            )
        house.stop()
    return rows


def _token(house: House, role: str) -> str:
    """An API token of a new person."""
    program = Path(sys.executable).parent / "vartovyi-collector"
    common = ["--config", str(house.config)]
    contract = ["--contract", "acme"] if role == "client" else []
    subprocess.run(
        [program, "people", "add", f"bench-{role}", "--role", role, *contract, *common], input="a-long-password\n", text=True,
        check=True, capture_output=True,
    )  # fmt: skip
    told = subprocess.run(
        [program, "token", f"bench-{role}", *common], check=True, capture_output=True, text=True
    ).stdout
    return told.splitlines()[0]


def _times(house: House, token: str, addresses: list[str]) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    took: list[float] = []
    for address in itertools.islice(itertools.cycle(addresses), REQUESTS + WARM):
        request = urllib.request.Request(
            house.address + address, headers={"Authorization": f"Bearer {token}"}
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        took.append((time.perf_counter() - began) * 1000)
    took = sorted(took[WARM:])
    return took[len(took) // 2], took[int(len(took) * 0.99)]
