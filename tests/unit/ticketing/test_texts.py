"""Every word exists in both languages, with the same parameters, for every folder of texts that the project has."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from ticketing import texts, transitions
from ticketing.causes import CAUSES
from ticketing.model import CLASSES, SEVERITIES, ClockKind, ClockState, Confidence, Reason, TicketState
from ticketing.terms import NOTICES

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = [
    folder
    for folder in (
        ROOT / name
        for name in ("ticketing/texts", "ticketing/runbook", "collector/texts", "collector/web/texts")
    )
    if (folder / "en.po").exists() or (folder / "uk.po").exists()
]
# Keys that stand in the code as whole literals; those made of parts are listed by the tests below.
PREFIXES = "reason|summary|refusal|did|mail|desk|plot|unit|count|notice|runbook"
LITERAL = re.compile(rf"""["']((?:{PREFIXES})\.[a-z0-9_]+(?:\.[a-z0-9_]+)*)["']""")


@pytest.fixture(autouse=True)
def _strict():
    texts.set_strict(True)
    yield
    texts.set_strict(False)


def _names(form):
    return {name for _, name, spec, _ in string.Formatter().parse(form) if name is not None} | {
        f"@{spec[1:]}"
        for _, name, spec, _ in string.Formatter().parse(form)
        if name is not None and spec and spec[0] == "@"
    }


def _catalogues():
    merged = {}
    for language in texts.LANGUAGES:
        merged[language] = {}
        for folder in FOLDERS:
            if (folder / f"{language}.po").exists():
                merged[language].update(texts.read_catalogue(folder / f"{language}.po", language)[0])
    return merged


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(ROOT)))
def test_both_languages_have_the_same_keys_parameters_and_their_plural_forms(folder):
    catalogues = {lang: texts.read_catalogue(folder / f"{lang}.po", lang)[0] for lang in texts.LANGUAGES}
    assert set(catalogues["uk"]) == set(catalogues["en"])
    for key, english in catalogues["en"].items():
        ukrainian = catalogues["uk"][key]
        assert all(english) and all(ukrainian), f"{key} is empty"
        assert (len(english) > 1) == (len(ukrainian) > 1), f"{key}: plural in one language only"
        if len(english) > 1:
            assert (len(english), len(ukrainian)) == (2, 3), key
        # A form for one thing may do without the number.
        wanted = set().union(*(_names(form) for form in english))
        assert set().union(*(_names(form) for form in ukrainian)) == wanted, key
        for form in (*english, *ukrainian):
            assert _names(form) >= wanted - {"n"}, key


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(ROOT)))
def test_ukrainian_texts_are_ukrainian(folder):
    """No letters that Ukrainian does not have, and no text left in English by oversight."""
    forms = texts.read_catalogue(folder / "uk.po", "uk")[0]
    for key, variants in forms.items():
        for form in variants:
            assert not re.search("[ыэъёЫЭЪЁ]", form), key
            words = re.sub(r"\{[^}]*\}", "", form)
            assert re.search("[а-яіїєґ]", words.lower()) or len(re.findall("[A-Za-z]{4,}", words)) <= 1, (
                f"{key}: {form}"
            )


@pytest.mark.parametrize("room", ["ticketing", "collector"])
def test_every_key_in_the_code_has_its_text(room):
    """Keys that are made of parts are listed by the next test."""
    known = _catalogues()
    missing = {}
    for file in (ROOT / room).rglob("*.py"):
        for key in LITERAL.findall(file.read_text(encoding="utf-8")):
            if not key.endswith(".yaml") and any(key not in known[language] for language in texts.LANGUAGES):
                missing[key] = str(file.relative_to(ROOT))
    assert missing == {}


def test_every_word_of_the_model_has_its_text():
    wanted = [f"class.{n}" for n in CLASSES]
    wanted += [f"state.{s.value}" for s in TicketState]
    wanted += [f"severity.{s}" for s in SEVERITIES] + [f"confidence.{c.value}" for c in Confidence]
    wanted += [f"clock.{k.value}" for k in ClockKind] + [f"clock_state.{s.value}" for s in ClockState]
    wanted += [f"act.{a}" for a in transitions.ACTS] + [row.sentence for row in transitions.TABLE.values()]
    wanted += [f"did.{a}" for a in transitions.ACTS]
    wanted += [f"notice.{n}" for n in NOTICES]
    wanted += [f"cause.{c}" for c in CAUSES] + [f"steps.{c}" for c in CAUSES]
    for language in texts.LANGUAGES:
        lacking = [key for key in wanted if key not in texts.texts(language)]
        assert lacking == [], language


def test_causes_are_the_vocabulary_of_the_scenarios():
    """The scenario files and the desk name the same causes; ``unknown`` and ``request`` are the desk's own."""
    recorded = sorted((ROOT / "tests/scenarios").glob("*.yaml"))
    lists = [
        re.search(r"^root_causes: \[(.*)\]", f.read_text(encoding="utf-8"), re.MULTILINE) for f in recorded
    ]
    for found in filter(None, lists):
        named = set(re.findall(r'"([^"]+)"', found.group(1)))
        assert named <= set(CAUSES)
    assert len(CAUSES) == 54


@pytest.mark.parametrize(
    ("n", "uk", "en"),
    [
        (1, "1 хвилина", "1 minute"),
        (2, "2 хвилини", "2 minutes"),
        (5, "5 хвилин", "5 minutes"),
        (11, "11 хвилин", "11 minutes"),
        (21, "21 хвилина", "21 minutes"),
        (22, "22 хвилини", "22 minutes"),
        (111, "111 хвилин", "111 minutes"),
        (0, "0 хвилин", "0 minutes"),
    ],
)
def test_numbers_take_the_right_form(n, uk, en):
    assert texts.texts("uk").get("unit.minutes", n=n) == uk
    assert texts.texts("en").get("unit.minutes", n=n) == en


def test_durations_show_their_two_largest_units():
    uk = texts.texts("uk")
    assert uk.duration(42_400) == "42 секунди"
    assert uk.duration(3_600_000) == "1 година"
    assert uk.duration(93_780_000) == "1 день 2 години"
    assert texts.texts("en").duration(0) == "0 seconds"
    assert uk.duration(59_700) == "1 хвилина"


def test_numbers_and_times_follow_the_language():
    uk, en = texts.texts("uk").at("Europe/Kyiv"), texts.texts("en")
    assert uk.number(1234.5) == "1\u00a0234,5" and en.number(1234.5) == "1,234.5"
    assert uk.when(1_767_600_000_000) == "05.01.2026 10:00:00 EET"
    assert en.when(1_767_600_000_000) == "2026-01-05 08:00:00 UTC"


def test_a_reason_is_filled_in_with_causes_and_instants():
    reason = Reason(
        "reason.intake.requalified",
        {"class_before": 2, "class_": 1, "cause_before": "unknown", "cause": "hw.disk"},
    )
    assert texts.texts("en").reason(reason) == "Class 2 → 1, cause “Cause not known yet” → “A disk fails”."
    late = Reason("reason.clock.warn", {"clock": "reaction", "pct": 50, "due_at_ms": 0})
    assert "01.01.1970 00:00:00 UTC" in texts.texts("uk").reason(late)


def test_an_unknown_key_raises_in_tests_and_shows_itself_in_production():
    with pytest.raises(texts.UnknownText):
        texts.texts("uk").get("no.such.key")
    with pytest.raises(texts.UnknownText):
        texts.texts("uk").get("refusal.not_found")
    texts.set_strict(False)
    assert texts.texts("uk").get("no.such.key") == "no.such.key"
    assert texts.texts("en").get("refusal.not_found", number=7) == "refusal.not_found (number=7)"


def test_a_parameter_cannot_reach_into_an_object():
    """What a person typed is only ever filled in as text."""
    assert "{x.__class__}" in texts.texts("en").get("refusal.no_host", host="{x.__class__}")


def test_a_folder_registered_twice_is_there_once(tmp_path):
    before = texts.registered()
    texts.register(before[0])
    assert texts.registered() == before
