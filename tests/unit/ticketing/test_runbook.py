"""The runbook: every cause has steps that an engineer can follow, and the pages of docs/ say what tickets say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ticketing.causes import CAUSES
from ticketing.runbook import page
from ticketing.texts import LANGUAGES, texts

ROOT = Path(__file__).resolve().parents[3]
CALM = re.compile(r"none\.")
"""Causes that are no fault: there is little to do."""
COMMAND = re.compile(r"`[^`]+`")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_are_what_the_texts_say(language):
    """Changed a text? `make runbook`."""
    stands = (ROOT / page.PAGES[language]).read_text(encoding="utf-8")
    assert stands == page.written(language, stands)


def test_what_stands_above_the_mark_stays_and_a_page_without_the_mark_is_refused():
    assert page.written("en", f"by hand\n{page.MARK}\nold").startswith(f"by hand\n{page.MARK}\n\n## ")
    with pytest.raises(ValueError, match="mark"):
        page.written("en", "by hand")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_says_what_it_means_and_what_to_do(cause, language):
    words = texts(language)
    steps = page.steps(words, cause)
    assert page.meaning(words, cause)
    assert len(steps) >= (2 if CALM.match(cause) else 4)
    assert any(COMMAND.search(step) for step in steps) or cause in (
        "request",
        "none.planned",
        "net.nullroute",
    )
    assert "  " not in " ".join(steps)
    for step in steps:
        assert step.count("`") % 2 == 0, f"a command is not closed: {step}"


@pytest.mark.parametrize("cause", CAUSES)
def test_both_languages_give_the_same_commands(cause):
    english, ukrainian = (
        [COMMAND.findall(step) for step in page.steps(texts(language), cause)] for language in ("en", "uk")
    )
    assert english == ukrainian


@pytest.mark.parametrize("cause", [c for c in CAUSES.values() if c.line == 4], ids=lambda c: c.key)
def test_what_line_4_takes_says_whom_to_call(cause):
    told = " ".join(page.steps(texts("en"), cause.key))
    assert re.search(r"\b[Cc]all (the|our) (provider|DNS provider|owner)", told)


def test_an_unlisted_cause_has_no_steps_and_breaks_nothing():
    assert page.steps(texts("uk"), "os.of_tomorrow") == []
    assert page.meaning(texts("uk"), "os.of_tomorrow") == ""
