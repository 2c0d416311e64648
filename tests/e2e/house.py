"""Starts what ``make run`` starts, in a folder of its own on ports of its own, and asks its API; for end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.samplers.kernel_log import KernelLog
from config.clock import SystemClock

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
START_WITHIN_S = 60.0


class House:
    """One running household."""

    def __init__(self, state: Path, *, is_quick: bool) -> None:
        self.state = state
        self._words = ["--free-ports", *(["--quick"] if is_quick else [])]
        self._process: subprocess.Popen[bytes] | None = None
        self._tokens: dict[str, str] = {}
        self._browser: urllib.request.OpenerDirector | None = None

    def start(self) -> None:
        """Start everything, and wait until the host's first report is in."""
        self._begin_at_the_end_of_the_kernel_log()
        log = (self.state.parent / "household.log").open("ab")
        command = [sys.executable, "-m", "collector.try_it", "run", "--state", str(self.state), *self._words]
        with log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_for("the household runs", START_WITHIN_S, self._is_running)
        wait_for("the first report is in", START_WITHIN_S, lambda: self.host()["life"] == "alive")

    def _begin_at_the_end_of_the_kernel_log(self) -> None:
        """As an agent that has run before: what other tests made this machine's one kernel say is no part of ours."""
        place = self.state / "agent" / "kernel_log"
        if not place.exists():
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log, now_ms = KernelLog(state=place), SystemClock().mono_ms()
            for _ in range(2):  # how far it was read is noted one sweep later
                log.sweep(now_ms)

    def _is_running(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the household ended with status {self._process.returncode}")
        return "agent" in self.running.get("pids", {})

    def stop(self) -> int:
        """SIGINT, as Ctrl-C; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    @property
    def running(self) -> dict[str, Any]:
        """Process ids and ports, as the household wrote them down."""
        try:
            return json.loads((self.state / "run.json").read_text())
        except (OSError, ValueError):
            return {}

    def pid(self, name: str) -> int:
        return int(self.running["pids"][name])

    def cause(self, what: str) -> None:
        """``make fault-...``"""
        self._try_it("fault", what)

    def heal(self) -> None:
        """``make heal``"""
        self._try_it("heal")

    def command(self, *words: str) -> str:
        """A command of vartovyi-collector on this household's settings; its output."""
        done = subprocess.run(
            [PROGRAMS / "vartovyi-collector", *words, "--config", self.state / "collector.yaml"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, path: str, who: str = "admin") -> Any:
        """GET /api/v1/... as that person."""
        if who not in self._tokens:
            self._tokens[who] = json.loads(self.command("token", who, "--json"))["token"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.running['ports']['collector']}/api/v1/{path}",
            headers={"Authorization": f"Bearer {self._tokens[who]}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def page(self, path: str) -> str:
        """A page of the desk, as the person of this run sees it in a browser."""
        site = f"http://127.0.0.1:{self.running['ports']['collector']}"
        if self._browser is None:
            self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with self._browser.open(f"{site}/login", timeout=20) as answer:
                fields = dict(
                    re.findall(r'name="(_csrf\w*|csrf\w*)" value="([^"]*)"', answer.read().decode())
                )
            login, password = re.findall(
                r"Log-in +(\S+) +password (\S+)", (self.state.parent / "household.log").read_text()
            )[-1]
            sent = urllib.parse.urlencode({**fields, "login": login, "password": password}).encode()
            self._browser.open(f"{site}/login", sent, timeout=20).close()
        with self._browser.open(site + path, timeout=20) as answer:
            return answer.read().decode()

    def host(self) -> dict[str, Any]:
        """This machine as the desk shows it."""
        return self.get(f"hosts/{self.running['host']}")

    def open_tickets(self) -> dict[str, dict[str, Any]]:
        """Open tickets by family."""
        return {
            ticket["family"]: ticket for ticket in map(self.ticket, self._ids()) if ticket["state"] == "new"
        }

    def ticket(self, ticket_id: int, who: str = "admin") -> dict[str, Any]:
        return self.get(f"tickets/{ticket_id}", who)

    def _ids(self) -> list[int]:
        return [ticket["id"] for ticket in self.get("tickets")["tickets"]]

    def _try_it(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "collector.try_it", *words, "--state", str(self.state)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def household(folder: Path, *, is_quick: bool = False) -> Iterator[House]:
    """A household that is surely gone afterwards; its logs are printed, so that a failing test shows them."""
    house = House(folder / "state", is_quick=is_quick)
    try:
        house.start()
        yield house
    finally:
        running = house.running
        if house._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                house.stop()
            house._process.kill()
        for pid in running.get("pids", {}).values():
            with contextlib.suppress(ProcessLookupError):
                if str(house.state) in _command_line(pid):
                    os.kill(pid, signal.SIGKILL)
        for log in sorted(folder.rglob("*.log")):
            if log.name != "spool.log":
                print(f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for(what: str, seconds: float, holds: Callable[[], Any]) -> Any:
    """Ask until it holds (its value is returned); fails with the words and the last error after so long."""
    deadline = time.monotonic() + seconds
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            value = holds()
        except (OSError, KeyError, AssertionError) as error:
            last, value = error, None
        if value:
            return value
        time.sleep(0.25)
    raise AssertionError(f"not within {seconds:g} s: {what}" + (f" (last: {last!r})" if last else ""))
