"""The desk's tables. One MetaData for the whole store; the collector's tables join it in ``collector.tables``.

Instants are integer epoch milliseconds, UTC. JSON columns hold plain values that the model's ``to_dict`` makes.
Migrations live in ``collector/store/migrations``; a test compares the migrated schema with this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite makes a rowid alias only of INTEGER; PostgreSQL wants bigint.
Id = BigInteger().with_variant(Integer(), "sqlite")
Instant = BigInteger()

RowLike = Mapping[Any, Any]
"""A row by column name: from the database (RowMapping) or one that is about to be written (dict)."""

contracts = Table(
    "contracts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", JSON, nullable=False),  # the YAML as plain values
    Column("applied_at_ms", Instant, nullable=False),
    Column("applied_by", String(64), nullable=False),
    Column("is_current", Boolean, nullable=False),
    Column("digest", String(64), nullable=False, default=""),  # sha256 of the document
    Column("changes", JSON, nullable=False, default=list),  # what differs from the version before
)
# The tick asks every second whether they moved; the documents before these columns are large.
Index("ix_contracts_current", contracts.c.is_current, contracts.c.version, contracts.c.applied_at_ms)

rosters = Table(
    "rosters",
    metadata,
    # The house's rotas and absences, a row a version as for contracts.
    Column("version", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("applied_at_ms", Instant, nullable=False),
    Column("applied_by", String(64), nullable=False),
    Column("is_current", Boolean, nullable=False),
    Column("digest", String(64), nullable=False, default=""),
    Column("changes", JSON, nullable=False, default=list),
)

people = Table(
    "people",
    metadata,
    Column("id", String(64), primary_key=True),  # the log-in name
    Column("name", String(200), nullable=False),
    Column("email", String(320), nullable=False, default=""),
    Column("role", String(16), nullable=False),  # client, engineer, lead, admin
    Column("profiles", JSON, nullable=False, default=list),
    Column("line", Integer, nullable=True),
    Column("language", String(2), nullable=False, default="uk"),
    Column("contract_id", String(64), nullable=True),  # a client's user sees this contract only
    Column("password_hash", String(200), nullable=True),
    Column("token_hash", String(64), nullable=True, unique=True),  # sha256 of the API token
    Column("is_disabled", Boolean, nullable=False, default=False),
    Column("created_at_ms", Instant, nullable=False),
    Column("ways", JSON, nullable=False, default=list),  # how they are reached (ticketing.duty.Way)
    Column("quiet", JSON, nullable=False, default=dict),  # when reminders wait (ticketing.duty.Quiet)
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", String(64), primary_key=True),
    Column("person_id", String(64), ForeignKey("people.id"), nullable=False),
    Column("created_at_ms", Instant, nullable=False),
    Column("seen_at_ms", Instant, nullable=False),
    Column("expires_at_ms", Instant, nullable=False, index=True),
    Column("from_address", String(64), nullable=False, default=""),
)

login_failures = Table(
    "login_failures",
    metadata,
    # Throttle: one row a log-in name and one an address ("login:olena", "from:192.0.2.1").
    Column("key", String(128), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("first_at_ms", Instant, nullable=False),
    Column("last_at_ms", Instant, nullable=False, index=True),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at_ms", Instant, nullable=False, index=True),
    Column("actor", String(64), nullable=False),  # person id, or "machine"
    Column("act", String(64), nullable=False),
    Column("object", String(128), nullable=False),  # "ticket:12", "host:a1", "contract:acme"
    Column("from_address", String(64), nullable=False, default=""),
    Column("details", JSON, nullable=False, default=dict),
)

# What was done to one object, and which requests a contract did not hold, newest first.
Index("ix_audit_object", audit.c.object, audit.c.id)

tickets = Table(
    "tickets",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("contract_id", String(64), nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("problem", String(400), nullable=False),  # model.problem_key
    Column("open_mark", Integer, nullable=True),  # 1 while open, NULL after: see the unique constraint
    Column("origin", String(16), nullable=False),  # machine, person, mail
    Column("class", Integer, nullable=False),
    Column("root_cause", String(64), nullable=False),
    Column("scope", String(300), nullable=False),
    Column("family", String(32), nullable=False),
    Column("affected", JSON, nullable=False),
    Column("confidence", String(8), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("verdict", JSON, nullable=True),  # the whole current verdict; NULL for a filed ticket
    Column(
        "title", Text, nullable=False, default=""
    ),  # what a person wrote; "" = rendered from the verdict's summary
    Column("body", Text, nullable=False, default=""),
    Column("state", String(24), nullable=False),
    Column("line", Integer, nullable=False),
    Column("assignee", String(64), nullable=True),
    Column("profile", String(64), nullable=False, default=""),  # profile the cause needs
    Column("parent_id", Id, ForeignKey("tickets.id"), nullable=True, index=True),
    Column("merged_into", Id, ForeignKey("tickets.id"), nullable=True),
    Column(
        "previous_id", Id, ForeignKey("tickets.id"), nullable=True
    ),  # the same problem, resolved before the window
    Column("language", String(2), nullable=False),
    Column("began_at_ms", Instant, nullable=False),  # the outage counts from here
    Column("created_at_ms", Instant, nullable=False),  # the reaction clock counts from here
    Column("reacted_at_ms", Instant, nullable=True),
    Column("resolved_at_ms", Instant, nullable=True),
    Column("closed_at_ms", Instant, nullable=True),
    Column("updated_at_ms", Instant, nullable=False),
    Column(
        "next_step_at_ms", Instant, nullable=True, index=True
    ),  # escalation or auto-close; never NULL while open
    Column("recurrences", Integer, nullable=False, default=0),
    Column("version", Integer, nullable=False, default=1),  # a person's act names the version it saw
    # NULLs differ from each other, so closed tickets do not collide: at most one open ticket a (contract, problem).
    UniqueConstraint("contract_id", "problem", "open_mark"),
)
# Keyset paging goes by (updated_at_ms, id): the id stands in each index, since PostgreSQL adds none by itself. Behind it
# stands what a list is narrowed by beside its leading column: thousands of entries are then passed over in the index,
# and only the page's own rows are fetched (ticketing.queries).
for _name, _lead in (
    ("ix_tickets_list", "open_mark"),
    ("ix_tickets_contract_list", "contract_id"),
    ("ix_tickets_assignee_list", "assignee"),
    ("ix_tickets_state_list", "state"),
    ("ix_tickets_class_list", "class"),
    ("ix_tickets_line_list", "line"),
):
    _beside = (name for name in ("contract_id", "class", "line", "state", "assignee") if name != _lead)
    Index(_name, *(tickets.c[name] for name in (_lead, "updated_at_ms", "id", *_beside)))
Index("ix_tickets_updated", tickets.c.updated_at_ms, tickets.c.id)
Index("ix_tickets_problem", tickets.c.contract_id, tickets.c.problem, tickets.c.id)

ticket_hosts = Table(
    "ticket_hosts",
    metadata,
    # tickets.affected as rows, so that a host's tickets are found without reading every ticket.
    Column("host_id", String(64), primary_key=True),
    Column("ticket_id", Id, ForeignKey("tickets.id"), primary_key=True),
    Column("updated_at_ms", Instant, nullable=False),  # the ticket's: a host may have ten thousand tickets
)
Index("ix_ticket_hosts_ticket", ticket_hosts.c.ticket_id)
Index("ix_ticket_hosts_list", ticket_hosts.c.host_id, ticket_hosts.c.updated_at_ms, ticket_hosts.c.ticket_id)

ticket_events = Table(
    "ticket_events",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, ForeignKey("tickets.id"), nullable=False, index=True),
    Column("at_ms", Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    Column(
        "kind", String(32), nullable=False
    ),  # ticketing.transitions acts, plus note, evidence, clock, delivery
    Column("is_public", Boolean, nullable=False, default=False),
    Column(
        "body", JSON, nullable=False, default=dict
    ),  # {"reason": Reason.to_dict(), "text": person's words, ...}
)

clocks = Table(
    "clocks",
    metadata,
    Column("ticket_id", Id, ForeignKey("tickets.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("started_at_ms", Instant, nullable=False),  # a change of class or contract is re-judged from here
    Column("target_ms", Instant, nullable=False),  # agreed minutes, as milliseconds of calendar time
    Column("spent_ms", Instant, nullable=False, default=0),  # up to running_since_ms
    Column("running_since_ms", Instant, nullable=True),
    Column("pause_reason", String(64), nullable=False, default=""),
    Column("calendar", String(64), nullable=False),
    Column("due_at_ms", Instant, nullable=True),
    Column("next_event_at_ms", Instant, nullable=True, index=True),  # next warning or the breach
    Column(
        "warned_pct", Integer, nullable=False, default=0
    ),  # highest threshold already told: 50, 75, 90, 100
    Column("escalated_pct", Integer, nullable=False, default=0),  # highest escalation step already taken
    Column(
        "outcome", String(16), nullable=False, default=""
    ),  # kept, breached, moot (resolved before any reaction)
    Column("stopped_at_ms", Instant, nullable=True),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, nullable=True, index=True),
    Column("channel", String(64), nullable=False),  # "mail", "webhook", "mirror:NAME"
    Column("destination", String(512), nullable=False),
    Column(
        "message_id", String(128), nullable=False, unique=True
    ),  # Message-ID or webhook-id, the same over retries
    Column("payload", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # pending, delivered, given_up
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at_ms", Instant, nullable=False),
    Column("next_attempt_at_ms", Instant, nullable=True, index=True),
    Column("claimed_by", String(64), nullable=True),
    Column("claimed_until_ms", Instant, nullable=True),
    Column("settled_at_ms", Instant, nullable=True),
    Column("last_error", Text, nullable=False, default=""),
)

calls = Table(
    "calls",
    metadata,
    # Somebody of ours was called or reminded, or is to be (ticketing.calls): the time of the next word is a row.
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, ForeignKey("tickets.id"), nullable=False, index=True),
    Column("person_id", String(64), nullable=False),
    Column("kind", String(32), nullable=False),  # of the event that called
    Column("event_id", Id, nullable=False),  # whatever one of ours does on the ticket after it is an answer
    Column("reason", JSON, nullable=False),  # why this person
    Column("called_at_ms", Instant, nullable=False),
    Column("due_at_ms", Instant, nullable=True, index=True),  # first or next word; NULL = nothing more to say
    Column("told_at_ms", Instant, nullable=True),  # last message of its own; another's may have named it
    Column("times", Integer, nullable=False, default=0),
    Column(
        "outcome", String(16), nullable=False, default=""
    ),  # ticketing.calls: answered, over, passed_on, ...
)
# How many calls somebody had in the last minutes.
Index("ix_calls_person", calls.c.person_id, calls.c.told_at_ms)

knowledge = Table(
    "knowledge",
    metadata,
    # What solved a ticket, in the words of who resolved it (ticketing.knowledge): shown with the next that is like it.
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, nullable=False, index=True),  # no foreign key: a lesson outlives its ticket
    Column("contract_id", String(64), nullable=False),
    Column("at_ms", Instant, nullable=False, index=True),
    Column("root_cause", String(64), nullable=False),
    Column("host_id", String(64), nullable=False, default=""),
    Column("application", String(200), nullable=False, default=""),
    Column("provider", String(100), nullable=False, default=""),
    Column(
        "title", String(300), nullable=False, default=""
    ),  # what a person wrote; "" for the machine's ticket
    Column("cause", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("by", String(64), nullable=False),
    Column("refuted_at_ms", Instant, nullable=True),  # the ticket came back all the same
)
Index("ix_knowledge_cause", knowledge.c.root_cause, knowledge.c.id)
Index("ix_knowledge_contract", knowledge.c.contract_id, knowledge.c.id)

mails = Table(
    "mails",
    metadata,
    # Letters that people sent us: taken as rows before anything is done with them (ticketing.letters.rows).
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("mailbox", String(200), nullable=False),
    Column("uidvalidity", Instant, nullable=False),
    Column("uid", Instant, nullable=False),
    Column("content_key", String(64), nullable=False, index=True),  # the same letter under another UID
    Column("message_id", String(250), nullable=False, default=""),
    Column("sender", String(320), nullable=False, default=""),
    Column("subject", Text, nullable=False, default=""),
    Column("received_at_ms", Instant, nullable=False),  # by our mail server
    Column("taken_at_ms", Instant, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # as it came; "" for a duplicate
    Column("is_cut", Boolean, nullable=False, default=False),
    Column("state", String(16), nullable=False),  # received, done
    Column("outcome", String(24), nullable=False, default=""),  # ticketing.letters.decide.Outcome
    Column("reason", JSON, nullable=True),
    Column("ticket_id", Id, nullable=True, index=True),
    Column("settled_at_ms", Instant, nullable=True),
    Column("marked_at_ms", Instant, nullable=True),  # on the mail server
    UniqueConstraint("mailbox", "uidvalidity", "uid"),
)
Index("ix_mails_state", mails.c.state, mails.c.id)
Index("ix_mails_outcome", mails.c.outcome, mails.c.id)
Index("ix_mails_sender", mails.c.sender, mails.c.taken_at_ms)

mailboxes = Table(
    "mailboxes",
    metadata,
    # How far each mailbox was read; written in one commit with its letters.
    Column("name", String(200), primary_key=True),
    Column("uidvalidity", Instant, nullable=False),
    Column("uid", Instant, nullable=False),
    Column("read_at_ms", Instant, nullable=False),
)

provider_cases = Table(
    "provider_cases",
    metadata,
    # What a provider was asked about a ticket (line 4): its number there, and when it is reminded.
    Column("ticket_id", Id, ForeignKey("tickets.id"), primary_key=True),
    Column("desk", String(64), nullable=False),
    Column("number", String(100), nullable=False, default=""),
    Column("message_id", String(128), nullable=False),  # of the dossier in the outbox
    Column("receivers", JSON, nullable=False, default=list),  # addresses that it was sent to
    Column("asked_at_ms", Instant, nullable=False),
    Column("answered_at_ms", Instant, nullable=True),
    Column("reminders", Integer, nullable=False, default=0),
    Column("remind_at_ms", Instant, nullable=True, index=True),
)

desks = Table(
    "desks",
    metadata,
    # One row an external desk that settings name: where the poller stands, and whether the desk is away.
    Column("name", String(64), primary_key=True),
    Column("cursor", String(200), nullable=False, default=""),
    Column("next_at_ms", Instant, nullable=False),  # when it is asked again what changed
    Column("claimed_until_ms", Instant, nullable=True),
    Column("failures", Integer, nullable=False, default=0),  # in a row, of whatever was asked
    Column("down_until_ms", Instant, nullable=True),  # nothing is asked before
    Column("last_error", Text, nullable=False, default=""),
)

mirrored = Table(
    "mirrored",
    metadata,
    # A ticket in an external desk. The row is written before the first request: its key is what a lost answer is
    # looked up by.
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, ForeignKey("tickets.id"), nullable=False),
    Column("desk", String(64), nullable=False),
    Column("key", String(64), nullable=False),
    Column(
        "made_by", String(128), nullable=False
    ),  # message that makes it: then nothing else is to be said of it
    Column("created_at_ms", Instant, nullable=False),
    Column("remote_id", String(64), nullable=True),  # NULL until the desk has it
    Column("url", String(512), nullable=False, default=""),
    Column(
        "is_sure", Boolean, nullable=False, default=True
    ),  # false: an earlier attempt may yet have made a double
    Column(
        "status", String(200), nullable=False, default=""
    ),  # what both sides last agreed on, in the desk's words
    Column("assignee", String(200), nullable=False, default=""),
    Column("stamp", String(64), nullable=False, default=""),  # the desk's last change that was looked at
    Column("looks", Integer, nullable=False, default=0),  # looks still to be taken
    Column("look_at_ms", Instant, nullable=True, index=True),
    Column("claimed_until_ms", Instant, nullable=True),
    Column(
        "problem", Text, nullable=False, default=""
    ),  # what people should know: the desk would not take something
    UniqueConstraint("ticket_id", "desk"),
)
Index("ix_mirrored_remote", mirrored.c.desk, mirrored.c.remote_id)

mirrored_comments = Table(
    "mirrored_comments",
    metadata,
    # Comments of the desk that were taken or known for our own: a poll or webhook that repeats takes none twice.
    Column("mirrored_id", Id, ForeignKey("mirrored.id"), primary_key=True),
    Column("comment_id", String(64), primary_key=True),
    Column("marker", String(128), nullable=False, default=""),  # of our own ones: which message it is
)
