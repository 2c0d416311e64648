"""The peer beside us in the same run: Debian's prometheus-alertmanager, single alerts posted by the same wrk."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.bench.intake import CONNECTIONS, THREADS
from tests.bench.table import Row
from tests.tools.ports import free_port

SCRIPT = Path(__file__).parent / "alerts.lua"


def measure(seconds: float) -> list[Row]:
    """Accepted single posts a second."""
    program = shutil.which("prometheus-alertmanager")
    if program is None or shutil.which("wrk") is None:
        return [Row("peer: prometheus-alertmanager", "not measured: it or wrk is not installed", "", "")]
    with tempfile.TemporaryDirectory(prefix="vt-peer-") as name:
        folder = Path(name)
        (folder / "am.yml").write_text(
            "route: {receiver: none}\nreceivers: [{name: none}]\n", encoding="utf-8"
        )
        port = free_port()
        with (folder / "log").open("wb") as log:
            peer = subprocess.Popen(
                [program, f"--config.file={folder / 'am.yml'}", f"--storage.path={folder}", "--cluster.listen-address=",
                 f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _wait(f"http://127.0.0.1:{port}/-/ready")
            command = [
                "wrk", "-t", str(THREADS), "-c", str(CONNECTIONS), "-d", f"{round(seconds)}s", "-s", str(SCRIPT),
                f"http://127.0.0.1:{port}", "--", str(THREADS),
            ]  # fmt: skip
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=seconds + 60
            ).stdout
        finally:
            peer.terminate()
            peer.wait(timeout=30)
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    told = json.loads(line.removeprefix("RESULT "))
    rate = told["requests"] / told["seconds"]
    note = f"p99 {told['p99_ms']:.1f} ms, {told['bad']} refused; nothing of it is on disk"
    return [
        Row("peer: prometheus-alertmanager, single posts/s", f"{rate:,.0f}", "", note, rate, is_peer=True)
    ]


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
