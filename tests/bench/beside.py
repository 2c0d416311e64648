"""The other agents beside ours, from Debian's packages: started by us with private settings on loopback, stopped by pid.

Their services are never enabled and their usual folders never touched. Zabbix's agent only works when a server asks it,
so a stand-in server of ours gives it the items of the usual Linux template and takes what it sends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.tools.ports import free_port

SLEEPERS = 400
PAIRS = 1000
"""Loopback connections: two sockets each."""
START_S = 30.0
SCRAPE_EVERY_S = 10.0
ZABBIX_EVERY_S = 60


@dataclasses.dataclass(frozen=True)
class Watched:
    """One agent under measurement."""

    name: str
    pid: int
    page: str
    """Its page for Prometheus; empty: it has none."""


class Zabbix:
    """Speaks the active agent's protocol: hands out items, confirms values."""

    ITEMS = (
        "agent.ping", "agent.hostname", "agent.version", "kernel.maxfiles", "kernel.maxproc", "proc.num", "proc.num[,,run]",
        "system.boottime", "system.cpu.intr", "system.cpu.load[all,avg1]", "system.cpu.load[all,avg5]",
        "system.cpu.load[all,avg15]", "system.cpu.num", "system.cpu.switches", "system.cpu.util[,guest]",
        "system.cpu.util[,guest_nice]", "system.cpu.util[,idle]", "system.cpu.util[,interrupt]",
        "system.cpu.util[,iowait]", "system.cpu.util[,nice]", "system.cpu.util[,softirq]", "system.cpu.util[,steal]",
        "system.cpu.util[,system]", "system.cpu.util[,user]", "system.hostname", "system.localtime", "system.sw.arch",
        "system.swap.size[,free]", "system.swap.size[,pfree]", "system.swap.size[,total]", "system.uname",
        "system.uptime", "system.users.num", "vfs.dev.discovery", "vfs.file.contents[/proc/diskstats]",
        "vfs.file.contents[/sys/class/net/lo/operstate]", "vfs.file.cksum[/etc/passwd,sha256]", "vfs.fs.discovery",
        "vfs.fs.get", "vfs.fs.inode[/,pfree]", "vfs.fs.size[/,pused]", "vfs.fs.size[/,total]", "vfs.fs.size[/,used]",
        "vm.memory.size[available]", "vm.memory.size[pavailable]", "vm.memory.size[total]", "net.if.discovery",
        "net.if.in[lo]", "net.if.in[lo,dropped]", "net.if.in[lo,errors]", "net.if.out[lo]", "net.if.out[lo,dropped]",
        "net.if.out[lo,errors]", "sensor[,,max]",
    )  # fmt: skip

    def __init__(self) -> None:
        self.values = 0
        """Values that came: without any, nothing was measured."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError, ValueError, struct.error):
                sock.settimeout(10)
                self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        head = _read(sock, 13)
        body = _read(sock, struct.unpack("<I", head[5:9])[0])
        said = json.loads(zlib.decompress(body) if head[4] & 2 else body)
        answer: dict[str, object] = {"response": "success", "info": ""}
        if said.get("request") == "active checks":
            answer["data"] = [
                {"key": key, "itemid": n, "delay": str(ZABBIX_EVERY_S), "lastlogsize": 0, "mtime": 0}
                for n, key in enumerate(self.ITEMS, 1)
            ]
        self.values += len(said.get("data", ()))
        body = json.dumps(answer).encode()
        sock.sendall(b"ZBXD\x01" + struct.pack("<II", len(body), 0) + body)


def _read(sock: socket.socket, size: int) -> bytes:
    held = b""
    while len(held) < size:
        chunk = sock.recv(size - len(held))
        if not chunk:
            raise ConnectionError("hung up")
        held += chunk
    return held


@contextlib.contextmanager
def peers(folder: Path) -> Iterator[tuple[list[Watched], dict[str, str]]]:
    """The peers that are installed, running; and why the others are not."""
    zabbix = Zabbix()
    started: list[subprocess.Popen[bytes]] = []
    running: list[Watched] = []
    missing: dict[str, str] = {}
    try:
        for name, program, make in _table(zabbix):
            path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if path is None:
                missing[name] = "not installed"
                continue
            room = folder / name
            room.mkdir()
            port = free_port()
            words, page = make(room, port)
            with (room / "output").open("wb") as log:
                process = subprocess.Popen(
                    [path, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=room
                )
            started.append(process)
            if not _is_up(process, port):
                missing[name] = "did not start: " + (room / "output").read_text(errors="replace")[
                    -200:
                ].replace("\n", " ")
                continue
            running.append(Watched(name, process.pid, page))
        yield running, missing
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        zabbix.close()


Make = Callable[[Path, int], tuple[list[str], str]]


def _table(zabbix: Zabbix) -> list[tuple[str, str, Make]]:
    def node_exporter(room: Path, port: int) -> tuple[list[str], str]:
        return [f"--web.listen-address=127.0.0.1:{port}"], f"http://127.0.0.1:{port}/metrics"

    def netdata(room: Path, port: int) -> tuple[list[str], str]:
        for name in ("cache", "lib", "log", "etc"):
            (room / name).mkdir()
        (room / "netdata.conf").write_text(
            f"[global]\n run as user = root\n[directories]\n cache = {room}/cache\n lib = {room}/lib\n log = {room}/log\n"
            f" config = {room}/etc\n[web]\n bind to = 127.0.0.1:{port}\n[statsd]\n enabled = no\n[cloud]\n enabled = no\n"
            f"[ml]\n enabled = no\n[registry]\n enabled = no\n[logs]\n access = none\n"
        )
        (room / "lib/registry").mkdir()
        (room / "etc/.opt-out-from-anonymous-statistics").touch()
        words = ["-D", "-c", str(room / "netdata.conf"), "-P", str(room / "pid")]
        return words, f"http://127.0.0.1:{port}/api/v1/allmetrics?format=prometheus"

    def zabbix_agent2(room: Path, port: int) -> tuple[list[str], str]:
        (room / "agent2.conf").write_text(
            f"LogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\nHostname=bench\n"
            f"ServerActive=127.0.0.1:{zabbix.port}\nControlSocket={room}/sock\nEnablePersistentBuffer=1\n"
            f"PersistentBufferPeriod=3600\nPersistentBufferFile={room}/buffer.db\n"
        )
        return ["-f", "-c", str(room / "agent2.conf")], ""

    return [
        ("node_exporter", "prometheus-node-exporter", node_exporter),
        ("netdata", "netdata", netdata),
        ("zabbix-agent2", "zabbix_agent2", zabbix_agent2),
    ]


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.1)
    return False


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """400 sleeping processes (480 with what runs on a small server) and 2,000 established sockets beside what runs anyway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 3 * PAIRS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    script = f"i=0; while [ $i -lt {SLEEPERS} ]; do sleep 900 & i=$((i+1)); done; wait"
    crowd = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    held: list[socket.socket] = []
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            for _ in range(PAIRS):
                held.append(socket.create_connection(listener.getsockname()))
                held.append(listener.accept()[0])
        yield
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
        crowd.wait()
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def scraping(pages: list[str]) -> Iterator[None]:
    """Each page fetched every ten seconds, as Prometheus would."""
    is_over = threading.Event()

    def run() -> None:
        while True:
            for page in pages:
                with contextlib.suppress(OSError):
                    fetch(page)
            if is_over.wait(SCRAPE_EVERY_S):
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(timeout=30)


def fetch(page: str) -> bytes:
    """One scrape, whole."""
    with urllib.request.urlopen(page, timeout=10) as answer:
        return answer.read()


def p99_ms(page: str, times: int) -> float:
    """The 99th percentile of so many scrapes, one after the other, each on a connection of its own."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        fetch(page)
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)[max(0, round(len(took) * 0.99) - 1)]
