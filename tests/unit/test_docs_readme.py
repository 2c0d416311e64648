"""README, CONTRIBUTING and RUNBOOK name targets, files and commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/RUNBOOK.md")]
TARGETS = set(re.findall(r"(?m)^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8")))
EXAMPLES = {"NAME", "NNNN", "FAMILY"}
"""Words that stand for something that the reader fills in."""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`?make ([a-z][a-z0-9-]*)\b", "\n".join(_code(page))))
    assert named <= TARGETS, named - TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")}
    paths = set(re.findall(r"`((?:agent|collector|config|ticketing|tests|docs|systemd)/[\w./-]+)`", text))
    paths = {path for path in paths if not any(word in path for word in EXAMPLES)} - {
        "collector/failover/steps/"
    }
    base = page.parent
    assert not [link for link in sorted(links) if not (base / link).exists()]
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("vartovyi-agent", "agent.cli"),
        ("vartovyi-collector", "collector.cli"),
        ("vartovyi-desk", "ticketing.cli"),
    ],
)
def test_every_verb_that_a_page_names_exists(program: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main(['--help'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    named = {
        verb
        for page in PAGES
        for line in _code(page)
        for verbs in re.findall(rf"{program} ((?:[a-z][a-z-]+(?: \| )?)+)", line)
        for verb in verbs.split(" | ")[: None if "|" in verbs else 1]
    }
    missing = {verb.split()[0] for verb in named if not re.search(rf"\b{verb.split()[0]}\b", done.stdout)}
    assert named, f"no page says what {program} does"
    assert not missing, done.stdout + done.stderr


def _code(page: Path) -> list[str]:
    """What stands in code: inline and in blocks."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"(?s)```\w*\n(.*?)```", text) + re.findall(r"`([^`\n]+)`", text)
