"""`/metrics` for Prometheus: rendered once a sweep by prometheus-client; ``agent.page`` serves the ready bytes.

A scrape costs nothing but a write: ten Prometheus servers, or one that asks each second, do not make the agent read
the machine more often. Names are snake_case in base units (seconds, bytes, ratios); what is absent on this machine
is absent on the page, since a zero would be a lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterable, List

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from agent.signals.catalogue import BY_NAME
from agent.signals.sample import Sample
from agent.wire import Value

if TYPE_CHECKING:
    from agent.daemon import Daemon
    from agent.findings import Now

MAX_PARTS = 200
"""Series of one signal on the page; the rest is counted in vartovyi_agent_hidden_series."""
STALE_MS = 600_000


class _Snapshot:
    """A collector for prometheus-client that holds one sweep's families."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Any]:
        return iter(self._families)

    def describe(self) -> Iterable[Any]:
        return iter(())


def render(daemon: Daemon, now: Now) -> bytes:
    """The whole page as it stands now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Snapshot([*_signals(daemon.core.history.all_newest(), now.mono_ms), *_own(daemon, now)])
    )
    return generate_latest(registry)


def _signals(samples: Iterable[Sample], now_ms: int) -> List[GaugeMetricFamily]:
    """Every signal that the catalogue gives a metric: its parts where it has parts, else the host's value."""
    by_signal: Dict[str, Dict[str, Value]] = {}
    for sample in samples:
        known = BY_NAME.get(sample.signal)
        if known is not None and known.prometheus is not None and now_ms - sample.at_ms <= STALE_MS:
            by_signal.setdefault(sample.signal, {})[sample.subject] = sample.value
    families = []
    hidden = 0
    for signal in sorted(by_signal):
        known = BY_NAME[signal]
        metric = known.prometheus
        assert metric is not None
        parts = by_signal[signal]
        if len(parts) > 1:
            parts.pop("", None)  # the worst of the parts is for rules; Prometheus has max()
        is_of_host = "" in parts
        labels = ([] if is_of_host else [metric.label]) + (["state"] if metric.is_state else [])
        family = GaugeMetricFamily(
            metric.name, known.meaning[:1].upper() + known.meaning[1:] + ".", labels=labels
        )
        hidden += max(0, len(parts) - MAX_PARTS)
        for subject, value in sorted(parts.items())[:MAX_PARTS]:
            mine = [] if is_of_host else [subject]
            if metric.is_state:
                family.add_metric([*mine, str(value)[:100]], 1.0)
            elif isinstance(value, (bool, int, float)):
                family.add_metric(mine, float(value) * metric.scale)
        families.append(family)
    families.append(
        _gauge("vartovyi_agent_hidden_series", "Series left out of this page for want of room.", hidden)
    )
    return families


def _own(daemon: Daemon, now: Now) -> List[Any]:
    spool, core, sweeps = daemon.spool, daemon.core, daemon.sweeps
    build = GaugeMetricFamily("vartovyi_agent_build_info", "The agent's version.", labels=["version"])
    build.add_metric([core.identity.agent], 1)
    findings = GaugeMetricFamily(
        "vartovyi_findings_open", "Findings that are open now.", labels=["rule", "severity", "subject"]
    )
    for opening in core.open_findings()[:MAX_PARTS]:
        findings.add_metric([opening.rule, opening.severity, opening.subject], 1)
    families = [
        build,
        findings,
        _gauge(
            "vartovyi_spool_findings", "Finding changes that the collector has not confirmed.", spool.depth
        ),
        _gauge(
            "vartovyi_spool_held_findings",
            "Finding changes that wait in memory because the disk takes none.",
            core.held,
        ),
        _gauge("vartovyi_spool_size_bytes", "Size of the spool file.", spool.size_bytes),
        _counter(
            "vartovyi_spool_folded",
            "Finding changes folded or dropped for want of room.",
            spool.dropped + core.held_dropped,
        ),
        _counter("vartovyi_spool_refused", "Writes that the spool refused.", spool.refused),
        _gauge(
            "vartovyi_send_failures",
            "Reports in a row that the collector did not take.",
            daemon.cadence.failures,
        ),
        _gauge("vartovyi_heartbeat_interval_seconds", "Time between two heartbeats.", daemon.interval_s),
        _gauge(
            "vartovyi_settings_version", "Version of the collector's settings in force.", daemon.given.version
        ),
        _gauge(
            "vartovyi_settings_refused", "1 while the last settings were refused.", bool(daemon.given.fault)
        ),
    ]
    if daemon.last_reply_ms is not None:
        age_s = (now.mono_ms - daemon.last_reply_ms) / 1000
        families.append(
            _gauge("vartovyi_collector_reply_age_seconds", "Time since the collector's last reply.", age_s)
        )
    age = GaugeMetricFamily(
        "vartovyi_sampler_age_seconds", "Time since the sampler's last full sweep.", labels=["sampler"]
    )
    took = GaugeMetricFamily(
        "vartovyi_sampler_sweep_seconds", "How long its last sweep took.", labels=["sampler"]
    )
    failures = CounterMetricFamily("vartovyi_sampler_failures", "Sweeps that failed.", labels=["sampler"])
    for family, values in (
        (age, sweeps.ages_s(now.mono_ms)),
        (took, sweeps.took_s()),
        (failures, sweeps.failures()),
    ):
        for name, value in values.items():
            family.add_metric([name], float(value))
        families.append(family)
    return families


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=float(value))


def _counter(name: str, meaning: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, meaning, value=float(value))
