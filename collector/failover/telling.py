"""A run in words: each entry of its journal as one line for a person, and the plan as a list. Pure, in both languages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from collector.failover.decide import Decided
from collector.failover.journal import Entry
from collector.failover.plan import Plan
from ticketing.model import Reason
from ticketing.texts import Texts

ENGINE = "engine"
"""The actor of what no person did."""


def moment(at_ms: int) -> str:
    """UTC, to the tenth of a second."""
    at = dt.datetime.fromtimestamp(at_ms / 1000, dt.timezone.utc)
    return f"{at:%H:%M:%S}.{at_ms % 1000 // 100}"


def line_of(entry: Entry, words: Texts) -> str:
    """One entry."""
    return f"{moment(entry.at_ms)}  {said(entry, words)}"


def said(entry: Entry, words: Texts) -> str:
    """One entry without its moment."""
    body = entry.body
    if entry.kind == "begin":
        plan = body["plan"]
        kind = words.get(f"failover.kind.{plan['kind']}")
        who = words.get("failover.engine") if entry.actor == ENGINE else entry.actor
        return words.get("failover.log.begin", kind=kind, pair=plan["pair"], who=who)
    if entry.kind == "enter":
        state = words.get(f"failover.state.{body['state']}")
        reason = words.reason(Reason.from_dict(dict(body["reason"])))
        return f"{body['state'].upper():15} {state} {reason}"
    if entry.kind == "approve":
        return words.get("failover.approved", who=entry.actor)
    if entry.kind == "order":
        return words.get("failover.log.order", who=entry.actor, order=str(body["order"]))
    if entry.kind == "intent":
        return f"  {body['step']:14} → {body.get('type', '')}"
    if entry.kind in ("result", "probe"):
        more = " ".join(str(x) for x in (body.get("level"), body.get("error")) if x)
        return f"  {body['step']:14} {entry.kind}: {body['outcome']} {more}".rstrip()
    return entry.kind


def plan_lines(plan: Plan, decided: Decided, words: Texts) -> list[str]:
    """What would be done, why or why not, what is at risk."""
    exposure = "?" if decided.exposure_s is None else f"{decided.exposure_s:.0f}"
    lines = [
        f"{plan.pair}  {plan.kind}  {decided.decision.value}: {words.reason(decided.reason)}",
        words.get("failover.log.exposure", exposure=exposure),
    ]
    if decided.latest_start_ms:
        lines.append(words.get("failover.request.latest", at_ms=decided.latest_start_ms))
    lines += [f"  {step.phase:8} {step.key:14} {step.type:22} {_shown(step.options)}" for step in plan.steps]
    lines += [
        f"  - {checked.guard} ({checked.invariant}): {words.reason(checked.reason)}"
        for checked in decided.blocking
    ]
    lines.append(f"plan {plan.hash}")
    return lines


def _shown(options: Mapping[str, Any]) -> str:
    """Options by value, files by name only: what lies in them is never read here."""
    return " ".join(
        f"{key}={value}" for key, value in options.items() if not isinstance(value, (dict, list))
    )[:100]
