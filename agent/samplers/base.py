"""What the daemon knows of a sampler, and what samplers share: reading files whole, rates, numbers in bounds.

A sampler touches the machine and hands text to a parser; it decides nothing. It never blocks for long: what may hang
(a mount, a command, a network) goes through an ``Errand``.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Generic, List, Mapping, Optional, Protocol, TypeVar, Union

from agent.signals.parsers.error import ParseError
from agent.signals.sample import Sample
from agent.wire import Value

T = TypeVar("T")
MIB = 1024.0 * 1024.0
READ_BYTES = 64 * 1024


class Sampler(Protocol):
    """One subject of the machine."""

    name: str
    period_s: float
    """How often it wants to sweep at the default period of 10 s."""

    def sweep(self, mono_ms: int) -> List[Sample]:
        """Samples read now. Rates need two sweeps: the first gives none."""
        ...

    def lacks(self) -> Dict[str, str]:
        """Signal -> why this machine cannot show it: known from the first sweep on, may change later."""
        ...


@dataclasses.dataclass
class LoopNotes:
    """What only the daemon's loop knows and samplers make signals of; the loop writes, the samplers read."""

    late_s: float = 0.0
    """The loop ran late by so much since the last sweep that told of it (the CPU sampler sets it back)."""
    collector_answers: Optional[bool] = None
    """The last report's fate; None = there is no collector, or none was tried yet."""
    newest: Callable[[str], Value] = lambda signal: None
    """The host's newest value of a signal, from all samplers; for the black box."""
    is_suspicious: bool = False
    """Something grave is open, or the collector does not answer: the black box writes more often."""
    goodbye: Callable[[str], None] = lambda reason: None
    """The black box's last record of this run; set by the witness."""
    is_accounted: bool = False
    """How this run of the agent began has been told; samplers that new settings replace do not tell it again."""
    last_words: List[Dict[str, Any]] = dataclasses.field(default_factory=list)
    """The last lines of the boot before, once they are found: evidence of how it ended."""


@dataclasses.dataclass
class Rungs:
    """Which rungs of the network ladder answer, as the samplers that ask them last saw; None = not asked, or not known."""

    gateway: Optional[bool] = None
    hop2: Optional[bool] = None
    resolver: Optional[bool] = None
    anchors: Optional[int] = None


def read(path: Union[str, Path]) -> str:
    """The whole file as text. Files of /proc give one page a read(2): only reading to the end sees all of it."""
    # Bare calls: a text stream over a few hundred octets costs three times as much, and we open fifty files a sweep.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(handle, READ_BYTES)]
        while parts[-1]:
            parts.append(os.read(handle, READ_BYTES))
    finally:
        os.close(handle)
    return b"".join(parts).decode("utf-8", "replace")


def read_or_none(path: Union[str, Path]) -> Optional[str]:
    """The whole file, or None where it is missing or may not be read."""
    try:
        return read(path)
    except OSError:
        return None


def why(error: Union[OSError, ParseError]) -> str:
    """A reading's failure as words for ``lacks``."""
    if isinstance(error, ParseError):
        return f"not understood: {error}"
    return (error.strerror or str(error)).lower()


def ratio_pct(part: float, whole: float) -> Optional[float]:
    """``part`` of ``whole`` in per cent; None where there is no whole."""
    return 100.0 * part / whole if whole > 0 else None


def per_second(now: float, before: float, seconds: float) -> Optional[float]:
    """The rate of a counter; None where it ran backwards (reset, hot-plug) or no time passed."""
    if now < before or seconds <= 0:
        return None
    return (now - before) / seconds


class Batch:
    """Collects the samples of one sweep. Absent values are left out, and no infinity or NaN gets in.

    ``lacks`` is the sampler's own: what it says cannot be shown here is not shown, so that nobody judges by it.
    """

    def __init__(self, mono_ms: int, lacks: Mapping[str, str]) -> None:
        self._at_ms = mono_ms
        self._lacks = lacks
        self.samples: List[Sample] = []

    def add(self, signal: str, value: Any, subject: str = "") -> None:
        if value is None or signal in self._lacks:
            return
        if isinstance(value, float):
            if not math.isfinite(value):
                return
            value = round(value, 4)
        self.samples.append(Sample(signal, subject, value, self._at_ms))


class Errand(Generic[T]):
    """One call in a thread of its own, for what may hang for ever (D state). A hung one is left alone, never killed.

    Whoever holds an errand starts no second one for the same thing before this one came back: so a dead mount costs
    one thread, however long it stays dead.
    """

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._call = call
        self._answer: List[T] = []
        self._error: Optional[BaseException] = None
        self._done = threading.Event()
        threading.Thread(target=self._go, name=name[:15], daemon=True).start()

    def _go(self) -> None:
        try:
            self._answer.append(self._call())
        except (
            Exception
        ) as error:  # a bug in the call: raised where the answer is taken, not lost in a thread
            self._error = error
        finally:
            self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; True when it came."""
        return self._done.wait(seconds)

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def answer(self) -> T:
        """The call's result; raises what the call raised. Only after ``is_done``."""
        assert self._done.is_set()
        if self._error is not None:
            raise self._error
        return self._answer[0]
