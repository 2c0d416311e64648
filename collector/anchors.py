"""Our own anchors and uplinks: what we reach ourselves, told as ``col.anchors`` and ``col.transit``.

``col.anchors`` is 0 to 3 whatever number is configured: 3 all of them, 0 none, between them in proportion (never 3
with one missing, never 0 with one that answers). ``col.transit`` names the uplinks that work: ``all``, ``none``, or
their names; an uplink is a name with addresses that are reached through it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection

from agent.checks.run import run_check
from agent.checks.spec import CheckSettings
from collector.observed import observe
from config.loader import Duration

SELF = "collector"
"""``host_id`` of what we see of ourselves."""

SOURCE = "anchors"
TIMEOUT_S = 2.0
ANSWERS = frozenset({"ok", "slow", "refused"})
"""A refusal comes from the other end: the way there is whole."""

Reaches = Callable[[str], bool]


def reaches(address: str) -> bool:
    """Whether ``host:port`` answers to a connection."""
    host, _, port = address.rpartition(":")
    spec = CheckSettings(
        name="anchor", type="tcp", host=host.strip("[]"), port=int(port), timeout_s=Duration(TIMEOUT_S)
    )
    return run_check(spec, TIMEOUT_S).state in ANSWERS


def look(addresses: Sequence[str], ask: Reaches = reaches) -> dict[str, bool]:
    """Ask all of them at once."""
    unique = sorted(set(addresses))
    if not unique:
        return {}
    with ThreadPoolExecutor(min(16, len(unique)), thread_name_prefix="anchor") as pool:
        return dict(zip(unique, pool.map(ask, unique), strict=True))


def anchors_value(answers: Sequence[bool]) -> int:
    """Pure: 0 to 3."""
    good = sum(answers)
    if good == len(answers):
        return 3
    return 0 if good == 0 else min(2, max(1, math.floor(3 * good / len(answers))))


def transit_value(uplinks: Mapping[str, Sequence[bool]]) -> str:
    """Pure: the uplinks that work; one works when anything behind it answers."""
    working = sorted(name for name, answers in uplinks.items() if any(answers))
    if len(working) == len(uplinks):
        return "all"
    return ", ".join(working) or "none"


def write_anchors(
    tx: Connection,
    seen: Mapping[str, bool],
    anchors: Sequence[str],
    uplinks: Mapping[str, Sequence[str]],
    now_ms: int,
) -> int:
    """What we reach, as observations of ourselves; without anchors nothing is said of anchors."""
    done = 0
    if anchors:
        value = anchors_value([seen[a] for a in anchors])
        done += observe(tx, SELF, "col.anchors", value, now_ms, SOURCE)
    if uplinks:
        value_of = {name: [seen[a] for a in addresses] for name, addresses in uplinks.items()}
        done += observe(tx, SELF, "col.transit", transit_value(value_of), now_ms, SOURCE)
    return done
