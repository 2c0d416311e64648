"""Does somebody listen on a port, and take what comes? Asked of the kernel, so that no service logs our visits.

A service that hangs still listens: but the connections that the kernel accepts for it pile up until there is no room.
"""

from __future__ import annotations

from typing import Callable, List

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.sock_diag import Listener, listeners
from agent.checks.spec import CheckSettings


def run(spec: CheckSettings, timeout_s: float, ask: Callable[[], List[Listener]] = listeners) -> CheckAnswer:
    """Look for listeners on the port (and on ``spec.host`` where one is named). Facts: listeners, waiting, room."""
    deadline = Deadline(timeout_s)
    try:
        found = [one for one in ask() if one.port == spec.port and spec.host in ("", one.address)]
    except OSError as error:
        return CheckAnswer("unknown", f"could not ask: {error.strerror or error}", deadline.spent_ms())
    if not found:
        return CheckAnswer("refused", "nobody listens on the port", deadline.spent_ms(), {"listeners": 0})
    # Of several listeners (workers, IPv4 and IPv6) one that takes connections is enough.
    best = min(found, key=lambda one: one.waiting / max(1, one.room))
    facts = {"listeners": len(found), "waiting": best.waiting, "room": best.room}
    if best.waiting > best.room > 0:
        said = f"{best.waiting} connections wait and are not taken"
        return CheckAnswer("timeout", said, deadline.spent_ms(), facts)
    return CheckAnswer("ok", "listens and takes connections", deadline.spent_ms(), facts)
