"""The network of the simulation: between agents and collector, and what the collector's own probes meet.

Loss, doubling, delay and overtaking are drawn from the world's seed. Probes are answered from the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sim.servers import Server
    from tests.sim.world import World

Answer = Callable[[int, bytes], None]

USUAL_MS = (2, 80)
LATE_MS = (2_000, 45_000)


class Network:
    """Carries messages; also the ``ProbeNetwork`` of the collector's workers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def carry(self, server: Server, body: bytes, answer: Answer) -> None:
        """One report on its way: it may be lost, doubled, late; and so may its answer."""
        random, path = self.world.random, server.path
        if path.is_cut or random.random() < path.loss:
            server.trouble()
            return
        self._deliver(server, body, answer)
        if random.random() < path.doubled:
            self._deliver(server, body, lambda status, reply: None)

    def _deliver(self, server: Server, body: bytes, answer: Answer) -> None:
        random = self.world.random
        bounds = USUAL_MS
        if random.random() < server.path.late:
            bounds = LATE_MS
            server.trouble()

        def arrive() -> None:
            self.world.collector.receive(
                body, server.token, lambda status, reply: self._back(server, answer, status, reply)
            )

        self.world.later(random.randint(*bounds), arrive, f"{server.id}.arrives")

    def _back(self, server: Server, answer: Answer, status: int, reply: bytes) -> None:
        if server.path.is_cut or self.world.random.random() < server.path.loss:
            server.trouble()
            return
        self.world.later(
            self.world.random.randint(*USUAL_MS), lambda: answer(status, reply), f"{server.id}.answered"
        )

    def answer(self, kind: str, target: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """What a probe from the collector finds: the truth about the server at that address, now."""
        server = self.world.server_at(
            str(target.get("address") or (target.get("check") or {}).get("host", ""))
        )
        if server is None or not server.is_up or server.path.is_cut:
            return {
                "state": "dead" if kind == "icmp" else "timeout",
                "detail": "no answer",
                "ms": timeout_s * 1000,
            }
        if kind == "service" and "site" in server.faults:
            # The program hangs: the kernel still takes the connection.
            return {
                "state": "timeout",
                "detail": "no answer",
                "ms": timeout_s * 1000,
                "facts": {"port": "ok"},
            }
        return {"state": "ok", "detail": "answers", "ms": 3.0}
