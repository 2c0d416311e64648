"""Intake: takes reports. Authenticates, decodes, bounds, appends findings, keeps each host's newest report. Never decides.

Three doors, all synchronous and without a clock, so that the simulation goes through the same ones:

``check``   body and token to an Accepted or a Rejected; touches nothing but counters.
``answer``  a plain heartbeat: noted in memory, answered at once; ``flush`` writes what was noted, in groups.
``take``    everything that must be durable before its answer: findings, a new stream, a goodbye.

A finding is appended only when it is the next n of its stream; what came before is a repeat, what comes later is out
of order (409, with the n that is wanted). A report of one half of a cloned server is appended like any other, but
recorded with that reason instead of being judged.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from agent.wire import Adopt, FindingChange, Reply, Report
from collector import intake_rows as rows
from collector.clock_fold import ClockFold, Fold
from collector.clock_rows import ROWS_MAX, write_folds
from collector.fleet_cache import FleetCache, HostEntry, Sight
from collector.intake_answers import BAD_TOKEN, NO_TOKEN, RETIRED, TOO_MANY, Rejected
from collector.intake_bounds import body_fault, fault_of
from collector.store.engine import after_commit, after_undo
from collector.vitals import EVERY_MS, Block, Keeping, write_blocks
from ticketing.model import FAMILIES, Reason

ADOPT_FOR_MS = 60_000
"""How long after a new stream's announcement replies look for findings to adopt: the tick may still be at them."""

TOKEN_MAX = 512


@dataclasses.dataclass(frozen=True)
class Terms:
    """What the collector's side asks of a host: the heartbeat of its contract, and its settings."""

    interval_s: float = 10.0
    settings_version: int = 0
    settings: Mapping[str, Any] | None = None
    is_roll_out_announced: bool = False


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds that settings set."""

    body_max: int = 1024 * 1024
    reports_per_host_s: int = 50
    absurd_clock_ms: int = 60_000
    clone_quiet_ms: int = 600_000
    vitals_every_ms: int = EVERY_MS


class Accepted:
    """A report that is authentic and within bounds; nothing of it is written yet."""

    __slots__ = ("bodies", "entry", "noted", "received_at_ms", "report")

    def __init__(
        self, entry: HostEntry, report: Report, received_at_ms: int, bodies: tuple[msgspec.Raw, ...]
    ) -> None:
        self.entry = entry
        self.report = report
        self.received_at_ms = received_at_ms
        self.bodies = bodies
        """JSON of each finding's facts and evidence, in order."""
        self.noted: tuple[Sight, rows.Newest | None] | None = None
        """How it stands beside those before it; kept, so that a transaction that is run again does not see a repeat."""


class Intake:
    """The intake of one collector process. Threads may share it: what it keeps is changed under one lock."""

    def __init__(
        self,
        cache: FleetCache,
        *,
        limits: Limits | None = None,
        terms: Callable[[str, str], Terms] | None = None,
        is_shared: bool = False,
        poke: Callable[[], None] | None = None,
    ) -> None:
        self.cache = cache
        self.limits = limits or Limits()
        self._terms = terms or _default_terms
        self._poke = poke or _nobody
        self._is_shared = is_shared
        """Other collectors write to this store too: where a stream stands is asked of it, never remembered. An agent that
        is told an older n than it has deleted concludes that we lost our store."""
        self._lock = threading.Lock()
        self._decoder = msgspec.json.Decoder(Report)
        self._pending: dict[str, rows.Newest] = {}
        self.clocks = ClockFold()
        """What the reports' clocks say; written with the heartbeats."""
        self.vitals = Keeping(self.limits.vitals_every_ms)
        """The short memory of vitals; written with the heartbeats too."""
        self.counts: collections.Counter[str] = collections.Counter()
        """Reports by result (ok or the error's code)."""
        self.finding_counts: collections.Counter[str] = collections.Counter()
        """Findings by what became of them: appended, repeated, clone."""

    def check(self, body: bytes, token: str, now_ms: int) -> Accepted | Rejected:
        """Authenticate, decode and bound one report; changes nothing but counters."""
        outcome = self._check(body, token, now_ms)
        if isinstance(outcome, Rejected):
            self.count(outcome.error)
        return outcome

    def knows(self, token: str) -> bool:
        """Whether the cache holds this token; where not, the fleet may have grown meanwhile."""
        return self.cache.by_token_hash(_hash(token)) is not None

    def host_of(self, token: str) -> HostEntry | None:
        """The host whose token this is, retired ones too."""
        return self.cache.by_token_hash(_hash(token)) if token else None

    def count(self, result: str) -> None:
        """Count one report's result."""
        with self._lock:
            self.counts[result] += 1

    def answer(self, accepted: Accepted) -> Reply | None:
        """Note a plain heartbeat and answer it; None when the report must go through ``take`` first."""
        report, entry = accepted.report, accepted.entry
        if self._is_shared:
            return None
        if (
            report.findings
            or report.acts
            or report.told
            or report.goodbye
            or report.stream != entry.stream
            or entry.adopt_until_ms
        ):
            return None
        self._note(accepted)
        self.count("ok")
        return self._reply(accepted, entry.next_n, [])

    def take(self, tx: Connection, accepted: Sequence[Accepted], now_ms: int) -> list[Reply | Rejected]:
        """Append findings, announce streams, note goodbyes, all inside ``tx``; answers in order, good once it commits."""
        appending = {a.entry.id for a in accepted if a.report.findings}
        known = rows.streams_of(tx, sorted(appending), locked=True)
        known |= rows.streams_of(tx, sorted({a.entry.id for a in accepted} - appending))
        batch = rows.Batch()
        urgent: list[rows.Newest] = []
        plans = [self._plan(tx, one, known, batch, urgent) for one in accepted]
        batch.write(tx)
        if urgent:
            rows.write_newest(tx, urgent)
        acting = [p.accepted for p in plans if p.accepted.report.acts and not p.rejected and not p.is_clone]
        rows.write_acts(tx, acting, self.limits.absurd_clock_ms)
        telling = [p.accepted for p in plans if p.accepted.report.told and not p.rejected and not p.is_clone]
        rows.write_told(tx, telling, self.limits.absurd_clock_ms)
        adopt = rows.adoptable(
            tx, {p.accepted.entry.id: p.accepted.report.stream for p in plans if p.may_adopt(now_ms)}
        )
        answers: list[Reply | Rejected] = []
        for plan in plans:
            offered = adopt.get(plan.accepted.entry.id, []) if plan.may_adopt(now_ms) else []
            plan.offered = offered
            answers.append(plan.rejected or self._reply(plan.accepted, plan.want_n, offered))
        after_commit(tx, lambda: self._settle(plans, now_ms))
        return answers

    def flush(self, tx: Connection, now_ms: int, most: int | None = None, *, is_part: bool = False) -> int:
        """Write the heartbeats noted since the last flush (at most ``most``, the longest waiting first); how many hosts.

        A part leaves folded clocks and kept vitals for the whole one. An undone flush is noted again.
        """
        with self._lock:
            if most is None or most >= len(self._pending):
                pending, self._pending = self._pending, {}
            else:
                pending = {
                    host_id: self._pending.pop(host_id)
                    for host_id in list(itertools.islice(self._pending, most))
                }
            folds = self.clocks.due(now_ms) if not is_part and self.clocks.has_due else []
            if len(folds) > ROWS_MAX:
                self.clocks.again(folds[ROWS_MAX:])
                del folds[ROWS_MAX:]
            blocks = self.vitals.due(now_ms) if not is_part else []
        if pending:
            after_undo(tx, lambda: self._note_again(pending))
            rows.write_newest(tx, list(pending.values()))
        if folds:
            after_undo(tx, lambda: self._fold_again(folds))
            write_folds(tx, folds, now_ms)
        if blocks:
            after_undo(tx, lambda: self._keep_again(blocks))
            write_blocks(tx, blocks, now_ms)
        return len(pending)

    def own_clocks(self, wall_ms: int, mono_ms: int) -> None:
        """Our own two clocks, read together about once a second, so that a step of ours is nobody's."""
        with self._lock:
            self.clocks.own_clocks(wall_ms, mono_ms)

    def _fold_again(self, folds: list[Fold]) -> None:
        with self._lock:
            self.clocks.again(folds)

    def _keep_again(self, blocks: list[Block]) -> None:
        with self._lock:
            self.vitals.again(blocks)

    def pending(self) -> int:
        """Hosts whose newest heartbeat is not written yet."""
        return len(self._pending)

    def _check(self, body: bytes, token: str, now_ms: int) -> Accepted | Rejected:
        if not token:
            return NO_TOKEN
        if len(body) > self.limits.body_max:
            return Rejected(
                413, "too_large", f"A report may hold {self.limits.body_max} bytes; split the backlog."
            )
        entry = self.cache.by_token_hash(_hash(token))
        if entry is None:
            return BAD_TOKEN
        if entry.is_retired:
            return RETIRED
        if not self._has_room(entry, now_ms // 1000):
            return TOO_MANY
        try:
            report = self._decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return Rejected(400, "malformed", f"The body is not a report: {str(error)[:300]}")
        fault = fault_of(report)
        if fault:
            return Rejected(400, "malformed", fault[0].upper() + fault[1:])
        if not report.findings:
            return Accepted(entry, report, now_ms, ())
        return self._with_bodies(entry, report, now_ms)

    def _with_bodies(self, entry: HostEntry, report: Report, now_ms: int) -> Accepted | Rejected:
        bodies: list[msgspec.Raw] = []
        for change in report.findings:
            body = msgspec.json.encode(
                {"facts": change.facts, "evidence": change.evidence, "reason": change.reason}
            )
            fault = body_fault(body, change)
            if fault:
                return Rejected(400, "malformed", fault[0].upper() + fault[1:])
            bodies.append(msgspec.Raw(body))
        return Accepted(entry, report, now_ms, tuple(bodies))

    def _has_room(self, entry: HostEntry, second: int) -> bool:
        if entry.window_s != second:
            entry.window_s, entry.window_count = second, 0
        entry.window_count += 1
        return entry.window_count <= self.limits.reports_per_host_s

    def _note(self, accepted: Accepted) -> tuple[Sight, rows.Newest | None]:
        """Place the report beside those before it, once; the newest waits for the next flush."""
        if accepted.noted is None:
            accepted.noted = self._note_once(accepted)
        return accepted.noted

    def _note_once(self, accepted: Accepted) -> tuple[Sight, rows.Newest | None]:
        report, entry, received = accepted.report, accepted.entry, accepted.received_at_ms
        with self._lock:
            sight = entry.sight(
                report.boot_id, report.run_id, report.mono_ms, received, self.limits.clone_quiet_ms
            )
            if sight is Sight.OLDER:
                return sight, None
            terms = self._terms(entry.id, entry.contract_id)
            newest = rows.Newest(entry.id, report, received, terms.interval_s, terms.is_roll_out_announced)
            if sight is Sight.CLONE:
                newest.clone_seen_at_ms = entry.clone_seen_at_ms
            else:
                self.clocks.take(entry.id, report, received)
                self.vitals.take(entry, report.vitals, received)
            before = self._pending.get(entry.id)
            if before is not None:
                newest.keep_from(before)
            self._pending[entry.id] = newest
            return sight, newest

    def _note_again(self, pending: dict[str, rows.Newest]) -> None:
        with self._lock:
            for host_id, before in pending.items():
                newest = self._pending.get(host_id)
                if newest is None:
                    self._pending[host_id] = before
                else:
                    newest.keep_from(before)

    def _plan(
        self,
        tx: Connection,
        one: Accepted,
        known: rows.KnownStreams,
        batch: rows.Batch,
        urgent: list[rows.Newest],
    ) -> _Plan:
        """What becomes of one report, given the streams as they stand after those before it in the batch."""
        report, entry = one.report, one.entry
        sight, newest = self._note(one)
        stream = known.get((entry.id, report.stream))
        is_new = stream is None
        if stream is None:
            stream = rows.announce(tx, known, entry.id, report.stream, one.received_at_ms)
        plan = _Plan(one, stream.next_n, is_new)
        plan.follows_another = is_new and any(
            host == entry.id and name != report.stream for host, name in known
        )
        # A goodbye is an instruction to wait longer: it must not be lost with a process that dies before its flush.
        if newest is not None and (report.goodbye or is_new):
            urgent.append(newest)
        first = report.findings[0].n if report.findings else stream.next_n
        if first > stream.next_n:
            plan.rejected = Rejected(
                409,
                "out_of_order",
                f"Stream {report.stream} continues with n={stream.next_n}, and this report begins with n={first}.",
                want_n=stream.next_n,
            )
            return plan
        why = self._why_recorded(entry, sight)
        for change, body in zip(report.findings, one.bodies, strict=True):
            if change.n < stream.next_n:
                plan.repeated += 1
                continue
            batch.append(
                rows.finding_row(one, change, body, self._at_ms(one, change), why or _why_unknown(change))
            )
            stream.next_n = change.n + 1
            plan.appended += 1
        if plan.appended:
            batch.moved[(entry.id, report.stream)] = stream.next_n
        plan.is_clone = why is not None
        plan.want_n = stream.next_n
        return plan

    def _why_recorded(self, entry: HostEntry, sight: Sight) -> Reason | None:
        if sight is Sight.CLONE:
            return Reason("reason.intake.clone", {"host": entry.id, "seen_at_ms": entry.clone_seen_at_ms})
        return None

    def _at_ms(self, one: Accepted, change: FindingChange) -> int:
        """The finding's time: the agent's claim, unless its clock is absurd; then by the time of receipt."""
        report, received = one.report, one.received_at_ms
        offset = received - report.wall_ms
        if abs(offset) <= self.limits.absurd_clock_ms:
            return min(change.at_ms, received)
        if change.boot_id == report.boot_id and 0 < change.mono_ms <= report.mono_ms:
            return received - (report.mono_ms - change.mono_ms)
        return max(0, min(change.at_ms + offset, received))

    def _reply(self, one: Accepted, want_n: int, adopt: list[Adopt]) -> Reply:
        terms = self._terms(one.entry.id, one.entry.contract_id)
        is_behind = one.report.settings_version != terms.settings_version and terms.settings is not None
        return Reply(
            want_n=want_n,
            interval_s=terms.interval_s,
            settings_version=terms.settings_version,
            settings=dict(terms.settings) if is_behind and terms.settings is not None else None,
            adopt=adopt,
        )

    def _settle(self, plans: list[_Plan], now_ms: int) -> None:
        """After the commit: the cache learns what is durable, counters move, the tick is poked."""
        appended = 0
        with self._lock:
            for plan in plans:
                entry, report = plan.accepted.entry, plan.accepted.report
                if plan.is_new:
                    entry.stream, entry.next_n = report.stream, plan.want_n
                    if plan.follows_another or plan.offered:
                        entry.adopt_until_ms = now_ms + ADOPT_FOR_MS
                elif report.stream == entry.stream:
                    entry.next_n = max(entry.next_n, plan.want_n)
                    if entry.adopt_until_ms and not plan.offered and now_ms > entry.adopt_until_ms:
                        entry.adopt_until_ms = 0
                elif not entry.stream:
                    entry.stream, entry.next_n = report.stream, plan.want_n
                self.counts[plan.rejected.error if plan.rejected else "ok"] += 1
                self.finding_counts["repeated"] += plan.repeated
                self.finding_counts["clone" if plan.is_clone else "appended"] += plan.appended
                appended += plan.appended
        if appended:
            self._poke()


class _Plan:
    """What becomes of one report of a batch."""

    __slots__ = (
        "accepted",
        "appended",
        "follows_another",
        "is_clone",
        "is_new",
        "offered",
        "rejected",
        "repeated",
        "want_n",
    )

    def __init__(self, accepted: Accepted, want_n: int, is_new: bool) -> None:
        self.accepted = accepted
        self.want_n = want_n
        self.is_new = is_new
        self.follows_another = False
        """The stream is new and the host had another before: its findings may wait to be adopted."""
        self.rejected: Rejected | None = None
        self.appended = 0
        self.repeated = 0
        self.is_clone = False
        self.offered: list[Adopt] = []

    def may_adopt(self, now_ms: int) -> bool:
        """Whether findings of a lost stream may wait for this agent."""
        return self.rejected is None and (self.is_new or self.accepted.entry.adopt_until_ms > 0)


def _hash(token: str) -> str:
    return hashlib.sha256(token[:TOKEN_MAX].encode("utf-8", errors="replace")).hexdigest()


def _why_unknown(change: FindingChange) -> Reason | None:
    """A family of a newer agent: kept and shown, since refusing it would block its whole stream."""
    if change.family in FAMILIES:
        return None
    return Reason("reason.intake.unknown_family", {"family": change.family})


def _default_terms(host_id: str, contract_id: str) -> Terms:
    return _DEFAULT_TERMS


_DEFAULT_TERMS = Terms()


def _nobody() -> None:
    """Nobody to poke."""
