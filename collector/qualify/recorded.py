"""A case as a scenario, and back: what a verdict was made from, in the format of the scenario files.

An incident that was judged in production can so be replayed, shown to a colleague, or become a test: topology of the
hosts, and a timeline of signals (``t`` = seconds from the first entry). ``case_of`` is the inverse, as far as one
moment goes; playing whole scenario files through agent rules and tick is ``replay``'s work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from agent.signals.catalogue import BY_NAME
from collector.qualify.case import Case, FactView, Held, HostView, Seen
from ticketing.model import Verdict

SCHEMA_VERSION = "1.0"
LEAD_S = 60
"""Where the values from before the fault stand: this long before its beginning."""


def scenario_of(case: Case, verdict: Verdict) -> dict[str, Any]:
    """The case as one scenario: topology, timeline, and the verdict as its provisional truth."""
    begun = min([held.at_ms for held in case.held()], default=case.now_ms)
    base = begun - LEAD_S * 1000
    timeline: list[dict[str, Any]] = []
    for held in case.held():
        for signal, fact in sorted(held.facts.items()):
            # What the collector itself found out (silence.outcome, ...) stands in the findings only.
            if signal in BY_NAME:
                timeline += _entries(held, signal, fact, base)
        timeline += [_entry(_t(held.at_ms, base), held.host_id, "kmsg", line) for line in held.lines[-10:]]
    for host in (case.host, *case.siblings):
        seen = host.seen_at_ms if host.seen_at_ms is not None else case.now_ms
        timeline += [
            _entry(_t(seen, base), host.id, signal, value)
            for signal, value in sorted(host.vitals.items())
            if value is not None and signal in BY_NAME
        ]
    timeline.sort(key=lambda entry: entry["t"])
    return {
        "schema_version": SCHEMA_VERSION,
        "id": f"{case.host.id}-{begun}",
        "base_at_ms": base,
        "judged_at_s": _t(case.now_ms, base),
        "judged_at_ms": case.now_ms,
        "topology": {"hosts": [_host(host) for host in (case.host, *case.siblings)]},
        "findings": [_finding(held) for held in case.held()],
        "timeline": timeline,
        "ops": list(case.ops),
        "seen": [dataclasses.asdict(seen) for seen in case.seen],
        "truth": {"class": str(verdict.class_), "root_cause": verdict.root_cause, "scope": verdict.scope},
    }


def case_of(scenario: Mapping[str, Any]) -> Case:
    """The case that a recorded scenario was made from; the first host is the one that was judged."""
    found = [HostView(**_host_values(raw)) for raw in scenario["topology"]["hosts"]]
    held = [_held(raw) for raw in scenario["findings"]]
    return Case(
        now_ms=scenario.get("judged_at_ms") or scenario["base_at_ms"] + scenario["judged_at_s"] * 1000,
        host=found[0],
        subject=held[0],
        beside=tuple(held[1:]),
        siblings=tuple(found[1:]),
        ops=tuple(scenario.get("ops", ())),
        seen=tuple(Seen(**raw) for raw in scenario.get("seen", ())),
    )


def read_record(raw: Mapping[str, Any]) -> tuple[Case, Verdict | None]:
    """The case, and the machine's verdict of then where it is told. Raises ValueError where that cannot be read."""
    try:
        before = Verdict.from_dict(raw["machine"]) if isinstance(raw.get("machine"), Mapping) else None
        return case_of(raw), before
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the recorded facts cannot be read: {error!r}") from error


def _t(at_ms: int, base: int) -> int:
    return max(0, round((at_ms - base) / 1000))


def _entry(t: int, host: str, signal: str, value: Any) -> dict[str, Any]:
    return {"t": t, "host": host, "signal": signal, "value": value}


def _entries(held: Held, signal: str, fact: FactView, base: int) -> list[dict[str, Any]]:
    entries = []
    if fact.before is not None:
        entries.append(_entry(0, held.host_id, signal, fact.before))
    if fact.now is not None:
        entries.append(_entry(_t(held.at_ms, base), held.host_id, signal, fact.now))
    return entries


def _host(host: HostView) -> dict[str, Any]:
    known = {key: value for key, value in host.topology.items() if value}
    return {
        "id": host.id,
        **known,
        "lacks": sorted(host.lacks),
        "contract": host.contract_id,
        "life": host.life,
        "seen_at_ms": host.seen_at_ms,
        "vitals": dict(host.vitals),
        "families": sorted(host.families),
    }


_NOT_TOPOLOGY = ("id", "lacks", "contract", "life", "seen_at_ms", "vitals", "families")


def _host_values(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": raw["id"],
        "contract_id": raw.get("contract", ""),
        "topology": {k: v for k, v in raw.items() if k not in _NOT_TOPOLOGY},
        "life": raw.get("life", "alive"),
        "vitals": dict(raw.get("vitals", {})),
        "seen_at_ms": raw.get("seen_at_ms"),
        "lacks": dict.fromkeys(raw.get("lacks", ()), "recorded"),
        "families": frozenset(raw.get("families", ())),
    }


def _finding(held: Held) -> dict[str, Any]:
    values = {f.name: getattr(held, f.name) for f in dataclasses.fields(held)}
    values["facts"] = {name: dataclasses.asdict(fact) for name, fact in held.facts.items()}
    return values | {"lines": list(held.lines), "notes": dict(held.notes)}


def _held(raw: Mapping[str, Any]) -> Held:
    values: dict[str, Any] = dict(raw)
    values["facts"] = {k: FactView(**v) for k, v in raw["facts"].items()}
    values["lines"] = tuple(raw["lines"])
    return Held(**values)
