"""One HTTP request to somebody else's server, with every bound that such a server makes us need.

One deadline over the whole answer (a server that drips bytes is late, not alive), a largest body, no redirect
(it would carry our secret to wherever it points), and errors in our own words without the secret in them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import requests
import urllib3

from collector.providers.adapter import AdapterFault
from config.clock import perf_seconds

CHUNK = 16 * 1024
RETRY_AFTER_MAX_S = 3_600.0
ERROR_MAX = 4 * 1024
LIMIT_SAID = re.compile(rb"rate[ _-]?limit|limit[ _-]?exceeded|too[ _-]many[ _-]requests", re.IGNORECASE)
"""In the body of a 403. Not "rate" alone: a page that was generated says that too."""
LIMIT_S = 10.0
"""Peace for an interface that says that its limit is reached, and not for how long."""


def fetch(
    url: str,
    *,
    timeout_s: float,
    body_max: int,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str = "",
    accepts: Collection[int] = (200,),
) -> bytes:
    """The body of a 200 answer (or another of ``accepts``); raises AdapterFault with a sentence."""
    ends_s = perf_seconds() + timeout_s
    shown = url.partition("?")[0]
    try:
        with requests.request(
            method,
            url,
            headers={"User-Agent": "vartovyi-collector", "Accept-Encoding": "identity", **(headers or {})},
            data=body.encode() if body else None,
            timeout=timeout_s,
            stream=True,
            allow_redirects=False,
        ) as answer:
            return _body(answer, shown, ends_s, timeout_s, body_max, accepts)
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError):
        raise AdapterFault(f"{shown} did not answer within {timeout_s:g} s") from None
    except requests.exceptions.SSLError as error:
        raise AdapterFault(f"{shown}: the certificate is not good ({type(error).__name__})") from None
    except requests.ConnectionError:
        raise AdapterFault(f"{shown} cannot be reached") from None
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        UnicodeError,
        ValueError,
    ) as error:
        # The text of such an error may quote a header, and with it a secret: its type says enough.
        raise AdapterFault(f"{shown} could not be asked ({type(error).__name__})") from None


def _retry_after_s(text: str) -> float:
    """Seconds that a server asks for; a date, rubbish, or more than an hour is not heeded word by word."""
    return min(float(text), RETRY_AFTER_MAX_S) if text.isdecimal() and len(text) < 10 else 0.0


def _body(
    answer: requests.Response,
    shown: str,
    ends_s: float,
    timeout_s: float,
    body_max: int,
    accepts: Collection[int],
) -> bytes:
    if answer.is_redirect or 300 <= answer.status_code < 400:
        raise AdapterFault(f"{shown} redirects to another address: name that address itself")
    # read1 gives what has come: a read of so many would wait for as long as bytes drip in.
    if answer.status_code == 403 and LIMIT_SAID.search(answer.raw.read1(ERROR_MAX, decode_content=False)):
        # Hetzner says so (RATE_LIMIT_EXCEEDED) where others say 429.
        after_s = _retry_after_s(answer.headers.get("Retry-After", "")) or LIMIT_S
        raise AdapterFault(f"{shown} answers 403: its rate limit is reached", after_s)
    if answer.status_code in (401, 403):
        raise AdapterFault(f"{shown} refuses us ({answer.status_code}): is the secret still good?")
    if answer.status_code in (429, 503):
        after_s = _retry_after_s(answer.headers.get("Retry-After", ""))
        when = f", and asks for {after_s:g} s of peace" if after_s else ""
        raise AdapterFault(f"{shown} answers {answer.status_code}{when}", after_s)
    if answer.status_code not in accepts:
        raise AdapterFault(f"{shown} answers {answer.status_code}")
    parts: list[bytes] = []
    size = 0
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise AdapterFault(f"{shown} answers compressed, though we asked it not to")
    # read1 gives what has come: iter_content would wait for a whole chunk, for as long as bytes drip in.
    while part := answer.raw.read1(CHUNK, decode_content=False):
        size += len(part)
        parts.append(part)
        if size > body_max:
            raise AdapterFault(f"{shown} answers more than {body_max} bytes")
        if perf_seconds() > ends_s:
            raise AdapterFault(f"{shown} did not end its answer within {timeout_s:g} s")
    return b"".join(parts)
