"""A collector's failover worker as a process of its own, which kills or stops itself at the boundary that it is told.

python -m tests...crash_child DATABASE SETTINGS HOLDER BOUNDARY ALONE [WORD]

BOUNDARY is its number, or its words ("acting promote-0"); WORD kill (SIGKILL) or stop (SIGSTOP, as a paused guest).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from collector.failover import runs
from collector.failover.settings import FailoverSettings
from collector.failover.worker import FailoverWorker
from collector.store.engine import Store
from collector.store.lease import Lease
from config.clock import SystemClock
from config.loader import load
from ticketing import contracts

DEADLINE_S = 60


def main(url: str, settings: str, holder: str, boundary: str, is_alone: bool, sign: int) -> int:
    """Move until no run is open; exit 0 then, 3 when the time is over."""
    store, clock = Store.open(url), SystemClock()
    lease = Lease(store, holder, 6.0 if not is_alone else 15.0, is_alone=is_alone)
    seen = []

    def watch(what: str, run: str, step: str) -> None:
        print(f"{len(seen)} {what} {step}", flush=True)
        seen.append(what)
        if boundary in (str(len(seen) - 1), f"{what} {step}"):
            os.kill(os.getpid(), sign)
            # Another thread may be the one that takes the signal: this one goes no further before it holds for all.
            clock.wait(threading.Event(), 1.0)

    with store.read() as conn:
        book = contracts.current(conn)
    worker = FailoverWorker(
        store, clock, lease, load(Path(settings), FailoverSettings), lambda: book, watch=watch
    )
    quiet = threading.Event()
    ends_ms = clock.mono_ms() + DEADLINE_S * 1000
    while clock.mono_ms() < ends_ms:
        lease.try_hold(clock.mono_ms())
        worker.turn()
        with store.read() as conn:
            if lease.term is not None and not [
                row for row in runs.moving(conn) if row.state not in ("stuck", "hold_down")
            ]:
                break
        clock.wait(quiet, 0.02)
    else:
        return 3
    worker.stop()
    store.close()
    return 0


if __name__ == "__main__":
    SIGN = signal.SIGSTOP if sys.argv[6:] == ["stop"] else signal.SIGKILL
    sys.exit(main(*sys.argv[1:5], sys.argv[5] == "alone", SIGN))
