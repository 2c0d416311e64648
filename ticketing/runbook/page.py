"""The runbook as people read it: the steps of one cause for tickets and mail, all causes as a page of docs/.

The texts ``means.<cause>`` and ``steps.<cause>`` (one step a line, commands between backquotes) lie beside this file in
both languages; tickets, mail and docs/RUNBOOK.md show the same words. ``python -m ticketing.runbook.page`` (make runbook)
writes the pages; what stands above the mark in docs/RUNBOOK.md is written by hand and stays. Refuses nothing, decides
nothing.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from ticketing.causes import CAUSES, Cause
from ticketing.texts import Texts, texts

MARK = "<!-- From here on written by `make runbook` from ticketing/runbook/*.po: change the words there. -->"
PAGES = {"en": Path("docs/RUNBOOK.md"), "uk": Path("docs/RUNBOOK.uk.md")}


def meaning(words: Texts, root_cause: str) -> str:
    """What the cause means, in a sentence or two; "" for a cause that nobody listed."""
    key = f"means.{root_cause}"
    return words.get(key) if key in words else ""


def steps(words: Texts, root_cause: str) -> list[str]:
    """What to do, in order; commands stand between backquotes. [] for a cause that nobody listed."""
    key = f"steps.{root_cause}"
    lines = words.get(key).splitlines() if key in words else []
    return [line.strip() for line in lines if line.strip()]


def causes_page(words: Texts) -> str:
    """All causes in Markdown, by family, in the order of ``ticketing.causes``."""
    parts = [f"## {words.get('runbook.title')}", words.get("runbook.about")]
    by_family = sorted(CAUSES.values(), key=lambda cause: _FAMILIES.index(_family(cause)))
    for family, causes in groupby(by_family, key=_family):
        parts.append(f"### {words.get(f'runbook.family.{family}')}")
        for cause in causes:
            parts += _entry(words, cause)
    return "\n\n".join(parts) + "\n"


def _entry(words: Texts, cause: Cause) -> list[str]:
    facts = words.get("runbook.facts", cause=cause.key, profile=cause.profile, line=cause.line)
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps(words, cause.key), 1))
    return [f"#### {words.get(f'cause.{cause.key}')}", facts, meaning(words, cause.key), numbered]


_FAMILIES = ("virt", "hw", "net", "svc3", "os", "unknown", "request", "none")


def _family(cause: Cause) -> str:
    return cause.key.partition(".")[0]


def written(language: str, stands: str) -> str:
    """The whole page of a language: what stands above the mark, and the causes below it."""
    above, mark, _ = stands.partition(MARK)
    if not mark:
        raise ValueError(f"the page of {language!r} has lost its mark: {MARK}")
    return f"{above}{MARK}\n\n{causes_page(texts(language))}"


def main() -> int:
    """Write the pages below the working folder, which is the repository's root."""
    for language, path in PAGES.items():
        path.write_text(written(language, path.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stderr.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
