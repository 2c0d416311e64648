"""One letter, one transaction: what is known of it, the decision, and what it does to its ticket - or nothing at all.

A person's letter goes through the table of acts like a person at a page; a provider's answer through the machine's. Acts
that the table refuses leave the letter held with the refusal as the reason, never half done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, update

from ticketing import acts, filing, ledger, line4, outbox, provider_cases, tables
from ticketing.contracts import Book
from ticketing.filing import Refusal
from ticketing.letters import answers, rows, tokens
from ticketing.letters.decide import Decision, Facts, Outcome, Policy, decide, is_vouched, named_contract
from ticketing.letters.parse import Letter, read
from ticketing.letters.quotes import new_words
from ticketing.model import Reason, TicketState
from ticketing.queries import Viewer
from ticketing.tables import RowLike

HOUR_MS = 3_600_000

FROM = "mail"
"""Stands where other acts have the address that they came from."""


@dataclasses.dataclass(frozen=True)
class House:
    """What acting on letters needs to know of this installation."""

    key: bytes
    """Signs reply tokens."""
    own_addresses: frozenset[str]
    """Ours, lower case: letters from them are echoes."""
    policy: Policy = dataclasses.field(default_factory=Policy)
    authserv_id: str = ""
    """Our mail server's name in Authentication-Results; "" = it is not asked."""
    answers: answers.Bounds | None = None
    """How unknown senders are answered; None = not at all."""


@dataclasses.dataclass(frozen=True)
class Acted:
    """What was done with one letter."""

    mail_id: int
    outcome: Outcome
    ticket_id: int | None
    reason: Reason


@dataclasses.dataclass(frozen=True)
class _Moment:
    tx: Connection
    book: Book
    house: House
    row: RowMapping
    letter: Letter
    facts: Facts
    ticket: RowLike | None
    sender: Viewer | None
    now_ms: int

    @property
    def words(self) -> str:
        """The new words, and what else the letter brought."""
        return new_words(self.letter.text)[: acts.MAX_TEXT]

    @property
    def source(self) -> dict[str, Any]:
        """What an event says of the letter it came from."""
        return {
            "mail": self.row["id"],
            "from": self.letter.sender,
            "attachments": [file.to_dict() for file in self.letter.attachments],
            "is_cut": bool(self.row["is_cut"] or self.letter.is_text_cut),
        }


def act_on_next(tx: Connection, book: Book, house: House, now_ms: int) -> Acted | None:
    """Do the oldest letter that waits; None where none does."""
    row = rows.next_received(tx)
    if row is None:
        return None
    letter = read(row["raw"])
    moment = _known(tx, book, house, row, letter, now_ms)
    decision = decide(letter, moment.facts, house.policy)
    done = _WRITERS[decision.outcome](moment, decision)
    if isinstance(done, Refusal):
        decision = Decision(Outcome.HELD, done.reason)
        done = None
    if decision.may_answer and house.answers is not None and not letter.faults:
        answers.tell_stranger(tx, letter, house.answers, now_ms)
    rows.settle(tx, row["id"], decision.outcome, decision.reason, now_ms, done)
    return Acted(row["id"], decision.outcome, done, decision.reason)


def file_held(
    tx: Connection, book: Book, row: RowMapping, actor: Viewer, contract_id: str, class_: int, now_ms: int
) -> int | Refusal:
    """A person files a letter that was held, under a contract of their choice."""
    letter = read(row["raw"])
    title, words = _titled(letter.subject, new_words(letter.text))
    ticket_id = filing.file(
        tx,
        book,
        actor,
        contract_id,
        class_,
        title,
        words,
        now_ms,
        origin="mail",
        began_at_ms=row["received_at_ms"],
    )
    if isinstance(ticket_id, Refusal):
        return ticket_id
    reason = Reason("reason.letter.filed_by", {"who": actor.person_id, "sender": letter.sender})
    rows.settle(tx, row["id"], Outcome.FILED, reason, now_ms, ticket_id)
    return ticket_id


# What is known


def _known(tx: Connection, book: Book, house: House, row: RowMapping, letter: Letter, now_ms: int) -> _Moment:
    people = _people_of(tx, letter.sender)
    ticket, purpose = _ticket_of(tx, house, letter)
    case = None if ticket is None else provider_cases.case(tx, ticket["id"])
    sender = _viewer(people[0]) if len(people) == 1 else None
    named, _ = named_contract(letter.subject)
    contract_id = ""
    if sender is not None:
        contract_id = (
            (sender.contract_id or "") if sender.is_client else named if named in book.contracts else ""
        )
    facts = Facts(
        is_duplicate=False,
        is_own=letter.sender in house.own_addresses
        or bool(house.own_addresses.intersection(letter.loops))
        or _is_ours(tx, letter.message_id),
        is_unproven=bool(house.authserv_id) and not is_vouched(letter, house.authserv_id),
        letters_last_hour=rows.of_sender_since(tx, letter.sender, now_ms - HOUR_MS, row["id"]),
        ticket_id=None if ticket is None else ticket["id"],
        purpose=purpose,
        is_party=ticket is not None and _is_party(tx, ticket, people, letter.sender),
        is_provider=case is not None and _same_domain(letter.sender, case["receivers"]),
        is_staff=sender is not None and not sender.is_client,
        contract_id=contract_id,
        is_ambiguous=len(people) > 1,
    )
    return _Moment(tx, book, house, row, letter, facts, ticket, sender, now_ms)


def _people_of(tx: Connection, address: str) -> list[RowMapping]:
    table = tables.people
    if not address:
        return []
    wanted = select(table).where(func.lower(table.c.email) == address, ~table.c.is_disabled).limit(3)
    return list(tx.execute(wanted).mappings())


def _viewer(person: RowLike) -> Viewer:
    return Viewer(person["id"], person["role"], person["contract_id"], person["language"], FROM)


def _ticket_of(tx: Connection, house: House, letter: Letter) -> tuple[RowLike | None, str]:
    """The ticket that a letter belongs to: by a genuine token, else by a reference to a mail that we sent."""
    bounced = letter.text if letter.is_bounce else ""
    for token in tokens.find([*letter.to, letter.subject, bounced[: acts.MAX_TEXT]]):
        row = ledger.ticket_row(tx, token.ticket_id)
        if row is not None and tokens.is_genuine(house.key, token, row["created_at_ms"]):
            return _followed(tx, row), token.purpose
    for reference in letter.references:
        local = reference.rpartition("@")[0] or reference
        row = _sent_under(tx, local[:128])
        if row is not None:
            return _followed(tx, row), ""
    return None, ""


def _sent_under(tx: Connection, message_id: str) -> RowLike | None:
    """The ticket of a mail of ours, by its id or by the id of its ticket's thread."""
    table = tables.outbox
    sent = tx.execute(select(table.c.ticket_id).where(table.c.message_id == message_id)).scalar()
    if sent is not None:
        return ledger.ticket_row(tx, sent)
    prefix, _, rest = message_id.partition("-")
    number = rest.partition("-")[0]
    if prefix != "vt" or not number.isdigit() or len(number) > 15:
        return None
    row = ledger.ticket_row(tx, int(number))
    is_thread = row is not None and outbox.thread_id(row["id"], row["created_at_ms"]) == message_id
    return row if is_thread else None


def _followed(tx: Connection, row: RowLike) -> RowLike:
    """A ticket that was merged speaks through the one it went into."""
    for _ in range(5):
        if row["merged_into"] is None:
            break
        into = ledger.ticket_row(tx, row["merged_into"])
        if into is None:
            break
        row = into
    return row


def _is_ours(tx: Connection, message_id: str) -> bool:
    local = message_id.rpartition("@")[0]
    table = tables.outbox
    return (
        bool(local)
        and tx.execute(select(table.c.id).where(table.c.message_id == local[:128])).first() is not None
    )


def _is_party(tx: Connection, ticket: RowLike, people: list[RowMapping], sender: str) -> bool:
    """Staff, the contract's own people, and whoever was written to about this ticket."""
    if any(p["contract_id"] in (None, ticket["contract_id"]) for p in people):
        return True
    if people:
        return False  # somebody of another contract
    table = tables.outbox
    wanted = select(table.c.id).where(
        table.c.ticket_id == ticket["id"],
        table.c.channel == "mail",
        func.lower(table.c.destination) == sender,
    )
    return tx.execute(wanted.limit(1)).first() is not None


def _same_domain(sender: str, receivers: list[str]) -> bool:
    """A provider's people answer from addresses of their own, under the domain that was written to."""
    domain = sender.rpartition("@")[2]
    return bool(domain) and any(
        domain == (known := address.lower().rpartition("@")[2]) or domain.endswith("." + known)
        for address in receivers
        if "@" in address
    )


# What is done


def _file(m: _Moment, decision: Decision) -> int | Refusal:
    assert m.sender is not None, "only a known person's letter is filed"
    subject = m.letter.subject if m.sender.is_client else named_contract(m.letter.subject)[1]
    title, words = _titled(subject, m.words)
    contract = m.book.contract(m.facts.contract_id)
    class_, notes = None, [decision.reason]
    if filing.proposal_for(m.book, m.sender, contract.id, title, words).class_ == 2:
        refusal = contract.class2_refusal([host.id for host in contract.hosts])
        if refusal is not None:
            # Nobody sits there to choose another class: line 1 sorts it, and reads why it did not get the one it seems to have.
            class_, notes = 6, [decision.reason, refusal]
    filed = filing.file(
        m.tx, m.book, m.sender, contract.id, class_, title, words, m.now_ms,
        origin="mail", began_at_ms=m.row["received_at_ms"],
    )  # fmt: skip
    if isinstance(filed, Refusal):
        return filed
    body = {"reason": notes[-1].to_dict(), "reasons": [n.to_dict() for n in notes], **m.source}
    ledger.write_event(m.tx, filed, m.now_ms, ledger.MACHINE, "letter", body)
    answers.tell_filer(m.tx, m.book, filed, m.letter, m.now_ms)
    return filed


def _titled(subject: str, words: str) -> tuple[str, str]:
    """Title and body; a letter without a subject is named by its first words."""
    title = subject.strip() or next((line.strip() for line in words.splitlines() if line.strip()), "") or "–"
    return title[: acts.MAX_TITLE], words


def _note(m: _Moment, decision: Decision) -> int | Refusal:
    """A word on a ticket, as that ticket's state takes it."""
    assert m.ticket is not None
    if m.sender is None or (m.sender.is_client and m.sender.contract_id != m.ticket["contract_id"]):
        # Written to about this ticket without being a person of the desk: the client's side of the contract.
        sender = Viewer("mail", "client", m.ticket["contract_id"], m.ticket["language"], FROM)
    else:
        sender = m.sender
    state = TicketState(m.ticket["state"])
    words = m.words or m.letter.subject or "–"
    if sender.is_client and state is TicketState.CLOSED:
        return _file_again(m, sender, words)
    act = "reopen" if sender.is_client and state is TicketState.RESOLVED else "note"
    done = acts.perform(
        m.tx,
        m.book,
        act,
        m.ticket["id"],
        sender,
        m.ticket["version"],
        m.now_ms,
        text=words,
        is_public=sender.is_client,
    )
    if isinstance(done, Refusal) and act == "reopen":
        return _file_again(m, sender, words)
    if isinstance(done, Refusal):
        return done
    if m.letter.attachments or m.row["is_cut"] or sender.person_id == "mail":
        _remark(m, decision)
    return m.ticket["id"]


def _file_again(m: _Moment, sender: Viewer, words: str) -> int | Refusal:
    """The old ticket is history: a new one, linked to it."""
    assert m.ticket is not None
    title, _ = _titled(named_contract(m.letter.subject)[1], words)
    filed = filing.file(
        m.tx, m.book, sender, m.ticket["contract_id"], m.ticket["class"], title, words, m.now_ms,
        origin="mail", began_at_ms=m.row["received_at_ms"],
    )  # fmt: skip
    if isinstance(filed, Refusal):
        return filed
    m.tx.execute(
        update(tables.tickets).where(tables.tickets.c.id == filed).values(previous_id=m.ticket["id"])
    )
    reason = Reason("reason.letter.after_the_window", {"ticket": m.ticket["id"]})
    ledger.write_event(
        m.tx, filed, m.now_ms, ledger.MACHINE, "letter", {"reason": reason.to_dict(), **m.source}
    )
    answers.tell_filer(m.tx, m.book, filed, m.letter, m.now_ms)
    return filed


def _remark(m: _Moment, decision: Decision) -> int:
    """Seen by the staff, changes nothing; a letter that came with an act leaves only what the act does not hold."""
    assert m.ticket is not None
    is_said = decision.outcome is Outcome.NOTED
    body = {"reason": decision.reason.to_dict(), "text": "" if is_said else m.words, **m.source}
    ledger.write_event(m.tx, m.ticket["id"], m.now_ms, ledger.MACHINE, "letter", body)
    ledger.touch(m.tx, m.ticket, m.now_ms)
    return m.ticket["id"]


def _provider_answered(m: _Moment, decision: Decision) -> int | Refusal:
    assert m.ticket is not None
    return line4.answered(
        m.tx, m.book, m.ticket, m.now_ms, text=m.words or m.letter.subject, subject=m.letter.subject,
        is_receipt=decision.outcome is Outcome.PROVIDER_REMARKED, source=m.source,
    )  # fmt: skip


def _bounced(m: _Moment, decision: Decision) -> int:
    assert m.ticket is not None
    body = {"reason": decision.reason.to_dict(), "text": m.letter.text[:2000], **m.source}
    ledger.write_event(m.tx, m.ticket["id"], m.now_ms, ledger.MACHINE, "delivery", body)
    ledger.touch(m.tx, m.ticket, m.now_ms)
    return m.ticket["id"]


def _nothing(m: _Moment, decision: Decision) -> int | None:
    return m.facts.ticket_id


_WRITERS: Mapping[Outcome, Callable[[_Moment, Decision], int | Refusal | None]] = {
    Outcome.FILED: _file,
    Outcome.NOTED: _note,
    Outcome.REMARKED: _remark,
    Outcome.PROVIDER_ANSWERED: _provider_answered,
    Outcome.PROVIDER_REMARKED: _provider_answered,
    Outcome.BOUNCED: _bounced,
    Outcome.HELD: _nothing,
    Outcome.IGNORED: _nothing,
    Outcome.DUPLICATE: _nothing,
}
