"""The states of a ticket and the acts that lead from one to the next: a table, and nothing else.

Theory of operation. A row says: in this state, this act leads there, these roles may do it (``machine`` is the tick), it
needs these fields, and it does this to the clocks. ``act.<name>`` and the row's ``sentence`` are texts in both languages;
the sentence is what the operator reads in the ticket's history. What has no row cannot be done. The diagram in the
documents comes from ``mermaid()``.
"""

from __future__ import annotations

import dataclasses

from ticketing.model import OPEN_STATES, TicketState

STAFF = frozenset({"engineer", "lead", "admin"})
STAFF_AND_CLIENT = STAFF | {"client"}
MACHINE_ONLY = frozenset({"machine"})
ANYBODY = STAFF_AND_CLIENT | MACHINE_ONLY


@dataclasses.dataclass(frozen=True)
class Row:
    """One act in one state."""

    next_state: TicketState
    who: frozenset[str]
    needs: tuple[str, ...] = ()
    """Fields that must be given; ``a|b`` = at least one of them."""
    clock: str = ""
    """react (a public human act stops the reaction clock), pause, resume, stop, restart, provider, provider_pause."""
    sentence: str = ""
    """Key of the operator's sentence."""


N, W = TicketState.NEW, TicketState.IN_WORK
C, P = TicketState.WAITING_CLIENT, TicketState.WAITING_PROVIDER
R, X, M = TicketState.RESOLVED, TicketState.CLOSED, TicketState.MERGED


def _in_each(states: tuple[TicketState, ...], act: str, row: Row | None = None, **kept: object) -> dict:
    """The same act in several states, staying in each unless a row says where it leads."""
    return {
        (state, act): row or Row(state, **kept)  # type: ignore[arg-type]
        for state in states
    }


TABLE: dict[tuple[TicketState, str], Row] = {
    (N, "take"): Row(W, STAFF, clock="react", sentence="did.take"),
    (W, "take"): Row(W, STAFF, clock="react", sentence="did.take"),
    (C, "take"): Row(C, STAFF, clock="react", sentence="did.take"),
    (P, "take"): Row(P, STAFF, clock="react", sentence="did.take"),
    **_in_each(
        (*OPEN_STATES, R, X),
        "note",
        who=STAFF_AND_CLIENT,
        needs=("text",),
        clock="react",
        sentence="did.note",
    ),
    (N, "ask_client"): Row(C, STAFF, ("text",), "pause", "did.ask_client"),
    (W, "ask_client"): Row(C, STAFF, ("text",), "pause", "did.ask_client"),
    (P, "ask_client"): Row(C, STAFF, ("text",), "pause", "did.ask_client"),
    (C, "client_answered"): Row(W, STAFF_AND_CLIENT, ("text",), "resume", "did.client_answered"),
    (N, "ask_provider"): Row(P, STAFF, ("text",), "provider", "did.ask_provider"),
    (W, "ask_provider"): Row(P, STAFF, ("text",), "provider", "did.ask_provider"),
    (P, "provider_answered"): Row(W, STAFF, ("text",), "provider_pause", "did.provider_answered"),
    **_in_each(OPEN_STATES, "escalate", who=STAFF | MACHINE_ONLY, sentence="did.escalate"),
    **_in_each(OPEN_STATES, "assign", who=STAFF, needs=("assignee",), sentence="did.assign"),
    # Line 1 confirms class and line of what a person filed; a changed verdict needs its why, this does not.
    **_in_each(OPEN_STATES, "qualify", who=STAFF, needs=("class_",), sentence="did.qualify"),
    **_in_each(
        OPEN_STATES,
        "requalify",
        who=STAFF | MACHINE_ONLY,
        needs=("class_|root_cause", "text"),
        sentence="did.requalify",
    ),
    **_in_each(
        OPEN_STATES, "resolve", Row(R, STAFF | MACHINE_ONLY, ("cause", "remedy"), "stop", "did.resolve")
    ),
    **_in_each(OPEN_STATES, "merge", Row(M, STAFF | MACHINE_ONLY, ("into",), "stop", "did.merge")),
    **_in_each(OPEN_STATES, "widen", who=MACHINE_ONLY, sentence="did.widen"),
    **_in_each(OPEN_STATES, "join", who=MACHINE_ONLY, sentence="did.join"),
    **_in_each(OPEN_STATES, "split", who=MACHINE_ONLY, sentence="did.split"),
    (R, "reopen"): Row(W, ANYBODY, ("text",), "restart", "did.reopen"),
    (X, "reopen"): Row(W, STAFF | MACHINE_ONLY, ("text",), "restart", "did.reopen"),
    (R, "close"): Row(X, ANYBODY, (), "", "did.close"),
}
"""(state, act) -> what follows. MERGED has no row: it is history."""

ACTS = tuple(dict.fromkeys(act for _, act in TABLE))
PERSON_ACTS = tuple(dict.fromkeys(act for (_, act), row in TABLE.items() if row.who - MACHINE_ONLY))


def step(state: TicketState, act: str) -> Row | None:
    """What this act does in this state; None = it cannot be done."""
    return TABLE.get((state, act))


def acts_for(state: TicketState, role: str) -> tuple[str, ...]:
    """Acts that this role may do in this state, in the table's order."""
    return tuple(act for (at, act), row in TABLE.items() if at is state and role in row.who)


def mermaid() -> str:
    """The table as a Mermaid state diagram; acts that stay in their state are listed with it."""
    lines = ["stateDiagram-v2", "    [*] --> new: open, file"]
    moves: dict[tuple[str, str], list[str]] = {}
    for (state, act), row in TABLE.items():
        moves.setdefault((state.value, row.next_state.value), []).append(act)
    for (here, there), acts in moves.items():
        lines.append(f"    {here} --> {there}: {', '.join(acts)}")
    lines += ["    closed --> [*]", "    merged --> [*]"]
    return "\n".join(lines) + "\n"
