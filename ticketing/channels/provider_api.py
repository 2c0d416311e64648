"""A provider's ticket API by the contract's template: the dossier as one JSON request; their number from the answer.

At least once, always with our key: a provider that knows ``Idempotency-Key`` makes one ticket of two requests, for
another the key stands in the text. A 4xx about the request is final, everything else is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from config.clock import Clock, SystemClock
from ticketing.channels.webhook import retry_after_s
from ticketing.json_path import MISSING, at_path, read_json
from ticketing.messages import compose_plain, own_parts
from ticketing.outbox import Delivered, GaveUp, Later, Result
from ticketing.provider_terms import filled

MAX_ANSWER = 256 * 1024
_FINAL = frozenset({400, 404, 405, 410, 413, 415, 422})


def deliver(row: Mapping[str, Any], *, clock: Clock | None = None) -> Result:
    """Send one dossier; one connection, no redirects, bounded in time and size."""
    clock = clock or SystemClock()
    api = row["payload"]["api"]
    try:
        headers = _headers(api, row["message_id"])
    except (OSError, UnicodeError) as error:
        return Later(f"a secret header's file cannot be read: {type(error).__name__}")
    body = json.dumps(filled(api["body"], slots(row)), ensure_ascii=False).encode()
    timeout_s = float(api["timeout_s"])
    try:
        with requests.Session() as session:
            session.trust_env = False  # no .netrc, no proxy: the request carries only what is written here
            answer = session.request(
                api["method"],
                row["destination"],
                data=body,
                headers=headers,
                timeout=(min(5.0, timeout_s), timeout_s),
                allow_redirects=False,
                stream=True,
            )
            with answer:
                raw = answer.raw.read(MAX_ANSWER, decode_content=True) or b""
                return _judged(
                    answer.status_code, answer.headers.get("Retry-After"), raw, api, clock.now_ms()
                )
    except requests.exceptions.InvalidURL as error:
        return GaveUp(f"not a web address: {error}")
    except (requests.RequestException, OSError) as error:
        return Later(f"{type(error).__name__}"[:500])  # the library's words may hold the whole request


def slots(row: Mapping[str, Any]) -> dict[str, str]:
    """What the template's braces stand for."""
    payload = row["payload"]
    said = payload["letter"]
    message = compose_plain(
        payload["language"], said["zone"], said["subject"], said["title"], own_parts(said)
    )
    return {
        "subject": message.subject,
        "text": message.text,
        "client_number": str(payload["api"]["client_number"]),
        "ticket": str(payload["ticket"]["id"]),
        "key": row["message_id"],
    }


def _headers(api: Mapping[str, Any], message_id: str) -> dict[str, str]:
    headers = {
        "content-type": "application/json; charset=utf-8",
        "accept": "application/json",
        "user-agent": "vartovyi",
        **api["headers"],
    }
    if api["key_header"]:
        headers[api["key_header"]] = message_id
    for name, (file, prefix) in api["secret_headers"].items():
        headers[name] = prefix + Path(file).read_text(encoding="utf-8").strip()
    return headers


def _judged(status: int, retry_after: str | None, raw: bytes, api: Mapping[str, Any], now_ms: int) -> Result:
    if status in _FINAL:
        return GaveUp(f"the provider's API refused the dossier: {status}")
    if not 200 <= status < 300:
        return Later(f"the provider's API answered {status}", retry_after_s(retry_after, now_ms))
    try:
        found = at_path(read_json(raw), api["number"]) if api["number"] else MISSING
    except ValueError:
        found = MISSING
    is_number = isinstance(found, str | int) and not isinstance(found, bool)
    return Delivered(reference=str(found)[:100] if is_number else "")
