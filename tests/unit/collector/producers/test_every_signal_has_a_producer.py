"""Each signal's producer is real; those that have none are exactly the list below, each with its reason."""

from __future__ import annotations

import importlib

import pytest

from agent.signals.catalogue import SIGNALS

pytestmark = pytest.mark.collector

BREADTH = "a sampler of the agent's breadth (root-only readers, containers, logs): not built yet"
LADDER = "the ladder beyond gateway and collector (hop 2, anchors, resolvers, DF probe): not built yet"

WITHOUT = {
    "clk.ntp_source": BREADTH,
    "cpu.spin_score": BREADTH,
    "cg.throttled_pct": BREADTH,
    "disk.probe_ms": BREADTH,
    "net.hop2": LADDER,
    "net.anchors": LADDER,
    "net.loss_pct": LADDER,
    "net.dns_sys": LADDER,
    "net.dns_pub": LADDER,
    "net.bigpkt": LADDER,
    "log": BREADTH,
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
