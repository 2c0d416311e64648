"""Each signal's producer is real; those that have none are exactly the list below, each with its reason."""

from __future__ import annotations

import importlib

import pytest

from agent.signals.catalogue import SIGNALS

pytestmark = pytest.mark.collector

WITHOUT: dict[str, str] = {}
"""None now; a signal that is named before it is built stands here with the reason."""


def test_the_signals_without_a_producer_are_those_that_we_name() -> None:
    assert {signal.name for signal in SIGNALS if not signal.producer} == set(WITHOUT)


@pytest.mark.parametrize("path", sorted({signal.producer for signal in SIGNALS if signal.producer}))
def test_a_producer_is_a_thing_that_is_there(path: str) -> None:
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
