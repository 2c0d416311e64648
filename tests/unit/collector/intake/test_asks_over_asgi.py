"""The long poll of vantages: who is served, that an ask wakes it at once, and that nobody hangs on for ever."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from collector import asks, asks_asgi
from collector.asks_asgi import AsksApp
from collector.enrol import Enrolled, enrol
from collector.fleet_cache import FleetCache
from collector.intake import Intake
from collector.settings import VantageSettings
from collector.store.engine import Store
from collector.tables import observations, probes, vantages
from collector.trace import HopOwners
from config.clock import SystemClock
from tests.tools.tables import make_tables
from ticketing.tables import metadata

pytestmark = pytest.mark.collector

HERE = ("127.0.0.1", 5000)


class House:
    """A store in a file with its writer thread, two hosts, and the app; v1 is a vantage, a1 is not."""

    def __init__(self, folder: Any, poll_s: float = 1.5) -> None:
        self.store = Store.open(f"sqlite:///{folder}/asks.db")
        self.store.write(lambda tx: make_tables(tx, metadata))
        self.tokens: dict[str, str] = {}
        for host in ("v1", "a1", "p1"):
            made = self.store.write(lambda tx, h=host: enrol(tx, h, "acme", 1, addresses=[h]))
            assert isinstance(made, Enrolled)
            self.tokens[host] = made.token
        cache = FleetCache()
        with self.store.read() as conn:
            cache.load(conn, 1)
        self.poked = threading.Event()
        self.app = AsksApp(
            Intake(cache),
            self.store,
            SystemClock(),
            VantageSettings(poll_s=poll_s),  # type: ignore[arg-type]
            named=lambda: {"v1": "", "p1": "bolt"},
            owners=HopOwners,
            timeout_s=lambda why: 1.0 if why == "suspicion" else 3.0,
            poke=self.poked.set,
        )

    def ask(self, vantage: str = "v1", kind: str = "icmp", expires_in_s: float = 60, **target: Any) -> int:
        row = {
            "host_id": "a1",
            "kind": kind,
            "vantage": vantage,
            "target": {"address": "192.0.2.1", **target},
            "why": "suspicion",
            "asked_at_ms": 1,
            "expires_at_ms": SystemClock().now_ms() + round(expires_in_s * 1000),
        }
        return self.store.write(lambda tx: tx.execute(insert(probes).values(**row)).inserted_primary_key[0])

    async def request(
        self, method: str, host: str = "v1", body: bytes = b"", *, client: Any = HERE, scheme: str = "http"
    ) -> tuple[int, dict[str, Any]]:
        token = self.tokens.get(host, host)
        scope = {
            "type": "http",
            "method": method,
            "scheme": scheme,
            "client": client,
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    def answer(self, host: str, *answers: Any) -> tuple[int, dict[str, Any]]:
        return asyncio.run(self.request("POST", host, json.dumps({"answers": answers}).encode()))

    def seen(self) -> list[tuple[str, str, Any]]:
        with self.store.read() as conn:
            return [(o.signal, o.vantage, o.value) for o in conn.execute(select(observations))]


@pytest.fixture
def house(tmp_path: Any) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def patient(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Its polls are held for a minute, and nobody looks for asks unless rung for."""
    monkeypatch.setattr(asks_asgi, "LOOK_S", 60.0)
    made = House(tmp_path, poll_s=60.0)
    yield made
    made.store.close()


def test_an_ask_is_handed_out_once_and_its_answer_is_an_observation_from_there(house: House) -> None:
    number = house.ask()
    status, told = asyncio.run(house.request("GET"))
    assert (status, told["asks"]) == (
        200,
        [{"id": number, "kind": "icmp", "target": {"address": "192.0.2.1"}, "timeout_s": 1.0}],
    )
    assert asyncio.run(house.request("GET"))[1] == {"asks": []}, "held, then ended without one"
    assert house.answer("v1", {"id": number, "state": "dead"}) == (200, {"taken": 1})
    assert house.seen() == [("ext.icmp", "v1", "dead")]
    assert house.poked.is_set()


def test_a_poll_is_woken_by_an_ask_at_once(patient: House) -> None:
    async def both() -> tuple[float, Any]:
        loop = asyncio.get_running_loop()
        poll = asyncio.create_task(patient.request("GET"))
        await asyncio.sleep(0.3)
        begun = loop.time()
        patient.ask()
        threading.Thread(target=patient.app.ring).start()
        _, told = await poll
        return loop.time() - begun, told

    took_s, told = asyncio.run(both())
    assert len(told["asks"]) == 1 and took_s < 20, "sooner than the next look, or the end of the poll"


def test_a_poll_ends_for_a_newer_one_and_when_we_stop(patient: House) -> None:
    async def both() -> list[Any]:
        older = asyncio.create_task(patient.request("GET"))
        await asyncio.sleep(0.1)
        newer = asyncio.create_task(patient.request("GET"))
        await asyncio.wait_for(older, 20)
        assert patient.app.waiting == 1
        patient.app.stop()
        await asyncio.wait_for(newer, 20)
        return [older.result(), newer.result()]

    assert asyncio.run(both()) == [(200, {"asks": []})] * 2
    assert patient.app.waiting == 0


def test_only_named_hosts_are_served_and_only_by_their_own_token(house: House) -> None:
    assert asyncio.run(house.request("GET", "a1"))[0] == 403
    assert asyncio.run(house.request("GET", "guessed"))[0] == 401
    assert asyncio.run(house.request("GET", client=("192.0.2.9", 1)))[0] == 403, "no token over plain HTTP"
    assert asyncio.run(house.request("PUT"))[0] == 405
    number = house.ask()
    asyncio.run(house.request("GET"))
    assert house.answer("a1", {"id": number, "state": "ok"})[0] == 403
    assert house.answer("p1", {"id": number, "state": "ok"}) == (200, {"taken": 0})
    assert house.seen() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"answers": 1}', b"\xff", b"[" * 5000])
def test_a_body_that_is_none_is_refused(house: House, body: bytes) -> None:
    assert asyncio.run(house.request("POST", body=body))[0] == 400


def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    assert asyncio.run(house.request("POST", body=b"x" * 200_000))[0] == 413


def test_a_late_answer_is_not_taken(house: House) -> None:
    number = house.ask(expires_in_s=0.2)
    asyncio.run(house.request("GET"))
    threading.Event().wait(0.3)
    assert house.answer("v1", {"id": number, "state": "ok"}) == (200, {"taken": 0})
    assert house.seen() == []


def test_an_expired_ask_is_not_handed_out_and_being_on_the_poll_is_written_down(house: House) -> None:
    house.ask(expires_in_s=-1)
    assert asyncio.run(house.request("GET"))[1] == {"asks": []}
    with house.store.read() as conn:
        assert [row.host_id for row in conn.execute(select(vantages))] == ["v1"]


def test_a_peer_alone_is_no_observation(house: House) -> None:
    number = house.ask("p1", peer_of="bolt")
    assert "peer_of" not in asyncio.run(house.request("GET", "p1"))[1]["asks"][0]["target"]
    assert house.answer("p1", {"id": number, "state": "dead"}) == (200, {"taken": 1})
    assert house.seen() == []


def test_a_trace_from_there_has_the_names_of_its_hops(house: House) -> None:
    number = house.ask(kind="trace")
    asyncio.run(house.request("GET"))
    hops = [[1, "10.0.0.1", "transit"], [2, "192.0.2.1", "host"]]
    house.answer("v1", {"id": number, "state": "ok", "facts": {"hops": hops}})
    assert house.seen() == [("ext.last_hop", "v1", "host")]


def test_a_vantage_that_hung_up_is_not_handed_anything(house: House) -> None:
    async def hang_up() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "client": HERE,
            "headers": [(b"authorization", f"Bearer {house.tokens['v1']}".encode())],
        }

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            """Nobody reads it."""

        await house.app(scope, receive, send)
        house.ask()

    asyncio.run(hang_up())
    with house.store.read() as conn:
        assert asks.is_asked(conn, "v1", SystemClock().now_ms())
