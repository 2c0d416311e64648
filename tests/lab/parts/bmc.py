"""A real management controller of a host: OpenIPMI's ``ipmi_sim`` at ``oob``, spoken to by RMCP+, with faults to switch.

Its chassis is a script that does to the host what a power supply does. Between the collector and it stands a small UDP
forwarder at the same place, so that an answer can be lost on its way.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from tests.lab.house import ADDRESS, House
from tests.lab.parts.orders import off_words

USER, PASSWORD = "fence", "n0t-in-argv"
GUID = "a123456789abcdefa123456789abcdef"
PORT, BEHIND = 623, 9623

LAN = """name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{folder}/chassis"
  user 1 true "" "unused" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
COMMANDS = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
CHASSIS = """#!/bin/sh
# Asked by ipmi_sim: get|set NAME [VALUE] ...
cd {folder} || exit 1
verb=$1; shift
[ "$verb" = get ] && {{ for name in "$@"; do
    if [ "$name" = power ]; then echo "power:$(cat power)"; else echo "$name:0"; fi; done; exit 0; }}
while [ $# -ge 2 ]; do
    if [ "$1" = power ]; then
        echo "$2" >>orders
        echo "$2" >power
        if [ "$2" = 0 ] && [ ! -e lies ]; then
            {off}
        fi
    fi
    shift 2
done
"""


class Bmc:
    """The controller of one host."""

    def __init__(self, house: House, host: str = "prim", place: str = "oob") -> None:
        self._house, self._place = house, place
        self.folder = house.folder / f"bmc-{host}"
        self.folder.mkdir()
        (self.folder / "power").write_text("1\n")
        (self.folder / "password").write_text(PASSWORD + "\n")
        (self.folder / "lan.conf").write_text(
            LAN.format(
                name=f"bmc-{host}", address=ADDRESS[place], port=BEHIND, guid=GUID, folder=self.folder,
                user=USER, password=PASSWORD,
            )
        )  # fmt: skip
        (self.folder / "commands").write_text(COMMANDS)
        chassis = self.folder / "chassis"
        off = "\n            ".join(off_words(house, host))
        chassis.write_text(CHASSIS.format(folder=self.folder, off=off))
        chassis.chmod(0o755)
        forward = [
            ADDRESS[place],
            str(PORT),
            str(BEHIND),
            str(self.folder / "mute"),
            str(self.folder / "orders"),
        ]
        house.popen(place, [sys.executable, "-m", "tests.lab.parts.udp_forward", *forward], log="udp_forward")
        self.start()

    def start(self) -> None:
        """Plug it in; its state is as it was."""
        words = ["ipmi_sim", "-c", "lan.conf", "-f", "commands", "-s", str(self.folder / "state"), "-n", "-p"]
        self._process = self._house.popen(self._place, words, log="ipmi_sim", cwd=self.folder)
        told = ["-U", USER, "-f", str(self.folder / "password"), "chassis", "power", "status"]
        where = ["-I", "lanplus", "-C", "3", "-N", "1", "-R", "1", "-H", ADDRESS[self._place]]
        ends_s = time.monotonic() + 60
        while self._house.exec("oob", ["ipmitool", *where, *told], check=False).returncode != 0:
            assert self._process.poll() is None, "ipmi_sim ended"
            assert time.monotonic() < ends_s, "ipmi_sim does not answer"

    def options(self, **changes: Any) -> dict[str, Any]:
        """Of the step fence.ipmi."""
        whole = {
            "address": ADDRESS[self._place],
            "user": USER,
            "password_file": str(self.folder / "password"),
            "cipher": 3,
            "guid": self.guid(),
        }
        return {**whole, **changes}

    def guid(self) -> str:
        """As ipmitool prints it, which is what an admin pins."""
        where = ["-I", "lanplus", "-C", "3", "-H", ADDRESS[self._place], "-U", USER]
        said = self._house.exec(
            "oob", ["ipmitool", *where, "-f", str(self.folder / "password"), "mc", "guid"]
        )
        return said.stdout.split("System GUID")[1].split()[1]

    # faults

    def hang(self) -> None:
        """It takes packets and says nothing (B3)."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def pull(self) -> None:
        """Without power or network (B2)."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def lie(self) -> None:
        """It says off, and the host lives (B1)."""
        (self.folder / "lies").touch()

    def lose_answers_after_the_order(self, is_on: bool = True) -> None:
        """Once power was ordered off, nothing of it comes back (B4)."""
        if is_on:
            (self.folder / "mute").touch()
        else:
            (self.folder / "mute").unlink(missing_ok=True)

    # what was done to it

    def orders(self) -> list[int]:
        """Every power order that reached the chassis: 0 off, 1 on."""
        path = self.folder / "orders"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def is_off(self) -> bool:
        return (self.folder / "power").read_text().strip() == "0"
