"""Reads the mailbox and puts letters on their tickets: one hand, bounded looks, everything a row first.

One round: connect if need be, take the new letters as rows, mark them on the server, then act on each waiting row in a
transaction of its own. Killed anywhere, the next round goes on from the rows. Only the decider's process reads; two that
overlap while the lease moves cannot take one letter twice. A mailbox that is away is tried again with growing waits.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from collector.mail_settings import MailIntakeSettings, MailSettings
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.workers import Hands
from config.clock import Clock
from config.log import fields
from ticketing.channels.mail import Replies
from ticketing.contracts import Book
from ticketing.letters import imap, rows
from ticketing.letters.acting import Acted, House, act_on_next
from ticketing.letters.answers import Bounds
from ticketing.letters.decide import Outcome, Policy
from ticketing.letters.parse import address_of
from ticketing.model import Reason

log = logging.getLogger(__name__)

WAIT_MAX_S = 600.0
"""Longest wait between two tries of a mailbox that is away."""

FETCH_TRIES = 3
"""A letter that the server cannot give so often is passed over, as a row that says so."""

ACT_TRIES = 3
"""A letter that breaks the acting so often in a row is held."""

KEY_BYTES = 32


class MailIntake:
    """The mailbox of one installation."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: CollectorSettings,
        book: Callable[[], Book],
        *,
        decides: Callable[[], bool],
        poke: Callable[[], None],
    ) -> None:
        """``decides`` = whether this process holds the lease; ``poke`` wakes the tick."""
        self._store = store
        self._clock = clock
        self._settings = settings.mail.intake
        self._house = house_of(settings) if settings.mail.intake.host else None
        self._name = mailbox_name(settings.mail.intake)
        self._book = book
        self._decides = decides
        self._poke = poke
        self._box: imap.Mailbox | None = None
        self._next_look_ms = 0
        self._failures = 0
        self._tries: dict[int, int] = {}
        self._act_failures = 0
        self._hands = Hands("mail", 1 if settings.mail.intake.host else 0, self._round, clock)

    def start(self) -> None:
        """Begin to read, where a mailbox is set."""
        self._hands.start()

    def stop(self) -> None:
        """Finish the letter in hand."""
        self._hands.stop()
        self._leave()

    def _round(self, name: str) -> int:
        if not self._decides():
            self._leave()
            return 0
        taken = self.look()
        return taken + self.act()

    def look(self) -> int:
        """Take what is new, where a look is due; how many letters."""
        now = self._clock.mono_ms()
        if now < self._next_look_ms:
            return 0
        self._next_look_ms = now + round(self._settings.every * 1000)
        try:
            taken = self._look()
        except imap.MailboxFault as fault:
            self._leave()
            self._failures += 1
            wait_s = min(WAIT_MAX_S, float(self._settings.every) * 2 ** min(self._failures, 10))
            self._next_look_ms = now + round(wait_s * 1000)
            told = fields(mailbox=self._name, error=fault, failures=self._failures, again_in_s=round(wait_s))
            log.warning("The mailbox cannot be read. %s", told)
            return 0
        if self._failures:
            log.info("The mailbox is read again. %s", fields(mailbox=self._name))
        self._failures = 0
        return taken

    def _look(self) -> int:
        if self._box is None:
            self._box = imap.connect(self._settings)
        box = self._box
        box.still()
        with self._store.read() as conn:
            known = rows.read_up_to(conn, self._name, box.uidvalidity)
        wanted = box.uids_after(known)
        taken = 0
        for uid in wanted[: self._settings.batch]:
            # One letter, one commit: a batch of large ones would hold the writer, and memory, for long.
            fetched = self._fetched(box, uid)
            if fetched is not None:
                taken += self._take(box.uidvalidity, fetched)
        self._mark(box)
        if len(wanted) > self._settings.batch:
            self._next_look_ms = 0
        return taken

    def _take(self, uidvalidity: int, fetched: rows.Fetched) -> int:
        now_ms = self._clock.now_ms()
        return self._store.write(lambda tx: rows.take(tx, self._name, uidvalidity, [fetched], now_ms))

    def _fetched(self, box: imap.Mailbox, uid: int) -> rows.Fetched | None:
        try:
            return box.fetch(uid)
        except imap.MailboxFault:
            self._tries[uid] = self._tries.get(uid, 0) + 1
            if self._tries[uid] < FETCH_TRIES:
                raise
            del self._tries[uid]
            log.error(
                "A letter cannot be fetched and is passed over. %s", fields(mailbox=self._name, uid=uid)
            )
            return rows.Fetched(uid, self._clock.now_ms(), b"", is_cut=True)

    def _mark(self, box: imap.Mailbox) -> None:
        with self._store.read() as conn:
            uids = rows.unmarked(conn, self._name, box.uidvalidity)
        if uids:
            box.mark(uids)
            now_ms = self._clock.now_ms()
            self._store.write(lambda tx: rows.mark(tx, self._name, box.uidvalidity, uids, now_ms))

    def act(self) -> int:
        """Act on waiting letters until none is left; how many."""
        house = self._house
        done = 0
        while house is not None and done < self._settings.batch:
            try:
                acted = self._act_once(house)
            except Exception as error:  # one letter's fault must not stop the others: it is held for a person
                self._act_failures += 1
                log.exception("A letter could not be acted on. %s", fields(tries=self._act_failures))
                if self._act_failures < ACT_TRIES:
                    break  # the store may be away for a moment; the row waits
                acted = self._hold(error)
            self._act_failures = 0
            if acted is None:
                break
            done += 1
            told = fields(mail=acted.mail_id, outcome=acted.outcome.value, ticket=acted.ticket_id)
            log.info("A letter was dealt with. %s", told)
        if done:
            self._poke()
        return done

    def _act_once(self, house: House) -> Acted | None:
        now_ms = self._clock.now_ms()
        return self._store.write(lambda tx: act_on_next(tx, self._book(), house, now_ms))

    def _hold(self, error: Exception) -> Acted | None:
        reason = Reason("reason.letter.broke", {"error": type(error).__name__})
        now_ms = self._clock.now_ms()

        def hold(tx: Connection) -> Acted | None:
            row = rows.next_received(tx)
            if row is None:
                return None
            rows.settle(tx, row["id"], Outcome.HELD, reason, now_ms)
            return Acted(row["id"], Outcome.HELD, None, reason)

        return self._store.write(hold)

    def _leave(self) -> None:
        if self._box is not None:
            self._box.close()
            self._box = None


def mailbox_name(settings: MailIntakeSettings) -> str:
    """What rows call the mailbox; the same for every process that reads it."""
    return f"{settings.user}@{settings.host}:{settings.port}/{settings.folder}"[:200]


def house_of(settings: CollectorSettings) -> House:
    """What acting on letters needs of the settings; reads or makes the key."""
    intake = settings.mail.intake
    own = {intake.address.lower(), address_of(settings.mail.sender)} - {""}
    strangers = intake.strangers
    bounds = Bounds(
        language=strangers.language,
        contact=strangers.contact,
        again_after_ms=round(strangers.again_after * 1000),
        per_hour=strangers.per_hour,
    )
    return House(
        key=token_key(settings.mail, settings.state_dir),
        own_addresses=frozenset(own),
        policy=Policy(per_sender_hour=intake.per_sender_hour),
        authserv_id=intake.authserv_id,
        answers=bounds if strangers.answer else None,
    )


def replies_of(settings: CollectorSettings) -> Replies | None:
    """Where answers to our mail go; None where no mailbox is read."""
    intake = settings.mail.intake
    if not intake.host:
        return None
    return Replies(intake.address, token_key(settings.mail, settings.state_dir), intake.plus_addresses)


def token_key(settings: MailSettings, state_dir: Path) -> bytes:
    """The key that signs reply tokens; made once where no file is named. OSError where it cannot be read."""
    file = settings.token_key_file
    if file is None:
        file = state_dir / "reply-tokens.key"
        if not file.exists():
            _make_key(file)
    key = file.read_bytes().strip()
    if len(key) < 16:
        raise OSError(22, f"{file} holds no key: at least 16 bytes are needed")
    return key


def _make_key(file: Path) -> None:
    """Whole or not at all: a key that was cut off by a crash would make every token so far worthless."""
    fresh = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(secrets.token_hex(KEY_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass  # another process was first: its key is the key
    finally:
        fresh.unlink()
