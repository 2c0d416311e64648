"""The laboratory's single-writer service: a register that acknowledges a write only as primary of the newest epoch it knows.

    python -m tests.lab.register --host prim --listen 10.90.3.2 --peer 10.90.4.2 --folder DIR --epoch FILE

It is given its role (``DIR/role``: "primary EPOCH" or "standby") and the host's epoch file (the wrapper's), both read at
every write. A standby takes over the primary's lines again and again, as asynchronous replication does, and writes the
primary's clock into ``DIR/heartbeat``. Where ``DIR/slow`` names seconds, every answer takes so long; where ``DIR/full``
stands, nothing can be written. Standard library only: it starts in a moment.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 8080
PULL_S = 0.3


def text_of(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


class Register:
    """The lines of one host, and whether it may take more."""

    def __init__(self, host: str, folder: Path, epoch: Path) -> None:
        self.host, self._folder, self._epoch = host, folder, epoch
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        self._log = (folder / "lines").open("ab+")

    @property
    def role(self) -> tuple[str, int]:
        """(primary or standby, the epoch that made it so)."""
        word, _, number = text_of(self._folder / "role").partition(" ")
        return (word, int(number)) if word == "primary" and number.isdecimal() else ("standby", 0)

    def refusal(self) -> str:
        """Why no write is taken; "" = they are."""
        role, mine = self.role
        if role != "primary":
            return "standby"
        known, _, primary = text_of(self._epoch).partition(" ")
        if known.isdecimal() and int(known) > 0 and (int(known) > mine or primary != self.host):
            return f"epoch {known} belongs to {primary}"
        return "full" if (self._folder / "full").exists() else ""

    def write(self, value: str) -> tuple[str, int]:
        """(why not, epoch): "" and the epoch under which the line stands."""
        with self.lock:
            why = self.refusal()
            if not why:
                self._log.write(f"{value}\n".encode())
                self._log.flush()
            return why, self.role[1]

    def lines(self, since: int = 0) -> list[str]:
        return text_of(self._folder / "lines").splitlines()[since:]

    def follow(self, peer: str) -> None:
        """Take over the peer's lines while we are a standby; for ever."""
        n = len(self.lines())
        while True:
            time.sleep(PULL_S)
            if self.role[0] == "primary":
                n = len(self.lines())
                continue
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                told = ask(peer, f"/lines?from={n}", 2.0)
                moment, *more = told.splitlines()
                with self.lock:
                    if self.role[0] == "primary":
                        continue
                    self._log.write("".join(f"{line}\n" for line in more).encode())
                    self._log.flush()
                n += len(more)
                fresh = self._folder / "heartbeat.new"
                fresh.write_text(moment)
                fresh.replace(self._folder / "heartbeat")

    @property
    def slow_s(self) -> float:
        return float(text_of(self._folder / "slow") or 0)


def ask(address: str, path: str, timeout_s: float) -> str:
    """GET; OSError where it is not answered well."""
    link = http.client.HTTPConnection(address, PORT, timeout=timeout_s)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        told = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"{answer.status} {told}")
        return told
    finally:
        link.close()


def handler(register: Register) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            words = urllib.parse.parse_qs(query)
            time.sleep(register.slow_s)
            if path == "/lines":
                if register.role[0] != "primary":
                    self._say(503, "standby")
                    return
                lines = register.lines(int(words["from"][0]))
                self._say(200, "\n".join([f"{time.time():.3f}", *lines]))
                return
            if path == "/write":
                why, epoch = register.write(words["value"][0])
            else:
                why, epoch = register.refusal(), register.role[1]
            self._say(503 if why else 200, why or f"primary {register.host} {epoch}")

        def _say(self, status: int, text: str) -> None:
            octets = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: Any) -> None:
            return

    return Answers


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser(description="the register of one host")
    for word in ("host", "peer"):
        parser.add_argument(f"--{word}", required=True)
    for word in ("folder", "epoch"):
        parser.add_argument(f"--{word}", required=True, type=Path)
    args = parser.parse_args()
    register = Register(args.host, args.folder, args.epoch)
    threading.Thread(target=register.follow, args=(args.peer,), daemon=True).start()
    # Every address of this place: its own, and the clients' one.
    with Server(("0.0.0.0", PORT), handler(register)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
