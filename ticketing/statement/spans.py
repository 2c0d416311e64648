"""Arithmetic of half-open stretches of time [from, to), epoch ms: union, clip, subtract, overlap. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[int, int]


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time without overlaps, in order; empty stretches are dropped."""
    merged: list[Span] = []
    for begin, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def clip(spans: Iterable[Span], begin: int, end: int) -> list[Span]:
    """What of it lies in [begin, end)."""
    return union((max(a, begin), min(b, end)) for a, b in spans)


def overlap(one: Iterable[Span], other: Iterable[Span]) -> list[Span]:
    """Time that lies in both."""
    left, right = union(one), union(other)
    return union((max(a, c), min(b, d)) for a, b in left for c, d in right if a < d and c < b)


def subtract(one: Iterable[Span], other: Iterable[Span]) -> list[Span]:
    """Time of the first that does not lie in the second."""
    rest: list[Span] = []
    holes = union(other)
    for begin, end in union(one):
        at = begin
        for hole_begin, hole_end in holes:
            if hole_end <= at or hole_begin >= end:
                continue
            if hole_begin > at:
                rest.append((at, hole_begin))
            at = max(at, hole_end)
        if at < end:
            rest.append((at, end))
    return rest


def length(spans: Sequence[Span]) -> int:
    """Milliseconds of stretches that do not overlap."""
    return sum(end - begin for begin, end in spans)
