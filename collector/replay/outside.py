"""What the collector's probes meet in a replay: answers from the scenario's ``ext.*`` and ``col.*``, in the checks' words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.replay.expand import Outside
from collector.replay.scenario import COLLECTOR

ANCHORS = ("anchor-1.example:443", "anchor-2.example:443", "anchor-3.example:443")
QUICK_MS = 40.0
SLOW_MS = 1_500.0


def address_of(host_id: str) -> str:
    """The address under which a host of the scenario is probed."""
    return f"{host_id}.replay.example"


class ScriptedNetwork:
    """The ``ProbeNetwork`` of a replay."""

    def __init__(self, outside: Outside, collector_id: str, start_ms: int, host_ids: tuple[str, ...]) -> None:
        self._outside = outside
        self._collector_id = collector_id
        self._start_ms = start_ms
        self._host_at = {address_of(host_id): host_id for host_id in host_ids}
        self.now_ms = start_ms

    def answer(
        self, kind: str, target: Mapping[str, Any], timeout_s: float, *, vantage: str = COLLECTOR
    ) -> dict[str, Any]:
        """The answer of one probe now, as ``agent.checks`` would give it."""
        t_ms = self.now_ms - self._start_ms
        address = str(target.get("address", ""))
        if target.get("anchor") or address.startswith("anchor-"):
            return self._anchor(address, t_ms, timeout_s)
        host_id = self._host_at.get(address, "")
        if not host_id:
            return _answer("unknown", 0.0)
        is_ssh = (target.get("check") or {}).get("type") == "ssh"
        state = self._state(kind, host_id, vantage, t_ms, is_ssh=is_ssh)
        facts = {}
        if kind == "trace":
            facts = {"last_hop": self._outside.seen(host_id, "ext.last_hop", t_ms, vantage)}
        ms = {"timeout": timeout_s * 1000, "dead": timeout_s * 1000, "slow": SLOW_MS}.get(state, QUICK_MS)
        return _answer(state, ms, facts)

    def _state(self, kind: str, host_id: str, vantage: str, t_ms: int, *, is_ssh: bool = False) -> str:
        def seen(signal: str) -> str:
            return str(self._outside.seen(host_id, signal, t_ms, vantage) or "unknown")

        if kind == "icmp":
            return seen("ext.icmp")
        if kind == "ssh":
            return seen("ext.tcp22")
        if kind == "bmc":
            return seen("ext.bmc")
        if kind == "trace":
            return "ok"
        if kind == "service" and is_ssh:
            return seen("ext.tcp22")
        if kind in ("service", "http", "tcp"):
            word = seen("ext.svc")
            # A host that swallows everything lets a connection run out; one that answers says that nobody is there.
            is_swallowed = word == "dead" and "timeout" in (
                _dead_as_timeout(seen("ext.icmp")),
                seen("ext.tcp22"),
            )
            return "timeout" if is_swallowed else word
        return "unknown"

    def _anchor(self, address: str, t_ms: int, timeout_s: float) -> dict[str, Any]:
        number = next((n for n, anchor in enumerate(ANCHORS, 1) if anchor.startswith(address)), 0)
        reached = self._outside.seen(self._collector_id, "col.anchors", t_ms)
        is_there = number <= int(reached if reached is not None else len(ANCHORS))
        return _answer("ok", QUICK_MS) if is_there else _answer("timeout", timeout_s * 1000)


def _dead_as_timeout(word: str) -> str:
    return "timeout" if word == "dead" else word


def _answer(state: str, ms: float, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"state": state, "detail": state, "ms": ms, "facts": dict(facts or {})}
