"""ARCHITECTURE.md names what exists, and everything has its place there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROOMS = ("agent", "collector", "config", "ticketing")
PATHS = set(re.findall(r"`((?:agent|collector|config|ticketing|tests|docs)/[\w./-]*)`", PAGE))
TESTS = set(re.findall(r"`(test_\w+)`", PAGE))


def test_everything_that_the_page_names_exists() -> None:
    assert not [path for path in sorted(PATHS) if not (ROOT / path).exists()]


def test_every_module_has_its_place_on_the_page() -> None:
    """Named itself, or under a folder that is named; a whole room's folder is no place."""
    folders = tuple(path for path in PATHS if path.endswith("/"))
    homeless = [
        name
        for room in ROOMS
        for module in sorted((ROOT / room).rglob("*.py"))
        if (name := module.relative_to(ROOT).as_posix()) not in PATHS
        and not name.startswith(folders)
        and name != f"{room}/__init__.py"
    ]
    assert not homeless


def test_every_law_is_proved_by_tests_that_exist() -> None:
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?m)^\s*(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    laws = re.findall(r"(?m)^\| (\d+) \|", PAGE)
    assert [int(number) for number in laws] == list(range(1, 13))
    assert sorted(TESTS - defined) == []


def test_the_page_stays_short() -> None:
    assert len(PAGE.split()) < 1500, "two pages: put the rest into an ADR"
