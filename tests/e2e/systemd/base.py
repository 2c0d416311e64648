"""What a test machine is made of: a small Debian from debootstrap, and the packages that pip is asked for.

Both are made once, kept under a hash of what is in them, and copied; the machines themselves have no way out.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import tomllib

TREE = Path(__file__).resolve().parents[3]
CACHE = Path("/var/tmp/vartovyi-machines")
PACKAGES = (
    "dbus", "iproute2", "iputils-ping", "python3", "python3-venv", "systemd", "systemd-sysv",
)  # fmt: skip
SHIPPED = ("agent", "collector", "config", "ticketing", "systemd", "pyproject.toml", "README.md", "LICENSE")
NEWEST_GLIBC_MINOR = 36
"""Of bookworm; wheels for this and older ones run there."""
MADE_WITHIN_S = 600


def debian() -> Path:
    """A root folder with systemd and Python in it and nothing set up; not to be changed."""
    mirror, suite = _mirror()

    def make(folder: Path) -> None:
        words = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite]
        run([*words, str(folder), mirror])
        shutil.rmtree(folder / "var/cache/apt", ignore_errors=True)
        # Each copy finds an id of its own at its first boot.
        (folder / "etc/machine-id").write_text("")

    return kept("debian", [suite, *PACKAGES], make)


def wheels(root: Path) -> Path:
    """A folder with everything that installing the program asks pip for, for the Python of that root."""
    version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += project["project"]["optional-dependencies"]["collector"]
    wanted = [text.partition(";")[0].strip() for text in wanted]
    arch = platform.machine()
    platforms = [f"manylinux_2_{minor}_{arch}" for minor in range(NEWEST_GLIBC_MINOR, 4, -1)]
    platforms += [f"{old}_{arch}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]

    def make(folder: Path) -> None:
        words = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--only-binary=:all:",
            f"--dest={folder}",
        ]
        words += [f"--python-version={version}", "--implementation=cp"]
        run([*words, *(f"--platform={name}" for name in platforms), *wanted])

    return kept("wheels", [version, arch, *wanted], make)


def disk(base: Path, to: Path, address: str, names: dict[str, str]) -> Path:
    """A machine's own disk: a copy of the base with this tree, an address, and pip told where its packages are."""
    run(["cp", "--archive", "--reflink=auto", str(base), str(to)])
    for name in SHIPPED:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, to / "root/vartovyi" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / "root/vartovyi" / name)
    _write(to / "etc/hostname", to.name.partition(".")[0] + "\n")
    _write(to / "etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\n")
    _write(
        to / "etc/hosts", "127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in names.items())
    )
    wire = f"[Match]\nName=vtm*\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    _write(to / "etc/systemd/network/wire.network", wire)
    for target, unit in (
        ("multi-user", "systemd-networkd"),
        ("network-online", "systemd-networkd-wait-online"),
    ):
        wants = to / f"etc/systemd/system/{target}.target.wants/{unit}.service"
        wants.parent.mkdir(exist_ok=True)
        wants.symlink_to(f"/lib/systemd/system/{unit}.service")
    return to


def _mirror() -> tuple[str, str]:
    """Where this machine's own apt takes its Debian from, and which one."""
    said = run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages"]
    )
    for line in said.splitlines():
        site, suite, component = line.split()
        if component == "main" and suite.isalpha():
            return site, suite
    raise AssertionError(f"apt names no Debian here:\n{said}")


def kept(kind: str, parts: list[str], make: Callable[[Path], None]) -> Path:
    """The folder of this kind and content; made where it is missing, whole or not at all, by one process at a time."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    folder = CACHE / f"{kind}-{digest}"
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _lock(CACHE / f"{kind}.lock"):
        if not folder.exists():
            draft = CACHE / f".{kind}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            make(draft)
            draft.rename(folder)
            for old in CACHE.glob(f"{kind}-*"):
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=MADE_WITHIN_S, check=False)
    if done.returncode != 0:
        raise AssertionError(
            f"{' '.join(words)[:200]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout
