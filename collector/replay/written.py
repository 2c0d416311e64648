"""Scenarios as files again: what ``scenario`` reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from collector.replay.scenario import COLLECTOR, SCHEMA_VERSION, Entry, Host, Scenario, Truth


def to_plain(scenario: Scenario) -> dict[str, Any]:
    """The scenario as the values of its file."""
    topology: dict[str, Any] = {
        "collector": {"id": scenario.topology.collector, "second_vantage": scenario.topology.second_vantage},
        "hosts": [_host(host) for host in scenario.topology.hosts],
    }
    if scenario.topology.failover is not None:
        topology["contract"] = dict(scenario.topology.failover)
    found: dict[str, Any] = {
        "id": scenario.id,
        "title": scenario.title,
        "tags": list(scenario.tags),
        "duration_s": _short(scenario.duration_s),
        "topology": topology,
        "timeline": [_entry(entry) for entry in scenario.timeline],
    }
    if scenario.truth is not None:
        found["truth"] = _truth(scenario.truth)
    return found


def to_text(scenarios: Iterable[Scenario]) -> str:
    """A scenario file: JSON, which is YAML as well, one entry a line so that a difference can be read."""
    lines = ["{", f'"schema_version": "{SCHEMA_VERSION}",', '"scenarios": [']
    blocks = []
    for scenario in scenarios:
        parts = []
        for key, value in to_plain(scenario).items():
            if key == "timeline":
                rows = ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in value)
                parts.append(f'  "timeline": [\n    {rows}]')
            else:
                parts.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
        blocks.append("{\n" + ",\n".join(parts) + "}")
    return "\n".join(lines) + "\n" + ",\n".join(blocks) + "\n]}\n"


def _host(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {"id": host.id, "provider": host.provider, **host.places}
    if host.lacks:
        found["lacks"] = list(host.lacks)
    if host.contract:
        found["contract"] = host.contract
    return found


def _entry(entry: Entry) -> dict[str, Any]:
    found = {"t": _short(entry.t_ms / 1000), "host": entry.host, "signal": entry.signal, "value": entry.value}
    if entry.vantage != COLLECTOR:
        found["from"] = entry.vantage
    if entry.rx_ms is not None:
        found["rx"] = _short(entry.rx_ms / 1000)
    return found


def _truth(truth: Truth) -> dict[str, Any]:
    tickets = []
    for ticket in truth.tickets:
        values: dict[str, Any] = {"role": ticket.role, "class": ticket.class_, "kind": ticket.kind}
        values |= {"scope": ticket.scope, "affected": list(ticket.affected), "severity": ticket.severity}
        values["not_before_s"] = _short(ticket.not_before_s)
        if ticket.open_by_s != float("inf"):
            values["open_by_s"] = _short(ticket.open_by_s)
        tickets.append(values)
    found: dict[str, Any] = {"class": truth.class_, "root_cause": truth.root_cause, "tickets": tickets}
    found["failover"] = {"expected": truth.failover}
    found["must_not"] = list(truth.must_not)
    if truth.accept:
        found["accept"] = {word: list(values) for word, values in truth.accept.items()}
    return found


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number
