"""What becomes of a letter: a table from what is known about it to one outcome with its reason. Pure.

Theory of operation. The rows are asked from the top; the first that fits decides. First what no desk may act on (broken
letters, our own, machines), then letters that belong to a ticket, then new ones. ``held`` is the safe end: the letter is
kept and shown, no ticket changes, nobody is answered. A machine's letter never ends a waiting, never files a ticket and
never gets an answer: that is what keeps two robots from writing to each other for ever (RFC 3834).
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable

from ticketing.letters.parse import Letter
from ticketing.model import Reason


class Outcome(enum.Enum):
    """What was done with a letter."""

    FILED = "filed"
    """A new ticket."""
    NOTED = "noted"
    """A person's word on a ticket: note, answer or reopening, as the ticket's state says."""
    REMARKED = "remarked"
    """Put on the ticket for the staff to see; changes nothing."""
    PROVIDER_ANSWERED = "provider_answered"
    PROVIDER_REMARKED = "provider_remarked"
    """A receipt of the provider's own desk: its number counts, an answer it is not."""
    BOUNCED = "bounced"
    """A mail of ours did not arrive."""
    HELD = "held"
    """Waits for a person."""
    IGNORED = "ignored"
    """Needs nobody; the row stays."""
    DUPLICATE = "duplicate"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the desk knows about a letter that the letter itself cannot prove."""

    is_duplicate: bool = False
    is_own: bool = False
    """Its id is one of ours, or it comes from our own address."""
    is_unproven: bool = False
    """Our mail server was asked to vouch for the sender's domain, and does not."""
    letters_last_hour: int = 0
    """Of this sender, this one not counted."""
    ticket_id: int | None = None
    """By token or reference; None where none is named, or it is gone."""
    purpose: str = ""
    """Of a genuine token: ``t`` or ``p``; "" where only a reference names the ticket."""
    is_party: bool = False
    """The sender is of the ticket's contract, of the staff, or was written to about this ticket."""
    is_provider: bool = False
    """The sender writes from where the dossier was sent to."""
    is_staff: bool = False
    contract_id: str = ""
    """Where a new letter of this sender belongs; "" = nowhere that is certain."""
    is_ambiguous: bool = False
    """Several people have this address."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """What the settings say."""

    per_sender_hour: int = 30


@dataclasses.dataclass(frozen=True)
class Decision:
    """One outcome and why."""

    outcome: Outcome
    reason: Reason
    may_answer: bool = False
    """An unknown sender may be told, once, that nobody here knows them."""


Fits = Callable[[Letter, Facts, Policy], bool]

ROWS: tuple[tuple[Fits, Outcome, str], ...] = (
    (lambda m, f, p: f.is_duplicate, Outcome.DUPLICATE, "reason.letter.duplicate"),
    (lambda m, f, p: f.is_own, Outcome.IGNORED, "reason.letter.own"),
    (lambda m, f, p: m.is_bounce and f.ticket_id is not None, Outcome.BOUNCED, "reason.letter.bounced"),
    (lambda m, f, p: m.is_bounce, Outcome.IGNORED, "reason.letter.bounce"),
    (lambda m, f, p: not m.sender, Outcome.HELD, "reason.letter.unreadable"),
    (lambda m, f, p: f.letters_last_hour >= p.per_sender_hour, Outcome.HELD, "reason.letter.too_many"),
    # Of a ticket
    (
        lambda m, f, p: f.purpose == "p" and f.is_provider and m.is_auto_reply,
        Outcome.PROVIDER_REMARKED,
        "reason.letter.provider_receipt",
    ),
    (
        lambda m, f, p: f.purpose == "p" and f.is_provider and not f.is_unproven,
        Outcome.PROVIDER_ANSWERED,
        "reason.letter.provider",
    ),
    (
        lambda m, f, p: f.ticket_id is not None and bool(f.purpose) and bool(m.auto),
        Outcome.REMARKED,
        "reason.letter.auto",
    ),
    (lambda m, f, p: bool(m.auto), Outcome.IGNORED, "reason.letter.auto"),
    (lambda m, f, p: f.is_unproven, Outcome.HELD, "reason.letter.unproven"),
    (
        lambda m, f, p: f.ticket_id is not None and f.is_party and f.purpose != "p",
        Outcome.NOTED,
        "reason.letter.answer",
    ),
    # A token alone shows that somebody passed the letter on, not who answers: the staff sees it, the client's clock does not.
    (
        lambda m, f, p: f.ticket_id is not None and bool(f.purpose),
        Outcome.REMARKED,
        "reason.letter.stranger_on_ticket",
    ),
    # A new one
    (lambda m, f, p: f.is_ambiguous, Outcome.HELD, "reason.letter.ambiguous"),
    (lambda m, f, p: bool(f.contract_id), Outcome.FILED, "reason.letter.filed"),
    (lambda m, f, p: f.is_staff, Outcome.HELD, "reason.letter.staff_without_contract"),
    (lambda m, f, p: True, Outcome.HELD, "reason.letter.stranger"),
)
"""(what fits, outcome, key of the reason), asked from the top; the last one always fits."""


def decide(letter: Letter, facts: Facts, policy: Policy) -> Decision:
    """The outcome of a letter."""
    outcome, key = next((outcome, key) for fits, outcome, key in ROWS if fits(letter, facts, policy))
    params = {
        "sender": letter.sender or "–",
        "auto": letter.auto,
        "faults": ", ".join(letter.faults) or "–",
        "limit": policy.per_sender_hour,
    }
    return Decision(outcome, Reason(key, params), may_answer=key == "reason.letter.stranger")


_CONTRACT = re.compile(r"^\s*\[([A-Za-z0-9][A-Za-z0-9._-]{0,62})\]\s*")


def named_contract(subject: str) -> tuple[str, str]:
    """The contract that staff names in front of a subject (``[acme] Disk``), and the subject without it."""
    found = _CONTRACT.match(subject)
    return (found.group(1), subject[found.end() :]) if found else ("", subject)


def is_vouched(letter: Letter, authserv_id: str) -> bool:
    """Whether our own mail server says that the sender's domain stands for this letter (DMARC).

    Only the topmost results count, and only under our server's own name: anybody may write more of them below.
    """
    if not letter.authentication:
        return False
    server, _, results = letter.authentication[0].partition(";")
    words = server.split()
    return (
        bool(words)
        and words[0].lower() == authserv_id.lower()
        and bool(re.search(r"(?:^|;)\s*dmarc\s*=\s*pass\b", results, re.IGNORECASE))
    )
