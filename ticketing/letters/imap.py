"""A mailbox by IMAP: the one door to imaplib. Reads, marks, and decides nothing.

One folder, read by UID in rising order. Every answer of the server is distrusted as far as it can be: lengths are asked
before a letter is fetched, each call has a time-out, and whatever does not look as the protocol says is a
``MailboxFault``. Letters are read with PEEK, so that nothing is marked before its row is durable.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import imaplib
import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ticketing.letters.rows import Fetched

TAKEN = "$VartovyiTaken"
"""Keyword that says on the server that the desk has this letter."""

_SIZE = re.compile(rb"RFC822\.SIZE (\d+)")
_DATE = re.compile(rb'INTERNALDATE "([^"]{1,40})"')
_UID = re.compile(rb"\d+")


class MailboxFault(Exception):
    """The mailbox cannot be used now; the text says why and holds no secret."""


class MailboxSettings(Protocol):
    """Where letters are read; the collector's settings have this shape."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> str:
        """none (loopback only), starttls or tls."""
        ...

    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path | None: ...
    @property
    def ca_file(self) -> Path | None:
        """What the server's certificate must come from; None = the system's CAs."""
        ...

    @property
    def folder(self) -> str: ...
    @property
    def done_folder(self) -> str:
        """Where letters go that were taken; "" = they stay, marked as seen."""
        ...

    @property
    def timeout_s(self) -> float: ...
    @property
    def letter_max(self) -> int: ...


class Mailbox:
    """An open folder. Made by ``connect``; any fault ends it, and the next one is made anew."""

    def __init__(self, imap: imaplib.IMAP4, settings: MailboxSettings, uidvalidity: int) -> None:
        self._imap = imap
        self._settings = settings
        self.uidvalidity = uidvalidity

    def uids_after(self, uid: int) -> list[int]:
        """UIDs above this one, rising."""
        found = self._call("SEARCH", f"{uid + 1}:*", command="UID", first="SEARCH")
        # "n:*" holds the last letter even where its UID is below n.
        return sorted({int(number) for number in _UID.findall(found) if int(number) > uid})

    def fetch(self, uid: int) -> Fetched | None:
        """One letter, at most ``letter_max`` octets of it; None where it is gone meanwhile."""
        bound = self._settings.letter_max
        size = date = None
        for part in self._fetched(uid, "(RFC822.SIZE INTERNALDATE)"):
            head = part[0] if isinstance(part, tuple) else part
            size = size or _SIZE.search(head or b"")
            date = date or _DATE.search(head or b"")
        if size is None:
            return None
        is_cut = int(size[1]) > bound
        wanted = f"(BODY.PEEK[]<0.{bound}>)" if is_cut else "(BODY.PEEK[])"
        raw = next((part[1] for part in self._fetched(uid, wanted) if isinstance(part, tuple)), None)
        if raw is None:
            return None
        return Fetched(uid, _instant_ms(date[1] if date else b""), bytes(raw[:bound]), is_cut)

    def mark(self, uids: Sequence[int]) -> None:
        """Say on the server that these are taken, and move them where the settings name a folder."""
        named = ",".join(str(uid) for uid in uids)
        self._call("STORE", named, "+FLAGS.SILENT", r"(\Seen)", command="UID")
        with contextlib.suppress(MailboxFault):  # a server without keywords of one's own says NO
            self._call("STORE", named, "+FLAGS.SILENT", f"({TAKEN})", command="UID")
        if self._settings.done_folder:
            self._call("MOVE", named, _quoted(self._settings.done_folder), command="UID")

    def still(self) -> None:
        """Ask the server whether it is there, and let it tell of new letters."""
        self._call(command="NOOP")

    def close(self) -> None:
        """Leave; a server that is away is left all the same."""
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            self._imap.logout()

    def _fetched(self, uid: int, what: str) -> list[Any]:
        try:
            word, parts = self._imap.uid("FETCH", str(uid), what)
        except (imaplib.IMAP4.error, OSError, ValueError) as error:
            raise MailboxFault(_said(error)) from None
        if word != "OK":
            raise MailboxFault(f"the server refused to give a letter: {_words(parts)}")
        return [part for part in parts if part is not None]

    def _call(self, *args: str, command: str, first: str = "") -> bytes:
        try:
            if command == "NOOP":
                word, parts = self._imap.noop()
            elif first == "SEARCH":
                word, parts = self._imap.uid("SEARCH", "UID", *args[1:])
            else:
                word, parts = self._imap.uid(*args)
        except (imaplib.IMAP4.error, OSError, ValueError) as error:
            raise MailboxFault(_said(error)) from None
        if word != "OK":
            raise MailboxFault(
                f"the server refused {command} {first or (args[0] if args else '')}: {_words(parts)}"
            )
        return b" ".join(part for part in parts if isinstance(part, bytes))


def connect(settings: MailboxSettings) -> Mailbox:
    """Log in and open the folder; raises MailboxFault."""
    password = _password(settings)
    try:
        imap = _connected(settings)
    except (imaplib.IMAP4.error, OSError) as error:
        raise MailboxFault(f"{settings.host}:{settings.port} cannot be reached: {_said(error)}") from None
    try:
        try:
            imap.login(settings.user, password)
        except (imaplib.IMAP4.error, UnicodeError):
            # What the server says may repeat what it was given.
            raise MailboxFault("the server refused our log-in") from None
        word, parts = imap.select(_quoted(settings.folder))
        if word != "OK":
            raise MailboxFault(f"folder {settings.folder} cannot be opened: {_words(parts)}")
        # What a server can do is told anew after the log-in, which the library does not ask for.
        _, told = imap.capability()
        if settings.done_folder and b"MOVE" not in (told[-1] or b"").upper().split():
            raise MailboxFault("done_folder needs a server that knows MOVE (RFC 6851); leave it empty here")
        _, validity = imap.response("UIDVALIDITY")
        number = validity[0] if validity else None
        if not isinstance(number, bytes) or not number.isdigit():
            raise MailboxFault("the server names no UIDVALIDITY")
        return Mailbox(imap, settings, int(number))
    except MailboxFault:
        _drop(imap)
        raise
    except (imaplib.IMAP4.error, OSError, ValueError) as error:
        _drop(imap)
        raise MailboxFault(_said(error)) from None


def _trusted(settings: MailboxSettings) -> ssl.SSLContext:
    """Certificate and name are checked, always; OSError where ca_file cannot be read."""
    return ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))


def _connected(settings: MailboxSettings) -> imaplib.IMAP4:
    if settings.tls == "tls":
        context = _trusted(settings)
        return imaplib.IMAP4_SSL(
            settings.host, settings.port, ssl_context=context, timeout=settings.timeout_s
        )
    imap = imaplib.IMAP4(settings.host, settings.port, timeout=settings.timeout_s)
    if settings.tls == "starttls":
        try:
            imap.starttls(_trusted(settings))
        except BaseException:
            _drop(imap)
            raise
    return imap


def _drop(imap: imaplib.IMAP4) -> None:
    with contextlib.suppress(OSError, imaplib.IMAP4.error):
        imap.shutdown()


def _password(settings: MailboxSettings) -> str:
    if settings.password_file is None:
        return ""
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise MailboxFault(f"password_file cannot be read: {type(error).__name__}") from None


def _quoted(folder: str) -> str:
    escaped = folder.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _instant_ms(date: bytes) -> int:
    """INTERNALDATE as epoch ms; now is not known here, so one that cannot be read is the far future, which takers bound."""
    try:
        moment = dt.datetime.strptime(date.decode("ascii", "replace").strip(), "%d-%b-%Y %H:%M:%S %z")
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        return 2**62


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _words(parts: Sequence[Any]) -> str:
    return b" ".join(part for part in parts if isinstance(part, bytes)).decode("utf-8", "replace")[:200]
