"""Each signal's producer is real; those that have none are exactly the list below, each with its reason."""

from __future__ import annotations

import importlib

import pytest

from agent.signals.catalogue import SIGNALS

pytestmark = pytest.mark.collector

WITHOUT = {
    "hw.raid": "vendors' RAID tools wait; its absence is said with the driver that is there",
    "repl.lag_s": "comes with failover pairs",
    "repl.sample_age_s": "comes with failover pairs",
    "hist.same_hour_match": "the collector's memory of hours: not built yet",
}


def test_the_signals_without_a_producer_are_those_that_we_name() -> None:
    assert {signal.name for signal in SIGNALS if not signal.producer} == set(WITHOUT)


@pytest.mark.parametrize("path", sorted({signal.producer for signal in SIGNALS if signal.producer}))
def test_a_producer_is_a_thing_that_is_there(path: str) -> None:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
