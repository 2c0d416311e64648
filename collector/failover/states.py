"""The states of a failover as a table: what each waits for, how long, and where a time-out leads.

Theory of operation. Suspicion, confirmation and attribution belong to the tick; the engine's first own state is DECIDED.
A run is what its journal says (``journal.fold``), and ``engine.next_move`` says what to do next from that and the facts.
Before the first effect of PROMOTING the way is back: ABORTED, and what was fenced stays so until a person looks. From
PROMOTING on it is only forward, or STUCK with the next command for a person. The diagram in the documents is generated.
"""

from __future__ import annotations

import dataclasses
import enum


class State(enum.Enum):
    DECIDED = "decided"
    AWAIT_APPROVAL = "await_approval"
    ARMED = "armed"
    DEMOTING = "demoting"
    FENCING = "fencing"
    FENCED = "fenced"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    SWITCHING = "switching"
    VERIFYING = "verifying"
    ON_BACKUP = "on_backup"
    HOLD_DOWN = "hold_down"
    FAILBACK_READY = "failback_ready"
    ABORTED = "aborted"
    STUCK = "stuck"


@dataclasses.dataclass(frozen=True)
class Row:
    """One state."""

    leads_to: tuple[State, ...]
    sentence: str
    """Key of the operator's sentence."""
    timeout_s: float | None = None
    on_timeout: State | None = None
    phase: str = ""
    """Steps that are done in it; "" = none."""
    is_past_no_return: bool = False
    is_end: bool = False
    """Nothing more happens by itself."""


S = State

TABLE: dict[State, Row] = {
    S.DECIDED: Row((S.AWAIT_APPROVAL, S.ARMED, S.ABORTED), "failover.state.decided", 60, S.ABORTED),
    S.AWAIT_APPROVAL: Row((S.ARMED, S.ABORTED), "failover.state.await_approval"),
    S.ARMED: Row((S.DEMOTING, S.FENCING, S.ABORTED), "failover.state.armed", 10, S.ABORTED, "arm"),
    S.DEMOTING: Row((S.FENCED, S.ABORTED), "failover.state.demoting", 300, S.ABORTED, "demote"),
    S.FENCING: Row((S.FENCED, S.ABORTED, S.STUCK), "failover.state.fencing", 600, S.STUCK, "fence"),
    S.FENCED: Row((S.PROMOTING, S.ABORTED, S.STUCK), "failover.state.fenced", 600, S.STUCK),
    S.PROMOTING: Row((S.PROMOTED, S.STUCK), "failover.state.promoting", 900, S.STUCK, "promote", True),
    S.PROMOTED: Row((S.SWITCHING, S.STUCK), "failover.state.promoted", 60, S.STUCK, "", True),
    S.SWITCHING: Row((S.VERIFYING, S.STUCK), "failover.state.switching", 900, S.STUCK, "traffic", True),
    S.VERIFYING: Row((S.ON_BACKUP, S.STUCK), "failover.state.verifying", 300, S.STUCK, "verify", True),
    S.ON_BACKUP: Row((S.HOLD_DOWN,), "failover.state.on_backup", None, None, "", True),
    S.HOLD_DOWN: Row((S.FAILBACK_READY,), "failover.state.hold_down", None, S.FAILBACK_READY, "", True),
    S.FAILBACK_READY: Row((), "failover.state.failback_ready", is_past_no_return=True, is_end=True),
    S.ABORTED: Row((), "failover.state.aborted", is_end=True),
    S.STUCK: Row(
        (S.PROMOTING, S.SWITCHING, S.VERIFYING, S.ON_BACKUP, S.ABORTED), "failover.state.stuck", is_end=True
    ),
}
"""A person may lead out of STUCK; the machine never does."""

NEXT_PHASE: dict[State, State] = {
    S.DEMOTING: S.FENCED,
    S.FENCING: S.FENCED,
    S.PROMOTING: S.PROMOTED,
    S.SWITCHING: S.VERIFYING,
    S.VERIFYING: S.ON_BACKUP,
}
"""Where a phase leads when all its steps are proven."""


def may_follow(here: State, there: State) -> bool:
    """Whether the table knows this way."""
    return there in TABLE[here].leads_to


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> decided"]
    for state, row in TABLE.items():
        for there in row.leads_to:
            by_person = ": a person" if state is State.STUCK else ""
            lines.append(f"    {state.value} --> {there.value}{by_person}")
    return "\n".join(lines) + "\n"
