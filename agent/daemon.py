"""`vartovyi-agent run`: the loop that joins clock, samplers, core, sender and systemd.

One thread turns the loop and alone touches core and spool; samplers, the sender and the metrics page run beside it
and can hang without it. A turn never waits longer than a second, so the watchdog and the heartbeat stand on it; it is
fed from the loop and from nowhere else. The turn itself is ``Daemon.turn``, and the tests drive it with their clock.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import threading
from pathlib import Path
from typing import List, Optional

from agent.core import AgentCore, Awaited, Identity, Status
from agent.findings import Now
from agent.forensics import Accounts
from agent.given import Given, GivenFault, version
from agent.history import History
from agent.host import boot_id, is_host_stopping, is_rolling_out, own_address
from agent.inventory import Inventory
from agent.lookout import Lookout
from agent.page import JSON, TEXT, Page, open_page
from agent.samplers.base import LoopNotes
from agent.samplers.registry import FIRST, make_samplers, sampled_by
from agent.send import Answered, Cadence, Failed, Link, Sender, read_token
from agent.settings import AgentSettings
from agent.signals.sample import Sample
from agent.spool import Spool
from agent.status import snapshot
from agent.sweeps import Sweeps
from agent.usual import UsualHours
from agent.wire import FindingChange, Reply, to_json
from config.clock import Clock
from config.log import fields
from config.notify import notify, watchdog_interval_s

LOG = logging.getLogger("agent.daemon")
TURN_MAX_S = 1.0
GAP_MS = 500
"""A turn later than this is a gap: a sample says how long, and ``HOLE_MS`` restarts the windows."""
HOLE_MS = 3_000
GOODBYE_S = 3.0
"""Longest time that the last report may take; systemd waits longer before it kills."""
FIRST_NUMBERS_MS = 150
"""How long the first report waits for the first counters: one that hangs must not make the start look slow."""
FIRST_PAGE_MS = 1_000
"""How long the first page waits for the first report's answer."""
OWN_EVERY_S = 10.0
"""How often our own signals are judged and the pages rendered, at most."""
IDLE_SWEEPS = 6
"""A page that nobody reads is rendered once in so many sweeps."""
EX_TEMPFAIL = 75


class Daemon:
    """One run of the agent."""

    def __init__(self, given: Given, clock: Clock, chance: random.Random, *, root: Path = Path("/")) -> None:
        self.given = given
        self.clock = clock
        self.wake = threading.Event()
        self._root = root
        self._chance = chance
        settings = given.settings
        self.spool = Spool.open(
            settings.state_dir, new_id=lambda: os.urandom(8).hex(), max_bytes=settings.spool.max_size
        )
        for note in self.spool.notes:
            LOG.warning("%s", note)
        from agent.signals.catalogue import UNITS

        self.usual = UsualHours.open(settings.state_dir)
        now = self.now()
        identity = Identity(
            version(), boot_id(root), os.urandom(8).hex(), own_address(settings.collector.url)
        )
        self.core = AgentCore(
            self.spool,
            given.rules,
            identity,
            now,
            units=UNITS,
            gather=self._gather if settings.evidence else None,
            usual=self.usual,
        )
        self.notes = LoopNotes(newest=self.core.history.value)
        self.accounts = Accounts()
        self.inventory = Inventory(root, now.mono_ms)
        self.sweeps = Sweeps(
            make_samplers(settings, root, self.notes),
            settings.period,
            settings.deadline,
            clock,
            self.wake.set,
        )
        self.interval_s = settings.interval
        self.cadence = Cadence(settings.interval, settings.collector.retry_max, chance, now.mono_ms)
        self.sender = self._make_sender(settings)
        self.lookout = Lookout(clock, chance)
        self.page: Optional[Page] = None
        self.last_reply_ms: Optional[int] = None
        self.last_error = ""
        self.rtt_ms: Optional[float] = None
        self._woke_ms = now.mono_ms
        self._wait_ms = 0
        self._born_ms = now.mono_ms
        self._trial_ms = now.mono_ms
        self._is_greeted = False
        self._fed_ms = 0
        self._own_ms = 0
        self._shown_ms = 0
        self._rendered_ms: Optional[int] = None
        self._is_page_first = True
        self._stop_signal = 0
        self._is_reload_asked = False

    def now(self) -> Now:
        """The three clocks, read together."""
        return Now(self.clock.now_ms(), self.clock.mono_ms(), self.clock.boottime_ms())

    def run(self) -> int:
        """Turn until SIGTERM or SIGINT; the exit status."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        if self.sender is not None:
            self.sender.start()
        self.lookout.follow(self.given.settings)
        metrics = self.given.settings.metrics
        self.page = open_page(self.given.settings.state_dir, metrics.listen, metrics.max_connections)
        told = fields(version=version(), stream=self.spool.stream, rules=len(self.given.rules))
        LOG.info("the agent runs %s", told)
        notify("READY=1\nSTATUS=watching")
        while not self._stop_signal:
            self.turn()
            self.wait()
        return self.stop()

    def turn(self) -> None:
        """One pass: gap, reload, samplers, findings, replies, report, watchdog. Nothing in it waits."""
        now = self.now()
        self._look_for_gap(now)
        if self._is_reload_asked:
            self._is_reload_asked = False
            self.reload(now)
        self.sweeps.start_due(now.mono_ms)
        self._take_sweeps(now)
        self._take_outcomes(now)
        self._end_trial(now)
        self._take_own(now)
        self._send_if_due(now)
        self._feed(now)
        self._show(now)
        self._keep_usual(now)

    def wait(self) -> None:
        """Until the next thing is due, a thread woke us, or a second has passed."""
        now_ms = self.clock.mono_ms()
        due_ms = min(now_ms + int(TURN_MAX_S * 1000), self.sweeps.next_due_ms())
        send_ms = self.cadence.due_ms(has_news=self.core.has_news, now_ms=now_ms) if self.sender else None
        if send_ms is not None:
            due_ms = min(due_ms, send_ms)
        # At least 20 ms: several sweeps that come back one after another are one turn.
        self._wait_ms = max(20, due_ms - now_ms)
        self.clock.wait(self.wake, self._wait_ms / 1000)
        self.wake.clear()

    def reload(self, now: Now) -> None:
        """Read settings and rules again; a faulty file changes nothing and is reported."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={now.mono_ms * 1000}")
        try:
            given = self.given.again()
        except GivenFault as fault:
            LOG.error("the new settings are refused, the old ones stay: %s", fault)
            self.given.fault = str(fault)
            notify("READY=1\nSTATUS=watching; new settings refused")
            return
        self._put_in_force(given, now)
        LOG.info("settings and rules were read again %s", fields(rules=len(given.rules)))
        notify("READY=1\nSTATUS=watching")

    def stop(self) -> int:
        """Say goodbye with the reason, within a bounded time; the exit status."""
        notify("STOPPING=1\nSTATUS=saying goodbye")
        reason = self._why_stopping()
        LOG.info("the agent stops %s", fields(reason=reason))
        self.notes.goodbye(reason)
        self.sweeps.stop()
        now = self.now()
        self._take_sweeps(now)
        self.core.store_held()
        self.usual.save()
        if self.sender is not None:
            self._say_goodbye(reason)
            self.sender.stop()
        self.lookout.stop()
        if self.page is not None:
            self.page.close()
        self.spool.close()
        return 0

    def _why_stopping(self) -> str:
        if is_host_stopping():
            return "host_shutdown"
        return "roll_out" if is_rolling_out(self._root, self.clock.now_ms()) else "service_stop"

    def status(self, now: Now) -> Status:
        """What goes into every report about ourselves."""
        return Status(
            interval_s=self.interval_s,
            lacks=self.sweeps.lacks(),
            found=self.inventory.words(now.mono_ms),
            sweep_age_s=self.sweeps.ages_s(now.mono_ms),
            settings_version=self.given.version,
            settings_fault=self.given.fault,
            rtt_ms=self.rtt_ms,
        )

    def _on_stop(self, number: int, frame: object) -> None:
        self._stop_signal = number
        self.wake.set()

    def _on_reload(self, number: int, frame: object) -> None:
        self._is_reload_asked = True
        self.wake.set()

    def _look_for_gap(self, now: Now) -> None:
        # Counted from the last turn's beginning: a freeze may fall into the turn itself as well as into the wait.
        late_ms = now.mono_ms - self._woke_ms - self._wait_ms
        self._woke_ms, self._wait_ms = now.mono_ms, 0
        if late_ms < GAP_MS:
            return
        self.notes.late_s = max(self.notes.late_s, late_ms / 1000)
        LOG.info("the agent did not run for a while %s", fields(gap_s=round(late_ms / 1000, 1)))
        if late_ms >= HOLE_MS:
            self.core.hole(now)
            self.sweeps.hurry(now.mono_ms)

    def _take_sweeps(self, now: Now) -> None:
        self._tell(self.core.store_held())
        for sweep in self.sweeps.brought():
            if not sweep.is_failed:
                accounts = self.accounts.of(sweep.samples, now.wall_ms, now.mono_ms)
                self._tell(self.core.take([*sweep.samples, *accounts], now, sweep.name))

    def _take_own(self, now: Now) -> None:
        """Signals about ourselves, through the same rules as everything else."""
        if now.mono_ms - self._own_ms < min(self.given.settings.period, OWN_EVERY_S) * 1000:
            return
        self._own_ms = now.mono_ms
        self.notes.is_suspicious = self.notes.collector_answers is False or self.core.is_grave
        stuck = self.sweeps.stuck()
        samples = [
            Sample("agent.sampler_stuck", name, is_stuck, now.mono_ms) for name, is_stuck in stuck.items()
        ]
        used = self.spool.live_bytes / self.spool.max_bytes * 100
        samples.append(Sample("agent.spool_used_pct", "", 100.0 if self.core.held else used, now.mono_ms))
        samples.append(Sample("agent.settings_refused", "", bool(self.given.fault), now.mono_ms))
        self._tell(self.core.take(samples, now, "agent"))

    def _tell(self, changes: List[FindingChange]) -> None:
        for change in changes:
            LOG.info(
                "a finding was %s %s",
                change.kind,
                fields(
                    rule=change.rule,
                    subject=change.subject,
                    severity=change.severity,
                    n=change.n,
                    reason=change.reason,
                ),
            )

    def _keep_usual(self, now: Now) -> None:
        if self.usual.save_if_due(now.mono_ms) or self.usual.notes:
            for note in self.usual.notes:
                LOG.warning("%s", note)
            self.usual.notes.clear()

    def _take_outcomes(self, now: Now) -> None:
        if self.sender is None:
            return
        for outcome in self.sender.outcomes():
            is_answered = isinstance(outcome, Answered)
            # One that answers with an error is reached all the same: the rung is the way, not the program on it.
            self.notes.collector_answers = is_answered or bool(getattr(outcome, "status", 0))
            accounts = self.accounts.heard(is_answered, self.core.history.value, now.wall_ms, now.mono_ms)
            if accounts:
                self._tell(self.core.take(accounts, now))
            if isinstance(outcome, Answered):
                self.cadence.answered()
                if self.last_error:
                    LOG.info("the collector answers again")
                self.last_reply_ms, self.last_error, self.rtt_ms = now.mono_ms, "", outcome.took_ms
                self._prove()
                self._take_reply(outcome.reply, outcome.stream, now)
            elif isinstance(outcome, Failed):
                self.cadence.failed(now.mono_ms, outcome.retry_after_s)
                detail = f"status {outcome.status}: {outcome.detail}" if outcome.status else outcome.detail
                if detail != self.last_error:
                    LOG.warning("the collector did not take the report %s", fields(detail=detail))
                self.last_error = detail

    def _take_reply(self, reply: Reply, stream: str, now: Now) -> None:
        try:
            self._tell(self.core.replied(reply, now, stream=stream))
        except OSError as error:
            LOG.error("the spool could not be written %s", fields(error=error))
        limits = self.given.settings.remote
        if reply.interval_s is not None:
            self.interval_s = min(max(reply.interval_s, limits.min_interval), limits.max_interval)
            self.cadence.interval_s = self.interval_s
        if reply.settings is not None and reply.settings_version != self.given.version:
            try:
                given = self.given.with_remote(reply.settings, reply.settings_version)
            except GivenFault as fault:
                LOG.error(
                    "settings from the collector are refused %s",
                    fields(version=reply.settings_version, why=fault),
                )
                self.given.refuse(reply.settings_version, str(fault))
                return
            self._put_in_force(given, now)
            self._trial_ms = now.mono_ms
            # The report that proves them leaves at once, whatever the interval is.
            self.cadence.hurry(now.mono_ms)
            LOG.info("settings from the collector are in force %s", fields(version=reply.settings_version))

    def _prove(self) -> None:
        """A report was answered: settings on trial stay."""
        if self.given.is_on_trial:
            try:
                self.given.proved()
            except GivenFault as fault:
                LOG.warning("settings that stay could not be noted %s", fields(why=fault))

    def _end_trial(self, now: Now) -> None:
        """Settings under which no report was answered in time are taken back."""
        limit_ms = self.given.settings.remote.trial * 1000
        if not self.given.is_on_trial or now.mono_ms - self._trial_ms < limit_ms:
            return
        refused = self.given.version
        why = f"taken back: no report was answered within {limit_ms / 1000:g} s under them"
        LOG.error("settings from the collector are taken back %s", fields(version=refused))
        self._put_in_force(self.given.taken_back(why), now)

    def _put_in_force(self, given: Given, now: Now) -> None:
        old, self.given = self.given, given
        self._tell(self.core.set_rules(given.rules, now))
        if sampled_by(old.settings) != sampled_by(given.settings):
            self.sweeps.stop()
            self.sweeps = Sweeps(
                make_samplers(given.settings, self._root, self.notes),
                given.settings.period,
                given.settings.deadline,
                self.clock,
                self.wake.set,
            )
        self.lookout.follow(given.settings)
        if old.settings.collector != given.settings.collector:
            if self.sender is not None:
                self.sender.stop()
            self.sender = self._make_sender(given.settings)
            if self.sender is not None:
                self.sender.start()
            self.cadence = Cadence(
                self.interval_s, given.settings.collector.retry_max, self._chance, now.mono_ms
            )

    def _send_if_due(self, now: Now) -> None:
        if self.sender is None:
            return
        if not self._is_greeted:
            # The first report leaves with the cheap counters, or without them when they take long: a ring of kernel
            # lines, checks and the account of the last boot come with the next one.
            if not self.sweeps.has_swept(FIRST) and now.mono_ms - self._born_ms < FIRST_NUMBERS_MS:
                return
            self._is_greeted = True
        due_ms = self.cadence.due_ms(has_news=self.core.has_news, now_ms=now.mono_ms)
        if due_ms is None or due_ms > now.mono_ms:
            return
        report = self.core.report(now, self.status(now))
        self.sender.hand_over(to_json(report), report.stream)
        self.cadence.sent(now.mono_ms)

    def _say_goodbye(self, reason: str) -> None:
        """Wait for a report under way, then send the last one; all of it within GOODBYE_S of monotonic time."""
        assert self.sender is not None
        until_ms = self.clock.mono_ms() + int(GOODBYE_S * 1000)
        is_said = False
        while self.clock.mono_ms() < until_ms:
            now = self.now()
            self._take_outcomes(now)
            due_ms = self.cadence.due_ms(has_news=False, now_ms=now.mono_ms)
            if due_ms is not None and is_said:
                return
            if due_ms is not None:
                report = self.core.goodbye(reason, now, self.status(now))
                self.sender.hand_over(to_json(report), report.stream)
                self.cadence.sent(now.mono_ms)
                is_said = True
            self.clock.wait(self.wake, 0.1)
            self.wake.clear()

    def _feed(self, now: Now) -> None:
        every_s = watchdog_interval_s()
        if every_s is not None and now.mono_ms - self._fed_ms >= every_s * 500:
            self._fed_ms = now.mono_ms
            notify("WATCHDOG=1")

    def _gather(self, change: FindingChange, history: History) -> Awaited:
        from agent.gathering import Gathering

        words = self.notes.last_words if "boot.wtmp_shutdown" in change.facts else []
        return Gathering(
            change, history, self.given.settings, self._root, self.clock, self.wake.set, words=tuple(words)
        )

    def _make_sender(self, settings: AgentSettings) -> Optional[Sender]:
        if not settings.collector.url:
            LOG.warning("no collector is set: findings are judged, kept and shown, but reported to nobody")
            return None
        return Sender(Link(settings.collector, read_token(settings.collector)), self.wake.set)

    def _show(self, now: Now) -> None:
        """Render the pages, once a sweep where somebody reads them: the next scrape is a write of ready bytes."""
        every_ms = int(min(self.given.settings.period, OWN_EVERY_S) * 1000)
        is_first = self._is_page_first and self.sweeps.all_swept()
        if self.page is None or (now.mono_ms - self._shown_ms < every_ms and not is_first):
            return
        is_report_under_way = self.sender is not None and self.notes.collector_answers is None
        if is_report_under_way and now.mono_ms - self._born_ms < FIRST_PAGE_MS:
            return  # rendering loads prometheus-client, which the first report must not wait for
        self._shown_ms = now.mono_ms
        self._is_page_first = self._is_page_first and not is_first
        # Nobody scrapes here: the page is kept no older than a minute for whoever comes first, and fresh from then on.
        is_young = self._rendered_ms is not None and now.mono_ms - self._rendered_ms < IDLE_SWEEPS * every_ms
        is_wanted = is_first or not is_young or self.page.is_read("/metrics")
        if self.given.settings.metrics.listen and is_wanted:
            from agent.metrics import render

            self._rendered_ms = now.mono_ms
            self.page.show("/metrics", render(self, now), TEXT)
        self.page.show("/status", json.dumps(snapshot(self, now), ensure_ascii=False).encode(), JSON)
