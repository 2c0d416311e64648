"""The lines that the README asks people to paste, read from the README itself."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[3] / "README.md"
SECTION = "## On a server"


def blocks() -> list[str]:
    """The fenced shell blocks of the README's section, in order."""
    text = README.read_text(encoding="utf-8")
    start = text.index(f"\n{SECTION}\n")
    end = re.compile(r"^## ", re.MULTILINE).search(text, start + len(SECTION) + 1)
    section = text[start : end.start() if end else None]
    return re.findall(r"(?ms)^```bash\n(.*?)^```$", section)
