"""Octets of a letter to a ``Letter``: who, about what, which words, which files. Pure, and total: nothing here raises.

Every bound is here: headers, parts, text, attachments. What cannot be read is left out and named in ``faults``; a
letter of which nothing can be read is still a ``Letter`` with a fault. Headers are decoded by hand over the tolerant
policy, since the structured one raises on many hostile headers.
"""

from __future__ import annotations

import binascii
import codecs
import dataclasses
import email
import email.errors
import email.header
import email.message
import email.policy
import hashlib
import re
from collections.abc import Iterator

from ticketing.letters.plain import text_of

MAX_HEADER = 2_000
MAX_ADDRESSES = 50
MAX_REFERENCES = 50
MAX_PARTS = 300
MAX_ATTACHMENTS = 50
MAX_TEXT = 100_000
MAX_HTML = 1_000_000

ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ID = re.compile(r"<([^<>\s]{1,250})>")

_UNFIT_CODECS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "utf_7", "oem", "mbcs"}
)
"""Python knows them as text, mail does not; some of them are slow or run an inner language."""

_GUESSES = ("utf-8", "windows-1251")
"""What letters without a word about their charset are written in here; koi8-u always says so."""


@dataclasses.dataclass(frozen=True)
class Attachment:
    """A file in a letter; its octets stay in the letter."""

    number: int
    """Its place among the letter's files, from 0."""
    name: str
    type: str
    bytes: int
    sha256: str

    def to_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Letter:
    """What a letter says of itself. Nothing of it is proven."""

    message_id: str = ""
    references: tuple[str, ...] = ()
    """Ids of References and In-Reply-To."""
    sender: str = ""
    """Lower case; "" where the From is missing, double or no address."""
    sender_name: str = ""
    to: tuple[str, ...] = ()
    """Every address that it may have been sent to, delivery headers included."""
    subject: str = ""
    text: str = ""
    is_text_cut: bool = False
    is_html_only: bool = False
    attachments: tuple[Attachment, ...] = ()
    is_bounce: bool = False
    auto: str = ""
    """Why it counts as written by a machine: the header and its word; "" = by a person, as far as it says."""
    is_auto_reply: bool = False
    """A machine's receipt or absence note, rather than a machine's letter."""
    loops: tuple[str, ...] = ()
    """Values of X-Loop."""
    authentication: tuple[str, ...] = ()
    """Authentication-Results, topmost first."""
    faults: tuple[str, ...] = ()


def read(raw: bytes) -> Letter:
    """The letter in these octets."""
    try:
        message = email.message_from_bytes(raw, policy=email.policy.compat32)
        return _letter(message)
    except RecursionError:
        return Letter(faults=("parts lie too deep in each other",))
    except (email.errors.MessageError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The library's parser has raised each of these on some broken letter.
        return Letter(faults=(f"cannot be read: {type(error).__name__}",))


def attachment(raw: bytes, number: int) -> tuple[Attachment, bytes] | None:
    """A file of a letter that ``read`` has listed."""
    try:
        message = email.message_from_bytes(raw, policy=email.policy.compat32)
        files = [part for part in _leaves(message) if _is_file(part)][:MAX_ATTACHMENTS]
        if not 0 <= number < len(files):
            return None
        octets = _octets(files[number])
        return _listed(number, files[number], octets), octets
    except (RecursionError, email.errors.MessageError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _letter(message: email.message.Message) -> Letter:
    faults: list[str] = []
    text, is_html_only = _text(message, faults)
    auto, is_auto_reply = _auto(message)
    senders = _all(message, "From")
    sender = address_of(senders[0]) if len(senders) == 1 else ""
    if not sender:
        faults.append("has no single sender")
    to: list[str] = []
    for name in ("To", "Cc", "Delivered-To", "X-Original-To", "Envelope-To"):
        for value in _all(message, name):
            to += [found.lower() for found in ADDRESS.findall(value)]
    ids: list[str] = []
    for name in ("In-Reply-To", "References"):
        for value in _all(message, name):
            ids += _ID.findall(value)
    own_id = _ID.search(_first(message, "Message-ID"))
    return Letter(
        message_id=own_id.group(1) if own_id else "",
        references=tuple(dict.fromkeys(ids[-MAX_REFERENCES:])),
        sender=sender,
        sender_name=_name(decoded(senders[0])) if senders else "",
        to=tuple(dict.fromkeys(to))[:MAX_ADDRESSES],
        subject=" ".join(decoded(_first(message, "Subject")).split())[:300],
        text=text[:MAX_TEXT],
        is_text_cut=len(text) > MAX_TEXT,
        is_html_only=is_html_only,
        attachments=_attachments(message, faults),
        is_bounce=_is_bounce(message, sender),
        auto=auto,
        is_auto_reply=is_auto_reply,
        loops=tuple(value.strip().lower() for value in _all(message, "X-Loop")),
        authentication=tuple(_all(message, "Authentication-Results")[:10]),
        faults=tuple(faults),
    )


def address_of(value: str) -> str:
    """The one address of a From, lower case; "" where it is not plainly one.

    By hand: the library's reader has taken the wrong half of hostile ones (CVE-2023-27043).
    """
    value = value.strip()
    angle = re.search(r"<([^<>]*)>$", value)
    found = angle.group(1).strip() if angle else value
    if angle and "<" in value[: angle.start()]:
        return ""
    return found.lower() if ADDRESS.fullmatch(found) else ""


def decoded(value: str) -> str:
    """A header in words; what cannot be decoded stays as it stands."""
    try:
        pieces = email.header.decode_header(value)
    except (email.errors.HeaderParseError, binascii.Error, ValueError, IndexError):
        return clean(value)
    words = [text if isinstance(text, str) else characters(text, charset or "") for text, charset in pieces]
    return clean("".join(words))[:MAX_HEADER]


def clean(text: str) -> str:
    """Without what no database and no page may hold: NUL, lone surrogates, control characters, direction overrides."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "", text)


def characters(octets: bytes, charset: str) -> str:
    """Octets as text by the named charset, else by the usual ones; never fails."""
    for name in (charset.strip().strip("\"'")[:40], *_GUESSES):
        try:
            known = codecs.lookup(name).name if name else ""
            if known and known not in _UNFIT_CODECS:
                return octets.decode(known)
        except (LookupError, UnicodeError, ValueError):
            continue
    return octets.decode("latin-1")


def _first(message: email.message.Message, name: str) -> str:
    return next(iter(_all(message, name)), "")


def _all(message: email.message.Message, name: str) -> list[str]:
    """Values of a header as they stand, unfolded and bounded."""
    found: list[str] = []
    for value in (message.get_all(name) or [])[:MAX_ADDRESSES]:
        text = str(value)
        # Eight-bit octets stand as surrogates (or in a Header): most often they are UTF-8.
        text = characters(text.encode("utf-8", "surrogateescape"), "utf-8")
        found.append(re.sub(r"[\r\n]+[ \t]*", " ", text)[:MAX_HEADER])
    return found


def _name(value: str) -> str:
    return re.sub(r"\s*<[^<>]*>$", "", value).strip().strip("\"'")[:200]


def _leaves(message: email.message.Message) -> Iterator[email.message.Message]:
    """Parts that hold something, in order; a letter in the letter is one part."""
    waiting = [message]
    seen = 0
    while waiting and seen < MAX_PARTS:
        part = waiting.pop()
        seen += 1
        inner = part.get_payload()
        if isinstance(inner, list) and part.get_content_maintype() == "multipart":
            waiting += [p for p in reversed(inner) if isinstance(p, email.message.Message)]
        else:
            yield part


def _is_file(part: email.message.Message) -> bool:
    if part.get_content_disposition() == "attachment" or part.get_filename():
        return True
    return part.get_content_type() not in ("text/plain", "text/html")


def _text(message: email.message.Message, faults: list[str]) -> tuple[str, bool]:
    """The words, and whether they come from HTML alone."""
    plain: list[str] = []
    html: list[str] = []
    for part in _leaves(message):
        if _is_file(part):
            continue
        octets = _octets(part)
        charset = part.get_param("charset", "")
        text = characters(octets[: 4 * MAX_HTML], charset if isinstance(charset, str) else "")
        (html if part.get_content_type() == "text/html" else plain).append(text)
    words = clean("\n".join(plain)).replace("\r\n", "\n").replace("\r", "\n").strip()
    if words:
        return words, False
    page = "\n".join(html)
    if len(page) > MAX_HTML:
        faults.append("its HTML is too long and was cut")
    words = clean(text_of(page[:MAX_HTML]))
    return words, bool(words)


def _octets(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload
    inner = part.get_payload()
    if isinstance(inner, list) and inner and isinstance(inner[0], email.message.Message):
        return inner[0].as_bytes()  # a letter in the letter
    return b""


def _attachments(message: email.message.Message, faults: list[str]) -> tuple[Attachment, ...]:
    found = [part for part in _leaves(message) if _is_file(part)]
    if len(found) > MAX_ATTACHMENTS:
        faults.append(f"has {len(found)} files; {MAX_ATTACHMENTS} are listed")
    return tuple(_listed(n, part, _octets(part)) for n, part in enumerate(found[:MAX_ATTACHMENTS]))


def _listed(number: int, part: email.message.Message, octets: bytes) -> Attachment:
    name = decoded(str(part.get_filename() or ""))
    # Only the last step of whatever path the sender has thought of.
    name = re.split(r"[\\/]", name)[-1].strip(". ")[:150]
    kind = clean(part.get_content_type())[:100]
    return Attachment(number, name or f"file-{number}", kind, len(octets), hashlib.sha256(octets).hexdigest())


def _is_bounce(message: email.message.Message, sender: str) -> bool:
    if message.get_content_type() == "multipart/report":
        kind = str(message.get_param("report-type", "") or "").lower()
        return kind in ("delivery-status", "disposition-notification", "")
    is_empty_path = any(value.strip() == "<>" for value in _all(message, "Return-Path"))
    return is_empty_path or sender.partition("@")[0] in ("mailer-daemon", "postmaster", "mail-daemon")


def _auto(message: email.message.Message) -> tuple[str, bool]:
    """Header and word that say a machine wrote it (RFC 3834 and older customs), and whether it is a mere receipt."""
    submitted = _first(message, "Auto-Submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted}"[:80], submitted == "auto-replied"
    for name in ("X-Autoreply", "X-Autorespond", "X-Auto-Reply"):
        if _first(message, name):
            return name, True
    precedence = _first(message, "Precedence").strip().lower()
    if precedence in ("auto_reply", "auto-reply"):
        return f"Precedence: {precedence}", True
    if precedence in ("bulk", "junk", "list"):
        return f"Precedence: {precedence}", False
    for name in ("List-Id", "List-Unsubscribe", "Feedback-ID"):
        if _first(message, name):
            return name, False
    return "", False
