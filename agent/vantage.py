"""This host as a vantage: it looks at the addresses that the collector names, by a long poll, and sends what it saw.

Imported only where the local settings name networks to look into; everywhere else it costs nothing. It decides
nothing and keeps nothing: an ask is answered, refused with the reason (outside the networks, over the rate), or lost
with this process, and the collector judges without it. Threads: one polls, one sends answers, and one for each ask in
hand, at most ``at_once``.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import queue
import random
import socket
import threading
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from agent.checks.asks import ASKS_MAX, ASKS_PATH, BODY_MAX, Ask, ask_from_dict, ask_within, refused
from agent.send import connected, headers
from agent.settings import CollectorSettings, VantageSettings
from config.clock import Clock
from config.log import fields

if TYPE_CHECKING:
    import http.client

LOG = logging.getLogger("agent.vantage")
HOLD_S = 25.0
"""So long the collector holds a poll at most; the reply time-out stands above it."""
NOT_WANTED_S = 300.0
"""Pause after the collector said that it wants no looks from us."""
PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 60.0
ANSWERS_MAX = 256
"""Most answers that wait for the collector; past it the newest are dropped, and the asks expire there."""


class Bucket:
    """At most ``per_minute`` in a minute, at most ten seconds' worth at once. Pure: instants in."""

    def __init__(self, per_minute: int, now_ms: int) -> None:
        self._per_ms = per_minute / 60_000
        self._most = max(1.0, per_minute / 6)
        self._left = self._most
        self._at_ms = now_ms

    def take(self, now_ms: int) -> bool:
        """Whether one more may be asked now."""
        self._left = min(self._most, self._left + (now_ms - self._at_ms) * self._per_ms)
        self._at_ms = now_ms
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Line:
    """One persistent connection for asks: GET holds a poll, POST sends answers. Raises OSError, HTTPException, ValueError."""

    def __init__(self, settings: CollectorSettings, token: str, reply_timeout_s: float) -> None:
        self._settings = settings
        self._headers = headers(token)
        self._reply_timeout_s = reply_timeout_s
        self._connection: Optional[http.client.HTTPConnection] = None

    def exchange(self, method: str, body: Optional[bytes]) -> Tuple[int, Any]:
        """(status, decoded answer or {})."""
        connection = self._connection or connected(self._settings, self._reply_timeout_s)
        self._connection = connection
        connection.request(method, ASKS_PATH, body=body, headers=self._headers)
        response = connection.getresponse()
        raw = response.read(BODY_MAX + 1)
        if len(raw) > BODY_MAX:
            raise ValueError("the collector's answer is too long")
        if response.will_close:
            self.close()
        answer = json.loads(raw) if response.status == 200 else {}
        return response.status, answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def cut(self) -> None:
        """End an exchange that another thread waits in."""
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


class Vantage:
    """The threads of one vantage."""

    def __init__(
        self,
        collector: CollectorSettings,
        settings: VantageSettings,
        token: str,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in settings.networks]
        self._clock = clock
        self._chance = chance
        self._bucket = Bucket(settings.per_minute, clock.mono_ms())
        self._free = threading.Semaphore(settings.at_once)
        self._answers: queue.Queue[Dict[str, Any]] = queue.Queue(ANSWERS_MAX)
        self._polls = Line(collector, token, HOLD_S + collector.reply_timeout)
        self._sends = Line(collector, token, collector.reply_timeout)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, name="asks", daemon=True),
            threading.Thread(target=self._send, name="ask-answers", daemon=True),
        ]
        self._last_trouble = ""

    def start(self) -> None:
        """Begin to ask for asks."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is being asked is left to its own time-out, and its answer is not sent."""
        self._stopping.set()
        self._polls.cut()
        self._sends.cut()

    def _poll(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            status, answer, why = self._exchange(self._polls, "GET", None)
            if status == 200:
                failures = 0
                self._trouble("")
                self._take(answer.get("asks"))
                continue
            self._trouble(why or f"status {status}")
            failures += 1
            pause_s = NOT_WANTED_S if status in (403, 404) else PAUSE_FIRST_S * 2 ** min(failures - 1, 6)
            longest_s = NOT_WANTED_S if status in (403, 404) else PAUSE_MAX_S
            self._clock.wait(self._stopping, min(pause_s, longest_s) * self._chance.uniform(0.5, 1.0))
        self._polls.close()

    def _exchange(self, line: Line, method: str, body: Optional[bytes]) -> Tuple[int, Dict[str, Any], str]:
        """(status, answer, why not); 0 when nobody answered."""
        from http.client import HTTPException

        for is_last in (False, True):
            try:
                status, answer = line.exchange(method, body)
                return status, answer, ""
            except (OSError, HTTPException, ValueError) as error:
                line.close()
                # A kept connection may have been closed between two exchanges: that is no failure yet.
                if is_last or self._stopping.is_set() or isinstance(error, (socket.timeout, ValueError)):
                    return 0, {}, f"{type(error).__name__}: {error}"[:200]
        return 0, {}, ""

    def _take(self, raw: Any) -> None:
        for one in raw[:ASKS_MAX] if isinstance(raw, list) else ():
            try:
                ask = ask_from_dict(one)
            except ValueError as fault:
                number = one.get("id") if isinstance(one, dict) else None
                if isinstance(number, int):
                    self._answered(refused(number, str(fault)))
                continue
            if not self._bucket.take(self._clock.mono_ms()):
                self._answered(refused(ask.id, "too many asks in a minute for this host's settings"))
                continue
            # Waits for a free place, so that the next poll is not made before there is one.
            self._free.acquire()
            threading.Thread(target=self._ask, args=(ask,), name="ask", daemon=True).start()

    def _ask(self, ask: Ask) -> None:
        try:
            self._answered(ask_within(ask, self._networks))
        finally:
            self._free.release()

    def _answered(self, answer: Dict[str, Any]) -> None:
        try:
            self._answers.put_nowait(answer)
        except queue.Full:
            self._trouble("answers wait for the collector: the newest are dropped")

    def _send(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = [self._answers.get(timeout=1.0)]
            except queue.Empty:
                continue
            while len(batch) < ASKS_MAX and not self._answers.empty():
                batch.append(self._answers.get_nowait())
            self._post(batch)
        self._sends.close()

    def _post(self, batch: List[Dict[str, Any]]) -> None:
        """Once and no more: an answer that is late is no answer."""
        status, _, why = self._exchange(self._sends, "POST", json.dumps({"answers": batch}).encode())
        if status != 200:
            self._trouble(why or f"answers were refused with status {status}")

    def _trouble(self, why: str) -> None:
        if why and why != self._last_trouble and not self._stopping.is_set():
            LOG.warning("asks cannot be exchanged with the collector %s", fields(why=why))
        self._last_trouble = why
