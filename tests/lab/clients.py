"""Clients of the register in probe2: each writes a value of its own again and again, and logs every acknowledgement.

One uses the clients' address; one each goes straight to prim and to back, so that a second primary that no client is led
to is caught as well. Times are this machine's one monotonic clock, which all places share.
"""

from __future__ import annotations

import dataclasses
import http.client
import threading
import time

from tests.lab.house import ADDRESS, VIP, House
from tests.lab.register import ask

EVERY_S = 0.1
TIMEOUT_S = 0.7


@dataclasses.dataclass(frozen=True)
class Ack:
    """One acknowledged write; times by this machine's monotonic clock, which all places share."""

    client: str
    value: str
    node: str
    epoch: int
    sent_s: float
    got_s: float


class Clients:
    """They write from ``start`` to ``stop``."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._acks: list[Ack] = []
        self._threads = [
            threading.Thread(target=self._write, args=(name, address), name=f"client-{name}", daemon=True)
            for name, address in (("vip", VIP), ("prim", ADDRESS["prim"]), ("back", ADDRESS["back"]))
        ]
        self.began_s = self.ended_s = 0.0

    def start(self) -> None:
        self.began_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Ack]:
        """Every acknowledgement, in the order in which they came."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self.ended_s = time.monotonic()
        return self.acks

    @property
    def acks(self) -> list[Ack]:
        with self._lock:
            return sorted(self._acks, key=lambda ack: ack.got_s)

    def served_by(self) -> str:
        """Who acknowledged the last write at the clients' address, lately; "" = nobody."""
        lately = [a for a in self.acks if a.client == "vip" and a.got_s > time.monotonic() - 2.0]
        return lately[-1].node if lately else ""

    def _write(self, name: str, address: str) -> None:
        self._house.enter("probe2")
        n = 0
        while not self._stopping.wait(EVERY_S):
            n += 1
            value, sent_s = f"{name}-{n}", time.monotonic()
            try:
                word, node, epoch = ask(address, f"/write?value={value}", TIMEOUT_S).split()
            except (OSError, http.client.HTTPException, ValueError):
                continue
            assert word == "primary"
            with self._lock:
                self._acks.append(Ack(name, value, node, int(epoch), sent_s, time.monotonic()))
