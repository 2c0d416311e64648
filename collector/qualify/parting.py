"""When a host of a group had a cause of its own, and what a group's verdict is worth when one host is left. Pure.

Hosts that fall together are taken for one problem by the topology alone (``correlate``). What the host, its hardware or
its provider tells afterwards may say otherwise for one of them: it panicked, its owner switched it off. It refuses to
part hosts on a guess: only a verdict that is sure, of the host itself, by an account of how it went down counts.
"""

from __future__ import annotations

import dataclasses

from collector.qualify.score import CLASS_1_FROM, ENOUGH_ALONE, counted
from ticketing.model import Confidence, Reason, Verdict

ACCOUNTS = frozenset({"kernel", "hardware", "silence"})
"""Families that tell how a host went down: its boot's and its hardware's word, and the provider's on its silence."""

OWN_HARDWARE = frozenset({"hw.memory", "hw.disk", "hw.nic", "hw.thermal"})
"""Hardware of one machine; power may be a rack's."""

NO_ACCOUNT = frozenset({"os.agent_down", "os.sshd_down"})
"""Causes by which a host only seems to be away."""


def has_own_cause(verdict: Verdict) -> bool:
    """Whether the verdict is sure that this very host went down for a reason that no neighbour shares."""
    is_account = verdict.family in ACCOUNTS and not verdict.provisional
    return is_account and is_settled(verdict.scope, verdict.root_cause, verdict.confidence.value)


def is_left_to_itself(verdict: Verdict) -> bool:
    """Whether what goes on after a group's trouble is over is sure to be this very host's own."""
    return not verdict.provisional and is_settled(verdict.scope, verdict.root_cause, verdict.confidence.value)


def is_settled(scope: str, cause: str, confidence: str) -> bool:
    """Whether a judgement of one host names, and not as a guess, a cause of that host alone."""
    layer, _, _ = cause.partition(".")
    is_own = (layer == "os" and cause not in NO_ACCOUNT) or cause in OWN_HARDWARE
    return is_own and confidence != Confidence.LOW.value and scope.startswith("host:")


def of_host(verdict: Verdict, host_id: str, family: str, began_at_ms: int) -> Verdict:
    """The host's own verdict as the problem that the group's ticket held of it."""
    scope = f"host:{host_id}"
    return dataclasses.replace(
        verdict, scope=scope, subject=scope, family=family, affected=(host_id,), began_at_ms=began_at_ms
    )


def without(verdict: Verdict, host_id: str, left: int) -> Verdict:
    """A group's verdict without one of its hosts, ``left`` = hosts of the whole group that stay in it, other contracts' too.

    One that is left alone keeps only what was not said by neighbours.
    """
    rest = tuple(host for host in verdict.affected if host != host_id)
    if left >= 2 or len(rest) != 1:
        return dataclasses.replace(verdict, affected=rest, subject=verdict.scope)
    kept = tuple(r for r in verdict.reasons if r.group != "siblings" and "group" not in r.key)
    weights = [c.reason for c in counted(kept) if c.counts]
    total = sum(r.weight for r in weights)
    below = {r.group for r in weights if r.weight > 0}
    is_below = (total >= CLASS_1_FROM and len(below) >= 2) or (total > 0 and bool(below & ENOUGH_ALONE))
    alone = of_host(verdict, rest[0], verdict.family, verdict.began_at_ms)
    if is_below:
        return dataclasses.replace(alone, reasons=kept)
    return dataclasses.replace(
        alone,
        class_=2,
        root_cause="unknown",
        confidence=Confidence.LOW,
        provisional=True,
        reasons=kept,
        summary=Reason("summary.silence.down", {"host": rest[0], "part": rest[0], "scope": rest[0], "n": 1}),
    )
