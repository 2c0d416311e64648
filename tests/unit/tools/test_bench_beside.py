"""The benchmark beside other agents: its load, its stand-in server, and where its table is written."""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path

import pytest

pytest.importorskip("litestar")  # the benchmark needs the collector's packages
pytestmark = pytest.mark.collector

from tests.bench import beside, run  # noqa: E402


def established() -> int:
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if line.split()[3] == "01")


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_the_load_is_there_while_it_is_asked_for_and_gone_after() -> None:
    sockets, kids = established(), children()
    with beside.busy():
        assert established() - sockets >= 2 * beside.PAIRS - 100
        assert len(children()) == len(kids) + 1
    assert established() - sockets < 200
    assert children() == kids


def ask(port: int, said: dict[str, object]) -> dict[str, object]:
    body = json.dumps(said).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"ZBXD\x01" + struct.pack("<II", len(body), 0) + body)
        with sock.makefile("rb") as stream:
            return json.loads(stream.read()[13:])


def test_the_stand_in_server_hands_out_items_and_counts_what_comes() -> None:
    server = beside.Zabbix()
    try:
        items = ask(server.port, {"request": "active checks", "host": "bench"})["data"]
        assert isinstance(items, list) and len(items) == 54
        assert ask(server.port, {"request": "agent data", "data": [{}, {}]})["response"] == "success"
        assert server.values == 2
    finally:
        server.close()


def test_the_agent_s_table_leaves_the_collector_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(run.TABLE.read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8").partition(run.AGENT_BEGIN)[0]
    monkeypatch.setattr(run, "TABLE", page)
    run.write("| new |", run.AGENT_BEGIN, run.AGENT_END)
    after = page.read_text(encoding="utf-8")
    assert after.startswith(before) and "| new |" in after and "Not measured yet" not in after
