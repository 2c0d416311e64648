"""What a scenario says at an instant: held values, events, who can be heard, and what each vantage sees. Pure.

The meaning is that of the files' ``semantics``:

- A value holds until the next entry of the same host, signal and vantage; before the first the baseline does, unless
  the platform lacks the signal. Events are delivered once, whatever the sampling.
- A host is not heard from the moment its heartbeat is lost, or already from the moment every vantage saw it dead, till
  its heartbeat is back. What has ``rx`` was seen inside meanwhile and buffered; anything else was not.
- From a vantage where ``ext.icmp`` is dead, what the timeline does not set there is dead too; anything else that it does
  not set there is as the baseline says.
- Noise is drawn on measured gauges only; a shift moves all times of one host by the same few seconds.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from agent.signals.catalogue import BY_NAME
from collector.replay.scenario import COLLECTOR, Entry, Host, Scenario

LIFE = frozenset({"agent.heartbeat", "agent.stop_reason", "host.boot_id"})
"""Signals that are not sampled: they say how the agent itself fares."""

SEEN = frozenset({"clk.offset_step_s", "clk.true_offset_ms"})
_SEEN_ROOMS = frozenset({"ext", "col", "prov", "ops", "hist"})

EVENTS = frozenset(
    {"kmsg", "log", "hw.sel", "ops.action", "prov.event", "agent.gap_s", "agent.gap_progress", "ubc.failcnt"}
)

SOON_MS = 90_000
"""Dead from every vantage counts as the host's own end only where its heartbeat is lost this soon after."""
SETTLED_MS = 1_500_000
SHORT_STOP_MS = 10_000
"""An agent that said goodbye and was never missed was started again this soon."""

_ON_METAL_ONLY = ("hw.smart", "hw.edac", "hw.therm", "hw.raid", "hw.nvme", "cpu.mhz")
_NEVER_BY_BASELINE = ("boot.", "repl.", "virt.dom", "hw.sel", "ops.", "mem.corrupted", "agent.")


_SIZES = ("cpu.online", "mem.total_mb", "mem.balloon_mb", "ubc.", "hw.", "boot.", "fs.", "virt.dom")
"""What a machine has, and not what it is doing: the first value of it is no change."""


def is_event(signal: str) -> bool:
    """Whether the signal happens instead of holding."""
    return signal in EVENTS or signal.endswith("_step_s")


def is_seen(signal: str) -> bool:
    """Whether the collector's side sees the signal, and not the agent."""
    return signal in SEEN or signal.split(".", 1)[0] in _SEEN_ROOMS


def is_sampled(signal: str) -> bool:
    """Whether an agent's sampler holds the signal."""
    return not (is_seen(signal) or is_event(signal) or signal in LIFE)


def shifted(scenario: Scenario, within_s: float, random: Random) -> Scenario:
    """The scenario with all times of each host, and those of collector, operators and providers, moved by one draw each."""
    if within_s <= 0:
        return scenario
    drawn: dict[str, int] = {}
    for group in sorted({_clock_of(scenario, entry) for entry in scenario.timeline}):
        drawn[group] = random.randint(0, round(within_s)) * 1000
    moved = []
    for entry in scenario.timeline:
        by_ms = drawn[_clock_of(scenario, entry)]
        rx_ms = None if entry.rx_ms is None else entry.rx_ms + by_ms
        moved.append(dataclasses.replace(entry, t_ms=entry.t_ms + by_ms, rx_ms=rx_ms))
    return dataclasses.replace(scenario, timeline=tuple(sorted(moved, key=lambda entry: entry.t_ms)))


def _clock_of(scenario: Scenario, entry: Entry) -> str:
    room = entry.signal.split(".", 1)[0]
    if room in ("ops", "prov"):
        return f"{room}:"
    return "col:" if entry.host == scenario.topology.collector else entry.host


@dataclasses.dataclass(frozen=True)
class Stop:
    """A time in which nothing of the host is heard."""

    from_ms: int
    to_ms: int | None
    """None: it does not come back in this scenario."""
    goodbye: str = ""
    buffered: frozenset[str] = frozenset()
    """Signals that the agent went on sampling meanwhile, delivered afterwards; empty = it did not run, or nobody knows."""


class HostScript:
    """One host's part of the scenario. Instants must be asked in order: it walks along."""

    def __init__(self, scenario: Scenario, host: Host) -> None:
        self.host = host
        mine = [entry for entry in scenario.timeline if entry.host == host.id]
        self.events = tuple(e for e in mine if is_event(e.signal) and not is_seen(e.signal))
        self.stops = stops_of(mine, scenario)
        self.boots = tuple((e.t_ms, str(e.value)) for e in mine if e.signal == "host.boot_id")
        self._held = [e for e in mine if is_sampled(e.signal)]
        self._withheld = [(e.signal, e.t_ms, e.rx_ms) for e in self._held if e.rx_ms is not None]
        self._walked = 0
        self._times = sorted({e.t_ms for e in mine})
        named = {entry.signal for entry in mine}
        self._values = {
            name: value
            for name, value in scenario.baselines.items()
            if is_sampled(name) and (name in named or _shows_by_nature(host, name))
        }
        self._forensics = {
            name: value for name, value in scenario.baselines.items() if name.startswith("boot.")
        }

    def values_at(self, t_ms: int) -> dict[str, Any]:
        """Signal -> what the agent's samplers read then. What a machine is like at its start it was like before."""
        if t_ms < 0:
            first = {e.signal: e.value for e in self._held if e.t_ms <= 0 and e.signal.startswith(_SIZES)}
            return {**self._values, **first}
        while self._walked < len(self._held) and self._held[self._walked].t_ms <= t_ms:
            entry = self._held[self._walked]
            self._values[entry.signal] = entry.value
            self._walked += 1
        return self._values

    def withheld_at(self, t_ms: int) -> frozenset[str]:
        """Signals of which the collector hears later only, though it hears the host."""
        return frozenset(s for s, from_ms, rx_ms in self._withheld if from_ms <= t_ms < rx_ms)

    def boot_at(self, t_ms: int) -> str:
        """The boot id that the kernel has then."""
        return next((boot for at_ms, boot in reversed(self.boots) if at_ms <= t_ms), "b1")

    def forensics_at(self, t_ms: int) -> dict[str, Any]:
        """What a look after a boot finds: the timeline's word, else what an orderly boot shows."""
        values = self.values_at(t_ms)
        return {name: values.get(name, usual) for name, usual in self._forensics.items()}

    def is_settled(self, t_ms: int) -> bool:
        """Whether nothing of the host changed for longer than any rule waits, nor will in the next minute."""
        at = bisect.bisect_right(self._times, t_ms)
        since_ms = t_ms - self._times[at - 1] if at else t_ms
        until_ms = self._times[at] - t_ms if at < len(self._times) else SETTLED_MS
        return since_ms >= SETTLED_MS and until_ms > 60_000

    def stop_at(self, t_ms: int) -> Stop | None:
        """The stop that covers the instant."""
        for stop in self.stops:
            if stop.from_ms <= t_ms and (stop.to_ms is None or t_ms < stop.to_ms):
                return stop
        return None


def _shows_by_nature(host: Host, signal: str) -> bool:
    """Whether a healthy host of this kind has the signal at all."""
    known = BY_NAME.get(signal)
    if known is None or known.kind == "event" or host.cannot_show(signal):
        return False
    if signal.startswith(_NEVER_BY_BASELINE):
        return False
    if signal.startswith(_ON_METAL_ONLY):
        return host.virt == "none"
    if signal.startswith("ubc."):
        return host.virt == "openvz"
    if signal.startswith("cg."):
        return host.virt in ("lxc", "docker", "container", "openvz")
    return not (signal == "cpu.steal_pct" and host.virt == "none")


def stops_of(mine: Iterable[Entry], scenario: Scenario) -> tuple[Stop, ...]:
    """When the host is not heard: from its last sign of life till its heartbeat is back."""
    mine = list(mine)
    beats = [(e.t_ms, str(e.value)) for e in mine if e.signal == "agent.heartbeat"]
    byes = [(e.t_ms, str(e.value)) for e in mine if e.signal == "agent.stop_reason"]
    dead = _dead_everywhere(mine, (COLLECTOR, scenario.topology.second_vantage))
    found: list[Stop] = []
    for i, (lost_ms, word) in enumerate(beats):
        if word != "lost" or (i > 0 and beats[i - 1][1] == "lost"):
            continue
        back_ms = next((t for t, w in beats[i + 1 :] if w == "ok"), None)
        begins = [
            t for t, until in dead if t <= lost_ms <= t + SOON_MS and (until is None or until >= lost_ms)
        ]
        said = [(t, w) for t, w in byes if w != "none" and t <= lost_ms <= t + SOON_MS]
        goodbye = said[-1][1] if said else ""
        # What is buffered was already not delivered when it happened.
        kept = [e.t_ms for e in mine if e.rx_ms is not None and e.t_ms <= lost_ms <= e.t_ms + SOON_MS]
        from_ms = min([lost_ms, *begins, *kept, *(t for t, _ in said[-1:])])
        found.append(Stop(from_ms, back_ms, goodbye, _buffered(mine, from_ms, back_ms)))
    for t_ms, word in byes:
        if word != "none" and not any(s.from_ms <= t_ms and s.goodbye for s in found if s.from_ms == t_ms):
            found.append(Stop(t_ms, t_ms + SHORT_STOP_MS, word))
    return tuple(sorted(found, key=lambda stop: stop.from_ms))


def _buffered(mine: Iterable[Entry], from_ms: int, to_ms: int | None) -> frozenset[str]:
    return frozenset(
        e.signal
        for e in mine
        if e.rx_ms is not None and e.t_ms >= from_ms - SOON_MS and (to_ms is None or e.t_ms <= to_ms)
    )


def _dead_everywhere(mine: Iterable[Entry], vantages: tuple[str, ...]) -> list[tuple[int, int | None]]:
    """Spans in which every vantage sees the host dead."""
    now = dict.fromkeys(vantages, "ok")
    found: list[tuple[int, int | None]] = []
    since: int | None = None
    for entry in mine:
        if entry.signal != "ext.icmp" or entry.vantage not in now:
            continue
        now[entry.vantage] = str(entry.value)
        is_dead = all(word == "dead" for word in now.values())
        if is_dead and since is None:
            since = entry.t_ms
        elif not is_dead and since is not None:
            found.append((since, entry.t_ms))
            since = None
    if since is not None:
        found.append((since, None))
    return found


class Outside:
    """What is seen of hosts from outside, and of the collector's own surroundings."""

    def __init__(self, scenario: Scenario) -> None:
        self._baselines = scenario.baselines
        self._held: dict[tuple[str, str, str], tuple[list[int], list[Any]]] = {}
        for entry in scenario.timeline:
            if is_seen(entry.signal) and not is_event(entry.signal):
                times, values = self._held.setdefault((entry.host, entry.signal, entry.vantage), ([], []))
                times.append(entry.t_ms)
                values.append(entry.value)

    def seen(self, host_id: str, signal: str, t_ms: int, vantage: str = COLLECTOR) -> Any:
        """The value from that vantage at that instant; None where nobody watches it from there."""
        said = self._said(host_id, signal, t_ms, vantage)
        if said is not None:
            return said
        if signal in ("ext.tcp22", "ext.svc") and self._said(host_id, "ext.icmp", t_ms, vantage) == "dead":
            return "timeout" if signal == "ext.tcp22" else "dead"
        return self._baselines.get(signal)

    def changes(self, host_id: str, vantage: str = COLLECTOR) -> tuple[int, ...]:
        """Instants at which what that vantage sees of the host's service may change."""
        found: set[int] = set()
        for signal in ("ext.icmp", "ext.tcp22", "ext.svc"):
            times, _ = self._held.get((host_id, signal, vantage), ([], []))
            found.update(times)
        return tuple(sorted(found))

    def _said(self, host_id: str, signal: str, t_ms: int, vantage: str) -> Any:
        times, values = self._held.get((host_id, signal, vantage), ([], []))
        at = bisect.bisect_right(times, t_ms)
        return values[at - 1] if at else None


_NOISY_ROOMS = ("load.", "sched.", "psi.", "disk.", "net.in_")


def is_noisy(signal: str) -> bool:
    """Whether the measurement of this signal jitters."""
    if signal.startswith("cpu."):
        return signal.endswith("_pct") and signal != "cpu.mhz_pct"
    return signal == "mem.avail_pct" or signal.startswith(_NOISY_ROOMS)


def with_noise(values: Mapping[str, Any], pct: float, random: Random) -> dict[str, Any]:
    """The values as a jittering meter reads them; the shares of the CPU together stay within the whole."""
    if pct <= 0:
        return dict(values)
    found = dict(values)
    for signal in sorted(found):
        value = found[signal]
        if is_noisy(signal) and isinstance(value, (int, float)) and not isinstance(value, bool):
            found[signal] = value * (1.0 + random.uniform(-pct, pct) / 100.0)
    shares = [s for s in found if s.startswith("cpu.") and is_noisy(s) and isinstance(found[s], (int, float))]
    whole = sum(found[s] for s in shares)
    if whole > 100.0:
        for signal in shares:
            found[signal] *= 100.0 / whole
    return found
