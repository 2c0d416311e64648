"""HTTP to an external desk: bounded in time and size, no redirects, and every failure told as what it means.

A refused connection and a 4xx did nothing there; a time-out, a broken connection and a 5xx may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from config.clock import Clock
from ticketing.channels.webhook import retry_after_s
from ticketing.json_path import read_json
from ticketing.mirrors.desk import Fault, Gone
from ticketing.mirrors.terms import DeskTerms

MAX_ANSWER = 8 * 1024 * 1024
CONNECT_S = 5.0
_CHUNK = 64 * 1024


class Line:
    """Requests to one desk, as our user there."""

    def __init__(self, terms: DeskTerms, headers: Mapping[str, str], clock: Clock) -> None:
        self._terms = terms
        self._headers = {"User-Agent": "vartovyi", "Accept": "application/json", **headers}
        self._clock = clock

    def ask(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """The answer's JSON, None for an empty one."""
        status, headers, raw = self._send(method, path, query, body)
        if not 200 <= status < 300:
            self._refused(method, path, status, headers, raw)
        if not raw:
            return None
        try:
            return read_json(raw)
        except ValueError as error:
            # A proxy's error page under a 200, or an answer that was cut off: nobody knows what was done.
            raise Fault(f"the desk answered {method} {path} with what is no JSON: {error}") from error

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        timeout_s = float(self._terms.timeout)
        end_ms = self._clock.mono_ms() + round(timeout_s * 1000)
        try:
            with requests.Session() as session:
                session.trust_env = False  # no .netrc, no proxy: our requests carry only what is written here
                answer = session.request(
                    method,
                    self._terms.url.rstrip("/") + path,
                    params=dict(query or {}),
                    json=body,
                    headers=self._headers,
                    timeout=(min(CONNECT_S, timeout_s), timeout_s),
                    allow_redirects=False,
                    stream=True,
                    verify=str(self._terms.ca_file) if self._terms.ca_file else True,
                )
                with answer:
                    return answer.status_code, answer.headers, self._body(answer, end_ms)
        except requests.exceptions.InvalidURL as error:
            raise Fault(f"not a web address: {error}", is_known=True) from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
            raise Fault(f"{type(error).__name__}: {error}"[:500], is_known=True, is_down=True) from error
        except requests.RequestException as error:
            is_refused = "NewConnectionError" in repr(error)
            raise Fault(
                f"{type(error).__name__}: {error}"[:500], is_known=is_refused, is_down=True
            ) from error

    def _body(self, answer: requests.Response, end_ms: int) -> bytes:
        raw = b""
        for chunk in answer.iter_content(_CHUNK):
            raw += chunk
            if len(raw) > MAX_ANSWER:
                raise Fault(f"the desk's answer is larger than {MAX_ANSWER} bytes")
            if self._clock.mono_ms() > end_ms:
                raise Fault("the desk's answer did not end in time", is_down=True)
        return raw

    def _refused(self, method: str, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> None:
        said = " ".join(raw[:2000].decode("utf-8", "replace").split())[:300]
        why = f"the desk answered {status} to {method} {path}: {said}"
        wait_s = retry_after_s(headers.get("Retry-After"), self._clock.now_ms())
        if status in (404, 410):
            raise Gone(why, is_known=True)
        if status == 429:
            raise Fault(why, is_known=True, retry_after_s=wait_s, is_down=True)
        if status in (401, 403):
            raise Fault(f"the desk refuses our user: {why}", is_known=True)
        raise Fault(why, is_known=status < 500, retry_after_s=wait_s, is_down=status >= 500)


def read_token(terms: DeskTerms) -> str:
    """The token of our user there; Fault where the file gives none."""
    try:
        with terms.token_file.open("rb") as stream:
            token = stream.read(4096).decode("ascii", "replace").strip()
    except OSError as error:
        raise Fault(f"token_file cannot be read: {error.strerror or error}", is_known=True) from error
    if not token or any(c.isspace() or ord(c) > 126 for c in token):
        raise Fault("token_file holds no token", is_known=True)
    return token
