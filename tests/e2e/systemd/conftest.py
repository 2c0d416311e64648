"""Two booted machines on which the README's lines were pasted, once for all tests of this folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.systemd import base, pasted
from tests.e2e.systemd.machine import Machine, Wire, within, workshop
from tests.tools.needs import require_kernel, require_package, require_root

DESK, WEB = "desk.example.org", "web-1"
ADDRESSES = {DESK: "192.0.2.10", WEB: "192.0.2.20"}  # as in the README
LOGIN, PASSWORD = "olena", "correct horse battery staple"

HURRY = """
period: 1 s
rules:
  unit_failed: {raise: {all: ["svc.unit_failed == true"], for: 1 s}}
"""
"""A failed unit is a finding after a minute or two; no test waits that long."""


INSTALL_WITHIN_S = 400
"""pip installs on a machine that others may be busy on; how long that takes is not what the tests are about."""


@dataclasses.dataclass
class House:
    """The collector's machine and the watched one, and what a person at the desk can ask."""

    desk: Machine
    web: Machine
    said: list[str]
    """What each pasted block printed, in order."""

    def host(self) -> dict[str, Any]:
        """The watched server as `vartovyi-collector hosts` lists it."""
        (row,) = self.desk.json("vartovyi-collector hosts --json")
        return row

    def is_alive(self) -> bool:
        return self.host()["life"] == "alive"

    def row(self, columns: str, table: str, where: str) -> list[Any] | None:
        """One row of the collector's store, read as an admin would who looks under the bonnet."""
        script = f"""
import json, sqlite3
store = sqlite3.connect("file:/var/lib/vartovyi-collector/collector.db?mode=ro", uri=True)
print(json.dumps(store.execute({f"select {columns} from {table} where {where}"!r}).fetchone()))
"""
        return json.loads(self.desk.run("/opt/vartovyi/bin/python -", stdin=script))

    def tickets(self) -> list[dict[str, Any]]:
        """The desk's open tickets, through its API, its certificate checked by name."""
        return self.desk.json("vartovyi-desk list --json --config /root/desk.yaml")["tickets"]


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Both machines up, installed by the pasted lines, and reporting."""
    require_root()
    for package in ("debootstrap", "systemd-nspawn", "iproute2", "util-linux"):
        require_package(package)
    for feature in ("network_namespaces", "mount_namespaces"):
        require_kernel(feature)
    root = base.debian()
    wheels = base.wheels(root)
    with workshop(base.CACHE) as (folder, wire):
        machines = {name: _machine(name, root, folder, wire, wheels) for name in ADDRESSES}
        try:
            for machine in machines.values():
                machine.boot()
            house = House(machines[DESK], machines[WEB], [])
            _follow(house)
            _let_in(house)
            within(60, "the host is not alive", house.is_alive)
            house.web.run("cat >> /etc/vartovyi/agent.yaml; systemctl reload vartovyi-agent", stdin=HURRY)
            yield house
        finally:
            for machine in machines.values():
                machine.pull_the_plug()


def _machine(name: str, root: Any, folder: Any, wire: Wire, wheels: Any) -> Machine:
    disk = base.disk(root, folder / name, ADDRESSES[name], ADDRESSES)
    return Machine(name.partition(".")[0], disk, wire, wheels)


def _follow(house: House) -> None:
    """Paste block after block: each as it stands, with what a person would type into it."""
    for block in pasted.blocks():
        if "install agent" in block:
            # A person copies what the block before printed, from one window to the other.
            house.said.append(house.web.run(block, stdin=house.said[-1], timeout_s=INSTALL_WITHIN_S))
        else:
            house.said.append(house.desk.run(block, stdin=f"{PASSWORD}\n", timeout_s=INSTALL_WITHIN_S))


def _let_in(house: House) -> None:
    """An API token for the person whom the pasted lines made."""
    settings = {
        "url": f"https://{DESK}:8440",
        "token": house.desk.json(f"vartovyi-collector token {LOGIN} --json")["token"],
        "ca_file": "/var/lib/vartovyi-collector/tls.crt",
    }
    house.desk.run("umask 077; cat > /root/desk.yaml", stdin=json.dumps(settings))
