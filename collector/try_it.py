"""``make run``: collector, agent and a small watched service on this one machine, with a sample contract.

For a newcomer who wants to see a ticket in two minutes, and for the end-to-end tests, which start the very same. It
needs no root. Where the kernel lets an ordinary user have a mount namespace, everything runs inside one with a small
file system of its own, so that filling it harms nobody and nothing stays mounted afterwards.

It is no way to run a real installation: that is systemd's work, and the little that is needed of it here (start in
order, start again what died, stop in order) is done by ``Household``. All state lies in one folder; a second start
goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from collector import enrol
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.store.migrate import migrate
from collector.try_it_files import SERVICE_NAME, Ports, Rooms, host_id, write
from config import loader
from config.clock import SystemClock
from ticketing import contracts, people

SMALL_MIB = 64
FILL_MIB = SMALL_MIB - 1
PREFERRED = Ports(collector=8440, agent_metrics=9977, service=8441)
INSIDE = "VARTOVYI_SMALL_FILE_SYSTEM"
"""Set in the environment once we run inside the namespace: "yes", or "no" with a reason why there is none."""

START_WITHIN_S = 30.0
AGAIN_AFTER_S = 1.0
STOP_WITHIN_S = 25.0
LOGIN = "admin"


def main(words: list[str] | None = None) -> int:
    """The program behind ``make run``, ``make fault-*`` and ``make heal``."""
    parser = argparse.ArgumentParser(
        prog="python -m collector.try_it", description="Try Vartovyi on this machine."
    )
    acts = parser.add_subparsers(dest="act", required=True)
    for act, text in (("run", "start everything"), ("fault", "cause a fault"), ("heal", "undo the faults")):
        sub = acts.add_parser(act, help=text)
        if act == "fault":
            sub.add_argument("what", choices=("disk", "service", "agent"))
        sub.add_argument(
            "--state", type=Path, default=Path("state"), help="folder of all state (default: %(default)s)"
        )
        if act == "run":
            sub.add_argument(
                "--free-ports", action="store_true", help="listen on ports that the system chooses"
            )
            sub.add_argument(
                "--quick", action="store_true", help="short durations: tickets come and go in seconds"
            )
    given = parser.parse_args(words)
    rooms = Rooms(given.state.resolve())
    if given.act == "run":
        return run(rooms, free_ports=given.free_ports, is_quick=given.quick)
    return fault(rooms, given.what) if given.act == "fault" else heal(rooms)


def run(rooms: Rooms, *, free_ports: bool, is_quick: bool) -> int:
    """Start all, say where to look, and keep it going until SIGINT or SIGTERM."""
    if INSIDE not in os.environ:
        _enter_namespace(rooms)
    has_small = os.environ.get(INSIDE) == "yes"
    lock = _lock(rooms)
    if lock is None:
        print(f"Something runs in {rooms.state} already (see {rooms.running}).", file=sys.stderr)
        return 1
    with lock:
        _stop_leftovers(rooms)
        ports = _ports(rooms, free_ports)
        write(rooms, ports, has_small=has_small, is_quick=is_quick)
        password = _prepare_store(rooms)
        household = Household(rooms, ports)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: household.stopping.set())
        try:
            household.start()
            print(_where_to_look(rooms, ports, password, has_small), flush=True)
            return household.keep()
        finally:
            household.stop()
            rooms.running.unlink(missing_ok=True)


class Household:
    """The three processes: started in order, started again when one dies, stopped in order."""

    def __init__(self, rooms: Rooms, ports: Ports) -> None:
        self.rooms = rooms
        self.ports = ports
        self.stopping = threading.Event()
        self._clock = SystemClock()
        programs = Path(sys.executable).parent
        self._commands = {
            "service": [sys.executable, "-m", "collector.try_it_service", str(ports.service)],
            "collector": [
                str(programs / "vartovyi-collector"), "serve", "--config", str(rooms.collector_settings),
            ],
            "agent": [str(programs / "vartovyi-agent"), "run", "--config", str(rooms.agent_settings)],
        }  # fmt: skip
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Service and collector first; the agent when the collector listens."""
        for name in ("service", "collector"):
            self._launch(name)
        deadline_ms = self._clock.mono_ms() + round(START_WITHIN_S * 1000)
        while not self.stopping.is_set() and not _is_listening(self.ports.collector):
            if self.processes["collector"].poll() is not None or self._clock.mono_ms() > deadline_ms:
                raise SystemExit(f"The collector did not start; its words are in {self._log('collector')}.")
            self._clock.wait(self.stopping, 0.1)
        self._launch("agent")

    def keep(self) -> int:
        """Until told to stop: what died is started again, as systemd would; wrong settings end everything."""
        while not self._clock.wait(self.stopping, 0.2):
            for name, process in list(self.processes.items()):
                status = process.poll()
                if status is None:
                    continue
                if status == loader.EX_CONFIG:
                    print(f"{name}: wrong settings, see {self._log(name)}", file=sys.stderr)
                    return status
                print(f"{name} ended with status {status}; starting it again", flush=True)
                if not self._clock.wait(self.stopping, AGAIN_AFTER_S):
                    self._launch(name)
        return 0

    def stop(self) -> None:
        """The agent first, so that its goodbye finds somebody; what does not end in time is killed."""
        for name in ("agent", "collector", "service"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGCONT)  # one that a fault froze could not hear us
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                print(f"{name} did not stop in {STOP_WITHIN_S:g} s and is killed", file=sys.stderr)
                process.kill()
                process.wait()

    def _launch(self, name: str) -> None:
        with self._log(name).open("ab") as log:
            # A session of its own: Ctrl-C is for us, and we stop the others in order.
            self.processes[name] = subprocess.Popen(
                self._commands[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if key != INSIDE},
            )
        self._write_down()

    def _log(self, name: str) -> Path:
        return self.rooms.state / f"{name}.log"

    def _write_down(self) -> None:
        running = {
            "pids": {"household": os.getpid()}
            | {name: process.pid for name, process in self.processes.items()},
            "ports": vars(self.ports),
            "host": host_id(),
        }
        fresh = self.rooms.running.with_suffix(".new")
        fresh.write_text(json.dumps(running, indent=1), encoding="utf-8")
        fresh.replace(self.rooms.running)


def fault(rooms: Rooms, what: str) -> int:
    """Cause one of the three faults in what runs."""
    running = _running(rooms)
    if running is None:
        return _nothing_runs(rooms)
    if what == "disk":
        small = _small_from_outside(rooms, running)
        if not os.path.ismount(small):
            print(
                "There is no small file system here: this kernel gave us no mount namespace.", file=sys.stderr
            )
            return 1
        _fill(small / "filler")
        print(f"{rooms.small} is full now. Undo: make heal")
        return 0
    name = {"service": "service", "agent": "agent"}[what]
    pid = running["pids"][name]
    os.kill(pid, signal.SIGSTOP)
    print(f"{name} (process {pid}) is frozen now. Undo: make heal")
    return 0


def heal(rooms: Rooms) -> int:
    """Undo every fault: thaw what is frozen, empty the small file system."""
    running = _running(rooms)
    if running is None:
        return _nothing_runs(rooms)
    for name in ("service", "agent"):
        with contextlib.suppress(
            ProcessLookupError
        ):  # one that died meanwhile is started again by the household
            os.kill(running["pids"][name], signal.SIGCONT)
    (_small_from_outside(rooms, running) / "filler").unlink(missing_ok=True)
    print("Healed; tickets resolve by themselves when the agent has proof.")
    return 0


def _fill(path: Path) -> None:
    block = bytes(1024 * 1024)
    try:
        with path.open("wb") as stream:
            for _ in range(FILL_MIB):
                stream.write(block)
    except OSError as error:
        if error.errno != 28:  # ENOSPC: the file system is full, as it should be
            raise


def _small_from_outside(rooms: Rooms, running: dict[str, Any]) -> Path:
    """The small file system as seen from outside of the household's mount namespace."""
    return Path(f"/proc/{running['pids']['household']}/root{rooms.small}")


def _enter_namespace(rooms: Rooms) -> None:
    """Run ourselves again inside a mount namespace with a small tmpfs; returns when that is not to be had."""
    rooms.small.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={SMALL_MIB}m,mode=0700 vartovyi-small "$1" && shift && exec "$@"'
    command = ["unshare", *kind, "--", "sh", "-c", mount, "sh", str(rooms.small)]
    try:
        tried = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        if tried.returncode == 0:
            os.environ[INSIDE] = "yes"
            ours = [sys.executable, "-m", "collector.try_it", *sys.argv[1:]]
            os.execvp("unshare", [*command, *ours])
        why = tried.stderr.strip()
    os.environ[INSIDE] = f"no: {why}"


def _lock(rooms: Rooms) -> Any:
    """The lock file, held; None when somebody else holds it."""
    rooms.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = (rooms.state / "lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream


def _stop_leftovers(rooms: Rooms) -> None:
    """Processes that a killed household left behind: known by their ids and by our folder in their command line."""
    left = _running(rooms)
    for name, pid in (left or {"pids": {}})["pids"].items():
        if name == "household" or not _is_ours(pid, rooms):
            continue
        print(f"Stopping {name} (process {pid}), left over from a run that was killed.")
        os.kill(pid, signal.SIGKILL)


def _is_ours(pid: int, rooms: Rooms) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return str(rooms.state) in line or "collector.try_it_service" in line


def _ports(rooms: Rooms, free_ports: bool) -> Ports:
    """The ports of the last run where they are free, else the preferred ones, else any."""
    last = {} if free_ports else (_running(rooms) or {}).get("ports", {})
    chosen: dict[str, int] = {}
    for name, preferred in vars(PREFERRED).items():
        wanted = 0 if free_ports else last.get(name, preferred)
        chosen[name] = wanted if wanted and _is_free(wanted) else _any_port()
    return Ports(**chosen)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _prepare_store(rooms: Rooms) -> str:
    """Tables, contract, this machine as a host, and a password for this run, which is returned."""
    settings = loader.load(rooms.collector_settings, CollectorSettings)
    loaded = contracts.load_folder(settings.contracts)
    url = settings.database_url()
    migrate(url)
    now_ms = SystemClock().now_ms()
    password = secrets.token_urlsafe(9)
    store = Store.open(url)
    try:
        store.write(lambda tx: contracts.apply(tx, loaded, now_ms, "make run"))
        store.write(lambda tx: people.set_password(tx, LOGIN, password, now_ms, "make run"))
        if not rooms.token.exists():
            terms = loaded.contracts[0].hosts[0]
            outcome = store.write(
                lambda tx: enrol.enrol(
                    tx, terms.id, loaded.contracts[0].id, now_ms, addresses=terms.addresses, new_token=True
                )
            )
            if isinstance(outcome, enrol.NotEnrolled):
                raise SystemExit(outcome.detail)
            rooms.token.touch(mode=0o600)
            rooms.token.write_text(outcome.token + "\n", encoding="utf-8")
    finally:
        store.close()
    return password


def _where_to_look(rooms: Rooms, ports: Ports, password: str, has_small: bool) -> str:
    disk = "make fault-disk      fill the small file system " + str(rooms.small)
    if not has_small:
        disk = (
            f"(no small file system to fill: {os.environ.get(INSIDE, 'no')[4:] or 'no mount namespace here'})"
        )
    return f"""
Vartovyi is running.

  Desk        http://127.0.0.1:{ports.collector}/
  Log-in      {LOGIN}   password {password}   (made for this run)
  Metrics     http://127.0.0.1:{ports.collector}/metrics   http://127.0.0.1:{ports.agent_metrics}/metrics
  State       {rooms.state}   (settings, store, spool, logs)

Faults to try, from another terminal:
  {disk}
  make fault-service   {SERVICE_NAME} at http://127.0.0.1:{ports.service}/ stops answering
  make fault-agent     the agent freezes (SIGSTOP)
  make heal            undo them

Ctrl-C stops everything cleanly.
"""


def _running(rooms: Rooms) -> dict[str, Any] | None:
    try:
        return json.loads(rooms.running.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _nothing_runs(rooms: Rooms) -> int:
    print(f"Nothing runs in {rooms.state}: start it with `make run` first.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
