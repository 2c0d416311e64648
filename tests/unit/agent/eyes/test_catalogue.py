"""The catalogue: each signal once, each producer real, each sample of a sampler known to it."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Set

import pytest

from agent.checks.answer import STATES, CheckAnswer
from agent.checks.spec import CheckSettings
from agent.samplers.registry import make_samplers
from agent.samplers.watching import Checks
from agent.settings import AgentSettings
from agent.signals.catalogue import BY_NAME, KINDS, SIGNALS
from agent.texts import TEXTS
from agent.wire import VITALS
from config import loader


def test_every_signal_stands_once() -> None:
    names = [signal.name for signal in SIGNALS]
    assert len(names) == len(set(names))
    assert all(signal.kind in KINDS and signal.meaning for signal in SIGNALS)


def test_every_vital_is_a_number_of_the_catalogue() -> None:
    for name in VITALS:
        assert BY_NAME[name].kind in ("gauge", "rate"), name


def test_every_producer_in_the_agent_exists() -> None:
    for path in sorted(
        {signal.producer for signal in SIGNALS if signal.producer.startswith("agent.samplers.")}
    ):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_a_baseline_is_plain_json() -> None:
    for signal in SIGNALS:
        assert json.loads(json.dumps(signal.baseline)) == signal.baseline, signal.name


def test_metric_names_are_unique_snake_case_in_base_units() -> None:
    names = [signal.prometheus.name for signal in SIGNALS if signal.prometheus]
    assert len(names) == len(set(names))
    forbidden = re.compile(
        r"_(count|sum|bucket|total|ms|mb|kb|gb|pct|milliseconds|megabytes|hours|days|minutes|bits)$"
    )
    for name in names:
        assert re.fullmatch(r"vartovyi_[a-z0-9]+(_[a-z0-9]+)*", name), name
        assert not forbidden.search(name), name


def test_every_sample_of_this_machine_is_in_the_catalogue_under_its_producer() -> None:
    settings = loader.parse("checks: [{name: self, type: process, process: no-such-program}]", AgentSettings)
    seen: Dict[str, Set[str]] = {}
    for sampler in make_samplers(settings):
        for at_ms in (0, 10_000):
            for sample in sampler.sweep(at_ms):
                seen.setdefault(sample.signal, set()).add(
                    f"{type(sampler).__module__}.{type(sampler).__name__}"
                )
    assert {"load.per_cpu", "mem.avail_pct", "fs.used_pct", "proc.count", "check.state"} <= set(seen)
    for signal, producers in seen.items():
        assert producers == {BY_NAME[signal].producer}, signal


def test_samplers_have_different_names_and_without_takes_one_away() -> None:
    names = [sampler.name for sampler in make_samplers(loader.defaults(AgentSettings))]
    assert len(names) == len(set(names))
    settings = loader.parse("without: [network, disk]", AgentSettings)
    assert set(names) - {sampler.name for sampler in make_samplers(settings)} == {"network", "disk"}


def test_every_state_of_a_check_has_its_words() -> None:
    assert [state for state in STATES if state != "unknown" and f"state.{state}" not in TEXTS] == []


@pytest.mark.parametrize("state", [s for s in STATES if s != "unknown"])
def test_every_state_is_shown_as_it_is(state: str) -> None:
    def run(spec: CheckSettings, **_: Any) -> CheckAnswer:
        return CheckAnswer(state)

    checks = Checks([CheckSettings(name="a", type="tcp", host="x", port=1)], run=run, first_wait_s=1.0)
    samples: List[Any] = checks.sweep(0)
    assert samples[0].value == state


def test_every_signal_of_the_shipped_rules_is_in_the_catalogue() -> None:
    import agent.settings
    from agent.signals.rules import RuleFile, compile_rules

    shipped = Path(agent.settings.SHIPPED) / "rules.yaml"
    for rule in compile_rules(loader.load(shipped, RuleFile)):
        assert rule.signals() <= set(BY_NAME), rule.name
        assert f"rule.{rule.name}" in TEXTS, rule.name
