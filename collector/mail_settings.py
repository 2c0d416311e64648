"""Settings of mail, out and in. Read as a part of collector.yaml; opens nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Optional

from config.loader import Duration, Size, setting

_ADDRESS = re.compile(r"[^\s@<>\",;]{1,64}@[A-Za-z0-9.-]{1,253}")
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


@dataclasses.dataclass(frozen=True)
class StrangerSettings:
    """What people hear whom no contract names. Their letters are always kept and shown to the staff."""

    answer: bool = setting(False, help="tell an unknown sender, once, that nobody here knows them")
    contact: str = setting("", help="whom to ask instead; said in that answer", max=200)
    language: str = setting("uk", help="language of that answer", choices=("uk", "en"))
    again_after: Duration = setting(
        Duration(7 * 86_400.0),
        help="least time between two answers to one sender",
        min=3600,
        max=366 * 86_400,
    )
    per_hour: int = setting(20, help="most answers an hour to all of them", min=1, max=1000)


@dataclasses.dataclass(frozen=True)
class MailIntakeSettings:
    """The mailbox that people write to."""

    host: str = setting("", help="IMAP server; empty: no mail is read")
    port: int = setting(993, help="IMAP port", min=1, max=65535)
    tls: str = setting(
        "tls", help="none (loopback only), starttls or tls", choices=("none", "starttls", "tls")
    )
    user: str = setting("", help="IMAP user")
    password_file: Optional[Path] = setting(None, help="file that holds the IMAP password")
    ca_file: Optional[Path] = setting(
        None, help="CA certificates (PEM) that the server's must come from; empty: the system's"
    )
    folder: str = setting("INBOX", help="folder that is read", max=200)
    done_folder: str = setting(
        "", help="where letters go once they are taken; empty: they stay, marked as seen", max=200
    )
    address: str = setting("", help="where people write to and answers go", example="desk@example.com")
    plus_addresses: bool = setting(
        True, help="mail to desk+ANYTHING@ arrives here; false: the reply token stands in the subject"
    )
    every: Duration = setting(Duration(15.0), help="time between looks into the folder", min=1, max=3600)
    timeout_s: Duration = setting(Duration(20.0), help="time-out of each step", min=1, max=120)
    letter_max: Size = setting(
        Size(10 * 1024 * 1024),
        help="of a longer letter only the beginning is taken",
        min=65_536,
        max=64 * 2**20,
    )
    batch: int = setting(20, help="most letters that one look takes", min=1, max=500)
    per_sender_hour: int = setting(
        30, help="most letters of one sender an hour; what exceeds it waits for a person", min=1, max=10_000
    )
    authserv_id: str = setting(
        "",
        help="name of our mail server in Authentication-Results; named, a letter without dmarc=pass waits for a person",
        max=253,
    )
    strangers: StrangerSettings = setting(StrangerSettings, help="people whom no contract names")

    def faults(self) -> list[tuple[str, str]]:
        """A mailbox that is read needs a user, its password, and an address that answers come back to."""
        if not self.host:
            return []
        found: list[tuple[str, str]] = []
        if self.tls == "none" and not _LOOPBACK.fullmatch(self.host):
            found.append(("tls", "none is for a server on loopback only"))
        if not self.user:
            found.append(("user", "is missing: a mailbox is somebody's"))
        if self.password_file is None:
            found.append(("password_file", "is missing: put the password alone into a file"))
        if not _ADDRESS.fullmatch(self.address):
            found.append(("address", f"{self.address!r} is not a mail address; answers would go nowhere"))
        if self.done_folder == self.folder:
            found.append(("done_folder", "is the folder that is read; name another or none"))
        return found


@dataclasses.dataclass(frozen=True)
class MailSettings:
    """How mail leaves and comes."""

    host: str = setting(
        "", help="SMTP server; empty: no mail is sent and mail rows are given up with that reason"
    )
    port: int = setting(25, help="SMTP port", min=1, max=65535)
    tls: str = setting(
        "starttls", help="none (loopback only), starttls or tls", choices=("none", "starttls", "tls")
    )
    user: str = setting("", help="SMTP user; empty: no log-in")
    password_file: Optional[Path] = setting(None, help="file that holds the SMTP password")
    ca_file: Optional[Path] = setting(
        None, help="CA certificates (PEM) that the server's must come from; empty: the system's"
    )
    sender: str = setting("vartovyi@localhost", help="From address")
    timeout_s: Duration = setting(Duration(20.0), help="time-out of each step of a delivery", min=1, max=30)
    token_key_file: Optional[Path] = setting(
        None,
        help="key that signs reply tokens; empty: reply-tokens.key in state_dir, made at the first start. "
        "Several collectors of one database need the same",
    )
    intake: MailIntakeSettings = setting(MailIntakeSettings, help="the mailbox that people write to")
