"""Chat and SMS through Apprise: one file with one Apprise address, one row, one message. At least once.

The address holds its secret, so it lies in a file and goes nowhere else: not into the row, not into an error, not into a
log (Apprise's own words and the HTTP library's are silenced). The library loads some 130 services when the first message
is sent (26 MiB, a second), so it is imported then; who has no chat channel pays nothing (docs/adr/0069).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticketing.messages import decide_words, summary, ticket_url
from ticketing.outbox import Delivered, GaveUp, Later, Result
from ticketing.texts import texts

MAX_FILE_BYTES = 4096
MAX_SAID = 500

_loading = threading.Lock()


def deliver(row: Mapping[str, Any], public_url: str = "", act_url: str = "") -> Result:
    """Send one row; Apprise's own time-outs (four seconds to connect, four to read, unless the address says more)."""
    try:
        address = read_address(Path(row["payload"]["channel"]["url_file"]))
    except OSError as error:
        return Later(f"url_file cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Later(f"url_file {error}")
    title, body = compose(row["payload"], public_url, act_url)
    with _loading:
        import apprise  # 26 MiB: only where a contract has a chat channel

        # They name the address, and with it the secret.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        sender = apprise.Apprise()
        if not sender.add(address):
            return GaveUp("url_file holds no address that Apprise knows (https://appriseit.com/services/)")
    try:
        is_sent = sender.notify(title=title, body=body)
    except TypeError:  # what Apprise raises for a message that it finds unfit
        return GaveUp("Apprise refused the message")
    return Delivered() if is_sent else Later("the service did not take the message")


def compose(payload: Mapping[str, Any], public_url: str, act_url: str = "") -> tuple[str, str]:
    """Title and a few lines: what one reads on a telephone."""
    words = texts(payload["language"]).at(payload["contract"]["zone"])
    ticket = payload["ticket"]
    notice = words.get(f"notice.{payload['event']}")
    title = f"[#{ticket['id']}] {notice}" if ticket["id"] else notice
    lines = [
        summary(payload, words),
        " · ".join(
            part
            for part in (
                payload["contract"]["title"],
                words.get("mail.class_of", class_=ticket["class"]),
                ", ".join(ticket["affected"][:3]),
            )
            if part
        ),
        f"{words.get('mail.began')}: {words.when(ticket['began_at_ms'])}",
        str(payload["text"])[:MAX_SAID],
        decide_words(payload, act_url, words),
        ticket_url(payload, public_url),
    ]
    return " ".join(title.split()), "\n".join(line for line in lines if line)


def read_address(file: Path) -> str:
    """The one Apprise address in the file; ValueError where there is none or more than one."""
    with file.open("rb") as stream:
        lines = stream.read(MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(found) != 1:
        # Of several receivers one would get the message again whenever another failed.
        raise ValueError(f"must hold one address, and holds {len(found)}: one channel a receiver")
    return found[0]
