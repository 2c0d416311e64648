"""What the agent tells of its server for the draft of a contract: a few words, read once a day."""

from __future__ import annotations

from pathlib import Path
from typing import List

from agent.checks.sock_diag import Listener
from agent.inventory import AGAIN_MS, FIRST_AFTER_MS, Inventory, inventory

UNITS = "usr/lib/systemd/system"
WANTS = "etc/systemd/system/multi-user.target.wants"


def server(root: Path) -> Path:
    for folder in (UNITS, WANTS, "run/systemd/system", "proc"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("nginx", "mariadb", "httpd"):
        (root / UNITS / f"{name}.service").write_text("[Service]\n")
    for name in ("nginx", "mariadb"):
        (root / WANTS / f"{name}.service").symlink_to(f"/usr/lib/systemd/system/{name}.service")
    (root / "etc/os-release").write_text('NAME="CentOS Stream"\nPRETTY_NAME="CentOS Stream 9"\n')
    (root / "etc/localtime").symlink_to("../usr/share/zoneinfo/Europe/Kyiv")
    (root / "proc/meminfo").write_text("MemTotal:        8009040 kB\nMemFree: 1 kB\n")
    return root


def ask() -> List[Listener]:
    return [Listener("0.0.0.0", port, 0, 128) for port in (80, 443, 3306)]


def test_system_size_zone_and_services_are_told(tmp_path) -> None:
    words = inventory(server(tmp_path), ask)
    assert (
        words["os"] == "CentOS Stream 9" and words["zone"] == "Europe/Kyiv" and words["memory_mb"] == "7821"
    )
    assert (words["service.nginx"], words["service.mysql"]) == ("80 443", "3306")
    assert "service.httpd" not in words, "it is neither switched on nor listening"


def test_an_empty_machine_tells_what_it_can(tmp_path) -> None:
    words = inventory(tmp_path, list)
    assert set(words) <= {"virt", "cpus"}


def test_the_first_report_does_not_wait_and_later_it_is_read_once_a_day(tmp_path) -> None:
    told = Inventory(server(tmp_path), 0)
    assert told.words(FIRST_AFTER_MS - 1) == {}
    assert told.words(FIRST_AFTER_MS)["os"] == "CentOS Stream 9"
    (tmp_path / "etc/os-release").write_text("PRETTY_NAME=CentOS Stream 10\n")
    assert told.words(FIRST_AFTER_MS + AGAIN_MS - 1)["os"] == "CentOS Stream 9"
    assert told.words(FIRST_AFTER_MS + AGAIN_MS)["os"] == "CentOS Stream 10"
