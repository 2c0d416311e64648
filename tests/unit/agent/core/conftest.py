"""Builders for the agent's core: rules from a few words, a spool in a folder, a core on a fixed clock."""

from __future__ import annotations

import itertools
from typing import Any, Callable, List

import pytest

from agent.core import AgentCore, Identity, Status
from agent.findings import Now
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from config import loader
from config.clock import FixedClock

FULL = """
rules:
  - name: fs_full
    family: fs_space
    severity: high
    signal: fs.used_pct
    subjects: parts
    raise: {all: ["fs.used_pct >= 95"], for: 20 s}
    clear: {all: ["fs.used_pct < 90"], for: 30 s}
    worse: {severity: critical, all: ["fs.used_pct >= 99"], for: 20 s}
    facts: [fs.inode_pct, load.per_cpu]
  - name: cpu_busy
    family: cpu
    severity: low
    signal: cpu.user_pct
    raise: {all: ["cpu.user_pct + cpu.sys_pct >= 80"], for: 2 min}
    clear: {all: ["cpu.user_pct + cpu.sys_pct < 70"], for: 5 min}
"""


def rules_from(text: str = FULL) -> List[Rule]:
    """Rules compiled from YAML text."""
    return compile_rules(loader.parse(text, RuleFile))


class Host:
    """A core on a clock that moves when told, with the spool in a folder that outlives it."""

    def __init__(self, folder: Any, text: str = FULL, **more: Any) -> None:
        self.folder = folder
        self.text = text
        self.clock = FixedClock()
        self._ids = (f"id{i}" for i in itertools.count())
        self._more = more
        self.core = self._core()

    def _core(self) -> AgentCore:
        self.spool = Spool.open(self.folder, new_id=lambda: next(self._ids), max_bytes=1 << 20)
        identity = Identity("1", "boot", next(self._ids))
        return AgentCore(self.spool, rules_from(self.text), identity, self.now(), **self._more)

    def restart(self) -> None:
        """kill -9 and start again: nothing is flushed, nothing is said."""
        self.spool.close()
        self.core = self._core()

    def now(self) -> Now:
        return Now(self.clock.now_ms(), self.clock.mono_ms(), self.clock.boottime_ms())

    def sweep(self, *values: Any, after_s: float = 10, source: str = "s") -> List[Any]:
        """Move on, then take samples given as (signal, subject, value)."""
        self.clock.advance(int(after_s * 1000))
        mono_ms = self.clock.mono_ms()
        return self.core.take([Sample(s, part, v, mono_ms) for s, part, v in values], self.now(), source)

    def report(self) -> Any:
        return self.core.report(self.now(), Status(10.0))


@pytest.fixture
def host(tmp_path: Any) -> Host:
    return Host(tmp_path)


@pytest.fixture
def make_host(tmp_path: Any) -> Callable[..., Host]:
    def make(text: str = FULL, **more: Any) -> Host:
        return Host(tmp_path, text, **more)

    return make


@pytest.fixture
def rules() -> Callable[..., List[Rule]]:
    return rules_from
