"""What is told to the collector once, in the order it happened, until a report that held it has been answered. Pure.

In memory only: an act of a person or a word about a boot explains findings, and is none itself; findings have the
spool. Past the bound the oldest go.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Generic, Iterator, List, TypeVar

T = TypeVar("T")


class Outgoing(Generic[T]):
    """A bounded queue whose head may be under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: Deque[T] = deque()
        self._under_way = 0

    def append(self, one: T) -> None:
        """Put one behind the others; where the queue is full the oldest goes, and is not counted as told."""
        if len(self._waiting) == self._most:
            self._waiting.popleft()
            self._under_way = max(0, self._under_way - 1)
        self._waiting.append(one)

    def batch(self, most: int) -> List[T]:
        """The oldest ones, for a report that leaves now."""
        taken = list(self._waiting)[:most]
        self._under_way = len(taken)
        return taken

    def answered(self) -> None:
        """The report that held the last batch was taken."""
        for _ in range(self._under_way):
            self._waiting.popleft()
        self._under_way = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return iter(self._waiting)
