"""The hands that start and break a household: power, wires, filters, stops, kills; and the heal that undoes them."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.lab import register
from tests.lab.disk import Disk
from tests.lab.eyes import Eyes
from tests.lab.given import HOSTS, WORD, agent_settings, copy_checks, other
from tests.lab.house import ADDRESS
from tests.lab.sshd import SHIPPED

PROGRAMS = Path(sys.executable).parent
DISK_MIB = 64
"""Of a store that lies on a disk of its own."""


class Hands(Eyes):
    """Acts."""

    def __init__(self) -> None:
        self.powered: dict[str, bool] = dict.fromkeys(HOSTS, True)
        self.is_port_open: dict[str, bool] = dict.fromkeys(HOSTS, True)
        self.is_cut: dict[str, bool] = dict.fromkeys(ADDRESS, False)
        self.broken_at_ms = 0
        self.killed_at_ms: list[int] = []
        """When the collector was killed."""
        self._processes: dict[str, Any] = {}
        self._frozen: list[int] = []
        self._collector_env: dict[str, str] = {}
        self._disk: Disk | None = None

    # starting

    def start_collector(self) -> None:
        (self.folder / "state" / "address").unlink(missing_ok=True)
        self._processes["collector"] = self.house.popen(
            "coll",
            [PROGRAMS / "vartovyi-collector", "serve", "--config", self.folder / "collector.yaml"],
            log="collector",
            env={**os.environ, **self._collector_env},
        )
        self.wait("the collector listens", (self.folder / "state" / "address").exists)

    def start_agent(self, host: str) -> None:
        config = self.folder / f"{host}.yaml"
        if not config.exists():
            config.write_text(
                yaml.safe_dump(agent_settings(host, self._enrol(host), self.scale, self.folder))
            )
        self._processes[f"agent-{host}"] = self.house.popen(
            host, [PROGRAMS / "vartovyi-agent", "run", "--config", config], log=f"agent-{host}"
        )

    def _enrol(self, host: str) -> str:
        """Its token into the folder; the collector's pin."""
        contract = "internal" if host == "probe2" else "acme"
        out = str(self.folder / f"{host}.token")
        told = json.loads(self.command("enroll", host, "--contract", contract, "--out", out, "--json"))
        return str(told["pin"])

    def boot(self, host: str) -> None:
        """As the host comes up: wire, sshd, the gate's watch, the agent, and the service, if the gate lets it."""
        self._wire(host)
        sshd = self.house.sshd(host)
        if sshd.process is not None and sshd.process.poll() is not None:
            sshd.start(lambda: self.house.inside(host, sshd.answers))
        # The service first, as a boot orders it: an agent that comes before it tells of an outage.
        if self.start_register(host):
            self.wait("the register listens", lambda: self._listens(host))
        self.start_agent(host)
        self._processes[f"watch-{host}"] = self.house.popen(
            host, [SHIPPED / "vartovyi-gate", "watch", WORD], log=f"watch-{host}", env=self._gate_env(host)
        )

    def _listens(self, host: str) -> bool:
        """Whether the register's port is open, seen from its own host."""
        place = (ADDRESS[host], register.PORT)
        self.house.inside(host, lambda: socket.create_connection(place, timeout=5).close())
        return True

    def _gate_env(self, host: str) -> dict[str, str]:
        sshd = self.house.sshd(host)
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "VARTOVYI_FAILOVER_ETC": str(sshd.etc),
            "VARTOVYI_FAILOVER_STATE": str(sshd.state),
            "VARTOVYI_SYSTEMCTL": str(self.folder / f"systemctl-{host}"),
            "VARTOVYI_WATCH_S": "4",
        }

    def start_register(self, host: str) -> bool:
        """As systemd would: a primary starts only when its gate says so; a standby takes no writes and always may."""
        folder = self.folder / f"register-{host}"
        if (folder / "role").read_text().startswith("primary"):
            gate = self.house.exec(
                host, [SHIPPED / "vartovyi-gate", "check", WORD], check=False, env=self._gate_env(host)
            )
            if gate.returncode != 0:
                return False
        epoch = self.house.sshd(host).state / WORD / "epoch"
        peer = ADDRESS[other(host)]
        started = self.house.popen(
            host,
            [sys.executable, "-m", "tests.lab.register", "--host", host, "--peer", peer,
             "--folder", folder, "--epoch", epoch],
            log=f"register-{host}",
        )  # fmt: skip
        self._processes[f"register-{host}"] = started
        (self.folder / f"register-{host}.pid").write_text(f"{started.pid}\n")
        return True

    # breaking

    def power(self, host: str, is_on: bool) -> None:
        """Pull the plug, or press the button: all at once, and nothing is written back."""
        if self.powered[host] is is_on:
            return
        self.powered[host] = is_on
        self._wire(host)
        if is_on:
            self.boot(host)
        else:
            self.kill_all(host)

    def kill_all(self, host: str) -> None:
        for _ in range(100):
            pids = self.house.pids(host)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                return
            time.sleep(0.02)

    def port(self, host: str, is_open: bool) -> None:
        """The switch port of a host."""
        self.is_port_open[host] = is_open
        self._wire(host)

    def cut(self, place: str, is_cut: bool = True) -> None:
        """The wire of a place, pulled out or put back."""
        self.is_cut[place] = is_cut
        self._wire(place)

    def _wire(self, place: str) -> None:
        is_up = (
            self.powered.get(place, True) and self.is_port_open.get(place, True) and not self.is_cut[place]
        )
        self.house.wire(place, is_up)

    def kill(self, name: str) -> None:
        """``kill -9`` of one program: collector, register-prim, agent-back, ..."""
        if name == "collector":
            self.killed_at_ms.append(round(time.time() * 1000))
        os.kill(self._processes[name].pid, signal.SIGKILL)
        self._processes[name].wait(20)

    def is_alive(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def kill_if_alive(self, name: str) -> None:
        if self.is_alive(name):
            self.kill(name)

    def freeze_if_alive(self, name: str) -> None:
        if self.is_alive(name):
            self.freeze_program(name)

    def freeze(self, place: str) -> None:
        """Every process of the place stands still (SIGSTOP), as a paused guest does."""
        stopped: list[int] = []
        for _ in range(20):
            fresh = [pid for pid in self.house.pids(place) if pid not in stopped]
            for pid in fresh:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped += fresh
            if not fresh:
                break
        self._frozen += stopped

    def thaw(self) -> None:
        """Everything that was frozen goes on."""
        while self._frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def freeze_program(self, name: str) -> None:
        """SIGSTOP for one program."""
        self.freeze_pid(self._processes[name].pid)

    def freeze_pid(self, pid: int) -> None:
        """SIGSTOP for one process, until ``thaw``."""
        os.kill(pid, signal.SIGSTOP)
        self._frozen.append(pid)

    def rebuild(self, host: str, *, tells_lag: bool = True) -> None:
        """Make a copy of the other one here, as an engineer does before the way back; its role is standby."""
        folder, source = self.folder / f"register-{host}", self.folder / f"register-{other(host)}"
        (folder / "lines").write_bytes((source / "lines").read_bytes().rpartition(b"\n")[0] + b"\n")
        (folder / "role").write_text("standby\n")
        assert self.start_register(host)
        if not tells_lag:
            return
        # Its agent tells from now on how far it is behind.
        config = self.folder / f"{host}.yaml"
        told = yaml.safe_load(config.read_text())
        told["checks"] = copy_checks(host, self.scale, self.folder)
        config.write_text(yaml.safe_dump(told))
        self.kill(f"agent-{host}")
        self.start_agent(host)

    def drop(self, *what: str) -> None:
        """Packets that match these words of nftables vanish at the router."""
        rule = " ".join(what)
        self.house.nft(
            "prov",
            "add table ip lab",
            "add chain ip lab forward { type filter hook forward priority 0; }",
            f"add rule ip lab forward {rule} drop",
        )

    def lose(self, place: str, percent: int = 100, ways: tuple[str, ...] = ("to", "from")) -> None:
        """So many of a hundred packets vanish on the place's wire, whoever they are for; on the way to it, from it, or both."""
        for way in ways:
            side = "oifname" if way == "to" else "iifname"
            some = () if percent >= 100 else ("numgen", "random", "mod", "100", "<", str(percent))
            self.drop(side, f'"to-{place}"', *some)

    def drop_between(self, one: str, other: str, *what: str) -> None:
        """Nothing passes between two places, in either direction."""
        for here, there in ((one, other), (other, one)):
            self.drop("ip", "saddr", ADDRESS[here], "ip", "daddr", ADDRESS[there], *what)

    def drop_nothing(self) -> None:
        """Take all such rules away."""
        self.house.exec("prov", ["nft", "delete", "table", "ip", "lab"], check=False)

    def shift_clock(self, seconds: int) -> None:
        """The collector's wall clock jumps; its monotonic one goes on (a case says ``clock=True``)."""
        (self.folder / "shift").write_text(f"{seconds:+d}")

    def freeze_clock(self) -> None:
        """The collector's wall clock stands still from now on; its monotonic one goes on."""
        (self.folder / "shift").write_text(time.strftime("%Y-%m-%d %H:%M:%S"))

    def give_clock(self) -> None:
        """The collector's clock may be shifted or stopped from now on."""
        found = [
            path
            for lib in ("lib/*", "lib64")
            for path in glob.glob(f"/usr/{lib}/faketime/libfaketimeMT.so.1")
        ]
        assert found, "libfaketime is not installed (tests/tools/needs.py)"
        self.shift_clock(0)
        self._collector_env = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "shift"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def disk(self) -> Disk:
        """The store's own disk, of a case that has one."""
        assert self._disk is not None, "the case says no disk"
        return self._disk

    def give_disk(self, kind: str) -> None:
        """The collector's store on a disk of its own."""
        self._disk = Disk(self.folder, kind, DISK_MIB)

    def pid(self, name: str) -> int:
        """Of one program."""
        return int(self._processes[name].pid)

    def heal(self) -> None:
        """Every fault is undone, except what the engine did: who was switched off stays off."""
        self.provider.faults.clear()
        if self._disk is not None:
            self._disk.make_room()
        self.thaw()
        self.drop_nothing()
        for place in self.is_cut:
            if self.is_cut[place]:
                self.cut(place, False)
        for host in HOSTS:
            for name in ("slow", "fault"):
                (self.folder / f"register-{host}" / name).unlink(missing_ok=True)

    def broke(self) -> None:
        """The fault falls now."""
        self.broken_at_ms = round(time.time() * 1000)

    # the end

    def stop_programs(self) -> None:
        """In order: the collector first, so that nothing is judged any more."""
        processes = [*self._processes.values(), *(s.process for s in self.house.sshds.values() if s.process)]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)

    def end(self) -> None:
        """Stop the clients and the provider; the house ends the rest."""
        self.clients.stop()
        self.provider.close()
        self.stop_programs()
        if self._disk is not None:
            self._disk.end()
