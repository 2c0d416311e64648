"""Small texts as CentOS prints them, and trees laid out from them."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import pytest

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def text() -> Callable[[str], str]:
    """``text("el7/stat")``: the fixture's content."""
    return lambda name: (FIXTURES / name).read_text(encoding="utf-8")


@pytest.fixture
def lay(tmp_path: Path) -> Callable[[Dict[str, str]], Path]:
    """``lay({"proc/stat": "..."})``: a root with these files; may be called again to change some."""

    def write(files: Dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path

    return write
