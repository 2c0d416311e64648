"""Single-writer clients of a SQL pair in probe2: one by the door that clients use, one straight to each host; every ack logged.

The node's own word and its timeline stand in the row (PostgreSQL's epoch: it grows with each promotion), so that the
laboratory's checker can tell two writers from one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from tests.lab.clients import Ack
from tests.lab.house import House

EVERY_S = 0.05


class Writes(Protocol):
    """A connection that writes one value, and says which node under which epoch took it; raises when it did not."""

    def write(self, value: str) -> tuple[str, int]: ...

    def close(self) -> None: ...


class SqlClients:
    """They write from ``start`` to ``stop``; a client whose connection fails makes another."""

    def __init__(
        self,
        house: House,
        doors: Mapping[str, str],
        connect: Callable[[str], Writes],
        failures: tuple[type[Exception], ...],
    ) -> None:
        self._house, self._connect, self._failures = house, connect, failures
        self._stopping, self._lock = threading.Event(), threading.Lock()
        self._acks: list[Ack] = []
        self._threads = [
            threading.Thread(target=self._run, args=(name, address), daemon=True)
            for name, address in doors.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Ack]:
        """Every acknowledgement, in the order in which they came."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        return self.acks

    @property
    def acks(self) -> list[Ack]:
        with self._lock:
            return sorted(self._acks, key=lambda ack: ack.got_s)

    def wait_for(self, client: str, node: str, within_s: float = 90.0) -> None:
        """Until this client has an acknowledgement of that node from now on."""
        since_s, ends_s = time.monotonic(), time.monotonic() + within_s
        while not any(a.client == client and a.node == node and a.sent_s > since_s for a in self.acks):
            assert time.monotonic() < ends_s, f"{node} acknowledged nothing of {client}: {self.acks[-3:]}"
            time.sleep(0.05)

    def _run(self, name: str, address: str) -> None:
        self._house.enter("probe2")
        conn: Writes | None = None
        n = 0
        while not self._stopping.wait(EVERY_S):
            n += 1
            value, sent_s = f"{name}-{n}", time.monotonic()
            try:
                conn = conn or self._connect(address)
                node, epoch = conn.write(value)
            except self._failures:
                if conn is not None:
                    with contextlib.suppress(*self._failures):
                        conn.close()
                conn = None
                continue
            with self._lock:
                self._acks.append(Ack(name, value, node, epoch, sent_s, time.monotonic()))
