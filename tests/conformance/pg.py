"""A real PostgreSQL that the tests start themselves: own folder, own socket, no TCP, gone afterwards.

It runs as an unprivileged user where the tests are root, since PostgreSQL refuses root. Its settings are quick but do
not change what is tested: commits, locks and isolation are the real ones; only fsync is off, because no test here pulls
a plug.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

SUPERUSER = "vartovyi"
PR_SET_PDEATHSIG = 1
START_S = 60.0

SERVER_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "shared_buffers": "32MB",
    "max_connections": "80",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


class NoPostgres(Exception):
    """There is no PostgreSQL to start; the text names what is missing."""


def find_programs() -> Path:
    """Folder with initdb and postgres: Debian keeps it off the PATH; CentOS has it there."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        places.append(Path(on_path).resolve().parent)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise NoPostgres("no initdb in /usr/lib/postgresql/*/bin or on the PATH (Debian: apt install postgresql)")


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoPostgres("PostgreSQL refuses root, and there is no user postgres or nobody")


def _die_with_parent() -> None:
    """A test run that is killed must leave no server behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


class PostgresServer:
    """One server for a test run."""

    def __init__(self) -> None:
        self._programs = find_programs()
        self._user = _unprivileged()
        # Not pytest's folder: that one is closed to other users, and a socket's path must stay short.
        self.folder = Path(tempfile.mkdtemp(prefix="vt-pg-"))
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._databases = 0
        try:
            self._initdb()
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _initdb(self) -> None:
        command = [
            str(self._programs / "initdb"), "-D", str(self.folder / "db"), "-U", SUPERUSER, "--auth=trust",
            "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        subprocess.run(
            command, check=True, capture_output=True, cwd=self.folder, timeout=120, **self._as_user()
        )  # type: ignore[call-overload]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "db"), "-k", str(self.folder)]
        for name, value in SERVER_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        log = (self.folder / "log").open("wb")
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=log, stderr=log, cwd=self.folder, preexec_fn=_die_with_parent, **self._as_user()
        )
        log.close()
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
                return process
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:]) from None
                time.sleep(0.02)

    def dsn(self, database: str) -> str:
        """For psycopg."""
        return f"host={self.folder} user={SUPERUSER} dbname={database}"

    def url(self, database: str) -> str:
        """For the store."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """A new database, copied from ``template``; its name."""
        self._databases += 1
        name = f"t{self._databases}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as conn:
            conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def halt(self) -> None:
        """Stop the server, whoever is connected; what it holds stays for ``resume``."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def resume(self) -> None:
        """Start a halted server again."""
        self._process = self._start()

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)
