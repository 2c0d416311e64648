"""Cases in one line: facts now and before, siblings, log lines."""

from __future__ import annotations

from typing import Any

import pytest

from collector.qualify.case import Case, FactView, Held, HostView, Seen

NOW = 1_767_225_600_000


def held(family: str, facts: dict[str, Any] | None = None, **values: Any) -> Held:
    """A finding; a fact that is a pair is (before, now)."""
    views = {}
    for name, value in (facts or {}).items():
        views[name] = FactView(value[1], value[0]) if isinstance(value, tuple) else FactView(value)
    values.setdefault("rule", "r")
    values.setdefault("subject", "")
    values.setdefault("severity", "medium")
    return Held(host_id="a1", family=family, at_ms=NOW - 60_000, facts=views, **values)


def sibling(
    host_id: str = "a2", families: tuple[str, ...] = (), life: str = "alive", **vitals: float
) -> HostView:
    """A fresh neighbour on everything that a1 has; vitals by name with _ for the dot's place."""
    place = {
        "provider": "alfa",
        "node": "n7",
        "storage": "ceph",
        "site": "s1",
        "resolver": "r1",
        "virt": "kvm",
    }
    named = {name.replace("__", "."): value for name, value in vitals.items()}
    return HostView(host_id, "acme", place, life, named, NOW - 5_000, {}, frozenset(families))


def case(
    family: str,
    facts: dict[str, Any] | None = None,
    *,
    beside: tuple[Held, ...] = (),
    siblings: tuple[HostView, ...] = (),
    ops: tuple[str, ...] = (),
    lacks: tuple[str, ...] = (),
    topology: dict[str, str] | None = None,
    life: str = "alive",
    seen: tuple[tuple[str, Any, str], ...] = (),
    **values: Any,
) -> Case:
    """One case on host a1 of provider alfa (KVM unless said otherwise)."""
    place = {
        "provider": "alfa",
        "node": "n7",
        "storage": "ceph",
        "site": "s1",
        "resolver": "r1",
        "virt": "kvm",
    }
    host = HostView("a1", "acme", place | (topology or {}), life, {}, NOW, dict.fromkeys(lacks, "platform"))
    saw = tuple(Seen("a1", signal, value, vantage, NOW - 60_000) for signal, value, vantage in seen)
    return Case(NOW, host, held(family, facts, **values), beside, siblings, ops, saw)


@pytest.fixture
def make_case():
    return case


@pytest.fixture
def make_held():
    return held


@pytest.fixture
def make_sibling():
    return sibling
