"""Does a web address answer with the right status, the right text, in time, with a certificate that holds?

A body is read up to 1 MiB and never kept. Redirects are followed only within http and https, three at most.
Proxies of the environment are not used: the check asks this server, not the way to it.
"""

from __future__ import annotations

import dataclasses
import functools
import http.client
import socket
import ssl
import urllib.parse
from typing import Any, Dict, Optional, Union

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline, TimedSocket, connect, connect_state
from agent.checks.spec import CheckSettings, url_fault
from config.clock import Clock, SystemClock

MAX_BODY_BYTES = 1024 * 1024
MAX_REDIRECTS = 3
DAY_S = 86_400.0
CERT_HAS_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


@dataclasses.dataclass(frozen=True)
class _Page:
    status: int
    reason: str
    location: str
    body: bytes
    facts: Dict[str, Any]


def run(spec: CheckSettings, timeout_s: float, clock: Optional[Clock] = None) -> CheckAnswer:
    """GET the URL within ``timeout_s`` in all. Facts: http_status, bytes, tls_days (of the first address asked)."""
    deadline = Deadline(timeout_s)
    now_s = (clock or SystemClock()).now_ms() / 1000.0
    url = spec.url
    facts: Dict[str, Any] = {}
    for _ in range(MAX_REDIRECTS + 1):
        page = _get(url, spec, deadline, now_s)
        if isinstance(page, CheckAnswer):
            return dataclasses.replace(page, facts={**page.facts, **facts})
        facts = {**page.facts, **facts}
        facts["http_status"] = page.status
        facts["bytes"] = len(page.body)
        wants_redirect = spec.status and 300 <= spec.status < 400
        if page.status not in (301, 302, 303, 307, 308) or not page.location or wants_redirect:
            return _judge(spec, page, facts, deadline.spent_ms())
        url = urllib.parse.urljoin(url, page.location)
        fault = url_fault(url)
        if fault:
            return CheckAnswer("protocol", f"redirects to a place that {fault}", deadline.spent_ms(), facts)
    return CheckAnswer("status", f"redirects more than {MAX_REDIRECTS} times", deadline.spent_ms(), facts)


def _judge(spec: CheckSettings, page: _Page, facts: Dict[str, Any], ms: float) -> CheckAnswer:
    said = f"{page.status} {page.reason}".strip()
    is_good = page.status == spec.status if spec.status else page.status < 400
    if not is_good:
        return CheckAnswer("status", f"answered {said}", ms, facts)
    if spec.text and spec.text.encode() not in page.body:
        return CheckAnswer("text", f"answered {said} without the text asked for", ms, facts)
    return CheckAnswer("ok", f"answered {said}", ms, facts)


def _get(url: str, spec: CheckSettings, deadline: Deadline, now_s: float) -> Union[_Page, CheckAnswer]:
    parts = urllib.parse.urlsplit(url)
    is_tls = parts.scheme == "https"
    host = parts.hostname or ""
    try:
        sock: Any = connect(host, parts.port or (443 if is_tls else 80), deadline)
    except OSError as error:
        state, detail = connect_state(error)
        return CheckAnswer(state, detail, deadline.spent_ms())
    facts: Dict[str, Any] = {}
    try:
        if is_tls:
            sock = _wrap(sock, host, spec.verify_tls, deadline)
            days = _days_left(sock, now_s)
            if days is not None:
                facts["tls_days"] = days
        return _exchange(sock, parts, deadline, facts)
    except ssl.SSLError as error:
        return _tls_answer(error, deadline, facts)
    except socket.timeout:
        return CheckAnswer("timeout", "connected, but no whole answer in time", deadline.spent_ms(), facts)
    except http.client.HTTPException as error:
        return CheckAnswer(
            "protocol", f"answered no HTTP: {type(error).__name__}", deadline.spent_ms(), facts
        )
    except OSError as error:
        return CheckAnswer(
            "refused", f"connected, then cut off: {error.strerror or error}", deadline.spent_ms(), facts
        )
    finally:
        sock.close()


def _tls_answer(error: ssl.SSLError, deadline: Deadline, facts: Dict[str, Any]) -> CheckAnswer:
    if isinstance(error, ssl.SSLCertVerificationError):
        facts["tls_error"] = error.verify_message
        if error.verify_code == CERT_HAS_EXPIRED:
            facts["tls_days"] = 0.0  # how long ago is not told; that it is over is
        return CheckAnswer(
            "tls", f"the certificate does not hold: {error.verify_message}", deadline.spent_ms(), facts
        )
    if "timed out" in str(error):
        return CheckAnswer("timeout", "the TLS handshake did not end in time", deadline.spent_ms(), facts)
    return CheckAnswer(
        "tls", f"the TLS handshake failed: {error.reason or 'no reason'}", deadline.spent_ms(), facts
    )


@functools.lru_cache(maxsize=2)
def _context(verify: bool) -> ssl.SSLContext:
    """Made once: reading the machine's authorities takes 40 ms of CPU, as much as half a minute of everything else."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _wrap(sock: socket.socket, host: str, verify: bool, deadline: Deadline) -> ssl.SSLSocket:
    sock.settimeout(deadline.left_s())
    return _context(verify).wrap_socket(sock, server_hostname=host)


def _days_left(sock: ssl.SSLSocket, now_s: float) -> Optional[float]:
    """Days until notAfter; None where the certificate was not verified (Python then does not parse it)."""
    certificate = sock.getpeercert()
    ends = certificate.get("notAfter") if certificate else None
    if not isinstance(ends, str):
        return None
    return round((ssl.cert_time_to_seconds(ends) - now_s) / DAY_S, 2)


def _exchange(sock: Any, parts: urllib.parse.SplitResult, deadline: Deadline, facts: Dict[str, Any]) -> _Page:
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.sock = TimedSocket(sock, deadline)  # type: ignore[assignment]
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    headers = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": "vartovyi",
        "Connection": "close",
        "Accept": "*/*",
    }
    connection.request("GET", target, headers=headers)
    response = connection.getresponse()
    try:
        body = response.read(MAX_BODY_BYTES)
        return _Page(response.status, response.reason[:80], response.headers.get("Location", ""), body, facts)
    finally:
        response.close()
