"""Evidence gathered beside the loop: the finding waits for it in memory, the heartbeat does not wait at all.

What the loop alone may touch (series, lines of programs' logs) is taken at once. Processes, the kernel's ring, the
unit's journal and the sockets are read in a thread; when they are late, the finding goes without them and says so.
At most UNDER_WAY such threads: where readings hang, more of them would hang as well.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from agent.wire import Evidence, FindingChange
from config.clock import Clock, perf_seconds

if TYPE_CHECKING:
    from agent.evidence import Series
    from agent.settings import AgentSettings

LOG = logging.getLogger("agent.gathering")
LIMIT_S = 4.0
"""How long a finding waits for its evidence at most: two looks at the processes, a journal, and the root-only reader."""
UNDER_WAY = 4

_alive: List[Gathering] = []


class Gathering:
    """The evidence of one finding, on its way (``agent.core.Awaited``)."""

    def __init__(
        self,
        change: FindingChange,
        history: Series,
        settings: AgentSettings,
        root: Path,
        clock: Clock,
        wake: Callable[[], None],
        limit_s: float = LIMIT_S,
        read: Optional[Callable[..., Evidence]] = None,
        words: Sequence[Dict[str, Any]] = (),
    ) -> None:
        from agent import evidence

        self._kept = evidence.remembered(change, history, clock, words)
        self._read = read or evidence.read_machine
        self._found: Optional[Evidence] = None
        self._is_done = False
        self._begun_s, self._limit_s = perf_seconds(), limit_s
        _alive[:] = [one for one in _alive if not one._is_done]
        if len(_alive) >= UNDER_WAY:
            self._is_done = True
            return
        _alive.append(self)
        call = (change, settings, root, clock, wake)
        threading.Thread(target=self._go, args=call, name="evidence", daemon=True).start()

    @property
    def is_ready(self) -> bool:
        """All of it is there, or it is too late for more."""
        return self._is_done or perf_seconds() - self._begun_s >= self._limit_s

    def evidence(self) -> Evidence:
        """What there is by now."""
        from agent import evidence

        found = self._found
        if found is None:
            found = Evidence(notes={"machine": "did not answer in time"})
        return evidence.joined(found, self._kept)

    def _go(
        self,
        change: FindingChange,
        settings: AgentSettings,
        root: Path,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        try:
            self._found = self._read(change, settings, root, clock=clock)
        except Exception:  # loop boundary: a finding without evidence is worth more than no finding
            LOG.exception("no evidence could be gathered rule=%s", change.rule)
        finally:
            self._is_done = True
            wake()
