"""What the JSON API says, as msgspec structs: the OpenAPI document is made from these.

Instants are epoch milliseconds (UTC) named ``*_at_ms``; texts come in the language of who asks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_ID = 2**53 - 1
"""Every JSON reader can hold it exactly."""

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
NO_NUL = r"^[^\x00]*$"
"""No database text may hold it."""
Title = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
ShortText = Annotated[str, Meta(max_length=200, pattern=NO_NUL)]
LongText = Annotated[str, Meta(max_length=20_000, pattern=NO_NUL)]
CauseName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_.]+$")]
TicketNumber = Annotated[int, Meta(ge=1, le=MAX_ID)]
Version = Annotated[int, Meta(ge=1, le=MAX_ID)]
ClassNumber = Literal[1, 2, 3, 4, 5, 6]
LineNumber = Literal[1, 2, 3, 4]


class Fault(msgspec.Struct, omit_defaults=False):
    """Every error of the API."""

    error: str
    """A stable code, e.g. ``stale``, ``not_found``."""
    detail: str
    """A sentence for a person."""
    fields: dict[str, str] = {}
    """What is wrong with which field of the request."""
    version: int | None = None
    """With ``stale``: the ticket's current version."""


class ReasonShape(msgspec.Struct):
    """One piece of evidence in words; ``weight`` is log-odds for class 1 (positive) or class 2 (negative)."""

    key: str
    text: str
    group: str = ""
    weight: float = 0.0
    params: dict[str, Any] = {}


class ClockShape(msgspec.Struct):
    """An SLA stopwatch as it stands now."""

    kind: str
    state: str
    target_ms: int
    spent_ms: int
    left_ms: int
    """Negative once it is breached."""
    due_at_ms: int | None = None
    pause_reason: str = ""
    outcome: str = ""
    warned_pct: int = 0


class TicketRow(msgspec.Struct, rename={"class_": "class"}):
    """A ticket in a list."""

    id: int
    contract: str
    class_: int
    state: str
    severity: str
    summary: str
    root_cause: str
    cause: str
    confidence: str
    line: int
    assignee: str | None
    affected: list[str]
    parent_id: int | None
    began_at_ms: int
    created_at_ms: int
    updated_at_ms: int
    version: int
    clocks: list[ClockShape]


class TicketList(msgspec.Struct):
    """One page; ask for the next with ``after``."""

    tickets: list[TicketRow]
    after: str | None
    """The next page's mark; null on the last one."""


class EventShape(msgspec.Struct):
    """One line of a ticket's history."""

    id: int
    at_ms: int
    actor: str
    kind: str
    text: str
    words: str
    """What a person wrote, unchanged."""
    is_public: bool


class ActShape(msgspec.Struct):
    """Something this person may do to this ticket now."""

    act: str
    title: str
    needs: list[str]
    """Fields that the act wants filled."""


class SimilarShape(msgspec.Struct):
    """An earlier ticket that is like this one, and what solved it."""

    ticket: int
    at_ms: int
    cause: str
    remedy: str
    common: list[str]
    """What the two have in common: cause, host, application, contract, provider, words."""
    came_back_at_ms: int | None
    """When it came back all the same."""


class ChangeShape(msgspec.Struct):
    """Something that happened just before the fault began."""

    at_ms: int
    kind: str
    where: str
    text: str


class MirrorShape(msgspec.Struct):
    """The ticket in an external desk."""

    desk: str
    number: str
    """Its number there; empty until the desk has it."""
    url: str
    state: str
    """level (all was delivered), waiting, behind (an attempt failed)."""
    waiting: int
    problem: str


class TicketFull(msgspec.Struct, rename={"class_": "class"}):
    """A ticket with everything an engineer asks first."""

    id: int
    contract: str
    class_: int
    state: str
    severity: str
    summary: str
    root_cause: str
    cause: str
    confidence: str
    provisional: bool
    line: int
    assignee: str | None
    affected: list[str]
    scope: str
    family: str
    origin: str
    title: str
    body: str
    parent_id: int | None
    merged_into: int | None
    children: list[int]
    began_at_ms: int
    created_at_ms: int
    updated_at_ms: int
    reacted_at_ms: int | None
    resolved_at_ms: int | None
    closed_at_ms: int | None
    recurrences: int
    version: int
    clocks: list[ClockShape]
    reasons: list[ReasonShape]
    would_change: list[ReasonShape]
    next_steps: list[str]
    similar: list[SimilarShape]
    changed_before: list[ChangeShape]
    proposed: ProposalShape | None
    """Of a filed ticket whose class and line nobody has confirmed yet."""
    evidence: dict[str, Any]
    """The newest evidence: ``top``, ``log``, ``series``, ``notes`` as the agent sent them."""
    events: list[EventShape]
    acts: list[ActShape]
    mirrors: list[MirrorShape] = []


class FileTicket(msgspec.Struct, rename={"class_": "class"}, forbid_unknown_fields=True):
    """A ticket that a person files."""

    title: Title
    class_: ClassNumber | None = None
    """Left out: the proposed one is taken, and line 1 confirms it."""
    contract: Name | None = None
    """May be left out by a client's user, who files for its own contract only."""
    body: LongText = ""
    host: Name | None = None
    """The server that it is about, where there is one."""
    preventive: bool = False
    """Nothing is broken yet: work against what may come. In class 3 it needs the service "stability"."""
    application: ShortText = ""
    """The application of the contract that it is about, where there is one."""
    wish: Literal["", "switch_to_backup", "upkeep"] = ""
    """What is asked of the servers: both are class 2."""
    line: LineNumber | None = None
    """Staff, with a class: the line that takes it at once."""


class ProposalShape(msgspec.Struct, rename={"class_": "class"}):
    """The class and line that the words point to; a person decides."""

    class_: int
    line: int
    reasons: list[str]


class Filed(msgspec.Struct, rename={"class_": "class"}):
    """Where the filed ticket is, and as what it was taken."""

    id: int
    version: int
    class_: int
    line: int
    is_confirmed: bool
    """False: line 1 has still to confirm class and line."""
    proposed: ProposalShape


class ActRequest(msgspec.Struct, rename={"class_": "class"}, forbid_unknown_fields=True):
    """An act on a ticket, made against the version that the person saw. What an act does not need is left out."""

    seen_version: Version
    text: LongText | None = None
    line: LineNumber | None = None
    """escalate: to this line; empty = the next one. qualify: the line that it goes to."""
    assignee: Name | None = None
    class_: ClassNumber | None = None
    root_cause: CauseName | None = None
    cause: ShortText | None = None
    """resolve: what it was."""
    remedy: Annotated[str, Meta(max_length=2_000, pattern=NO_NUL)] | None = None
    """resolve: what helped."""
    into: TicketNumber | None = None
    """merge: the ticket to fold this one into."""
    provider_ref: ShortText | None = None
    is_public: bool | None = None
    """note: whether the client sees it."""
    send: bool | None = None
    """ask_provider: the person's yes, the dossier goes to the provider with ``text`` before it."""


class DossierShape(msgspec.Struct):
    """What a provider would be told about a ticket, and where to; nothing was sent."""

    to: list[str]
    subject: str
    text: str


class HostRow(msgspec.Struct):
    """A guarded server in a list."""

    id: str
    contract: str
    life: str
    life_since_ms: int
    last_report_at_ms: int | None
    open_findings: int
    worst: str
    """Severity of the worst open finding; empty where there is none."""
    agent_version: str
    address: str


class HostList(msgspec.Struct):
    """One page of hosts; ask for the next with ``after``."""

    hosts: list[HostRow]
    after: str | None


class FindingShape(msgspec.Struct):
    """A rule that holds for a subject on a host now."""

    rule: str
    subject: str
    family: str
    severity: str
    at_ms: int
    changed_at_ms: int
    facts: dict[str, Any]
    ticket_id: int | None


class HostFull(msgspec.Struct):
    """A guarded server with its last report."""

    id: str
    contract: str
    life: str
    life_since_ms: int
    is_retired: bool
    addresses: list[str]
    topology: dict[str, Any]
    last_report_at_ms: int | None
    silent_after_ms: int | None
    interval_s: float
    wall_offset_ms: int | None
    agent_version: str
    goodbye: str
    vitals: dict[str, float | None]
    lacks: dict[str, str]
    sweep_age_s: dict[str, float]
    spool_depth: int
    spool_dropped: int
    clone_seen_at_ms: int | None
    findings: list[FindingShape]
    tickets: list[int]


class Me(msgspec.Struct):
    """Who asks."""

    id: str
    name: str
    role: str
    language: str
    contract: str | None
    line: int | None
    profiles: list[str]
