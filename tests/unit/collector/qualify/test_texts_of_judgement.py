"""Every sentence of judgement exists in Ukrainian and English, with the same blanks to fill in."""

from __future__ import annotations

import re
import string

import pytest

from collector.fleet import TABLE
from collector.qualify.judge import DEFAULT_CAUSE, ROWS, WOULD_CHANGE, qualify, summary
from collector.qualify.row import GROUPS
from collector.tick.context import TEXTS_FOLDER
from ticketing.causes import CAUSES
from ticketing.model import FAMILIES, Confidence
from ticketing.texts import read_catalogue, register, set_strict, texts

pytestmark = pytest.mark.collector

EN = read_catalogue(TEXTS_FOLDER / "en.po", "en")[0]
UK = read_catalogue(TEXTS_FOLDER / "uk.po", "uk")[0]


@pytest.fixture(scope="module")
def words():
    register(TEXTS_FOLDER)
    set_strict(True)
    yield {language: texts(language) for language in ("uk", "en")}
    set_strict(False)


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys():
    assert EN.keys() == UK.keys()


def test_a_text_has_the_same_blanks_in_both_languages():
    faults = []
    for key, english in EN.items():
        wanted = blanks(english[-1])
        for form in (*english, *UK[key]):
            if blanks(form) != wanted or form.strip() != form or not form:
                faults.append(f"{key}: {form!r}")
    assert not faults


def test_a_plural_has_its_three_ukrainian_forms():
    forms = {key: (len(EN[key]), len(UK[key])) for key in EN}
    assert not {key: counts for key, counts in forms.items() if counts not in {(1, 1), (2, 3)}}


def test_no_text_is_left_untranslated():
    words = {key: re.sub(r"\{[^}]*\}", "", forms[0]) for key, forms in EN.items()}
    with_words = [key for key, text in words.items() if re.search("[a-z]{4}", text)]
    assert not [key for key in with_words if not re.search("[а-яіїєґ]", UK[key][0])]


def test_every_key_that_judgement_can_say_is_there():
    wanted = {row.key for row in ROWS} | {edge.sentence for edge in TABLE.values()}
    wanted |= {key for keys in WOULD_CHANGE.values() for key in keys} | {"would.second_witness"}
    wanted |= {f"family.{family}" for family in FAMILIES}
    wanted |= {f"explain.group.{group}" for group in (*GROUPS, "none")}
    wanted |= {f"explain.confidence.{c.value}" for c in Confidence}
    assert wanted - EN.keys() == set()


def test_every_cause_has_its_line_for_a_ticket(words, make_case):
    causes = {row.cause for row in ROWS if row.cause} | set(DEFAULT_CAUSE.values()) | set(CAUSES)
    for cause in sorted(c for c in causes if not c.startswith("none.") and c != "request"):
        line = summary(make_case("silence", {"silence.members": ["a1", "a2"]}), cause, "host:a1")
        for language in words.values():
            assert language.reason(line)


@pytest.mark.parametrize("n", [1, 2, 5, 11, 21])
def test_counted_sentences_read_right(words, n):
    line = words["uk"].get("summary.net.provider_outage", scope="alfa", n=n)
    assert line.endswith({1: "сервер", 2: "сервери", 5: "серверів", 11: "серверів", 21: "сервер"}[n])


def test_a_verdict_s_words_can_all_be_said(words, make_case, make_sibling):
    facts = {"cpu.user_pct": 20, "cpu.sys_pct": 4, "cpu.steal_pct": 30.4, "sched.runq_per_cpu": 0.4}
    verdict = qualify(make_case("cpu", facts, siblings=(make_sibling(cpu__steal_pct=25.0),)))
    said = [words["uk"].reason(r) for r in (verdict.summary, *verdict.reasons, *verdict.would_change)]
    assert "Гіпервізор віддає іншим 30 % нашого процесорного часу (steal)." in said
    assert "Ще 1 сервер на тому самому вузлі втрачає процесорний час: a2." in said


def test_a_host_alone_is_not_called_a_rack_or_a_node(words, make_case):
    for cause in ("hw.power", "virt.node_failure", "net.dc_outage", "net.provider_outage"):
        alone = words["en"].reason(summary(make_case("silence"), cause, "host:a1"))
        assert alone.startswith("a1: "), alone
        assert "server is down" not in alone
    group = make_case("silence", {"silence.members": ["a1", "a2"]})
    assert (
        words["en"]
        .reason(summary(group, "hw.power", "rack:alfa/r3"))
        .startswith("Rack alfa/r3 lost power: 2")
    )


def test_a_line_about_several_hosts_names_the_first_few(words, make_case):
    line = summary(
        make_case("io"), "virt.storage_backend", "storage:alfa/st1", ("a1", "a2", "a3", "a4", "a5")
    )
    assert words["en"].reason(line).startswith("a1, a2, a3 +2: ")


def test_what_two_rows_say_in_the_same_words_is_said_once(make_case):
    facts = {"cpu.user_pct": 20, "cpu.sys_pct": 4, "cpu.spin_score": 0.42, "sched.runq_per_cpu": 0.1}
    reasons = qualify(make_case("cpu", facts)).reasons
    slow = [reason for reason in reasons if reason.key == "reason.cpu.spin_slow"]
    assert [reason.weight for reason in slow] == [2.0], "the stronger of the two"


def test_servers_that_are_not_this_reader_s_are_told_as_such(words):
    def told(language, hosts):
        return words[language].get("reason.net.segment_too", hosts=hosts, n=2)

    assert told("en", ["a1", "a2"]).endswith("trouble: a1, a2.")
    assert told("en", []).endswith("trouble: under other contracts.")
    assert told("uk", []).endswith("з мережею: за іншими договорами.")
    assert told("en", "a1").endswith("trouble: a1.")  # as tickets from before hold it
