"""The hosts' gate as it is shipped: it decides with the agent dead, before the service starts, from files and the peer alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.collector
GATE = Path(__file__).resolve().parents[5] / "systemd" / "failover" / "vartovyi-gate"
STEP = GATE.with_name("vartovyi-step")
PAIR = "a1+b9"


class Host:
    """One host's files; its peer answers what the other host's wrapper would."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        (folder / "etc" / "pairs").mkdir(parents=True)
        self.env = {
            "PATH": "/usr/bin:/bin",
            "VARTOVYI_FAILOVER_ETC": str(folder / "etc"),
            "VARTOVYI_FAILOVER_STATE": str(folder / "state"),
        }
        self.sees(None)

    def sees(self, peer: Host | None, standby: str = "") -> None:
        ask = ""
        if peer is not None:
            env = " ".join(f"{key}={value}" for key, value in peer.env.items())
            ask = f"env {env} {STEP} epoch {PAIR}"
        text = f"host={self.name}\nservice=db.service\npeer={ask}\nstandby={standby}\nttl=2\n"
        (self.folder / "etc" / "pairs" / PAIR).write_text(text)

    def step(self, *words: str) -> int:
        return subprocess.run([str(STEP), *words], env=self.env, capture_output=True, check=False).returncode

    def may_start(self) -> bool:
        done = subprocess.run([str(GATE), "check", PAIR], env=self.env, capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def permit(self) -> int:
        return subprocess.run(
            [str(GATE), "permit", PAIR], env=self.env, capture_output=True, check=False
        ).returncode


@pytest.fixture
def pair(tmp_path) -> tuple[Host, Host]:
    a1, b9 = Host(tmp_path / "a1", "a1"), Host(tmp_path / "b9", "b9")
    for host in (a1, b9):
        host.step("arm", PAIR, "3", "a1")
    return a1, b9


def test_the_primary_starts_where_its_peer_agrees_and_the_backup_never(pair) -> None:
    a1, b9 = pair
    a1.sees(b9)
    b9.sees(a1)
    assert a1.may_start()
    assert not b9.may_start()


def test_neither_starts_by_itself_while_it_cannot_see_the_other(pair) -> None:
    a1, b9 = pair
    assert not a1.may_start()
    assert not b9.may_start()


def test_a_replicated_database_starts_on_either_host_as_long_as_it_is_a_standby(pair, tmp_path) -> None:
    _, b9 = pair
    mark = tmp_path / "standby.signal"
    b9.sees(None, standby=f"test -e {mark}")
    assert not b9.may_start()
    mark.touch()
    assert b9.may_start()
    mark.unlink()  # promoted by nobody we know of
    assert not b9.may_start()


def test_a_person_permits_a_start_in_this_boot_on_the_right_host_alone(pair) -> None:
    a1, b9 = pair
    assert b9.permit() == 1
    assert a1.permit() == 0
    assert a1.may_start()
    (a1.folder / "state" / PAIR / "permit").write_text("3 another-boot\n")
    assert not a1.may_start()


def test_the_old_primary_that_returns_learns_the_higher_epoch_and_stays_off(pair) -> None:
    """I3, B5: after the failover b9 is the primary of epoch 4; a1 boots and asks."""
    a1, b9 = pair
    b9.step("arm", PAIR, "4", "b9")
    a1.permit()
    a1.sees(b9)
    assert not a1.may_start()
    a1.sees(None)  # what it learned it keeps, also when the peer is gone again
    assert not a1.may_start()
    assert (a1.folder / "state" / PAIR / "epoch").read_text() == "4 b9\n"


def test_a_run_that_is_given_up_after_arming_leaves_the_old_primary_its_service(pair) -> None:
    a1, b9 = pair
    a1.sees(b9)
    b9.sees(a1)
    assert b9.step("expect", PAIR, "4") == 0
    assert a1.may_start()
    assert not b9.may_start()


def test_the_promoted_backup_starts_without_its_dead_peer_once_the_promotion_permitted_it(pair) -> None:
    _, b9 = pair
    b9.step("arm", PAIR, "4", "b9")
    assert not b9.may_start()
    assert b9.step("permit", PAIR, "3") == 75
    assert b9.step("permit", PAIR, "4") == 0
    assert b9.may_start()


def test_a_host_without_its_file_or_with_a_damaged_epoch_stays_off(pair) -> None:
    a1, _ = pair
    (a1.folder / "state" / PAIR / "epoch").write_text("rubbish\n")
    assert not a1.may_start()
    (a1.folder / "etc" / "pairs" / PAIR).unlink()
    assert not a1.may_start()


@pytest.mark.parametrize(("told", "kept"), [("3 primary a1", "5 b9"), ("4 primary a1", "5 b9")])
def test_who_is_named_while_the_peer_is_being_asked_keeps_its_service_and_its_epoch(
    pair, tmp_path, told, kept
) -> None:
    """J1: the watch of the new primary asked before the promotion and went by what it had known then."""
    _, b9 = pair
    asked, calls, answer = tmp_path / "asked", tmp_path / "calls", tmp_path / "answer"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    systemctl.chmod(0o755)
    peer = f"touch {asked}; until [ -e {answer} ]; do sleep 0.05; done; echo epoch {told}"
    (b9.folder / "etc" / "pairs" / PAIR).write_text(f"host=b9\nservice=db.service\npeer={peer}\nttl=60\n")
    env = {**b9.env, "VARTOVYI_SYSTEMCTL": str(systemctl), "VARTOVYI_WATCH_S": "0.3"}
    watch = subprocess.Popen([str(GATE), "watch", PAIR], env=env, stderr=subprocess.DEVNULL)
    try:
        soon(asked.exists)
        assert b9.step("arm", PAIR, "5", "b9") == 0
        answer.touch()
        asked.unlink()
        soon(asked.exists)  # the next turn: the one before is over
    finally:
        watch.kill()
        watch.wait(10)
    assert not calls.exists() or "stop" not in calls.read_text()
    assert (b9.folder / "state" / PAIR / "epoch").read_text() == f"{kept}\n"


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_the_watch_stops_the_service_when_nobody_is_in_reach_or_the_epoch_is_another_s(
    pair, tmp_path
) -> None:
    a1, b9 = pair
    calls = tmp_path / "calls"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    systemctl.chmod(0o755)
    env = {**a1.env, "VARTOVYI_SYSTEMCTL": str(systemctl), "VARTOVYI_WATCH_S": "0.3"}

    def stops_within(seconds: float) -> bool:
        calls.write_text("")
        watch = subprocess.Popen(
            [str(GATE), "watch", PAIR], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and "stop db.service" not in calls.read_text():
                time.sleep(0.05)
        finally:
            watch.kill()
            watch.wait(10)
        return "stop db.service" in calls.read_text()

    a1.sees(b9)
    assert not stops_within(3)  # ttl=2
    b9.step("arm", PAIR, "4", "b9")
    assert stops_within(30)
    (a1.folder / "state" / PAIR / "epoch").write_text("3 a1\n")
    a1.sees(None, standby="true")
    assert not stops_within(3)
    a1.sees(None)
    assert stops_within(30)
