"""A frozen process, a link taken down, a step of the clock: found by a real agent."""

from __future__ import annotations

import glob
import signal
import socket
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.faults.scene import Scene, scene
from tests.e2e.house import wait_for
from tests.tools.needs import require_kernel, require_package, require_root

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120, func_only=True)]


@pytest.fixture
def stage() -> Iterator[Scene]:
    require_root()
    require_kernel("mount_namespaces")
    with scene() as made:
        yield made


def test_a_frozen_web_server_still_takes_connections_and_is_found_all_the_same(stage: Scene) -> None:
    port = stage.free_port
    stage.configure(
        f"checks:\n  - {{name: page, type: http, url: 'http://127.0.0.1:{port}/', interval_s: 1, timeout_s: 1}}\n"
        f"  - {{name: port, type: tcp, host: 127.0.0.1, port: {port}, interval_s: 1, timeout_s: 1}}\n"
    )
    site = stage.beside(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    wait_for("the site answers", 60, lambda: _status(port) == 200)
    stage.start()
    stage.until(lambda: len(stage.reports) >= 4)
    assert stage.changes_of("check_fails", "page") == []
    site.send_signal(signal.SIGSTOP)
    opening = stage.opened("check_fails", "page")
    assert opening["facts"]["check.state"]["now"] == "timeout"
    with socket.create_connection(("127.0.0.1", port), 2):
        assert stage.changes_of("check_fails", "port") == [], "the kernel still answers for the port"
    site.send_signal(signal.SIGCONT)
    stage.closed("check_fails", "page")


def _status(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
        return answer.status


def test_a_link_that_is_taken_down_is_found_by_its_name_and_closes_when_it_is_back() -> None:
    require_root()
    require_kernel("network_namespaces")
    with scene(own_network=True) as stage:
        for words in (
            "link add uplink type veth peer name switch",
            "addr add 10.81.0.2/24 dev uplink",
            "link set uplink up",
            "link set switch up",
        ):
            stage.run("ip", *words.split())
        stage.start()
        stage.until(lambda: len(stage.reports) >= 3)
        assert stage.changes_of("link_down", "uplink") == []
        # The other end goes, as when a switch's port is shut: this side is still set up, and has no carrier.
        stage.run("ip", "link", "set", "switch", "down")
        opening = stage.opened("link_down", "uplink")
        assert opening["facts"]["net.link"]["now"] == "down"
        assert opening["facts"]["net.flaps"]["now"] >= 1
        stage.run("ip", "link", "set", "switch", "up")
        stage.closed("link_down", "uplink")


@pytest.mark.parametrize("step_s", [3600, -7200])
def test_a_step_of_the_clock_is_found_with_its_size_and_the_heartbeat_goes_on(
    stage: Scene, step_s: int
) -> None:
    require_package("libfaketime")
    (library,) = [
        path for name in ("lib/*", "lib64") for path in glob.glob(f"/usr/{name}/faketime/libfaketimeMT.so.1")
    ]
    shift = stage.folder / "shift"
    shift.write_text("+0")
    agent = stage.start(
        LD_PRELOAD=library,
        FAKETIME_TIMESTAMP_FILE=str(shift),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
        DONT_FAKE_MONOTONIC="1",
    )
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("clock_stepped", "") == []
    shift.write_text(f"{step_s:+d}")
    opening = stage.opened("clock_stepped")
    assert abs(opening["facts"]["clk.wall_step_s"]["now"] - step_s) < 1
    reports = len(stage.reports)
    stage.until(lambda: len(stage.reports) >= reports + 3)
    assert agent.poll() is None
    assert [c for c in stage.changes if c["rule"].startswith("guest_paused")] == [], "a step is no pause"
