"""Real Redmine and real Request Tracker, each in a Debian of its own: built once, kept, started on a loopback port.

The roots lie where those of the booted machines lie (``tests/e2e/systemd/base.py``). A started desk works on a copy of its
root in memory over the kept one, so every run begins with the same empty desk; it dies with us.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.e2e.systemd import base
from tests.tools.ports import free_port

UP_WITHIN_S = 120
HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one desk is built and started."""

    kind: str
    packages: tuple[str, ...]
    prepare: str
    """Script in this folder that makes users, tokens, project and field, and writes them to /root/desk.json."""
    prepare_by: str
    start: str
    """Shell line; {port} is filled in."""


RECIPES = {
    "redmine": Recipe(
        "redmine",
        ("redmine", "redmine-sqlite", "puma"),
        "prepare_redmine.rb",
        "cd /usr/share/redmine && export X_DEBIAN_SITEID=default RAILS_ENV=production REDMINE_LANG=en"
        " && bundle exec rake redmine:load_default_data && bundle exec rails runner /root/prepare_redmine.rb",
        "cd /usr/share/redmine && export X_DEBIAN_SITEID=default RAILS_ENV=production"
        " && exec puma -e production -t 1:4 -b tcp://127.0.0.1:{port} config.ru",
    ),
    "rt": Recipe(
        "rt",
        ("request-tracker5", "rt5-db-sqlite", "rt5-standalone"),
        "prepare_rt.pl",
        "perl /root/prepare_rt.pl",
        "cd /tmp && exec /usr/share/request-tracker5/libexec/rt-server --port {port}",
    ),
}


@dataclasses.dataclass(frozen=True)
class Started:
    """A desk that answers."""

    kind: str
    url: str
    given: dict[str, str]
    """What its preparation wrote: tokens, users, field."""


def root(recipe: Recipe, say: Callable[[str], None]) -> Path:
    """The desk's root; built where it is missing, which takes some minutes and a package registry."""
    script = (HERE / recipe.prepare).read_text(encoding="utf-8")
    parts = [*recipe.packages, recipe.prepare_by, script]

    def make(folder: Path) -> None:
        began = time.monotonic()
        say(f"building the root of {recipe.kind}: {' '.join(recipe.packages)} from Debian, some minutes")
        debian = base.debian()
        base.run(["cp", "--archive", "--reflink=auto", f"{debian}/.", str(folder)])
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        policy = folder / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")  # nothing is started while it is installed
        policy.chmod(0o755)
        _inside(folder, "mkdir -p /var/cache/apt/archives/partial && apt-get -q update")
        install = f"apt-get -q -y --no-install-recommends install {' '.join(recipe.packages)}"
        _inside(folder, f"export DEBIAN_FRONTEND=noninteractive; {install} && apt-get clean")
        say(
            f"{recipe.kind}: installed after {time.monotonic() - began:.0f} s; preparing users, project and field"
        )
        shutil.copy(HERE / recipe.prepare, folder / "root" / recipe.prepare)
        _inside(folder, recipe.prepare_by)
        say(f"{recipe.kind}: its root is built after {time.monotonic() - began:.0f} s, and is kept")

    return base.kept(recipe.kind, parts, make)


@contextlib.contextmanager
def started(kind: str, folder: Path) -> Iterator[Started]:
    """The desk of this root, on a free port of loopback, empty."""
    recipe = RECIPES[kind]
    port = free_port()
    console = Path(f"{base.CACHE}/{kind}.console")
    words = [
        "setpriv", "--pdeathsig", "TERM", "--",
        *_nspawn(folder), "--volatile=overlay", "bash", "-c", recipe.start.format(port=port),
    ]  # fmt: skip
    with console.open("wb") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, console)
        yield Started(kind, url, json.loads((folder / "root/desk.json").read_text(encoding="utf-8")))
    finally:
        # Asked, and not killed: it takes its container with it, which otherwise lives on without it.
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait(20)


def _nspawn(folder: Path) -> list[str]:
    return [
        "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off",
        f"--directory={folder}",
    ]  # fmt: skip


def _inside(folder: Path, script: str) -> None:
    base.run([*_nspawn(folder), "bash", "-euo", "pipefail", "-c", script])


def _wait_for(url: str, process: subprocess.Popen[bytes], console: Path) -> None:
    end = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=20):
                return
        except urllib.error.HTTPError:
            return  # it answers, whatever it thinks of us
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer:\n{console.read_text(errors='replace')[-3000:]}")
