"""The collector's tables: hosts, finding streams, probes, lease. They share the desk's MetaData (ticketing.tables)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from ticketing.tables import Id, Instant, metadata

hosts = Table(
    "hosts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("contract_id", String(64), nullable=False, index=True),
    Column("addresses", JSON, nullable=False),  # what we probe, first one first
    Column(
        "topology", JSON, nullable=False
    ),  # provider, site, rack, node, storage, virt, os, plan, resolver, ntp
    Column("token_hash", String(64), nullable=False, unique=True),  # sha256 of 256 random bits
    Column("enrolled_at_ms", Instant, nullable=False),
    Column("is_retired", Boolean, nullable=False, default=False),
    Column(
        "life", String(16), nullable=False
    ),  # collector.fleet states: awaited, alive, suspect, silent, stopped
    Column("life_since_ms", Instant, nullable=False),
    Column("silent_after_ms", Instant, nullable=True, index=True),  # the deadline; NULL = none is running
    Column("last_report_at_ms", Instant, nullable=True),  # receipt, the collector's clock
    Column("boot_id", String(64), nullable=False, default=""),
    Column("run_id", String(64), nullable=False, default=""),
    Column("mono_ms", BigInteger, nullable=False, default=0),
    Column("wall_offset_ms", BigInteger, nullable=True),  # receipt minus the agent's wall clock
    Column("mono_offset_ms", BigInteger, nullable=True),  # receipt minus the agent's monotonic clock
    Column("interval_s", Float, nullable=False, default=10.0),
    Column("goodbye", String(16), nullable=False, default=""),
    Column("agent_version", String(32), nullable=False, default=""),
    Column("vitals", JSON, nullable=False, default=dict),
    Column("lacks", JSON, nullable=False, default=dict),
    Column("found", JSON, nullable=False, default=dict),  # what the agent found there: a contract's draft
    Column("sweep_age_s", JSON, nullable=False, default=dict),
    Column("spool_depth", Integer, nullable=False, default=0),
    Column("spool_dropped", Integer, nullable=False, default=0),
    Column("settings_version", Integer, nullable=False, default=0),
    Column("clone_seen_at_ms", Instant, nullable=True),  # two boot ids at once under one token
)

streams = Table(
    "streams",
    metadata,
    Column("host_id", String(64), primary_key=True),
    Column("stream", String(64), primary_key=True),
    Column("next_n", BigInteger, nullable=False),
    Column("announced_at_ms", Instant, nullable=False),
    Column("is_current", Boolean, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    # host id; for what the collector finds itself: still the host, with a stream that begins with "collector:"
    Column("host_id", String(64), nullable=False),
    Column("stream", String(64), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("kind", String(8), nullable=False),  # opened, changed, closed
    Column("opening_n", BigInteger, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("family", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column(
        "at_ms", Instant, nullable=False
    ),  # original time, corrected by the receipt offset where the claim is absurd
    Column("received_at_ms", Instant, nullable=False),
    Column("body", JSON, nullable=False),  # facts, evidence, reason
    Column("handled_at_ms", Instant, nullable=True),
    Column("outcome", String(16), nullable=False, default=""),  # opened, joined, resolved, recorded
    Column("ticket_id", Id, nullable=True, index=True),
    Column("why", JSON, nullable=True),  # Reason.to_dict() when nothing was opened
)
Index("ux_findings_stream", findings.c.host_id, findings.c.stream, findings.c.n, unique=True)
Index(
    "ix_findings_unhandled",
    findings.c.id,
    sqlite_where=findings.c.handled_at_ms.is_(None),
    postgresql_where=findings.c.handled_at_ms.is_(None),
)
Index("ix_findings_received", findings.c.received_at_ms)

open_findings = Table(
    "open_findings",
    metadata,
    # What holds now, one row a finding: kept by the tick in the same transaction that handles the stream's rows.
    Column("host_id", String(64), primary_key=True),
    Column("rule", String(64), primary_key=True),
    Column("subject", String(300), primary_key=True),
    Column("stream", String(64), nullable=False),
    Column("opening_n", BigInteger, nullable=False),
    Column("family", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("at_ms", Instant, nullable=False),
    Column("changed_at_ms", Instant, nullable=False),
    Column("body", JSON, nullable=False),
    Column("ticket_id", Id, nullable=True, index=True),
)

probes = Table(
    "probes",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("host_id", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),  # icmp, tcp, ssh, service, trace
    Column("vantage", String(64), nullable=False, default="collector"),  # else a host that asks for us
    Column("target", JSON, nullable=False),  # {"address", "port", ...} or the service check
    Column("why", String(16), nullable=False),  # suspicion, schedule, trace, outside, return
    Column("asked_at_ms", Instant, nullable=False),
    Column("claimed_by", String(64), nullable=True),
    Column("claimed_until_ms", Instant, nullable=True),
    Column("answered_at_ms", Instant, nullable=True, index=True),
    Column("answer", JSON, nullable=True),  # {"state": "ok|refused|timeout|...", "detail", "ms"}
    Column("handled_at_ms", Instant, nullable=True),
    Column(
        "expires_at_ms", Instant, nullable=True
    ),  # of an ask: past it no answer is taken; NULL = our own probe
)
Index(
    "ix_probes_asks",
    probes.c.vantage,
    probes.c.expires_at_ms,
    sqlite_where=probes.c.answered_at_ms.is_(None),
    postgresql_where=probes.c.answered_at_ms.is_(None),
)
Index(
    "ix_probes_unclaimed",
    probes.c.asked_at_ms,
    sqlite_where=probes.c.answered_at_ms.is_(None),
    postgresql_where=probes.c.answered_at_ms.is_(None),
)

Index(
    "ix_probes_unhandled",
    probes.c.why,
    probes.c.answered_at_ms,
    sqlite_where=probes.c.handled_at_ms.is_(None),
    postgresql_where=probes.c.handled_at_ms.is_(None),
)

vantages = Table(
    "vantages",
    metadata,
    # Hosts that look at others for us, as they were last heard on their long poll.
    Column("host_id", String(64), primary_key=True),
    Column("polled_at_ms", Instant, nullable=False),
    Column("is_lost", Boolean, nullable=False, default=False),  # what it saw last holds no more
)

services = Table(
    "services",
    metadata,
    # Contracted services that are probed from outside; rows follow the contracts in force.
    Column("id", String(128), primary_key=True),  # "<host>/<name>"
    Column("host_id", String(64), nullable=False, index=True),
    Column("contract_id", String(64), nullable=False),
    Column("check", JSON, nullable=False),
    Column("interval_s", Float, nullable=False),
    Column("next_due_at_ms", Instant, nullable=False, index=True),
    Column("rule_state", JSON, nullable=False, default=dict),  # where the outside rules stand between probes
)

courses = Table(
    "courses",
    metadata,
    # How a problem has fared: patience with load and the ring of its changes (collector.tick.quiet). One row while
    # there is something to remember.
    Column("host_id", String(64), primary_key=True),
    Column("problem", String(400), primary_key=True),
    Column("state", JSON, nullable=False),
    Column("ticket_id", Id, nullable=True, index=True),  # the ticket that says that it flaps
    Column(
        "calm_at_ms", Instant, nullable=True
    ),  # when it will have left flapping if nothing changes any more
    Column("again_at_ms", Instant, nullable=True, index=True),  # when to look at it again
    Column("changed_at_ms", Instant, nullable=False, index=True),
)

roll_outs = Table(
    "roll_outs",
    metadata,
    # Agent roll-outs as announced: whose goodbye meanwhile means "back within 1,800 s" (collector.roll_outs).
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("scope", String(128), nullable=False),  # all, contract:<id>, provider:<id> or host:<id>
    Column("why", String(300), nullable=False, default=""),
    Column("announced_by", String(64), nullable=False),
    Column("announced_at_ms", Instant, nullable=False),
    Column("until_ms", Instant, nullable=False, index=True),  # it ends by itself then
    Column("ended_at_ms", Instant, nullable=True),  # NULL while it runs, or where it ended by itself
)

lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("term", BigInteger, nullable=False),
    Column("holder", String(64), nullable=False),
    Column("counter", BigInteger, nullable=False),
)

judgements = Table(
    "judgements",
    metadata,
    # The facts a verdict was made from, in the scenario format, so that an incident can be replayed.
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ticket_id", Id, nullable=False, index=True),
    Column("at_ms", Instant, nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("case", JSON, nullable=False),
)

observations = Table(
    "observations",
    metadata,
    # What the collector's side sees: provider, operator acts, windows, clocks, traces, second vantages (collector.observed).
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("host_id", String(64), nullable=False),  # a host, or a provider's id
    Column("signal", String(64), nullable=False),
    Column("vantage", String(64), nullable=False, default=""),  # where it was seen from; "" = the collector
    Column("value", JSON, nullable=False),
    Column("source", String(64), nullable=False),  # who says so
    Column("at_ms", Instant, nullable=False),  # when it was so
    Column("received_at_ms", Instant, nullable=False, index=True),  # when we heard
)
Index(
    "ix_observations_seen",
    observations.c.host_id,
    observations.c.signal,
    observations.c.vantage,
    observations.c.at_ms,
)

vitals = Table(
    "vitals",
    metadata,
    # The last minutes of all hosts' vitals, many hosts packed into one row (collector.vitals).
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("block", Integer, nullable=False),
    Column("at_ms", Instant, nullable=False, index=True),  # when it was written, the collector's clock
    Column("form", String(16), nullable=False),  # which list of vitals the numbers follow
    Column("points", LargeBinary, nullable=False),
)
Index("ix_vitals_block", vitals.c.block, vitals.c.at_ms)

failover_pairs = Table(
    "failover_pairs",
    metadata,
    # What outlives a run: the epoch that its plans are armed with, and where the service runs now.
    Column("pair", String(140), primary_key=True),  # "<primary>><backup>" as the contract names them
    Column("epoch", BigInteger, nullable=False, default=0),  # only grows
    Column(
        "serving", String(64), nullable=False, default=""
    ),  # host that was promoted last; "" = the contract's
    Column("hold_down_until_ms", Instant, nullable=True),
    Column(
        "said", Text, nullable=False, default=""
    ),  # what was last told on a ticket, so that it is told once
)

failover_runs = Table(
    "failover_runs",
    metadata,
    # One row a run: what its journal adds up to, kept in the same transactions; the journal alone is the truth.
    Column("id", String(40), primary_key=True),
    Column("pair", String(140), nullable=False),
    Column("contract_id", String(64), nullable=False),
    Column(
        "cause_id", Id, nullable=True, index=True
    ),  # the ticket of the trouble; NULL for what people began
    Column("ticket_id", Id, nullable=True, index=True),  # the switch request
    Column("kind", String(16), nullable=False),  # failover, switchover, failback, rehearsal, drill
    Column("mode", String(8), nullable=False),  # auto or approve, as it began
    Column("state", String(16), nullable=False),
    Column("plan_hash", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False, default=0),
    Column("began_at_ms", Instant, nullable=False, index=True),
    Column("acted_at_ms", Instant, nullable=True),  # armed: from here on it counts for the blast radius
    Column("ended_at_ms", Instant, nullable=True),
    Column("open_mark", Integer, nullable=True),  # 1 while it may move, NULL after
)
Index("ux_failover_runs_open", failover_runs.c.pair, failover_runs.c.open_mark, unique=True)

failover_journal = Table(
    "failover_journal",
    metadata,
    # Append-only, hash-chained (collector.failover.journal); every act stands here before it happens.
    Column("run_id", String(40), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at_ms", Instant, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
    Column("prev_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)

failover_links = Table(
    "failover_links",
    metadata,
    # One-time links in messages: each opens a page on which its person confirms, once.
    Column("token_hash", String(64), primary_key=True),
    Column("run_id", String(40), nullable=False, index=True),
    Column("person_id", String(64), nullable=False),
    Column("plan_hash", String(64), nullable=False),
    Column("made_at_ms", Instant, nullable=False),
    Column("expires_at_ms", Instant, nullable=False, index=True),
    Column("used_at_ms", Instant, nullable=True),
)

failover_rehearsals = Table(
    "failover_rehearsals",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("pair", String(140), nullable=False),
    Column("at_ms", Instant, nullable=False),
    Column("is_real", Boolean, nullable=False),  # with effects, on a marked pair; or a real switch
    Column("is_passed", Boolean, nullable=False),
    Column("seconds", Float, nullable=True),  # first fence to verified; NULL where nothing was switched
    Column("run_id", String(40), nullable=False, default=""),
    Column("found", JSON, nullable=False),  # step key -> what its precheck said
)
Index("ix_failover_rehearsals_pair", failover_rehearsals.c.pair, failover_rehearsals.c.at_ms)

failover_checks = Table(
    "failover_checks",
    metadata,
    # What each step's precheck said last: whether a fence could work now.
    Column("pair", String(140), primary_key=True),
    Column("step", String(64), primary_key=True),
    Column("outcome", String(12), nullable=False),  # done (it can), not_done (it cannot), unknown
    Column("level", String(2), nullable=False, default=""),
    Column("detail", String(300), nullable=False, default=""),
    Column("at_ms", Instant, nullable=False),
)

own_state = Table(
    "own_state",
    metadata,
    # Small things the collector must remember over a restart: the last tick's time, the run's first-start marks.
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
