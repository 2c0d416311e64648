"""A real PostgreSQL streaming pair: a primary at prim, a hot standby at back, as a client would run it, without systemd.

Their data lie in a folder of their own outside the house's (PostgreSQL refuses root and what root's folders hide); ``close``
takes it away. A server is started the way that a host's init would: only where the gate of that host lets it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.conformance.pg import find_programs
from tests.lab.house import ADDRESS, House
from tests.lab.parts.hosts import may_start

PORT = 5432
USER = "postgres"
START_S = 90.0
PEER = {"prim": "back", "back": "prim"}
SETTINGS = {
    "fsync": "off",
    "wal_log_hints": "on",  # for pg_rewind
    "hot_standby": "on",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_keep_size": "256MB",
    "max_wal_size": "256MB",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "500ms",
    "autovacuum": "off",
    "log_min_messages": "warning",
}
TABLE = "CREATE TABLE register (value text PRIMARY KEY, node text, timeline int)"


class Pair:
    """Both servers; each begins where ``make`` leaves it: prim writes, back follows."""

    def __init__(self, house: House) -> None:
        self._house, self._programs = house, find_programs()
        self._user = pwd.getpwnam(USER)
        self.folder = Path(tempfile.mkdtemp(prefix="vt-pgpair-"))
        self.folder.chmod(0o755)
        self._running: dict[str, subprocess.Popen[Any]] = {}
        for place in PEER:
            (self.folder / place).mkdir()
            os.chown(self.folder / place, self._user.pw_uid, self._user.pw_gid)
            (self.folder / place / "hba.conf").write_text(
                "local all all trust\nhost all all all trust\nhost replication all all trust\n"
            )

    def make(self) -> None:
        """initdb, start, copy, start."""
        data = self.data("prim")
        self._do(
            "prim",
            "initdb",
            "-D",
            str(data),
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        self.launch("prim")
        with self.connected("prim") as conn:
            conn.execute(TABLE)
        where = ["-h", ADDRESS["prim"], "-p", str(PORT), "-U", USER]
        self._do("back", "pg_basebackup", *where, "-D", str(self.data("back")), "-c", "fast", "--no-sync")
        (self.data("back") / "standby.signal").touch()
        self.launch("back")
        self.wait_until_it_follows("back")

    def close(self) -> None:
        """What runs dies with its place; the data go."""
        for place in list(self._running):
            self.kill(place)
        for place in PEER:
            with contextlib.suppress(OSError, ValueError, ProcessLookupError):
                os.kill(int((self.data(place) / "postmaster.pid").read_text().split()[0]), 9)
        shutil.rmtree(self.folder, ignore_errors=True)

    def data(self, place: str) -> Path:
        return self.folder / place / "data"

    def launch(self, place: str) -> None:
        """Start the server, gate or no gate, and wait until it answers."""
        (self.data(place) / "postmaster.pid").unlink(missing_ok=True)  # of a boot before a power cut
        words = [str(self._programs / "postgres"), "-D", str(self.data(place)), *self._settings(place)]
        self._running[place] = self._house.popen(
            place, [*_as(USER), *words], log=f"postgres-{place}", cwd="/"
        )
        ends_s = time.monotonic() + START_S
        while not self.answers(place):
            assert self._running[place].poll() is None, f"PostgreSQL of {place} ended"
            assert time.monotonic() < ends_s, f"PostgreSQL of {place} does not answer"
            time.sleep(0.1)

    def boot(self, place: str, host: str) -> bool:
        """What the host does when it comes up: the service starts where the gate lets it; whether it did."""
        if not may_start(self._house, place, host):
            return False
        self.launch(place)
        return True

    def kill(self, place: str) -> None:
        """``kill -9`` of the server with all its children."""
        process = self._running.pop(place, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(20)

    def rewind(self, place: str) -> None:
        """An old primary made a standby of the other: what it wrote alone is thrown away (pg_rewind)."""
        data = self.data(place)
        # It was killed: its own recovery first, as pg_rewind demands a clean end, with nobody let in.
        single = [*self._settings(place), "-c", "listen_addresses="]
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._do(place, "postgres", "--single", "-D", str(data), *single, "postgres", stdin="")
        source = f"host={ADDRESS[PEER[place]]} port={PORT} user={USER} dbname=postgres"
        self._do(place, "pg_rewind", "-D", str(data), f"--source-server={source}", "--no-sync")
        (data / "standby.signal").touch()

    # asking

    def connected(self, place: str, **more: Any) -> psycopg.Connection[Any]:
        """A connection to that server, by its socket: from anywhere, also while its wire is cut."""
        return psycopg.connect(self.conninfo(place), autocommit=True, connect_timeout=5, **more)

    def conninfo(self, place: str) -> str:
        return f"host={self.folder / place} port={PORT} user={USER} dbname=postgres"

    def answers(self, place: str) -> bool:
        try:
            self.connected(place).close()
        except psycopg.OperationalError:
            return False
        return True

    def values(self, place: str) -> set[str]:
        """What its register holds."""
        with self.connected(place) as conn:
            return {row[0] for row in conn.execute("SELECT value FROM register")}

    def takes_writes(self, place: str) -> bool:
        """Whether it would acknowledge a write now."""
        try:
            with self.connected(place) as conn:
                row = conn.execute("SELECT pg_is_in_recovery()").fetchone()
        except psycopg.OperationalError:
            return False
        return row == (False,)

    def follows(self, place: str) -> bool:
        """Whether that standby streams and has everything that the other one wrote."""
        with self.connected(PEER[place]) as conn:
            row = conn.execute(
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_lsn()"
            ).fetchone()
        return row == (1,)

    def wait_until_it_follows(self, place: str) -> None:
        """Until that standby was seen to have everything."""
        ends_s = time.monotonic() + START_S
        while not self.follows(place):
            assert time.monotonic() < ends_s, f"PostgreSQL of {place} does not follow"
            time.sleep(0.1)

    def _settings(self, place: str) -> list[str]:
        own = self.folder / place
        peer = (
            f"host={ADDRESS[PEER[place]]} port={PORT} user={USER} application_name={place} connect_timeout=3"
        )
        whole = {
            **SETTINGS,
            "listen_addresses": ADDRESS[place],
            "port": str(PORT),
            "unix_socket_directories": str(own),
            "hba_file": str(own / "hba.conf"),
            "cluster_name": place,
            "primary_conninfo": peer,
        }
        return [word for name, value in whole.items() for word in ("-c", f"{name}={value}")]

    def _do(self, place: str, program: str, *words: str, stdin: str | None = None) -> None:
        done = self._house.exec(
            place, [*_as(USER), str(self._programs / program), *words],
            timeout_s=180, check=False, cwd="/", input=stdin,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} at {place}: {done.stdout[-1000:]}{done.stderr[-2000:]}"


def _as(user: str) -> Sequence[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
