"""The faults of a loud month: what each does to a machine, and what its ticket must say. The causes are ours to know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tests.sim.servers import Server

Act = Callable[[Server], None]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault, and what its ticket must say."""

    name: str
    class_: int
    causes: tuple[str, ...]
    """More than one where nothing that is seen can tell them apart."""
    begin: Act
    end: Act
    scope: str = "host"
    """``node``: everybody on the server's node is hit at once."""
    lasts_min: tuple[int, int] = (6, 15)
    """Shortest and longest, in minutes."""


@dataclasses.dataclass
class Injected:
    """One fault of a run, and the tickets that opened for it."""

    fault: Fault
    hosts: tuple[str, ...]
    from_ms: int
    to_ms: int
    is_owed: bool
    """Whether a contract asks for a ticket: class 2 is done for eligible hosts only, and recorded for the others."""
    opened: list[int] = dataclasses.field(default_factory=list)
    """Parents, in order; one that was opened again stands here again."""


def _sets(name: str) -> tuple[Act, Act]:
    return (lambda server: server.faults.add(name)), (lambda server: server.faults.discard(name))


FAULTS = (
    Fault("disk", 2, ("os.disk_full",), *_sets("disk")),
    Fault("unit", 2, ("os.service_failed",), *_sets("unit")),
    Fault("site", 2, ("os.service_failed",), *_sets("site")),
    Fault("agent", 2, ("os.agent_down",), lambda s: s.kill_agent(), lambda s: s.start_agent()),
    Fault("power", 2, ("unknown",), lambda s: s.power_off(), lambda s: s.power_on()),
    # Load is given twenty minutes before it is anybody's (signals.md 3.1): less is for nobody's desk.
    Fault("steal", 1, ("virt.cpu_contention",), *_sets("steal"), lasts_min=(30, 40)),
    Fault("node", 1, ("virt.node_failure",), lambda s: s.power_off(), lambda s: s.power_on(), "node"),
)
