"""Mail by SMTP: one row, one recipient, always under the row's own Message-ID. At least once.

STARTTLS by default, with the server's certificate checked; plain only toward loopback. A 5xx about the message or the
recipient is final, a refused log-in is not (somebody will repair the password), anything else is tried again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any, Protocol

from ticketing.figures import Figure, figures
from ticketing.letters import tokens
from ticketing.messages import Message, Part, compose, compose_plain, own_parts, ticket_url
from ticketing.outbox import Delivered, GaveUp, Later, Result, thread_id
from ticketing.pictures import png
from ticketing.texts import texts


class MailSettings(Protocol):
    """How mail leaves; the collector's settings have this shape."""

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
    def sender(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...


@dataclasses.dataclass(frozen=True)
class Replies:
    """Where answers go, and the key that signs their tokens."""

    address: str
    key: bytes
    is_tagged: bool = True
    """The mail server delivers desk+TOKEN@ to desk@; else the token stands in the subject."""


@dataclasses.dataclass(frozen=True)
class Extras:
    """What a mail is made of beside its row."""

    public_url: str = ""
    replies: Replies | None = None
    """None = nobody reads answers, so none are invited."""
    evidence: Sequence[Mapping[str, Any]] = ()
    """Bodies of the ticket's evidence, newest first: its plots go along as pictures."""
    around: Sequence[Part] = ()
    """Further blocks: what happened around the ticket."""
    act_url: str = ""
    """Where the reader may decide, once; it holds a secret and stands in the letter alone."""


def deliver(row: Mapping[str, Any], settings: MailSettings, extras: Extras | None = None) -> Result:
    """Send one row. Blocks for at most a few of the settings' time-outs."""
    if not settings.host:
        return GaveUp("no SMTP server is set (mail.host)")
    if settings.tls == "none" and not is_loopback(settings.host):
        return GaveUp("mail.tls is none, which is for a server on loopback only")
    try:
        password = _password(settings)
    except OSError as error:
        return Later(f"mail.password_file cannot be read: {error.strerror}")
    letter = compose_letter(row, settings.sender, extras)
    try:
        with _connected(settings) as smtp:
            if settings.user:
                smtp.login(settings.user, password)
            smtp.send_message(letter, settings.sender, [row["destination"]])
    except smtplib.SMTPAuthenticationError as error:
        return Later(f"the SMTP server refused our log-in: {error.smtp_code}")
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        return _judged(code, said)
    except smtplib.SMTPResponseException as error:
        return _judged(error.smtp_code, error.smtp_error)
    except (smtplib.SMTPException, OSError) as error:
        return Later(f"{type(error).__name__}: {error}")
    return Delivered()


def tried(settings: MailSettings) -> str:
    """Connect and log in, send nothing: ``ok: ...`` or what is wrong, without a secret."""
    if settings.tls == "none" and not is_loopback(settings.host):
        return "mail.tls is none, which is for a server on loopback only"
    try:
        with _connected(settings) as smtp:
            if settings.user:
                smtp.login(settings.user, _password(settings))
            code, _ = smtp.noop()
    except smtplib.SMTPAuthenticationError as error:
        return f"the server refused our log-in: {error.smtp_code}"
    except (smtplib.SMTPException, OSError) as error:
        return f"{settings.host}:{settings.port}: {type(error).__name__}: {error}"[:300]
    return f"ok: {settings.host}:{settings.port}" if code == 250 else f"the server said {code}"


def compose_letter(row: Mapping[str, Any], sender: str, extras: Extras | None = None) -> EmailMessage:
    """The mail of a row: text and HTML with its plots, in its ticket's thread, marked as automatic.

    A payload with ``letter`` says its own words (an answer, a dossier); every other is told as its event.
    """
    extras = extras or Extras()
    payload = row["payload"]
    drawn: list[Figure] = []
    if "letter" in payload:
        message, drawn = _own_words(payload, extras)
    else:
        drawn = _drawn(payload, extras)
        message = compose(payload, extras.public_url, drawn, extras.act_url, extras.around)
    domain = sender.rpartition("@")[2].strip("<> ") or "localhost"
    letter = EmailMessage(policy=SMTP)
    letter["From"] = sender
    letter["To"] = row["destination"]
    letter["Message-ID"] = f"<{row['message_id']}@{domain}>"
    subject = _threaded(letter, row, message.subject, domain, extras)
    letter["Subject"] = subject
    # The moment of the event, the same over all attempts.
    letter["Date"] = format_datetime(dt.datetime.fromtimestamp(row["created_at_ms"] / 1000, dt.timezone.utc))
    said = payload.get("letter", {})
    if said.get("purpose") != tokens.PROVIDER:
        # A provider's desk may pass over what a machine has sent, and its receipt, with its number, is what we wait for.
        letter["Auto-Submitted"] = "auto-replied" if said.get("is_reply") else "auto-generated"
        letter["X-Auto-Response-Suppress"] = "All"  # Exchange listens to this one alone
    letter["X-Loop"] = parseaddr(sender)[1] or sender
    letter["Content-Language"] = payload["language"]
    letter.set_content(message.text)
    letter.add_alternative(message.html, subtype="html")
    _attach(letter, drawn)
    return letter


def _threaded(letter: EmailMessage, row: Mapping[str, Any], subject: str, domain: str, extras: Extras) -> str:
    """Headers that keep a ticket's mails together and bring answers back; the subject, with a token where it needs one."""
    payload = row["payload"]
    said = payload.get("letter", {})
    before = (
        [reply] if (reply := _id(said.get("in_reply_to") or payload.get("in_reply_to") or "", domain)) else []
    )
    ticket = payload.get("ticket") or {"id": 0}
    if ticket["id"]:
        thread = f"<{thread_id(ticket['id'], ticket['created_at_ms'])}@{domain}>"
        letter["In-Reply-To"] = before[0] if before else thread
        letter["References"] = " ".join([thread, *before])
        letter["X-Vartovyi-Ticket"] = str(ticket["id"])
        if said.get("purpose") != tokens.PROVIDER:
            letter["List-Id"] = f"<{payload['contract']['id']}.vartovyi.{domain}>"
        url = ticket_url(payload, extras.public_url)
        if url and url.isascii() and not said:
            letter["X-Vartovyi-Url"] = url
    elif before:
        letter["In-Reply-To"] = letter["References"] = before[0]
    if ticket["id"] and extras.replies is not None:
        purpose = tokens.PROVIDER if said.get("purpose") == tokens.PROVIDER else tokens.TICKET
        token = tokens.make(extras.replies.key, purpose, ticket["id"], ticket["created_at_ms"])
        if not extras.replies.is_tagged:
            letter["Reply-To"] = extras.replies.address
            return f"{subject} [{token}]"
        letter["Reply-To"] = tokens.tagged(extras.replies.address, token)
    return subject


def _own_words(payload: Mapping[str, Any], extras: Extras) -> tuple[Message, list[Figure]]:
    said = payload["letter"]
    zone = (payload.get("contract") or {}).get("zone", "UTC")
    drawn = _drawn(payload, extras) if said.get("with_plots") else []
    parts = own_parts(said)
    if drawn:
        # Before the last block, which says what we ask for.
        parts.insert(-1, Part(texts(payload["language"]).get("mail.plots"), figures=tuple(drawn)))
    message = compose_plain(
        payload["language"], said.get("zone", zone), said["subject"], said.get("title", ""), parts
    )
    return message, drawn


def _drawn(payload: Mapping[str, Any], extras: Extras) -> list[Figure]:
    if not extras.evidence:
        return []
    said = payload.get("letter", {})
    words = texts(payload["language"]).at(said.get("zone") or payload["contract"]["zone"])
    return figures(extras.evidence, words, payload["ticket"]["began_at_ms"])


def _attach(letter: EmailMessage, drawn: Sequence[Figure]) -> None:
    """The pictures beside the HTML that names them."""
    html = letter.get_body(("html",))
    if not drawn or not isinstance(html, EmailMessage):
        return
    for figure in drawn:
        html.add_related(
            png(figure.svg),
            "image",
            "png",
            cid=f"<{figure.name}@vartovyi>",
            disposition="inline",
            filename=f"{figure.name}.png",
        )


def _id(value: str, domain: str) -> str:
    """A Message-ID as we may repeat it: somebody else's, or one of ours, whose domain is only known here."""
    inner = value.strip().strip("<>")
    inner = inner if "@" in inner or not inner else f"{inner}@{domain}"
    fits = inner.isascii() and inner.isprintable() and 0 < len(inner) <= 250
    return f"<{inner}>" if fits and not any(c in inner for c in "<> ") else ""


def _trusted(settings: MailSettings) -> ssl.SSLContext:
    """Certificate and name are checked, always; OSError where ca_file cannot be read."""
    return ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))


def _connected(settings: MailSettings) -> smtplib.SMTP:
    if settings.tls == "tls":
        context = _trusted(settings)
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=context)
    smtp = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
    if settings.tls == "starttls":
        try:
            smtp.starttls(context=_trusted(settings))
        except BaseException:
            smtp.close()
            raise
    return smtp


def _password(settings: MailSettings) -> str:
    if not settings.user or settings.password_file is None:
        return ""
    return settings.password_file.read_text(encoding="utf-8").strip()


def _judged(code: int, said: bytes | str) -> Result:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    error = f"the SMTP server said {code} {text}"[:500]
    return GaveUp(error) if 500 <= code < 600 else Later(error)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
