"""What a switch cost, against what the contract promises: the account that closes its journal. Pure, from the journal alone.

The outage began when no client reached the primary any more, as it was known when the run was armed; a switch that people
planned has none, and counts from the moment at which the primary was asked to stop. How much was lost is what could be lost
at most (``Facts.exposure_s`` at the promotion); nobody can count rows that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from collector.failover.journal import Entry
from collector.failover.states import State
from collector.failover.terms import PairTerms
from ticketing.model import Reason

BEGINS = (State.DEMOTING.value, State.FENCING.value)


def account(entries: Iterable[Entry], pair: PairTerms, now_ms: int) -> dict[str, Any]:
    """The account of a run that is verified now: seconds, ``None`` where nobody knows."""
    entries = list(entries)
    entered = [entry for entry in entries if entry.kind == "enter"]
    outage_ms = next((e.body["outage_at_ms"] for e in entered if e.body.get("outage_at_ms")), None)
    began_ms = next((e.at_ms for e in entered if e.body["state"] in BEGINS), entries[0].at_ms)
    lost_s = [e.body["exposure_s"] for e in entered if e.body.get("exposure_s") is not None]
    since_ms = began_ms if outage_ms is None else outage_ms
    return {
        "since_ms": since_ms,
        "decided_s": None if outage_ms is None else round((entries[0].at_ms - outage_ms) / 1000, 1),
        "rto_s": round((now_ms - since_ms) / 1000, 1),
        "rto_limit_s": float(pair.rto),
        "rpo_s": round(lost_s[-1], 1) if lost_s else None,
        "rpo_limit_s": float(pair.rpo),
    }


def told(said: Mapping[str, Any]) -> Reason:
    """The account as a sentence for the ticket."""
    numbers = {
        "rto": round(said["rto_s"]),
        "rto_limit": round(said["rto_limit_s"]),
        "rpo_limit": round(said["rpo_limit_s"]),
    }
    if said["rpo_s"] is None:
        return Reason("failover.achieved_rpo_unknown", numbers)
    return Reason("failover.achieved", {**numbers, "rpo": round(said["rpo_s"])})
