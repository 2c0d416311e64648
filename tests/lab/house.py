"""A house of the failover laboratory: six places in network namespaces of their own, and what runs in them.

    coll 10.90.1.2 --\\          /-- prim 10.90.3.2
    probe2 10.90.2.2 -- prov ----- back 10.90.4.2        clients' address 10.90.9.9, routed by prov to one of the two
    oob 10.90.5.2 ---/

``prov`` is the router between all of them (10.90.n.1). Every house has a name of its own, so that several stand side by
side; ``end`` leaves nothing of it, whatever failed before, and the next house takes away what a killed one left behind.
It makes no collector and no service: those are laid out by ``tests.lab.household`` and by the parts.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tests.lab.sshd import Sshd
from tests.tools import needs

T = TypeVar("T")

PLACES = ("coll", "probe2", "prim", "back", "oob")
"""Each on a wire of its own to ``prov``, in the order of their networks."""
ADDRESS = {place: f"10.90.{n}.2" for n, place in enumerate(PLACES, 1)}
ROUTER = {place: f"10.90.{n}.1" for n, place in enumerate(PLACES, 1)}
VIP = "10.90.9.9"
"""The address that clients use; prov routes it to prim or to back, and both have it."""
SSH_PORT = 22
ARRIVAL_S = 60
"""Within which a program that was started is in its place's network; a busy machine takes seconds."""
ROOT = Path(__file__).resolve().parents[2]
_NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


class House:
    """The places of one laboratory. Use it as ``with House(folder) as house``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"vtlab-{os.getpid()}-{next(_numbers)}"
        self.sshds: dict[str, Sshd] = {}
        self._started: list[subprocess.Popen[Any]] = []
        self._open: list[Any] = []

    def __enter__(self) -> House:
        sweep()
        try:
            self._lay()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # the wires

    def _lay(self) -> None:
        for place in ("prov", *PLACES):
            _run("ip", "netns", "add", self.netns(place))
            self.ip(place, "link", "set", "lo", "up")
        for place in PLACES:
            _run(
                "ip", "-n", self.netns("prov"), "link", "add", f"to-{place}", "type", "veth",
                "peer", "name", "to-prov", "netns", self.netns(place),
            )  # fmt: skip
            self.ip("prov", "addr", "add", f"{ROUTER[place]}/24", "dev", f"to-{place}")
            self.ip(place, "addr", "add", f"{ADDRESS[place]}/24", "dev", "to-prov")
            self.ip("prov", "link", "set", f"to-{place}", "up")
            self.ip(place, "link", "set", "to-prov", "up")
            self.ip(place, "route", "add", "default", "via", ROUTER[place])
        self.exec("prov", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0"])
        for place in ("prim", "back"):
            self.ip(place, "addr", "add", f"{VIP}/32", "dev", "lo")
        self.lead_clients_to("prim")

    def netns(self, place: str) -> str:
        """The name of the place's network namespace."""
        return f"{self.name}-{place}"

    def ip(self, place: str, *words: str) -> str:
        """``ip WORDS`` there."""
        return _run("ip", "-n", self.netns(place), *words)

    def nft(self, place: str, *lines: str) -> None:
        """These lines of nftables there."""
        subprocess.run(
            ["ip", "netns", "exec", self.netns(place), "nft", "-f", "-"], input="\n".join(lines) + "\n",
            check=True, capture_output=True, text=True, timeout=30,
        )  # fmt: skip

    def lead_clients_to(self, place: str) -> None:
        """Route the clients' address to this host."""
        self.ip("prov", "route", "replace", f"{VIP}/32", "via", ADDRESS[place])

    def wire(self, place: str, is_up: bool) -> None:
        """The place's only wire. Taken down at its own end, so that the router's routes stay what they were."""
        self.ip(place, "link", "set", "to-prov", "up" if is_up else "down")
        if is_up:
            self.ip(place, "route", "replace", "default", "via", ROUTER[place])

    def clients_led_to(self) -> list[str]:
        """The hosts that the clients' address is routed to: one, or the laboratory is broken."""
        told = self.ip("prov", "route", "show", f"{VIP}/32")
        return [place for place in ("prim", "back") if f"via {ADDRESS[place]} " in told + " "]

    # what runs there

    def exec(
        self,
        place: str,
        argv: Sequence[str | Path],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        **more: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.netns(place), *map(str, argv)],
            check=check, capture_output=True, text=True, timeout=timeout_s, **more,
        )  # fmt: skip

    def popen(
        self, place: str, argv: Sequence[str | Path], *, log: str = "", **more: Any
    ) -> subprocess.Popen[Any]:
        """Start a program there; ``ip netns exec`` becomes the program, so its pid is the program's.

        Returns once it is in the place's network (or has ended), so that whoever looks there finds it.
        ``log`` names a file of the house's folder that takes what it says; it is ended with the house.
        """
        with (self.folder / f"{log or 'programs'}.log").open("ab") as stream:
            more = {"stdin": subprocess.DEVNULL, "stdout": stream, "stderr": stream, "cwd": ROOT, **more}
            started = subprocess.Popen(
                ["ip", "netns", "exec", self.netns(place), *map(str, argv)], start_new_session=True, **more
            )
        self._started.append(started)
        self._await_arrival(place, started)
        return started

    def _await_arrival(self, place: str, started: subprocess.Popen[Any]) -> None:
        there = (_NETNS / self.netns(place)).stat().st_ino
        end = time.monotonic() + ARRIVAL_S
        while started.poll() is None:
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{started.pid}/ns/net").st_ino == there:
                    return
            if time.monotonic() > end:
                raise TimeoutError(f"{started.args} is not in {place} after {ARRIVAL_S} s")
            time.sleep(0.001)

    def inside(self, place: str, do: Callable[[], T]) -> T:
        """Call this in the place's network: sockets that it makes belong there for good."""
        found: list[T] = []
        failed: list[BaseException] = []

        def there() -> None:
            try:
                self.enter(place)
                found.append(do())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=there, name=f"in-{place}")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    def enter(self, place: str) -> None:
        """Move the calling thread, and it alone, into the place's network, for good."""
        handle = os.open(_NETNS / self.netns(place), os.O_RDONLY)
        try:
            if _libc.setns(handle, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(handle)

    def listen(self, place: str, port: int, address: str = "") -> socket.socket:
        """A listening TCP socket there; served by whoever holds it, closed with the house."""
        made = self.inside(place, lambda: socket.create_server((address or ADDRESS[place], port), backlog=64))
        self._open.append(made)
        return made

    def sshd(self, place: str) -> Sshd:
        """The place's sshd with a host key of its own on port 22; its key runs the shipped wrapper only.

        Made once; ``start`` starts it again after a power cut. Its state (the epoch) outlives that.
        """
        if place not in self.sshds:
            made = Sshd(
                self.folder / f"sshd-{place}", address=ADDRESS[place], port=SSH_PORT,
                spawn=lambda argv, log: self.popen(place, argv, stderr=log),
            )  # fmt: skip
            self.sshds[place] = made
            made.start(lambda: self.inside(place, lambda: made.answers()))
        return self.sshds[place]

    def pids(self, place: str) -> list[int]:
        """Everything that runs there (threads of this very process are not counted)."""
        return [pid for pid in _pids(self.netns(place)) if pid != os.getpid()]

    # the end

    def end(self) -> None:
        """Kill what runs here, close what is open, take the namespaces away. Safe to call twice."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.close()
        self._open.clear()
        _remove(self.name)
        for process in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        self._started.clear()


def require_house() -> None:
    """Skip (fail under CI=true) where a house cannot stand."""
    needs.require_root()
    for package in ("iproute2", "nftables", "openssh-server"):
        needs.require_package(package)
    needs.require_kernel("network_namespaces")


def sweep() -> None:
    """Take away the houses of processes that live no more."""
    names = {found[0]: int(found[1]) for found in map(_name_of, _all_netns()) if found}
    for name, pid in names.items():
        if not Path(f"/proc/{pid}").exists():
            _remove(name)


def _all_netns() -> list[str]:
    return [path.name for path in _NETNS.iterdir()] if _NETNS.is_dir() else []


def _name_of(netns: str) -> tuple[str, str] | None:
    found = re.match(r"(vtlab-(\d+)-\d+)-", netns)
    return (found[1], found[2]) if found else None


def _pids(netns: str) -> list[int]:
    told = subprocess.run(
        ["ip", "netns", "pids", netns], capture_output=True, text=True, timeout=30, check=False
    )
    return [int(word) for word in told.stdout.split()]


def _remove(name: str) -> None:
    mine = [netns for netns in _all_netns() if netns.startswith(f"{name}-")]
    for netns in mine:
        # Again until none is left: what was stopped or forks while it is killed is met at the next look.
        for _ in range(50):
            pids = [pid for pid in _pids(netns) if pid != os.getpid()]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                break
            time.sleep(0.05)
    for netns in mine:
        subprocess.run(["ip", "netns", "del", netns], capture_output=True, timeout=30, check=False)
        shutil.rmtree(Path("/etc/netns") / netns, ignore_errors=True)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def standing(folder: Path) -> Iterator[House]:
    """A house that is surely gone afterwards; the ends of its logs are printed, so that a failing test shows them."""
    with House(folder) as house:
        try:
            yield house
        finally:
            for log in sorted(folder.rglob("*.log")):
                print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))
