"""Small work beside the tick, each on its own time: fleet and contracts of other processes, retention, the dead-man ping.

One thread; a chore that fails is logged, counted, and tried again at its next time.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

from config.clock import Clock
from config.log import fields

log = logging.getLogger(__name__)

LOOK_S = 0.25


@dataclasses.dataclass
class Chore:
    """Something to do every so often."""

    name: str
    every_s: float
    do: Callable[[], None]
    due_mono_ms: int = 0
    failures: int = 0


class Chores:
    """Runs chores in one thread until it is stopped."""

    def __init__(self, chores: list[Chore], clock: Clock) -> None:
        self.chores = chores
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the chore in hand."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, LOOK_S):
            self.run_due()

    def run_due(self) -> None:
        """Do what is due now."""
        now = self._clock.mono_ms()
        for chore in self.chores:
            if now < chore.due_mono_ms or self._stopping.is_set():
                continue
            chore.due_mono_ms = now + round(chore.every_s * 1000)
            try:
                chore.do()
            except Exception:  # the loop's boundary: one chore's fault must not stop the others
                chore.failures += 1
                log.exception("A chore failed. %s", fields(chore=chore.name, failures=chore.failures))


def ping(url: str, timeout_s: float) -> None:
    """Fetch the dead-man address; a watcher that cannot be reached is a log line, not a failure of ours."""
    request = urllib.request.Request(url, headers={"User-Agent": "vartovyi-collector"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            answer.read(1024)
    except (urllib.error.URLError, OSError, ValueError) as error:
        log.warning("The dead-man address did not answer. %s", fields(error=str(error)[:200]))
