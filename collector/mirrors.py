"""The hands that look at external desks: what changed there, ticket by ticket; and the door of their webhooks.

Every collector may look; claims in the store see to it that only one does at a time. A webhook is believed for nothing
but the number of a ticket that is then read, so one that repeats, lies or comes late does no harm.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collector.settings import OutboxSettings
from collector.store.engine import Store
from collector.workers import Hands
from config.clock import Clock
from config.log import fields
from ticketing.mirrors import links, returns
from ticketing.mirrors.delivery import Mirrors
from ticketing.mirrors.desk import Fault
from ticketing.mirrors.terms import DeskTerms
from ticketing.tables import RowLike

log = logging.getLogger(__name__)

FAILED_AGAIN_MS = 60_000
SIGNATURE_HEADERS = ("x-redmine-signature-256", "x-vartovyi-signature-256")
MAX_SECRET_BYTES = 4096


class MirrorLooks:
    """Asks desks what changed and looks at what did."""

    def __init__(self, store: Store, clock: Clock, mirrors: Mirrors, settings: OutboxSettings) -> None:
        self._store = store
        self._clock = clock
        self._mirrors = mirrors
        self._hold_ms = round(1000 * float(settings.claim_s))
        workers = settings.workers if mirrors.desks.terms else 0
        self._hands = Hands("mirror", workers, self.round, clock)

    def prepare(self) -> None:
        """Write a row for each desk that settings name."""
        now_ms = self._clock.now_ms()
        self._store.write(lambda tx: links.follow_desks(tx, self._mirrors.desks.terms, now_ms))

    def start(self) -> None:
        """Begin to look."""
        self.prepare()
        self._hands.start()

    def wake(self) -> None:
        """A desk says that something changed."""
        self._hands.wake()

    def stop(self) -> None:
        """Finish the looks in hand."""
        self._hands.stop()

    def round(self, _: str = "") -> int:
        """One look, or one question to a desk; 0 when nothing is due."""
        now_ms = self._clock.now_ms()
        link = self._store.write(lambda tx: links.claim_look(tx, now_ms, self._hold_ms))
        if link is not None:
            returns.look(link, self._mirrors)
            return 1
        names = list(self._mirrors.desks.terms)
        desk = self._store.write(lambda tx: links.claim_desk(tx, names, now_ms, self._hold_ms))
        if desk is None:
            return 0
        self._ask(desk)
        return 1

    def _ask(self, desk: RowLike) -> None:
        name = desk["name"]
        try:
            changed = self._mirrors.desks.desk(name).changed(desk["cursor"])
        except Fault as fault:
            log.warning("A desk does not say what changed. %s", fields(desk=name, error=str(fault)))
            self._mirrors.failed(name, fault)
            at_ms = self._clock.now_ms() + FAILED_AGAIN_MS
            self._store.write(lambda tx: links.asked(tx, name, None, at_ms))
            return
        now_ms = self._clock.now_ms()
        next_ms = now_ms + round(1000 * float(self._mirrors.desks.terms[name].every))

        def write(tx: Any) -> None:
            # The cursor moves with the looks that follow from it, or not at all.
            links.notice_stamps(tx, name, changed.stamps, now_ms)
            links.asked(tx, name, changed.cursor, next_ms)
            links.well(tx, name)

        self._store.write(write)


def is_signed(terms: DeskTerms, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a webhook's body carries the HMAC-SHA256 of our secret for this desk: ``sha256=HEX``."""
    if terms.hook_secret_file is None:
        return False
    secret = read_secret(terms.hook_secret_file)
    given = next((headers[name] for name in SIGNATURE_HEADERS if name in headers), "")
    wanted = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return bool(secret) and hmac.compare_digest(given.strip().lower().encode(), wanted.encode())


def read_secret(file: Path) -> bytes:
    """The webhook's secret; empty where the file gives none, and then no signature is good."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_SECRET_BYTES).strip()
    except OSError as error:
        log.warning("A webhook's secret cannot be read. %s", fields(file=str(file), error=str(error)))
        return b""
