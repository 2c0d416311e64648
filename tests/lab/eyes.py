"""What can be asked of a household: its store, its registers, its hosts, and what is left of it. Nothing is changed here."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.cli import main
from collector.failover.journal import Entry
from tests.lab import register
from tests.lab.clients import Clients
from tests.lab.given import HOSTS, WORD, Scale
from tests.lab.house import ADDRESS, House
from tests.lab.provider import Provider
from tests.lab.sshd import SHIPPED

START_S = 120.0
"""For what must come in the end, on a machine that may be slow: no case depends on its being quick."""


class Eyes:
    """Questions."""

    house: House
    folder: Path
    scale: Scale
    provider: Provider
    clients: Clients

    def wrapper(self, host: str, *words: str) -> str:
        """The host's ``vartovyi-step``, called there by its engineer."""
        sshd = self.house.sshd(host)
        env = {"VARTOVYI_FAILOVER_ETC": str(sshd.etc), "VARTOVYI_FAILOVER_STATE": str(sshd.state)}
        done = self.house.exec(
            host, [SHIPPED / "vartovyi-step", *words], env={"PATH": "/usr/bin:/bin", **env}
        )
        return done.stdout

    def named(self, host: str) -> tuple[int, str]:
        """The epoch that this host knows, and whom it takes for its primary."""
        words = self.wrapper(host, "epoch", "prim+back").split()
        return int(words[1]), words[3]

    def command(self, *words: str) -> str:
        """A command of vartovyi-collector; what it printed. It speaks with the store alone, so it needs no place."""
        status, out, err = self._said(*words)
        assert status == 0, f"{words}: {err}"
        return out

    def _said(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*words, "--config", str(self.folder / "collector.yaml")])
        return status, out.getvalue(), err.getvalue()

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """What the collector's store holds, read beside it."""
        place = f"file:{self.folder}/state/collector.db?mode=ro"
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=20)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(sql, values)]

    def lives(self) -> dict[str, str]:
        return {row["id"]: row["life"] for row in self.rows("SELECT id, life FROM hosts")}

    def views(self) -> dict[str, Any]:
        """Vantage -> its last word on the register of prim."""
        sql = "SELECT vantage, value FROM observations WHERE host_id = 'prim' AND signal = 'ext.svc' ORDER BY id"
        return {row["vantage"]: json.loads(row["value"]) for row in self.rows(sql)}

    def tickets(self, contract: str = "acme") -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM tickets WHERE contract_id = ? ORDER BY id", contract)

    def runs(self, kind: str = "failover") -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM failover_runs WHERE kind = ? ORDER BY began_at_ms", kind)

    def state(self, kind: str = "failover") -> str:
        """State of the newest run of that kind; "" = there is none."""
        found = self.runs(kind)
        return found[-1]["state"] if found else ""

    def journals(self) -> tuple[dict[str, list[Entry]], dict[str, list[str]]]:
        """Every run's entries, and the links that the store keeps of them."""
        entries: dict[str, list[Entry]] = {}
        kept: dict[str, list[str]] = {}
        for row in self.rows("SELECT * FROM failover_journal ORDER BY run_id, seq"):
            body = json.loads(row["body"])
            entry = Entry(
                row["run_id"], row["seq"], row["at_ms"], row["kind"], row["actor"],
                row["term"], row["epoch"], body, row["prev_sha256"],
            )  # fmt: skip
            entries.setdefault(row["run_id"], []).append(entry)
            kept.setdefault(row["run_id"], []).append(row["sha256"])
        return entries, kept

    def wait(self, what: str, holds: Callable[[], Any], within_s: float = START_S) -> Any:
        """Until it holds; its value. AssertionError with how things stand when it does not come."""
        ends_s, last = time.monotonic() + within_s, None
        while time.monotonic() < ends_s:
            try:
                value = holds()
            except (OSError, sqlite3.OperationalError) as error:
                last, value = error, None
            if value:
                return value
            time.sleep(0.25)
        raise AssertionError(f"not within {within_s:g} s: {what} (last error: {last!r})\n{self.told()}")

    def may_write(self) -> list[str]:
        """Hosts whose register would take a write now, asked at their own addresses."""

        def look(host: str) -> bool:
            try:
                return self.house.inside("probe2", lambda: register.ask(ADDRESS[host], "/", 3.0)).startswith(
                    "primary"
                )
            except (OSError, http.client.HTTPException):
                return False

        return [host for host in HOSTS if look(host)]

    def lines(self, host: str) -> list[str]:
        """What the host's register holds on its disk."""
        return register.text_of(self.folder / f"register-{host}" / "lines").splitlines()

    def promotions(self) -> list[str]:
        """Keys under which a promotion did something, on both hosts."""
        return [line.split()[0] for line in self._promoted()]

    def _promoted(self) -> list[str]:
        texts = [register.text_of(self.folder / f"register-{host}" / "promoted") for host in HOSTS]
        return [line for text in texts for line in text.splitlines()]

    def effects(self) -> list[tuple[str, int]]:
        """(phase, Unix ms) of everything that a plan really did, as the other side saw it."""
        return [*self.provider.done, *(("promote", int(line.split()[1])) for line in self._promoted())]

    def locks(self) -> list[str]:
        """The wrapper's locks that somebody holds."""
        found = []
        for host in HOSTS:
            lock = self.house.sshd(host).state / WORD / "lock"
            held = (
                lock.exists() and subprocess.run(["flock", "-n", lock, "true"], check=False).returncode != 0
            )
            found += [f"{host}: {lock.name}"] * held
        return found

    def strays(self) -> list[str]:
        """What runs in a place though everything that we know was ended; given a while to see that it is over."""
        ends_s = time.monotonic() + 60
        while True:
            left = [(place, pid) for place in (*ADDRESS, "prov") for pid in self.house.pids(place)]
            if not left or time.monotonic() > ends_s:
                return [f"{place}: {pid} {_command_line(pid)}" for place, pid in left]
            time.sleep(0.2)

    def plan_hash(self, *words: str) -> str:
        """The hash of the plan as its refusal prints it: what a person copies."""
        _, _, err = self._said("failover", words[0], "prim", *words[1:], "--no-follow")
        return re.findall(r"^plan ([0-9a-f]{64})$", err, re.MULTILINE)[-1]

    def told(self) -> str:
        """How things stand, for a person."""
        lines = []
        with contextlib.suppress(sqlite3.Error):
            lines += [f"host {name}: {life}" for name, life in self.lives().items()]
            lines.append(f"views: {self.views()}")
            lines += [
                f"ticket {t['id']} {t['contract_id']} {t['family']} {t['root_cause']} {t['scope']} {t['state']}"
                for t in self.rows("SELECT * FROM tickets ORDER BY id")
            ]
            lines += [
                f"run {r['id']} {r['kind']} {r['mode']} {r['state']}"
                for r in self.rows("SELECT * FROM failover_runs")
            ]
            lines += [
                f"  {r['at_ms']} {r['kind']} {r['body'][:300]}"
                for r in self.rows("SELECT * FROM failover_journal WHERE kind != 'begin' ORDER BY at_ms, seq")
            ]
            lines += [
                f"said {r['body'][:400]}"
                for r in self.rows("SELECT body FROM ticket_events WHERE kind = 'failover'")
            ]
        return "\n".join(lines)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""
