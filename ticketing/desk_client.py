"""The desk's JSON API as seen by the command line: one request a call, bounded in time, every failure a sentence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote, urlsplit

import requests

from config.loader import setting

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True)
class DeskSettings:
    """~/.config/vartovyi/desk.yaml; the environment (VARTOVYI_URL, VARTOVYI_TOKEN) goes before it."""

    url: str = setting("", help="address of the desk", example="https://desk.example:8440")
    token: str = setting("", help="your API token (vt_...)", secret=True)
    token_file: Optional[Path] = setting(None, help="file that holds the token")
    ca_file: Optional[Path] = setting(
        None, help="certificate authority of the desk, PEM; empty = the system's"
    )
    language: str = setting(
        "", help="language of the command's own words; empty = your own in the desk", choices=("", "uk", "en")
    )


class DeskError(Exception):
    """The desk did not do it; ``exit_status`` is the command's."""

    def __init__(
        self, message: str, exit_status: int, fields: Mapping[str, str] | None = None, code: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.fields = dict(fields or {})
        self.code = code


EXIT_REFUSED = 1
EXIT_UNREACHABLE = 69  # EX_UNAVAILABLE
EXIT_FORBIDDEN = 77  # EX_NOPERM
EXIT_CANNOT_WRITE = 73  # EX_CANTCREAT

_STATUS_EXIT = {401: EXIT_FORBIDDEN, 403: EXIT_FORBIDDEN}


class DeskClient:
    """Calls of one person, by token."""

    def __init__(self, url: str, token: str, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DeskError(f"{url!r} is not the desk's address, such as https://desk.example:8440", 78)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise DeskError("a token goes over https only (http is for this very machine)", 78)
        self._base = url.rstrip("/") + "/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc must not replace the token, nor a proxy read it
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["Accept"] = "application/json"
        self._verify: bool | str = str(ca_file) if ca_file else True

    def me(self) -> dict[str, Any]:
        """Who the token belongs to."""
        return self._call("GET", "/me")

    def tickets(self, **narrowed: Any) -> dict[str, Any]:
        """A page of tickets; ``after`` continues it."""
        return self._call(
            "GET", "/tickets", params={k: v for k, v in narrowed.items() if v not in (None, "")}
        )

    def ticket(self, ticket_id: int) -> dict[str, Any]:
        """One ticket with its history."""
        return self._call("GET", f"/tickets/{ticket_id}")

    def file(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """File a ticket."""
        return self._call("POST", "/tickets", body={k: v for k, v in fields.items() if v not in (None, "")})

    def act(self, ticket_id: int, act: str, seen_version: int, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Do an act against the version that was seen."""
        body = {"seen_version": seen_version, **{k: v for k, v in fields.items() if v not in (None, "")}}
        return self._call("POST", f"/tickets/{ticket_id}/acts/{act}", body=body)

    def statement(
        self,
        contract: str,
        month: str,
        form: str,
        part: str,
        language: str,
        progress: Callable[[int, int], None],
    ) -> Any:
        """A month's statement: a mapping for ``json``, text for ``csv`` and ``html``."""
        path = f"/contracts/{quote(contract, safe='')}/statements/{quote(month, safe='')}/stream"
        params = {"form": form, "part": part, "language": language}
        answer = self._send("GET", path, params=params, stream=True)
        if answer.status_code >= 400:
            self._said(answer)
        try:
            for line in answer.iter_lines():
                told = json.loads(line) if line else {}
                if "done" in told:
                    progress(int(told["done"]), int(told["of"]))
                elif "body" in told:
                    return told["body"]
        except (requests.RequestException, ValueError) as error:
            raise DeskError(f"the desk broke off: {error}", EXIT_UNREACHABLE) from error
        raise DeskError(
            "the desk broke off before the statement was made; its log says why", EXIT_UNREACHABLE
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        return self._said(self._send(method, path, params=params, body=body))

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._base + path,
                params=params,
                json=body,
                timeout=TIMEOUT_S,
                allow_redirects=False,
                verify=self._verify,
                stream=stream,
            )
        except requests.exceptions.SSLError as error:
            raise DeskError(f"the desk's certificate is not trusted: {error}", EXIT_UNREACHABLE) from error
        except requests.RequestException as error:
            raise DeskError(f"the desk does not answer at {self._base}: {error}", EXIT_UNREACHABLE) from error

    def _said(self, answer: requests.Response) -> dict[str, Any]:
        """The answer's JSON; DeskError for what the desk refused."""
        try:
            said = answer.json() if len(answer.content) <= MAX_ANSWER_BYTES else None
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise DeskError(f"the desk answered {answer.status_code} without JSON", EXIT_UNREACHABLE)
        if answer.status_code >= 400:
            exit_status = (
                EXIT_UNREACHABLE
                if answer.status_code >= 500
                else _STATUS_EXIT.get(answer.status_code, EXIT_REFUSED)
            )
            detail = str(said.get("detail") or said.get("error") or f"the desk answered {answer.status_code}")
            raise DeskError(detail, exit_status, said.get("fields") or {}, str(said.get("error", "")))
        return said
