"""Small scenarios in one line, for tests of the replay."""

from __future__ import annotations

from typing import Any

import pytest

from collector.replay.scenario import Scenario, parse


def text_of(entries: list[dict[str, Any]], **values: Any) -> str:
    """A scenario file as JSON text with one scenario on hosts a1 and a2."""
    import json

    host = {"provider": "alfa", "dc": "a1", "virt": "kvm", "os": "centos8", "plan": "shared"}
    scenario: dict[str, Any] = {
        "id": "T01",
        "title": "test",
        "duration_s": 900,
        "topology": {
            "collector": {"id": "col", "second_vantage": "probe2 (provider delta)"},
            "hosts": [{"id": "a1", **host}, {"id": "a2", **host, "lacks": ["psi"]}],
        },
        "timeline": entries,
        "truth": {
            "class": "2",
            "root_cause": "os.cpu_demand",
            "tickets": [],
            "failover": {"expected": "none"},
        },
    }
    return json.dumps({"schema_version": "1.0", "scenarios": [scenario | values]})


def scenario_of(entries: list[dict[str, Any]], **values: Any) -> Scenario:
    return parse(text_of(entries, **values), may_lack_producers=True)[0]


@pytest.fixture
def make_text():
    return text_of


@pytest.fixture
def make_scenario():
    return scenario_of
