"""A real MariaDB replication pair with GTID: both with read_only in their settings, prim made writable as its engineer would.

Their data lie in a folder of their own (MariaDB refuses root); ``close`` takes it away. Clients are the shipped command-line
client over a pipe, since the house has no library for it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.lab.house import ADDRESS, House
from tests.lab.parts.hosts import epoch_of

PORT = 3306
USER = "nobody"
START_S = 90.0
PEER = {"prim": "back", "back": "prim"}
SETTINGS = (
    "--no-defaults", "--read-only=1", f"--port={PORT}", "--log-bin=bin", "--log-slave-updates", "--gtid-strict-mode=1",
    "--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--slave-net-timeout=5",
)  # fmt: skip
PASSWORD = "it's-5ecret#1"
ACCOUNTS = f"""CREATE DATABASE lab; CREATE TABLE lab.register (value VARCHAR(40) PRIMARY KEY) ENGINE=InnoDB;
CREATE USER app@'%'; GRANT SELECT, INSERT ON lab.* TO app@'%'; CREATE USER repl@'%' IDENTIFIED BY "{PASSWORD}";
GRANT REPLICATION SLAVE ON *.* TO repl@'%'"""


class Pair:
    """Both servers; each begins where ``make`` leaves it: prim writes, back follows."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.folder = Path(tempfile.mkdtemp(prefix="vt-maria-"))
        self.folder.chmod(0o755)
        self._running: dict[str, subprocess.Popen[Any]] = {}
        for place in PEER:
            self._empty(place)

    def make(self) -> None:
        """Both installed and started; prim writable, back its replica."""
        for place in PEER:
            self.launch(place)
        self.sql("prim", "SET GLOBAL read_only = 0; " + ACCOUNTS)
        self.follow("back")

    def close(self) -> None:
        """What runs is killed; the data go."""
        for place in list(self._running):
            self.kill(place)
        shutil.rmtree(self.folder, ignore_errors=True)

    def socket(self, place: str) -> Path:
        return self.folder / place / "sock"

    def launch(self, place: str) -> None:
        """Start the server and wait until it answers: read-only, as its settings say."""
        own = self.folder / place
        words = [
            "mariadbd",
            *SETTINGS,
            f"--datadir={own / 'data'}",
            f"--socket={own / 'sock'}",
            f"--report-host={place}",
        ]
        words += [f"--bind-address={ADDRESS[place]}", f"--server-id={1 + list(PEER).index(place)}"]
        self._running[place] = self._house.popen(
            place, [*_as_user(), *words], log=f"mariadb-{place}", cwd="/"
        )
        ends_s = time.monotonic() + START_S
        while not self.answers(place):
            assert self._running[place].poll() is None, f"MariaDB of {place} ended"
            assert time.monotonic() < ends_s, f"MariaDB of {place} does not answer"
            time.sleep(0.1)

    def kill(self, place: str) -> None:
        """``kill -9``."""
        process = self._running.pop(place, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait(20)

    def follow(self, place: str) -> None:
        """Make that server a replica of the other one, from the GTID position that it has."""
        self.sql(
            place,
            f"CHANGE MASTER TO master_host='{ADDRESS[PEER[place]]}', master_port={PORT}, master_user='repl',"
            f' master_password="{PASSWORD}",'
            " master_use_gtid=slave_pos, master_connect_retry=1; START SLAVE",
        )
        ends_s = time.monotonic() + START_S
        while not self.has_all(place):
            assert time.monotonic() < ends_s, f"MariaDB of {place} does not follow"
            time.sleep(0.1)

    def rebuild(self, place: str) -> None:
        """An old primary made anew from the other one: what it wrote alone is gone with its folder."""
        self.kill(place)
        self._empty(place)
        self.launch(place)
        words = ["mariadb-dump", "--no-defaults", "-S", str(self.socket(PEER[place])), "-u", "root"]
        words += ["--single-transaction", "--master-data=1", "--gtid", "--databases", "lab", "mysql"]
        dumped = self._house.exec(PEER[place], words, timeout_s=120).stdout
        self.sql(place, "SET sql_log_bin = 0;\n" + dumped + "\nFLUSH PRIVILEGES;")
        self.follow(place)

    # asking

    def sql(self, place: str, text: str, *, check: bool = True) -> str:
        """As root by the socket."""
        done = subprocess.run(
            ["mariadb", "--no-defaults", "-S", str(self.socket(place)), "-u", "root", "-NB", "--connect-timeout=5"],
            input=text, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{place}: {done.stderr[-1000:]}"
        return done.stdout.strip() if done.returncode == 0 else ""

    def answers(self, place: str) -> bool:
        return self.sql(place, "SELECT 1", check=False) == "1"

    def takes_writes(self, place: str) -> bool:
        return self.sql(place, "SELECT @@global.read_only", check=False) == "0"

    def has_all(self, place: str) -> bool:
        """Whether that replica was seen to have applied everything that the other one wrote."""
        written = self.sql(PEER[place], "SELECT @@global.gtid_current_pos")
        return self.sql(place, f"SELECT MASTER_GTID_WAIT('{written}', 1)") == "0"

    def wait_until_nobody_follows(self, place: str) -> None:
        """Until that server has noticed that its replica is gone: it writes to it first."""
        ends_s = time.monotonic() + START_S
        dumps = "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
        while self.sql(place, dumps) != "0":
            assert time.monotonic() < ends_s, "it still believes that somebody follows"
            self.sql(place, "CREATE TABLE IF NOT EXISTS lab.other (n INT); INSERT INTO lab.other VALUES (1)")
            time.sleep(0.2)

    def values(self, place: str) -> set[str]:
        return set(self.sql(place, "SELECT value FROM lab.register").split())

    def _empty(self, place: str) -> None:
        own, user = self.folder / place, pwd.getpwnam(USER)
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        os.chown(own, user.pw_uid, user.pw_gid)
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={own / 'data'}",
            "--skip-test-db",
            "--skip-log-bin",
        ]
        install.append("--auth-root-authentication-method=normal")
        done = self._house.exec(place, [*_as_user(), *install], timeout_s=180, check=False, cwd="/")
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]


class Client:
    """The command-line client as one connection: a line in, a line out, a second for both."""

    def __init__(self, house: House, address: str) -> None:
        self._house = house
        words = ["mariadb", "--no-defaults", "-h", address, "-P", str(PORT), "-u", "app", "-NB", "-n"]
        self._process = subprocess.Popen(
            [*words, "--connect-timeout=2", "lab"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip

    def write(self, value: str) -> tuple[str, int]:
        """(node, the epoch that its host knows); ConnectionError when it is not acknowledged in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        said = f"INSERT INTO register VALUES ('{value}'); SELECT @@report_host;\n"
        self._process.stdin.write(said.encode())
        if not select.select([self._process.stdout], [], [], 3.0)[0]:
            raise ConnectionError("no answer in time")
        node = self._process.stdout.readline().decode().strip()
        if not node:
            raise ConnectionError("the client ended")
        return node, int(epoch_of(self._house, node).split()[0])

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _as_user() -> list[str]:
    return ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups", "--"]
