"""The laboratory's own house: its places reach each other, nothing is left of it, and a killed one is cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.ssh import say
from tests.lab.house import ADDRESS, PLACES, ROOT, VIP, House, require_house, standing

pytestmark = [pytest.mark.collector, pytest.mark.slow, pytest.mark.timeout(300)]


def left_of(name: str) -> list[str]:
    told = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines() if line.startswith(f"{name}-")]


def test_its_places_reach_each_other_and_nothing_of_it_stays(tmp_path: Path) -> None:
    require_house()
    with standing(tmp_path) as house:
        for place in PLACES:
            house.exec(place, ["ping", "-c", "1", "-W", "5", ADDRESS["oob"]])
        assert house.clients_led_to() == ["prim"]
        house.lead_clients_to("back")
        assert house.clients_led_to() == ["back"]
        house.exec("probe2", ["ping", "-c", "1", "-W", "5", VIP])
        ours = house.popen("back", ["sh", "-c", "trap '' TERM; sleep 600 & sleep 600"])
        sock = house.listen("oob", 8443)
        assert house.inside("coll", lambda: reaches(ADDRESS["oob"], 8443))
        assert house.pids("back")
        name = house.name
    assert ours.poll() is not None
    assert sock.fileno() == -1
    assert left_of(name) == []


def reaches(address: str, port: int) -> bool:
    import socket

    socket.create_connection((address, port), timeout=10).close()
    return True


def test_each_host_has_an_sshd_with_a_key_of_its_own(tmp_path: Path) -> None:
    require_house()
    with standing(tmp_path) as house:
        prim, back = house.sshd("prim"), house.sshd("back")
        assert prim.host_key != back.host_key
        told = house.inside("coll", lambda: say(back.target(), "epoch a+b", 30))
        assert (told.state, told.out) == ("ok", "epoch 0 primary - orders 0\n")
        wrong = house.inside("coll", lambda: say(back.target(host_key=prim.host_key), "ping", 30))
        assert wrong.state == "wrong_key"


CHILD = """
import sys, time
from pathlib import Path
from tests.lab.house import House
house = House(Path(sys.argv[1])).__enter__()
house.popen("prim", ["sleep", "600"])
print(house.name, flush=True)
time.sleep(600)
"""


def test_what_a_killed_laboratory_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    require_house()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "killed")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait(20)
    assert len(left_of(name)) == len(PLACES) + 1
    with House(tmp_path / "next"):
        assert left_of(name) == []
