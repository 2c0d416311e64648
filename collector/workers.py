"""The few hands that deliver messages: they claim rows, act outside any transaction, settle rows.

A hand that hangs holds one claim, which runs out; the tick never waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from collector import mail_parts
from collector.failover import asking
from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.clock import Clock
from config.log import fields
from ticketing import figures, outbox, provider_cases
from ticketing.channels import chat, mail, provider_api, webhook
from ticketing.contracts import Book
from ticketing.messages import Part
from ticketing.mirrors import delivery
from ticketing.mirrors.delivery import Mirrors
from ticketing.mirrors.links import CHANNEL

log = logging.getLogger(__name__)

IDLE_S = 2.0
"""How long an idle worker sleeps when nobody wakes it."""


class Hands:
    """Threads that repeat one piece of work; each sleeps when it found nothing, until it is woken."""

    def __init__(self, name: str, count: int, work: Callable[[str], int], clock: Clock) -> None:
        """``work`` takes the worker's name and returns how many rows it settled."""
        self._work = work
        self._clock = clock
        self._stopping = threading.Event()
        self._wakes = [threading.Event() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(f"{name}{n}", wake), name=f"{name}-{n}", daemon=True)
            for n, wake in enumerate(self._wakes)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        for wake in self._wakes:
            wake.set()

    def stop(self) -> None:
        """Finish what is in hand."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self, name: str, wake: threading.Event) -> None:
        while not self._stopping.is_set():
            wake.clear()
            try:
                settled = self._work(name)
            except (
                Exception
            ):  # the loop's boundary: a broken row or a database that is away must not end the hand
                log.exception("A worker's round failed. %s", fields(worker=name))
                settled = 0
            if not settled:
                self._clock.wait(wake, IDLE_S)


class OutboxWorkers:
    """Delivers the outbox's rows."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: CollectorSettings,
        worker: str,
        *,
        replies: mail.Replies | None = None,
        mirrors: Mirrors | None = None,
        book: Callable[[], Book] | None = None,
    ) -> None:
        """``replies`` = where answers to our mail go; None where no mailbox is read. ``mirrors`` = external desks.

        ``book`` = the contracts in force; without it mails say nothing of what happened around their tickets.
        """
        self._book = book
        self._store = store
        self._mirrors = mirrors
        self._replies = replies
        self._clock = clock
        self._settings = settings
        self._worker = worker
        self._hands = Hands("outbox", settings.outbox.workers, self.round, clock)

    def start(self) -> None:
        """Begin to deliver."""
        self._hands.start()

    def wake(self) -> None:
        """Rows may be due."""
        self._hands.wake()

    def stop(self) -> None:
        """Finish the deliveries in hand."""
        self._hands.stop()

    def round(self, name: str) -> int:
        """Deliver the next due row; how many there were."""
        worker = f"{self._worker}:{name}"[:64]
        now_ms = self._clock.now_ms()
        hold_ms = round(1000 * float(self._settings.outbox.claim_s))
        # One at a time: a claim must outlast every delivery made under it, and each may take its whole time-out.
        rows = self._store.write(lambda tx: outbox.claim(tx, worker, now_ms, 1, hold_ms=hold_ms))
        for row in rows:
            self._deliver(row, worker)
        return len(rows)

    def _deliver(self, row: Any, worker: str) -> None:
        try:
            result = self._send(row)
        except Exception as error:  # a bug in a channel: this row waits, the others go on
            log.exception("A delivery broke. %s", fields(outbox_id=row["id"], channel=row["channel"]))
            result = outbox.Later(f"internal: {type(error).__name__}: {error}")
        now_ms = self._clock.now_ms()
        state = self._store.write(lambda tx: self._settle(tx, row, result, now_ms, worker))
        if state != "delivered":
            told = fields(
                outbox_id=row["id"], channel=row["channel"], state=state, error=getattr(result, "error", "")
            )
            log.warning("A message was not delivered. %s", told)

    @staticmethod
    def _settle(tx: Connection, row: Any, result: outbox.Result, now_ms: int, worker: str) -> str:
        state = outbox.settle(tx, row["id"], result, now_ms, worker=worker)
        if isinstance(result, outbox.Delivered) and result.reference and row["channel"] == "provider":
            provider_cases.note_number(tx, row["ticket_id"], result.reference)
        return state

    def _send(self, row: Any) -> outbox.Result:
        if row["channel"] == "mail":
            return mail.deliver(row, self._settings.mail, self._extras(row))
        if row["channel"] == "webhook":
            return webhook.deliver(row, self._settings, clock=self._clock)
        if row["channel"] == "chat":
            return chat.deliver(row, self._settings.public_url, self._act_url(row))
        if row["channel"] == "provider":
            return provider_api.deliver(row, clock=self._clock)
        if row["channel"].startswith(CHANNEL) and self._mirrors is not None:
            return delivery.deliver(row, self._mirrors)
        return outbox.GaveUp(f"no such channel: {row['channel']}")

    def _extras(self, row: Any) -> mail.Extras:
        """The plots are of what the desk knew when the mail was written, so that every attempt shows the same."""
        shown: Sequence[Mapping[str, Any]] = ()
        beside: Sequence[Part] = ()
        if row["ticket_id"] is not None:
            with self._store.read() as conn:
                shown = figures.evidence(conn, row["ticket_id"], row["created_at_ms"])
                if self._book is not None and "letter" not in row["payload"]:
                    beside = mail_parts.around(conn, self._book(), row["payload"])
        return mail.Extras(self._settings.public_url, self._replies, shown, beside, self._act_url(row))

    def _act_url(self, row: Any) -> str:
        """The one-time link of a message that asks its reader to decide: it lives in this attempt alone."""
        if "switch" not in row["payload"]:
            return ""
        url, now_ms = self._settings.public_url, self._clock.now_ms()
        return self._store.write(lambda tx: asking.link_for(tx, row["payload"], url, now_ms))
