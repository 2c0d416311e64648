"""A real sshd on loopback whose key may only run the shipped wrapper, and an order to give it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.failover.plan import Plan, Step
from collector.failover.steps.step_type import Order
from collector.ssh import Target
from tests.lab.sshd import Sshd
from tests.tools.needs import require_package


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_package("openssh-server")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Sshd(tmp_path_factory.mktemp("sshd"))
    made.start()
    yield made
    made.stop()


def make_order(
    step_type: str, options: dict[str, Any], target: Target | None = None, **changes: Any
) -> Order:
    step = Step("promote-0", "promote", step_type, options, 20.0, 1)
    plan = Plan("a1>b9", "a1", "b9", 7, "hw.power", "acme", 1, "failover", "F3", (step,))

    def ssh(host: str) -> Target:
        assert target is not None
        return target

    whole: dict[str, Any] = {
        "step": step,
        "plan": plan,
        "run_id": "r1",
        "epoch": 3,
        "term": 1,
        "attempt": 1,
        "deadline_s": 10.0,
        "addresses": {"a1": "127.0.0.1", "b9": "127.0.0.1"},
        "ssh": ssh,
        "pause": lambda s: threading.Event().wait(min(s, 0.2)) and None,
    }
    return Order(**{**whole, **changes})


@pytest.fixture
def order() -> Callable[..., Order]:
    return make_order


class Cut:
    """A proxy before a server that stops forwarding when told: a link that is cut without a word."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.is_cut = threading.Event()
        self._socks: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            self._socks += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while part := one.recv(65536):
                if self.is_cut.is_set():
                    continue
                other.sendall(part)
        except OSError:
            return

    def close(self) -> None:
        for sock in self._socks:
            sock.close()


@pytest.fixture
def cut(sshd: Sshd) -> Iterator[Cut]:
    made = Cut(sshd.port)
    yield made
    made.close()
