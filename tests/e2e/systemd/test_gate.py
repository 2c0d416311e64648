"""Gate and wrapper under real systemd, on two machines after `systemd/install pair`: I3, B5, and both sites dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.systemd import base
from tests.e2e.systemd.machine import Failed, Machine, within, workshop
from tests.tools.needs import require_kernel, require_package, require_root

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.collector, pytest.mark.timeout(600)]

ADDRESSES = {"a1": "192.0.2.31", "b9": "192.0.2.32"}
PAIR, SERVICE, KNOWS = "a1+b9", "site.service", 7001
STEP, GATE = "/usr/lib/vartovyi/vartovyi-step", "/usr/lib/vartovyi/vartovyi-gate"
SITE = """[Unit]
After=network-online.target
Wants=network-online.target
[Service]
User=nobody
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
KNOWS_SOCKET = f"[Socket]\nListenStream={KNOWS}\nAccept=yes\n[Install]\nWantedBy=sockets.target\n"
KNOWS_SERVICE = f"[Service]\nExecStart={STEP} epoch {PAIR}\nStandardInput=null\nStandardOutput=socket\n"
"""What the peer asks, here without SSH: the network between the two is theirs alone."""


@pytest.fixture
def hosts() -> Iterator[tuple[Machine, Machine]]:
    """Both installed, armed with epoch 1 of a1, the service enabled on both as packages do."""
    require_root()
    for package in ("debootstrap", "systemd-nspawn", "iproute2", "util-linux"):
        require_package(package)
    for feature in ("network_namespaces", "mount_namespaces"):
        require_kernel(feature)
    root = base.debian()
    with workshop(base.CACHE, ".gate") as (folder, wire):
        made = [
            Machine(name, base.disk(root, folder / name, address, ADDRESSES), wire, folder)
            for name, address in ADDRESSES.items()
        ]
        try:
            for machine in made:
                machine.boot()
                _furnish(machine)
            yield made[0], made[1]
        finally:
            for machine in made:
                machine.pull_the_plug()


def _furnish(machine: Machine) -> None:
    peer = next(address for name, address in ADDRESSES.items() if name != machine.name)
    for path, text in (
        (f"/etc/systemd/system/{SERVICE}", SITE),
        ("/etc/systemd/system/knows.socket", KNOWS_SOCKET),
        ("/etc/systemd/system/knows@.service", KNOWS_SERVICE),
    ):
        machine.run(f"cat > {path}", stdin=text)
    said = machine.run("systemd/install pair")
    assert "what the collector may run here" in said
    with pytest.raises(Failed, match="write it first"):
        machine.run(f"systemd/install pair {PAIR} {SERVICE}")
    asks = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{peer}/{KNOWS}; cat <&3'"
    told = f"host={machine.name}\nservice={SERVICE}\npeer={asks}\nttl=10\n"
    machine.run(f"cat > /etc/vartovyi-failover/pairs/{PAIR}", stdin=told)
    machine.run(f"systemd/install pair {PAIR} {SERVICE}")
    machine.run("ln -s /usr/lib/vartovyi/steps/promote-unit /etc/vartovyi-failover/steps/")
    machine.run(f"{STEP} arm {PAIR} 1 a1; systemctl enable --now knows.socket; systemctl enable {SERVICE}")


def _state(machine: Machine) -> str:
    return machine.show(SERVICE, "ActiveState")


def _settled(machine: Machine) -> bool:
    """Whether its boot has come to an end: nothing is waiting to start."""
    return "No jobs" in machine.run("systemctl list-jobs")


def test_i3_under_systemd_the_service_runs_on_one_host_through_a_failover_and_every_boot(
    hosts: tuple[Machine, Machine],
) -> None:
    a1, b9 = hosts
    # The primary, whose peer agrees; the backup, whose refused start is no failed unit.
    a1.run(f"systemctl start {SERVICE}")
    b9.run(f"systemctl start {SERVICE}")
    assert (_state(a1), _state(b9)) == ("active", "inactive")
    assert any("makes a1 the primary, not b9" in line for line in b9.journal(SERVICE))
    # The watch is alive as long as systemd is told so, under the pair's escaped name.
    watch = a1.run(f"systemd-escape --template=vartovyi-gate@.service {PAIR}").strip()
    a1.run(f"systemctl start '{watch}'")

    # Failover: the promotion runs detached under systemd, once.
    a1.pull_the_plug()
    b9.run(f"{STEP} arm {PAIR} 2 b9")
    assert b9.run(f"{STEP} run {PAIR} 2 k1 60 promote-unit {SERVICE}").strip() == "started k1"
    within(60, "the promotion does not end", lambda: "rc 0" in b9.run(f"{STEP} status {PAIR} k1"))
    assert _state(b9) == "active"
    assert b9.run(f"{STEP} run {PAIR} 2 k1 60 promote-unit {SERVICE}").strip() == "began before k1"
    with pytest.raises(Failed, match="epoch 1 is lower than 2"):
        b9.run(f"{STEP} run {PAIR} 1 k0 60 promote-unit {SERVICE}")

    # The old primary boots, its service enabled: it learns the higher epoch before anything starts.
    a1.boot()
    within(60, "its boot does not end", lambda: _settled(a1))
    assert (_state(a1), _state(b9)) == ("inactive", "active")
    assert any("epoch 2 makes b9 the primary, not a1" in line for line in a1.journal(SERVICE))
    assert a1.run(f"cat /var/lib/vartovyi-failover/{PAIR}/epoch").strip() == "2 b9"
    with pytest.raises(Failed, match="makes b9 the primary"):
        a1.run(f"{GATE} permit {PAIR}")

    # Both sites dark, one comes back and sees nobody: it waits for a person, whose word holds for this boot.
    a1.pull_the_plug()
    b9.pull_the_plug()
    b9.boot()
    within(60, "its boot does not end", lambda: _settled(b9))
    assert _state(b9) == "inactive"
    b9.run(f"{GATE} permit {PAIR} && systemctl start {SERVICE}")
    assert _state(b9) == "active"


@pytest.mark.lab
def test_the_watch_keeps_its_watchdog_fed_and_stops_a_service_that_nobody_can_reach(
    hosts: tuple[Machine, Machine],
) -> None:
    """F2: the backup is gone and there is no collector to reach: after its time the primary stops itself."""
    a1, b9 = hosts
    a1.run(f"systemctl start {SERVICE}")
    watch = a1.run(f"systemd-escape --template=vartovyi-gate@.service {PAIR}").strip()
    a1.run(
        "mkdir /etc/systemd/system/vartovyi-gate@.service.d; "
        "printf '[Service]\\nWatchdogSec=12\\n' > /etc/systemd/system/vartovyi-gate@.service.d/quick.conf; "
        f"systemctl daemon-reload; systemctl start '{watch}'; sleep 20"
    )
    assert (a1.show(watch, "NRestarts"), _state(a1)) == ("0", "active")
    b9.pull_the_plug()
    within(90, "the service was not stopped", lambda: _state(a1) == "inactive", 1)
    assert any("neither the collector nor the other host" in line for line in a1.journal(watch))
