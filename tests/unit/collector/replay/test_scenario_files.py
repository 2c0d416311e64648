"""Scenario files: every fault at once, and a file that is written reads as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agent.signals.catalogue import BY_NAME, Signal
from collector.replay.scenario import parse
from collector.replay.written import to_text
from config.loader import ConfigError

pytestmark = pytest.mark.collector


def faults(text: str, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml", **options)
    return [str(fault) for fault in caught.value.faults]


def test_every_fault_is_told_at_once_with_its_place(make_text):
    text = make_text(
        [
            {"t": "soon", "host": "a1", "signal": "cpu.user_pct", "value": 1},
            {"t": 1, "host": "zz", "signal": "cpu.user_pct", "value": 1},
            {"t": 1, "host": "a1", "signal": "cpu.usr", "value": 1},
            {"t": 1, "host": "a1", "signal": "cpu.user_pct"},
        ],
        truth={"class": "9", "root_cause": "x"},
    )
    found = faults(text, may_lack_producers=True)
    assert len(found) == 5
    assert "timeline[0].t" in found[0] and "timeline[1].host" in found[1]
    assert "no signal of the catalogue" in found[2] and "lacks value" in found[3]
    assert "truth.class" in found[4]


def test_a_signal_that_nothing_produces_is_refused(make_text):
    """Every signal of the catalogue has a producer by now, so the catalogue of this test knows one more."""
    wished = Signal("room.humidity", "%", "wished for", "gauge", 40, "")
    signals = {**BY_NAME, wished.name: wished}
    text = make_text([{"t": 1, "host": "a1", "signal": wished.name, "value": 90}])
    assert "has no producer yet" in faults(text, signals=signals)[0]
    assert parse(text, may_lack_producers=True, signals=signals)


def test_a_written_file_reads_as_it_was(make_scenario):
    scenario = make_scenario(
        [
            {"t": 1.5, "host": "a1", "signal": "ext.icmp", "value": "dead", "from": "probe2"},
            {"t": 2, "host": "a1", "signal": "net.gw", "value": "ok", "rx": 40},
            {"t": 3, "host": "a1", "signal": "hw.smart", "value": {5: 1}},
        ]
    )
    again = parse(to_text([scenario]), may_lack_producers=True)[0]
    assert dataclasses.replace(again, baselines={}) == dataclasses.replace(scenario, baselines={})


def test_a_recorded_incident_is_a_scenario_by_itself():
    text = '{"id": "a1-1", "judged_at_s": 60, "topology": {"hosts": [{"id": "a1"}]}, "timeline": [], "findings": []}'
    found = parse(text)
    assert [scenario.id for scenario in found] == ["a1-1"]
    assert found[0].duration_s == 660
    assert found[0].truth is None


def test_a_file_that_is_no_mapping_says_so():
    assert "is no scenario file" in faults("- 1")[0]
