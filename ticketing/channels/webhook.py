"""A signed webhook: Standard Webhooks headers with a CloudEvents 1.0 envelope, binary or structured. At least once, one id.

The receiver may drop what it has seen by ``webhook-id``, which is also ``ce-id``. Any 2xx is taken; 410 ends it; all else
is tried again, not before ``Retry-After`` says. The secret file may hold several secrets, one a line, while they rotate.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import email.utils
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import requests

from config.clock import Clock, SystemClock
from ticketing.messages import compose, ticket_url
from ticketing.outbox import Delivered, GaveUp, Later, Result

TIMEOUT_S = 15.0
"""Standard Webhooks asks for 15 to 30 seconds."""

MAX_SECRET_BYTES = 4096


class WebhookSettings(Protocol):
    """What a webhook needs of the collector's settings."""

    @property
    def public_url(self) -> str: ...


def deliver(
    row: Mapping[str, Any],
    settings: WebhookSettings,
    *,
    clock: Clock | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Result:
    """Post one row; one connection, no redirects, bounded in time (seconds to connect, and of silence)."""
    clock = clock or SystemClock()
    try:
        secrets = read_secrets(Path(row["payload"]["channel"]["secret_file"]))
    except OSError as error:
        return Later(f"secret_file cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Later(f"secret_file: {error}")
    body = render(row, settings.public_url)
    headers = headers_of(row, body, secrets, clock.now_ms() // 1000, settings.public_url)
    try:
        with requests.Session() as session:
            session.trust_env = False  # no .netrc: our requests carry only what is written here
            answer = session.post(
                row["destination"],
                data=body,
                headers=headers,
                timeout=(min(5.0, timeout_s), timeout_s),
                allow_redirects=False,
                stream=True,  # the body of an answer is not read, however long
            )
            with answer:
                return judge(answer.status_code, answer.headers.get("Retry-After"), clock.now_ms())
    except requests.exceptions.InvalidURL as error:
        return GaveUp(f"not a web address: {error}")
    except requests.RequestException as error:
        return Later(f"{type(error).__name__}: {error}"[:500])


def render(row: Mapping[str, Any], public_url: str) -> bytes:
    """The JSON body: the snapshot, and the same in words; in structured mode inside a CloudEvents envelope."""
    payload = {key: value for key, value in row["payload"].items() if key != "channel"}
    message = compose(row["payload"], public_url)
    told = {"subject": message.subject, "message": message.text, "url": ticket_url(payload, public_url)}
    body: dict[str, Any] = payload | told
    if is_structured(row):
        body = attributes(row, public_url) | {"datacontenttype": "application/json", "data": body}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def is_structured(row: Mapping[str, Any]) -> bool:
    """Whether the envelope stands around the body instead of in the headers."""
    return row["payload"]["channel"].get("format") == "structured"


def attributes(row: Mapping[str, Any], public_url: str) -> dict[str, str]:
    """The CloudEvents attributes of a row; ``id`` with ``source`` is the same over all attempts."""
    payload = row["payload"]
    happened = dt.datetime.fromtimestamp(payload["at_ms"] / 1000, dt.timezone.utc)
    return {
        "specversion": "1.0",
        "id": row["message_id"],
        "source": public_url or "urn:vartovyi",
        "type": f"vartovyi.ticket.{payload['event']}",
        "subject": f"tickets/{payload['ticket']['id']}",
        "time": happened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def headers_of(
    row: Mapping[str, Any], body: bytes, secrets: Sequence[bytes], timestamp_s: int, public_url: str
) -> dict[str, str]:
    """Standard Webhooks headers of one attempt, and in binary mode those of CloudEvents."""
    media = "application/cloudevents+json" if is_structured(row) else "application/json"
    headers = {
        "content-type": f"{media}; charset=utf-8",
        "user-agent": "vartovyi",
        "webhook-id": row["message_id"],
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(
            sign(row["message_id"], timestamp_s, body, secret) for secret in secrets
        ),
    }
    if is_structured(row):
        return headers
    return headers | {f"ce-{name}": value for name, value in attributes(row, public_url).items()}


def sign(message_id: str, timestamp_s: int, body: bytes, secret: bytes) -> str:
    """``v1,<base64 HMAC-SHA256>`` over ``id.timestamp.body``."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def read_secrets(file: Path) -> list[bytes]:
    """The signing secrets, ``whsec_<base64>`` a line. ValueError when there is none or one is malformed."""
    with file.open("rb") as stream:
        lines = stream.read(MAX_SECRET_BYTES).decode("utf-8", "replace").split()
    secrets: list[bytes] = []
    for line in lines:
        try:
            secrets.append(base64.b64decode(line.removeprefix("whsec_"), validate=True))
        except binascii.Error as error:
            raise ValueError("a line is not whsec_ and base64") from error
    if not secrets or any(len(secret) < 16 for secret in secrets):
        raise ValueError("needs a secret of at least 16 bytes")
    return secrets


def judge(status: int, retry_after: str | None, now_ms: int) -> Result:
    """What an answer means."""
    if 200 <= status < 300:
        return Delivered()
    if status == 410:
        return GaveUp("the receiver says that it is gone (410)")
    return Later(f"the receiver answered {status}", retry_after_s(retry_after, now_ms))


def retry_after_s(value: str | None, now_ms: int) -> float | None:
    """Seconds, from seconds or an HTTP date; None where it says nothing that can be understood."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, moment.timestamp() - now_ms / 1000)
