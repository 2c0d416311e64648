"""The intake's ASGI callable: who may speak, how much, and that nothing is answered before its commit."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from collector.enrol import hash_token
from collector.fleet_cache import FleetCache, HostEntry
from collector.intake import Intake, Rejected
from collector.intake_asgi import Bounds, IntakeApp
from collector.store.engine import StoreBusy
from config.clock import FixedClock

TOKEN = "right-token"
NOW = FixedClock().now_ms()


class HeldStore:
    """A store whose writer the test turns by hand: ``submit`` queues, ``turn`` runs one function as its commit would."""

    def __init__(self) -> None:
        self.queue: list[tuple[Any, Future[Any]]] = []
        self.refuses: Exception | None = None

    def submit(self, fn: Any, *, first: bool = False) -> Future[Any]:
        if self.refuses is not None:
            raise self.refuses
        future: Future[Any] = Future()
        self.queue.append((fn, future))
        return future

    def turn(self, outcome: Any = None) -> None:
        fn, future = self.queue.pop(0)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            return
        try:
            future.set_result(fn(None))
        except Exception as error:
            future.set_exception(error)


class Took:
    """Stands where ``Intake.take`` stands: answers want_n 2, and breaks on hosts that it is told to."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.groups: list[int] = []
        self.poison = ""

    def __call__(self, tx: Any, accepted: Any, now_ms: int) -> list[Any]:
        self.groups.append(len(accepted))
        if any(one.report.run_id == self.poison for one in accepted):
            raise RuntimeError("poison")
        return [self.intake._reply(one, 2, []) for one in accepted]


class Stage:
    """The callable with a held store and one known host."""

    def __init__(self, **bounds: Any) -> None:
        cache = FleetCache()
        entry = HostEntry("a1", "acme", hash_token(TOKEN))
        entry.stream = "s1"
        cache._by_id, cache._by_token = {"a1": entry}, {entry.token_hash: entry}
        self.cache = cache
        self.intake = Intake(cache)
        self.took = Took(self.intake)
        self.intake.take = self.took  # type: ignore[method-assign]
        self.store = HeldStore()
        self.reloads = 0
        self.app = IntakeApp(
            self.intake, self.store, FixedClock(), bounds=Bounds(**bounds), reload_fleet=self._reload  # type: ignore[arg-type]
        )  # fmt: skip

    def _reload(self) -> None:
        self.reloads += 1

    async def post(
        self,
        body: bytes | list[bytes],
        *,
        token: str = TOKEN,
        method: str = "POST",
        client: str | None = "127.0.0.1",
        scheme: str = "http",
        length: int | None = None,
        never_ends: bool = False,
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        parts = [body] if isinstance(body, bytes) else body
        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        size = sum(map(len, parts)) if length is None else length
        headers.append((b"content-length", str(size).encode()))
        scope = {
            "type": "http", "method": method, "scheme": scheme, "path": "/api/v1/reports", "headers": headers,
            "client": (client, 5) if client else None,
        }  # fmt: skip
        messages = [
            {"type": "http.request", "body": part, "more_body": never_ends or n < len(parts) - 1}
            for n, part in enumerate(parts)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], json.loads(sent[1]["body"]), told


def report(run: str = "r1", mono: int = 1000, findings: int = 0) -> bytes:
    """A report's body."""
    one = {"kind": "opened", "rule": "x", "subject": "", "family": "cpu", "at_ms": NOW}
    plain = {
        "v": 1, "agent": "0.1", "boot_id": "b1", "run_id": run, "wall_ms": NOW, "mono_ms": mono, "boottime_ms": mono,
        "interval_s": 10.0, "stream": "s1", "findings": [{"n": n, "opening_n": n, **one} for n in range(1, findings + 1)],
    }  # fmt: skip
    return json.dumps(plain).encode()


async def settled(task: asyncio.Task[Any] | None = None) -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)
        if task is not None and task.done():
            return


def test_a_heartbeat_is_answered_without_the_store() -> None:
    async def run() -> None:
        stage = Stage()
        status, answer, _ = await stage.post(report())
        assert (status, answer["want_n"]) == (200, 1)
        assert stage.store.queue == []

    asyncio.run(run())


def test_a_finding_is_answered_only_after_its_commit() -> None:
    async def run() -> None:
        stage = Stage()
        task = asyncio.create_task(stage.post(report(findings=1)))
        await settled()
        assert len(stage.store.queue) == 1
        assert not task.done(), "answered before the commit"
        stage.store.turn()
        assert (await task)[:1] == (200,)

    asyncio.run(run())


def test_what_arrives_while_the_writer_is_busy_shares_the_next_commit() -> None:
    async def run() -> None:
        stage = Stage(batch_max=4)
        tasks = [asyncio.create_task(stage.post(report(run=f"r{n}", findings=1))) for n in range(7)]
        await settled()
        assert len(stage.store.queue) == 1
        while stage.store.queue:
            stage.store.turn()
            await settled()
        assert [(await task)[0] for task in tasks] == [200] * 7
        assert stage.took.groups == [1, 4, 2]

    asyncio.run(run())


def test_a_full_line_is_told_to_come_back_and_counted() -> None:
    async def run() -> None:
        stage = Stage(waiting_max=2)
        tasks = [asyncio.create_task(stage.post(report(run=f"r{n}", findings=1))) for n in range(5)]
        await settled()
        while stage.store.queue:
            stage.store.turn()
            await settled()
        answers = [await task for task in tasks]
        assert [a[0] for a in answers] == [200, 200, 200, 503, 503]
        assert answers[3][1]["error"] == "busy"
        assert answers[3][2]["retry-after"] == "1"
        assert stage.intake.counts["busy"] == 2

    asyncio.run(run())


def test_one_poisonous_report_is_refused_alone() -> None:
    async def run() -> None:
        stage = Stage()
        stage.took.poison = "r2"
        tasks = [asyncio.create_task(stage.post(report(run=f"r{n}", findings=1))) for n in range(4)]
        await settled()
        for _ in range(10):
            if stage.store.queue:
                stage.store.turn()
            await settled()
        assert [(await task)[0] for task in tasks] == [200, 200, 500, 200]
        assert stage.intake.counts["internal"] == 1
        again = asyncio.create_task(stage.post(report(run="r9", findings=1)))
        await settled()
        stage.store.turn()
        assert (await again)[0] == 200, "the line goes on"

    asyncio.run(run())


@pytest.mark.parametrize("how", ["at submit", "at commit"])
def test_a_store_that_is_away_is_a_503_and_nothing_is_lost_in_silence(how: str) -> None:
    async def run() -> None:
        stage = Stage()
        if how == "at submit":
            stage.store.refuses = StoreBusy("full")
        task = asyncio.create_task(stage.post(report(findings=1)))
        await settled()
        if how == "at commit":
            stage.store.turn(OperationalError("COMMIT", {}, Exception("disk full")))
        status, answer, headers = await task
        assert (status, answer["error"], headers["retry-after"]) == (503, "store", "5")
        stage.store.refuses = None
        task = asyncio.create_task(stage.post(report(findings=1, mono=2000)))
        await settled()
        stage.store.turn()
        assert (await task)[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("client", "scheme", "status"),
    [("127.0.0.1", "http", 200), ("::1", "http", 200), ("::ffff:127.0.0.1", "http", 200), (None, "http", 200),
     ("192.0.2.7", "http", 403), ("192.0.2.7", "https", 200), ("unknown", "http", 403)],
)  # fmt: skip
def test_a_token_is_refused_over_plain_http_off_loopback(
    client: str | None, scheme: str, status: int
) -> None:
    stage = Stage()
    answer = asyncio.run(stage.post(report(), client=client, scheme=scheme))
    assert answer[0] == status
    if status == 403:
        assert answer[1]["error"] == "plain_http"
        assert stage.intake.counts == {"plain_http": 1}


def test_only_post_is_taken() -> None:
    status, answer, headers = asyncio.run(Stage().post(b"", method="GET"))
    assert (status, answer["error"], headers["allow"]) == (405, "method", "POST")


def test_a_body_is_cut_off_by_its_announced_and_by_its_real_length() -> None:
    stage = Stage(body_max=1000)
    assert asyncio.run(stage.post(b"x", length=1001))[0] == 413
    assert asyncio.run(stage.post([b"x" * 600, b"x" * 600], length=5))[0] == 413
    assert asyncio.run(stage.post([b"x" * 600, b"x" * 600], length=-1))[0] == 413
    assert stage.intake.counts == {"too_large": 3}
    assert stage.app._reading_bytes == 0


def test_a_body_in_pieces_is_put_together() -> None:
    whole = report()
    assert asyncio.run(Stage().post([whole[:50], b"", whole[50:]]))[0] == 200


def test_a_body_that_never_ends_is_given_up() -> None:
    stage = Stage(body_s=0.0)
    status, answer, _ = asyncio.run(asyncio.wait_for(stage.post([b"{"], length=500, never_ends=True), 5))
    assert (status, answer["error"]) == (408, "slow_body")
    assert stage.app._readers == {}


def test_an_unknown_token_looks_for_new_hosts_at_most_once_a_second() -> None:
    async def run() -> None:
        stage = Stage()
        for _ in range(5):
            assert (await stage.post(report(), token="stranger"))[0] == 401
        assert stage.reloads == 1
        stage.app.clock.advance(1500)  # type: ignore[attr-defined]
        await stage.post(report(), token="stranger")
        assert stage.reloads == 2
        assert stage.intake.counts == {"bad_token": 6}

    asyncio.run(run())


def test_a_host_that_another_process_enrolled_is_known_at_its_first_report() -> None:
    async def run() -> None:
        stage = Stage()

        def reload() -> None:
            entry = HostEntry("a2", "acme", hash_token("new-token"))
            entry.stream = "s1"
            stage.cache._by_token[entry.token_hash] = entry

        stage.app._reload_fleet = reload
        assert (await stage.post(report(), token="new-token"))[0] == 200
        assert stage.intake.counts == {"ok": 1}

    asyncio.run(run())


def test_a_stopping_collector_takes_nothing_more() -> None:
    stage = Stage()
    stage.app.is_stopping = True
    status, answer, headers = asyncio.run(stage.post(report()))
    assert (status, answer["error"], "retry-after" in headers) == (503, "stopping", True)


def test_every_refusal_is_json_with_version_error_and_sentence() -> None:
    import collector.intake as intake_module
    import collector.intake_asgi as asgi_module

    known = [v for m in (intake_module, asgi_module) for v in vars(m).values() if isinstance(v, Rejected)]
    assert len(known) >= 8
    for rejected in known:
        told = json.loads(rejected.to_json())
        assert (told["v"], told["error"]) == (1, rejected.error)
        assert told["detail"].endswith(".")
