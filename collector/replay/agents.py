"""The agents of a replay: the real AgentCore on scripted samples, with its real spool, rules and wire.

Replaced are the samplers, the clocks and the network. A host that is stopped neither samples nor sends, unless the
scenario says what it buffered meanwhile; after a boot the core starts anew on the spool that it finds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from agent.core import AgentCore, Identity, Status
from agent.findings import Now
from agent.signals.catalogue import UNITS
from agent.signals.patterns import KernelWatch
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.wire import VITALS, Evidence, FindingChange, Reply, to_json
from collector.replay.expand import HostScript, Stop, with_noise
from config import loader

SPOOL_BYTES = 1024 * 1024
UP_FOR_MS = 86_400_000
"""How long a host has been up when its scenario begins."""
BOOT_TOOK_MS = 20_000
RING_LINES = 20
"""Kernel and log lines that a finding takes along: as many as the agent reads back."""
REPORTS_AT_ONCE = 32
SETTLED_SWEEP_MS = 60_000
"""Where nothing has changed for longer than any rule waits, samples come this seldom; heartbeats do not."""
INTERVAL_S = 10.0

SHIPPED_RULES = Path(loader.__file__).with_name("shipped") / "rules.yaml"

_PART_OF = (
    ("fs.", "/"),
    ("net.link", "eth0"),
    ("net.flaps", "eth0"),
    ("net.crc_ps", "eth0"),
    ("hw.md", "md0"),
    ("tls.days", "service"),
    ("svc.restarts_h", "service"),
)
"""Signals that samplers bring for each part as well as for the host; a scenario speaks of the host's worst part."""

Post = Callable[[str, bytes], "Reply | None"]
"""(token, body) -> the collector's answer; None where it took nothing."""


@functools.cache
def shipped_rules() -> tuple[Rule, ...]:
    """The rules that we ship, compiled once."""
    return tuple(compile_rules(loader.load(SHIPPED_RULES, RuleFile)))


def _wanted(rules: tuple[Rule, ...]) -> frozenset[str]:
    """Signals that anybody looks at: sampling the others would only cost time."""
    return frozenset(VITALS).union(*(rule.signals() for rule in rules))


class ScriptedAgent:
    """One host's agent. Instants are milliseconds since the epoch."""

    def __init__(
        self,
        script: HostScript,
        start_ms: int,
        folder: Path,
        post: Post,
        *,
        noise_pct: float = 0.0,
        random: Random | None = None,
        rules: tuple[Rule, ...] | None = None,
    ) -> None:
        self.script = script
        self.id = script.host.id
        self.token = f"replay-token-of-{self.id}"
        self._start_ms = start_ms
        """Scenario time zero."""
        self._folder = folder
        self._post = post
        self._noise_pct = noise_pct
        self._random = random or Random(0)
        self._rules = rules or shipped_rules()
        self._wanted = _wanted(self._rules) | _ALSO
        self._lines: list[dict[str, Any]] = []
        self._watch = KernelWatch()
        self._core: AgentCore | None = None
        self._booted_ms = start_ms - UP_FOR_MS
        self._ids = 0
        self._units: set[str] = set()
        self._wall_offset_ms = 0
        self._swept_ms = 0
        self._told = 0

    def begin(self, now_ms: int) -> None:
        """The agent's process starts."""
        self._core = self._started(now_ms)
        self._send(now_ms)

    def sweep(self, now_ms: int) -> None:
        """One round of samplers; what changed is sent at once, else a heartbeat is."""
        if self._core is None:
            return
        stop = self.script.stop_at(now_ms - self._start_ms)
        if (
            stop is None
            and self.script.is_settled(now_ms - self._start_ms)
            and now_ms - self._swept_ms < SETTLED_SWEEP_MS
        ):
            self._send(now_ms)
            return
        self._swept_ms = now_ms
        self._take_events(now_ms)
        if stop is not None and not stop.buffered:
            return
        values: Mapping[str, Any] = self.script.values_at(now_ms - self._start_ms)
        withheld = self.script.withheld_at(now_ms - self._start_ms)
        if stop is not None:
            values = {name: value for name, value in values.items() if name in stop.buffered}
        elif withheld:
            values = {name: value for name, value in values.items() if name not in withheld}
        self._take(values, now_ms)
        if stop is None:
            self._send(now_ms)

    def _take_events(self, until_ms: int) -> None:
        """Events that happened since the last round: log lines, holes in the agent's own loop, the hardware's log."""
        events = self.script.events
        while self._told < len(events) and self._start_ms + events[self._told].t_ms <= until_ms:
            t_ms = events[self._told].t_ms
            together = [e for e in events[self._told :] if e.t_ms == t_ms]
            self._told += len(together)
            is_unheard = self.script.stop_at(t_ms) is not None
            heard = [entry for entry in together if entry.rx_ms is not None or not is_unheard]
            if self._core is None or not heard:
                continue
            at_ms = self._start_ms + t_ms
            for entry in heard:
                if entry.signal in ("kmsg", "log"):
                    source = "kernel" if entry.signal == "kmsg" else "log"
                    self._lines.append({"at_ms": at_ms, "source": source, "text": str(entry.value)})
            del self._lines[:-RING_LINES]
            now = self._now(at_ms)
            samples = [Sample(entry.signal, "", entry.value, now.mono_ms) for entry in heard]
            for entry in heard:
                if entry.signal == "kmsg":
                    samples += self._causes(str(entry.value), now.mono_ms)
            self._core.take(samples, now)

    def _causes(self, line: str, mono_ms: int) -> list[Sample]:
        """What the sampler of the kernel's log makes of a line: the cause as its part."""
        told = self._watch.take(line, mono_ms)
        return [Sample("kmsg", one.match.id, one.line, mono_ms) for one in told]

    def offset_moved(self, offset_ms: int) -> None:
        """The host's wall clock is off by so much from now on."""
        self._wall_offset_ms = offset_ms

    def stops(self, stop: Stop, now_ms: int) -> None:
        """The agent says goodbye where it can; else it just is not heard any more, after what it had just seen."""
        self._take_events(now_ms - 1)
        if self._core is not None and self._core.has_news:
            self._send(now_ms)
        if self._core is not None and stop.goodbye:
            self._send(now_ms, goodbye=stop.goodbye)
            self._end()

    def returns(self, now_ms: int) -> None:
        """It is heard again: the same process, or a new one after a goodbye or a boot."""
        if self._core is None:
            self._core = self._started(now_ms)
            self._send(now_ms)
        self.reboots(now_ms)
        self.sweep(now_ms)

    def reboots(self, now_ms: int) -> None:
        """Where the kernel has another boot id, the agent is a new process and looks at what the last boot left."""
        if self._core is None or self._core.identity.boot_id == self.script.boot_at(now_ms - self._start_ms):
            return
        self._end()
        self._booted_ms = now_ms - BOOT_TOOK_MS
        self._lines.clear()
        self._watch = KernelWatch()
        self._core = self._started(now_ms)
        self._send(now_ms)
        self._take(self.script.forensics_at(now_ms - self._start_ms), now_ms)

    def close(self) -> None:
        """Release the spool."""
        self._end()

    def _started(self, now_ms: int) -> AgentCore:
        spool = Spool.open(self._folder, new_id=self._new_id, max_bytes=SPOOL_BYTES)
        boot_id = self.script.boot_at(now_ms - self._start_ms)
        identity = Identity("replay", boot_id, self._new_id())
        return AgentCore(spool, self._rules, identity, self._now(now_ms), units=UNITS, gather=self._evidence)

    def _end(self) -> None:
        if self._core is not None:
            self._core.spool.close()
            self._core = None

    def _now(self, now_ms: int) -> Now:
        up_ms = now_ms - self._booted_ms
        return Now(now_ms + self._wall_offset_ms, up_ms, up_ms)

    def _take(self, values: Mapping[str, Any], now_ms: int) -> None:
        assert self._core is not None
        now = self._now(now_ms)
        read = {name: value for name, value in values.items() if name in self._wanted}
        read = with_noise(read, self._noise_pct, self._random)
        self._core.take(self._samples(read, now.mono_ms), now, "replay")

    def _samples(self, values: Mapping[str, Any], mono_ms: int) -> list[Sample]:
        samples = [Sample(name, "", value, mono_ms) for name, value in values.items()]
        disk = "sda" if self.script.host.virt == "none" else "vda"
        for name, value in values.items():
            part = next((part for word, part in _PART_OF if name.startswith(word)), "")
            if name.startswith(("disk.", "hw.smart", "hw.nvme")):
                part = disk
            if part:
                samples.append(Sample(name, part, value, mono_ms))
        if "net.gw" in values:
            samples.append(Sample("net.ladder", "", ladder(values), mono_ms))
        samples += self._unit_samples(values.get("svc.failed") or (), mono_ms)
        return samples

    def _unit_samples(self, failed: Iterable[str], mono_ms: int) -> list[Sample]:
        failed = set(failed)
        self._units |= failed
        return [Sample("svc.unit_failed", unit, unit in failed, mono_ms) for unit in sorted(self._units)]

    def _evidence(self, change: FindingChange, history: object) -> Evidence:
        return Evidence(log=list(self._lines))

    def _send(self, now_ms: int, goodbye: str | None = None) -> None:
        """Report, and go on while there is news: what the spool held is delivered in order."""
        core = self._core
        for _ in range(REPORTS_AT_ONCE):
            if core is None:
                return
            now = self._now(now_ms)
            lacks = dict.fromkeys(self.script.host.lacks, "not on this platform")
            status = Status(INTERVAL_S, lacks=lacks, sweep_age_s={"replay": 0.0})
            report = core.report(now, status, goodbye=goodbye)
            reply = self._post(self.token, to_json(report))
            if reply is None:
                return
            core.replied(reply, now, stream=report.stream)
            if not core.has_news:
                return

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.id}-{self._ids}"


_ALSO = frozenset(
    {"svc.failed", "net.gw", "net.link", "net.hop2", "net.collector", "net.dns_sys", "net.anchors"}
)
"""Signals that others are made from."""


def ladder(values: Mapping[str, Any]) -> int:
    """The rungs of the network that answer, packed as the wire's ``net.ladder``."""
    bits = 0
    for bit, (signal, good) in enumerate(
        (
            ("net.link", "up"),
            ("net.gw", "ok"),
            ("net.hop2", "ok"),
            ("net.collector", "ok"),
            ("net.dns_sys", "ok"),
        )
    ):
        if values.get(signal, good) == good:
            bits |= 1 << bit
    anchors = values.get("net.anchors", 3)
    return bits | (max(0, min(3, int(anchors))) << 5)
