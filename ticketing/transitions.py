"""The states of a ticket and the acts that lead from one to the next: a table, and nothing else.

Theory of operation. A row says: in this state, this act leads there, these roles may do it (``machine`` is the tick), it
needs these fields, and whether it is a reaction or a word with the provider. ``act.<name>`` and the row's ``sentence`` are
texts in both languages; the sentence is what the operator reads in the ticket's history. What has no row cannot be done.
The diagram in the documents comes from ``mermaid()``.

Which clocks run follows from the state alone, by ``PAUSES`` and ``ENDS``; ``clock_changes`` is the only place that makes
clock changes of acts. The reaction clock runs until somebody reacts. The provider's runs from the question to the answer,
whatever the ticket does meanwhile: the client's clock rests while we wait for the client, the provider still owes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ticketing.clocks import Change, Stopwatch
from ticketing.model import OPEN_STATES, ClockKind, ClockState, TicketState

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
    reacts: bool = False
    """Done in public by the staff, it is the reaction that the client was promised."""
    provider: str = ""
    """start (the provider owes an answer from now on) or pause (it answered)."""
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
    (N, "take"): Row(W, STAFF, reacts=True, sentence="did.take"),
    (W, "take"): Row(W, STAFF, reacts=True, sentence="did.take"),
    (C, "take"): Row(C, STAFF, reacts=True, sentence="did.take"),
    (P, "take"): Row(P, STAFF, reacts=True, sentence="did.take"),
    **_in_each(
        (*OPEN_STATES, R, X),
        "note",
        who=STAFF_AND_CLIENT,
        needs=("text",),
        reacts=True,
        sentence="did.note",
    ),
    (N, "ask_client"): Row(C, STAFF, ("text",), True, sentence="did.ask_client"),
    (W, "ask_client"): Row(C, STAFF, ("text",), True, sentence="did.ask_client"),
    (P, "ask_client"): Row(C, STAFF, ("text",), True, sentence="did.ask_client"),
    (C, "client_answered"): Row(W, STAFF_AND_CLIENT, ("text",), True, sentence="did.client_answered"),
    (N, "ask_provider"): Row(P, STAFF | MACHINE_ONLY, ("text",), True, "start", "did.ask_provider"),
    (W, "ask_provider"): Row(P, STAFF | MACHINE_ONLY, ("text",), True, "start", "did.ask_provider"),
    (P, "provider_answered"): Row(W, STAFF | MACHINE_ONLY, ("text",), True, "pause", "did.provider_answered"),
    # The answer may come when the ticket has moved on; only while the provider's clock runs (is_provider_asked).
    (W, "provider_answered"): Row(W, STAFF | MACHINE_ONLY, ("text",), True, "pause", "did.provider_answered"),
    (C, "provider_answered"): Row(C, STAFF | MACHINE_ONLY, ("text",), True, "pause", "did.provider_answered"),
    **_in_each(OPEN_STATES, "escalate", who=STAFF | MACHINE_ONLY, reacts=True, sentence="did.escalate"),
    **_in_each((W, C, P), "assign", who=STAFF, needs=("assignee",), sentence="did.assign"),
    (N, "assign"): Row(W, STAFF, ("assignee",), sentence="did.assign"),
    # A higher line helps without taking the ticket over: internal words, no clock and no line moves.
    **_in_each(OPEN_STATES, "consult", who=STAFF, needs=("text",), sentence="did.consult"),
    **_in_each(OPEN_STATES, "advise", who=STAFF, needs=("text",), sentence="did.advise"),
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
        OPEN_STATES,
        "resolve",
        Row(R, STAFF | MACHINE_ONLY, ("cause", "remedy"), True, sentence="did.resolve"),
    ),
    **_in_each(OPEN_STATES, "merge", Row(M, STAFF | MACHINE_ONLY, ("into",), sentence="did.merge")),
    **_in_each(OPEN_STATES, "widen", who=MACHINE_ONLY, sentence="did.widen"),
    **_in_each(OPEN_STATES, "join", who=MACHINE_ONLY, sentence="did.join"),
    **_in_each(OPEN_STATES, "split", who=MACHINE_ONLY, sentence="did.split"),
    (R, "reopen"): Row(W, ANYBODY, ("text",), sentence="did.reopen"),
    (X, "reopen"): Row(W, STAFF | MACHINE_ONLY, ("text",), sentence="did.reopen"),
    (R, "close"): Row(X, ANYBODY, sentence="did.close"),
}
"""(state, act) -> what follows. MERGED has no row: it is history."""

ACTS = tuple(dict.fromkeys(act for _, act in TABLE))
PERSON_ACTS = tuple(dict.fromkeys(act for (_, act), row in TABLE.items() if row.who - MACHINE_ONLY))


def step(state: TicketState, act: str) -> Row | None:
    """What this act does in this state; None = it cannot be done."""
    return TABLE.get((state, act))


PAUSES: Mapping[TicketState, Mapping[ClockKind, str]] = {C: {ClockKind.RESOLUTION: "waiting_client"}}
"""Which clock rests in which state, and why; every other clock that was started runs. Keys of ``pause.<reason>``."""

ENDS: Mapping[TicketState, str] = {R: "resolved", X: "resolved", M: "moot"}
"""States in which no clock runs, and the word with which the clocks stop."""


def clock_changes(
    rule: Row,
    held: Mapping[ClockKind, Stopwatch],
    at_ms: int,
    *,
    has_reacted: bool,
    reacts: bool = False,
    provider_target_ms: int = 0,
) -> list[Change]:
    """What an act does to the clocks that the ticket has.

    ``has_reacted``: somebody reacted before; ``reacts``: this act is the reaction (the row allows it, and it was done in
    public by the staff). A reaction clock that ends with nobody having reacted is moot: neither kept nor breached.
    """
    changes: list[Change] = []
    ending = ENDS.get(rule.next_state)
    for kind, watch in held.items():
        if kind is ClockKind.REACTION and reacts and watch.state is not ClockState.STOPPED:
            changes.append(Change(kind, "stop", at_ms))
        elif ending is not None:
            if watch.state is not ClockState.STOPPED:
                why = "moot" if kind is ClockKind.REACTION else ending
                changes.append(Change(kind, "stop", at_ms, why=why))
        elif kind is not ClockKind.PROVIDER:
            changes += _as_the_state_says(kind, watch, rule.next_state, at_ms, has_reacted or reacts)
    provider = held.get(ClockKind.PROVIDER)
    if rule.provider == "start":
        changes.append(Change(ClockKind.PROVIDER, "start", at_ms, provider_target_ms))
    elif rule.provider == "pause" and provider is not None and provider.state is ClockState.RUNNING:
        changes.append(Change(ClockKind.PROVIDER, "pause", at_ms, why="provider_answered"))
    return changes


def _as_the_state_says(
    kind: ClockKind, watch: Stopwatch, state: TicketState, at_ms: int, has_reacted: bool
) -> list[Change]:
    why = PAUSES.get(state, {}).get(kind)
    if why is not None:
        return [] if watch.pause_reason == why else [Change(kind, "pause", at_ms, why=why)]
    if watch.state is ClockState.RUNNING or (kind is ClockKind.REACTION and has_reacted):
        return []
    return [Change(kind, "resume", at_ms)]


def acts_for(state: TicketState, role: str, *, is_provider_asked: bool = True) -> tuple[str, ...]:
    """Acts that this role may do in this state, in the table's order."""
    return tuple(
        act
        for (at, act), row in TABLE.items()
        if at is state and role in row.who and (row.provider != "pause" or is_provider_asked)
    )


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
