"""Reports over HTTPS: one persistent connection in a thread of its own, and the pure plan of when to send.

``Cadence`` decides (pure: instants in, instants out); ``Sender`` does. The main loop hands a body over and turns on;
the answer comes back through a bounded inbox. http.client and ssl are imported in the sender's thread, since `once`
and `check-config` never pay for them.

The collector is known by its certificate: an authority's file, or the sha256 of the certificate itself for a
self-signed one. There is no switch that turns verification off; plain HTTP is for loopback only.
"""

from __future__ import annotations

import dataclasses
import random
import socket
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional
from urllib.parse import urlsplit

from agent.settings import CollectorSettings, is_loopback
from agent.wire import REPORT_PATH, Reply, reply_from_json
from config.clock import perf_seconds

if TYPE_CHECKING:
    import http.client

MAX_REPLY_BYTES = 256 * 1024
SEGMENT_BYTES = 1140
"""Of TCP, both ways: with its headers 1,200 bytes at most, also over IPv6. A report is longer than a full packet, so that on a
way that loses large packets a host would fall silent, when what is wrong with the way is just what it has to tell."""
BACKOFF_FIRST_S = 1.0
RETRY_AFTER_MAX_S = 300.0


@dataclasses.dataclass(frozen=True)
class Answered:
    """The collector took the report (status 200), or said which n it wants instead (409)."""

    reply: Reply
    stream: str
    took_ms: Optional[float] = None
    """From the request to its answer, on a connection that stood already; None where it had to be made."""


@dataclasses.dataclass(frozen=True)
class Failed:
    """The report was not taken. ``status`` is 0 when nobody answered."""

    status: int
    detail: str
    retry_after_s: Optional[float] = None
    stream: str = ""


Outcome = Any  # Answered | Failed; a Union alias costs an import-time typing object on 3.9 and says no more


class Cadence:
    """When the next report is due: each interval while all is well, at once for news, later and later while not.

    The pause after failures doubles from 1 s to one interval (or the setting's most, where that is less), each drawn
    from its upper half, so that a fleet does not come back in one second. Never longer than an interval: trying is then
    no more than the load of every day, and a collector that was away itself expects everybody within interval and grace
    of its return (a longer pause made it open tickets about its own outage). News does not shorten a pause: a collector
    that is down is not helped by it.
    """

    def __init__(self, interval_s: float, retry_max_s: float, chance: random.Random, now_ms: int) -> None:
        self.interval_s = interval_s
        self.failures = 0
        self._retry_max_s = retry_max_s
        self._chance = chance
        self._due_ms = now_ms
        self._is_under_way = False

    def due_ms(self, *, has_news: bool, now_ms: int) -> Optional[int]:
        """The instant at which to send; None while a report is under way."""
        if self._is_under_way:
            return None
        if has_news and self.failures == 0:
            return min(now_ms, self._due_ms)
        return self._due_ms

    def sent(self, now_ms: int) -> None:
        """A report was handed to the sender."""
        self._is_under_way = True
        self._due_ms = now_ms + int(self.interval_s * 1000)

    def hurry(self, now_ms: int) -> None:
        """The next report at once, unless one is under way or failures say to wait."""
        if self.failures == 0:
            self._due_ms = min(self._due_ms, now_ms)

    def answered(self) -> None:
        """It was taken."""
        self._is_under_way = False
        self.failures = 0

    def failed(self, now_ms: int, retry_after_s: Optional[float] = None) -> None:
        """It was not: wait."""
        self._is_under_way = False
        self.failures += 1
        longest_s = min(self._retry_max_s, max(BACKOFF_FIRST_S, self.interval_s))
        # A lost packet or a restarting collector: the heartbeat's deadline is interval + 5 s, so hurry twice.
        pause_s = min(longest_s, BACKOFF_FIRST_S * 2 ** min(max(0, self.failures - 2), 16))
        pause_s *= self._chance.uniform(0.5, 1.0)
        if retry_after_s is not None:
            pause_s = max(pause_s, min(retry_after_s, RETRY_AFTER_MAX_S))
        self._due_ms = now_ms + int(pause_s * 1000)


class Link:
    """The connection itself: posts one body, reuses the socket, raises OSError or http.client.HTTPException."""

    def __init__(self, settings: CollectorSettings, token: str) -> None:
        parts = urlsplit(settings.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("plain HTTP is for loopback only")
        self._settings = settings
        self._headers = headers(token)
        self._connection: Optional[http.client.HTTPConnection] = None

    def post(self, body: bytes, stream: str) -> Outcome:
        """Send one report; an Answered or a Failed, never an exception for what the network or the collector does."""
        import http.client

        was_kept = self._connection is not None
        try:
            return self._post(body, stream)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            if not was_kept or isinstance(error, (socket.timeout, ValueError)):
                return Failed(0, _words(error), stream=stream)
        # The kept connection had been closed by the other side between two reports: that is no failure yet.
        try:
            return self._post(body, stream)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return Failed(0, _words(error), stream=stream)

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, stream: str) -> Outcome:
        was_kept = self._connection is not None
        connection = self._connection or self._connect()
        begun_s = perf_seconds()
        connection.request("POST", REPORT_PATH, body=body, headers=self._headers)
        response = connection.getresponse()
        raw = response.read(MAX_REPLY_BYTES + 1)
        if len(raw) > MAX_REPLY_BYTES or response.will_close:
            self.close()
        if response.status in (200, 409):
            took_ms = round((perf_seconds() - begun_s) * 1000, 1) if was_kept else None
            return Answered(reply_from_json(raw), stream, took_ms)
        detail = raw[:300].decode("utf-8", errors="replace")
        return Failed(response.status, detail, _seconds(response.headers.get("Retry-After")), stream)

    def _connect(self) -> http.client.HTTPConnection:
        self._connection = connected(self._settings, self._settings.reply_timeout)
        return self._connection


def read_token(settings: CollectorSettings) -> str:
    """This host's token; raises OSError where its file cannot be read."""
    assert settings.token_file is not None  # the settings' own check
    return settings.token_file.read_text(encoding="ascii", errors="replace").strip()


def headers(token: str) -> Dict[str, str]:
    """What every request of ours says of itself."""
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": "vartovyi-agent",
    }


def connected(settings: CollectorSettings, reply_timeout_s: float) -> http.client.HTTPConnection:
    """A connection to the collector, known by its certificate; raises OSError, or ValueError off loopback without TLS."""
    import http.client

    parts = urlsplit(settings.url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    if not is_tls and not is_loopback(host):
        raise ValueError("plain HTTP is for loopback only")
    timeout = settings.connect_timeout
    sock = _dialled(host, parts.port or (443 if is_tls else 80), timeout)
    is_sound = False
    try:
        if is_tls:
            sock = _tls_context(settings).wrap_socket(sock, server_hostname=host)
            if settings.pin:
                _check_pin(sock, settings.pin)
        sock.settimeout(reply_timeout_s)
        is_sound = True
    finally:
        if not is_sound:
            sock.close()
    # Of http.client only the talk is used: it may never dial by itself, past the pin and the small segments.
    connection = http.client.HTTPConnection(host, parts.port)
    connection.auto_open = 0
    connection.sock = sock
    return connection


def _dialled(host: str, port: int, timeout_s: float) -> socket.socket:
    """A TCP connection in small segments, to the first of the host's addresses that answers; OSError where none does."""
    last: Optional[OSError] = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            return sock
        except OSError as error:
            last = error
            if sock is not None:
                sock.close()
    raise last or OSError(f"{host} has no address")


def _tls_context(settings: CollectorSettings) -> Any:
    import ssl

    if settings.pin:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The pin is checked before a single byte of ours is sent; names and authorities say nothing more than it.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_pin(sock: Any, pin: str) -> None:
    import hashlib
    import hmac

    certificate = sock.getpeercert(binary_form=True) or b""
    seen = hashlib.sha256(certificate).hexdigest()
    wanted = pin.lower()
    wanted = wanted.removeprefix("sha256:").replace(":", "")
    if not hmac.compare_digest(seen, wanted):
        raise ConnectionError(f"the collector's certificate is not the pinned one (it is sha256:{seen})")


def _seconds(text: Optional[str]) -> Optional[float]:
    return float(text) if text is not None and text.strip().isdigit() else None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


class Sender(threading.Thread):
    """Carries one report at a time to the collector. The main loop is never made to wait for it."""

    def __init__(self, link: Link, wake: Callable[[], None]) -> None:
        super().__init__(name="send", daemon=True)
        self._link = link
        self._wake = wake
        self._condition = threading.Condition()
        self._body: Optional[bytes] = None
        self._stream = ""
        self._outcomes: List[Outcome] = []
        self._is_stopping = False

    def hand_over(self, body: bytes, stream: str) -> None:
        """Give the next report; the caller waits for the outcome of the last one before (``Cadence`` sees to it)."""
        with self._condition:
            self._body, self._stream = body, stream
            self._condition.notify()

    def outcomes(self) -> List[Outcome]:
        """What came of the reports handed over since the last call."""
        with self._condition:
            taken, self._outcomes = self._outcomes, []
        return taken

    def stop(self) -> None:
        """End after the report under way."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()

    def run(self) -> None:
        """The thread's loop."""
        import http.client  # noqa: F401 - while the main thread reads its spool and waits for the first numbers

        while True:
            with self._condition:
                while self._body is None and not self._is_stopping:
                    self._condition.wait()
                if self._body is None:
                    break
                body, stream, self._body = self._body, self._stream, None
            outcome = self._link.post(body, stream)
            with self._condition:
                self._outcomes.append(outcome)
            self._wake()
        self._link.close()
