"""``make test`` begins here: finds the system packages that the tests need, installs what is missing where it may.

As root on Debian or CentOS it lists them, asks when a person sits at a terminal, and installs. Elsewhere it names
them; the tests that need them are then skipped. Under ``CI=true`` a package that stays missing ends the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import List

from tests.tools import needs


def main() -> int:
    """0 = go on with the tests; 1 = under CI=true something is missing."""
    missing = [package for package in needs.wanted() if not needs.is_installed(package)]
    if not missing:
        print("System packages for the tests: all there.")
        return 0
    print("System packages that tests need and that are missing:")
    for package in missing:
        print(f"  {package.name:16} for tests/{', tests/'.join(package.wanted_by)}")
    names = _installable(missing)
    if names and os.geteuid() == 0 and _agreed(names):
        units = [unit for package in missing for unit in package.services]
        _systemctl("mask", units)
        _install(names)
        _systemctl("unmask", units)
        _systemctl("disable", units)
    still = [package.name for package in missing if not needs.is_installed(package)]
    if still:
        print(f"Still missing: {', '.join(still)}. The tests that need them are skipped.")
        return 1 if needs.is_ci() else 0
    return 0


def _installable(missing: List[needs.Package]) -> List[str]:
    kind = "debian" if shutil.which("apt-get") else "centos" if shutil.which("dnf") else ""
    if not kind:
        print("Neither apt-get nor dnf is here: install them by hand.")
        return []
    names = [name for package in missing for name in getattr(package, kind)]
    tool = "apt-get" if kind == "debian" else "dnf"
    if names and os.geteuid() != 0:
        print(f"As root: {tool} install {' '.join(names)}")
    return names


def _agreed(names: List[str]) -> bool:
    print(f"Will install: {' '.join(names)}")
    if needs.is_ci() or not sys.stdin.isatty():
        return True
    return input("Install them now? [Y/n] ").strip().lower() in ("", "y", "yes", "т", "так")


def _systemctl(verb: str, units: List[str]) -> None:
    """Masked while it is installed, a package's service neither starts nor is enabled; works without a running systemd."""
    if units and shutil.which("systemctl"):
        subprocess.run(["systemctl", "-q", verb, *units], stdin=subprocess.DEVNULL, check=False, timeout=60)


def _install(names: List[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if shutil.which("apt-get"):
        # No recommended extras, and no service is started: the tests start their own.
        commands = [
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names],
        ]
    else:
        commands = [["dnf", "install", "-y", "-q", *names]]
    for command in commands:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            print(f"{' '.join(command[:2])} failed with status {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
