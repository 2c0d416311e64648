"""The front door: who is sent where, and whose word about scheme and client is believed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.wire import REPORT_PATH
from collector.front import Front, seen_through
from collector.settings import networks

PROXIES = networks(["10.0.0.0/24"])


class Room:
    """Remembers the scopes it was given."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)


class OnePage:
    """Stands where the metrics page stands."""

    def text(self) -> bytes:
        return b"up 1\n"


def scope(path: str, client: str = "127.0.0.1", method: str = "GET", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "path": path,
        "method": method,
        "scheme": "http",
        "client": (client, 1),
        "headers": raw,
    }


def ask(front: Front, one: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing to receive")

    asyncio.run(front(one, receive, send))
    return sent


def front(intake: Room, web: Room | None, **other: Any) -> Front:
    return Front(intake, OnePage(), web, metrics_from=networks(["127.0.0.0/8"]), **other)  # type: ignore[arg-type]


def test_reports_go_to_the_intake_and_everything_else_to_the_web_room() -> None:
    intake, web = Room(), Room()
    door = front(intake, web)
    ask(door, scope(REPORT_PATH, method="POST"))
    ask(door, scope("/tickets"))
    ask(door, scope(REPORT_PATH + "/x"))
    assert [s["path"] for s in intake.scopes] == [REPORT_PATH]
    assert [s["path"] for s in web.scopes] == ["/tickets", REPORT_PATH + "/x"]


def test_metrics_are_given_to_the_allowed_networks_only() -> None:
    door = front(Room(), Room())
    assert ask(door, scope("/metrics"))[1]["body"] == b"up 1\n"
    assert ask(door, scope("/metrics", method="HEAD"))[1]["body"] == b""
    assert ask(door, scope("/metrics", method="POST"))[0]["status"] == 405
    refused = ask(door, scope("/metrics", client="192.0.2.1"))
    assert refused[0]["status"] == 403
    assert json.loads(refused[1]["body"])["error"] == "forbidden"


def test_without_a_web_room_the_rest_is_not_found() -> None:
    assert ask(front(Room(), None), scope("/tickets"))[0]["status"] == 404


@pytest.mark.parametrize(
    ("client", "proto", "forwarded", "seen"),
    [
        ("10.0.0.5", "https", "198.51.100.7", ("https", "198.51.100.7")),
        ("10.0.0.5", "http", "198.51.100.7", ("http", "198.51.100.7")),
        ("10.0.0.5", "", "198.51.100.7", ("http", "198.51.100.7")),
        ("10.0.0.5", "https", "127.0.0.1, 198.51.100.7", ("https", "198.51.100.7")),
        ("10.0.0.5", "https", "198.51.100.7, 10.0.0.6", ("https", "198.51.100.7")),
        ("10.0.0.5", "https", "", ("https", "unknown")),
        ("198.51.100.9", "https", "127.0.0.1", ("http", "198.51.100.9")),
    ],
)
def test_only_a_trusted_proxy_may_name_scheme_and_client(
    client: str, proto: str, forwarded: str, seen: tuple[str, str]
) -> None:
    """The left part of X-Forwarded-For is whatever the client wrote; the right-most foreign hop counts."""
    one = scope("/", client=client, x_forwarded_proto=proto, x_forwarded_for=forwarded)
    told = seen_through(one, PROXIES)
    assert (told["scheme"], told["client"][0]) == seen


def test_metrics_behind_a_proxy_are_guarded_by_the_real_client() -> None:
    door = Front(
        Room(), OnePage(), None, metrics_from=networks(["10.0.0.0/24"]), trusted_proxies=PROXIES  # type: ignore[arg-type]
    )  # fmt: skip
    one = scope("/metrics", client="10.0.0.5", x_forwarded_proto="https", x_forwarded_for="198.51.100.7")
    assert ask(door, one)[0]["status"] == 403


def test_the_lifespan_is_answered_without_a_web_room() -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(front(Room(), None)({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
