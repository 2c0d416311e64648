"""Mail by SMTP: one row, one recipient, always under the row's own Message-ID. At least once.

STARTTLS by default, with the server's certificate checked; plain only toward loopback. A 5xx about the message or the
recipient is final, a refused log-in is not (somebody will repair the password), anything else is tried again.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Protocol

from ticketing.messages import compose, ticket_url
from ticketing.outbox import Delivered, GaveUp, Later, Result, thread_id


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
    def sender(self) -> str: ...
    @property
    def timeout_s(self) -> float: ...


def deliver(row: Mapping[str, Any], settings: MailSettings, *, public_url: str = "") -> Result:
    """Send one row. Blocks for at most a few of the settings' time-outs."""
    if not settings.host:
        return GaveUp("no SMTP server is set (mail.host)")
    if settings.tls == "none" and not _is_loopback(settings.host):
        return GaveUp("mail.tls is none, which is for a server on loopback only")
    try:
        password = _password(settings)
    except OSError as error:
        return Later(f"mail.password_file cannot be read: {error.strerror}")
    letter = compose_letter(row, settings.sender, public_url)
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


def compose_letter(row: Mapping[str, Any], sender: str, public_url: str) -> EmailMessage:
    """The mail of a row: text and HTML, in its ticket's thread, marked as automatic so that nobody's robot answers."""
    payload = row["payload"]
    message = compose(payload, public_url)
    domain = sender.rpartition("@")[2].strip("<> ") or "localhost"
    letter = EmailMessage(policy=SMTP)
    letter["From"] = sender
    letter["To"] = row["destination"]
    letter["Subject"] = message.subject
    letter["Message-ID"] = f"<{row['message_id']}@{domain}>"
    ticket = payload["ticket"]
    if ticket["id"]:
        thread = f"<{thread_id(ticket['id'], ticket['created_at_ms'])}@{domain}>"
        letter["In-Reply-To"] = thread
        letter["References"] = thread
        letter["X-Vartovyi-Ticket"] = str(ticket["id"])
    # The moment of the event, the same over all attempts.
    letter["Date"] = format_datetime(dt.datetime.fromtimestamp(row["created_at_ms"] / 1000, dt.timezone.utc))
    letter["Auto-Submitted"] = "auto-generated"
    letter["Content-Language"] = payload["language"]
    url = ticket_url(payload, public_url)
    if url.isascii() and url:
        letter["X-Vartovyi-Url"] = url
    letter.set_content(message.text)
    letter.add_alternative(message.html, subtype="html")
    return letter


def _connected(settings: MailSettings) -> smtplib.SMTP:
    if settings.tls == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=context)
    smtp = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
    if settings.tls == "starttls":
        try:
            smtp.starttls(context=ssl.create_default_context())
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
