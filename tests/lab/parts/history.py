"""What clients saw, and two questions to it in the manner of Jepsen: did two nodes acknowledge at one time, is too much gone?

Pure. The laboratory's checker asks the same of the register's clients and more; these are for the databases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Ack:
    """One acknowledged write; times by this machine's monotonic clock, which all places share."""

    client: str
    value: str
    node: str
    epoch: int
    sent_s: float
    got_s: float


def two_writers(acks: Iterable[Ack]) -> list[str]:
    """Nodes that acknowledged in overlapping spans, and epochs that went back.

    A node surely served from its first acknowledgement's arrival to its last one's sending.
    """
    spans: dict[tuple[str, int], tuple[float, float]] = {}
    for ack in acks:
        first, last = spans.get((ack.node, ack.epoch), (ack.got_s, ack.sent_s))
        spans[(ack.node, ack.epoch)] = (min(first, ack.got_s), max(last, ack.sent_s))
    ordered = sorted(spans.items(), key=lambda item: item[1][0])
    found = []
    for n, ((node, epoch), (_, last)) in enumerate(ordered):
        for (other, later), (first, _) in ordered[n + 1 :]:
            if node != other and first <= last:
                found.append(
                    f"{node} ({epoch}) and {other} ({later}) both acknowledged, {last - first:.2f} s long"
                )
            if later < epoch:
                found.append(f"{other} acknowledged under {later} after {node} had under {epoch}")
    return found


def lost_writes(acks: Sequence[Ack], kept: Iterable[str], rpo_s: float) -> list[str]:
    """Nodes whose acknowledged writes are gone from further back than the RPO before their last acknowledgement."""
    there = set(kept)
    found = []
    for served in sorted({(ack.node, ack.epoch) for ack in acks}):
        mine = [ack for ack in acks if (ack.node, ack.epoch) == served]
        lost = [ack for ack in mine if ack.value not in there]
        if lost:
            span_s = max(ack.got_s for ack in mine) - min(ack.sent_s for ack in lost)
            if span_s > rpo_s:
                found.append(
                    f"{len(lost)} writes of {served[0]} are gone, back to {span_s:.1f} s (RPO {rpo_s:g} s)"
                )
    return found
