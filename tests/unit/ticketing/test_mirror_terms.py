"""What settings and contracts may say of mirrors, our marker in a text, and the order of a mirror's messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.check import check
from config import loader
from config.loader import ConfigError
from ticketing.mirrors.desk import MAX_COMMENT, marked, marker_in
from ticketing.mirrors.returns import PATHS
from ticketing.mirrors.terms import STATES, DeskTerms, MirrorTerms
from ticketing.model import TicketState
from ticketing.terms import Contract
from ticketing.transitions import step

STATUSES = "{new: New, in_work: In Progress, waiting_client: Feedback, resolved: Resolved, closed: Closed}"


def _mirror(**more: str) -> MirrorTerms:
    lines = "".join(f"{key}: {value}\n" for key, value in more.items())
    return loader.parse(f"desk: office\nproject: acme\nstatuses: {STATUSES}\n{lines}", MirrorTerms)


def _faults(text: str, kind: type) -> str:
    with pytest.raises(ConfigError) as error:
        loader.parse(text, kind)
    return str(error.value)


def test_the_states_of_mirrors_are_the_states_of_tickets() -> None:
    assert {state.value for state in TicketState} == set(STATES)


def test_a_status_goes_there_and_comes_back_as_the_state_that_the_ticket_has() -> None:
    terms = _mirror(statuses_back="{Rejected: closed}")
    assert terms.status_of("waiting_provider") == "In Progress", "without a word of its own it is work"
    assert terms.status_of("merged") == "Closed"
    assert terms.state_of("in progress", "waiting_provider") == "waiting_provider"
    assert terms.state_of("In Progress", "new") == "in_work"
    assert terms.state_of("Rejected", "new") == "closed"
    assert terms.state_of("Something", "new") is None


def test_every_way_that_a_desk_may_ask_for_is_one_that_the_table_of_states_has() -> None:
    for (ours, wanted), path in PATHS.items():
        state = TicketState(ours)
        for act in path:
            row = step(state, act)
            assert row is not None, (ours, wanted, act)
            state = row.next_state
        # What is reopened is in work or new, by whether somebody has it: the row names one of the two.
        assert state.value == wanted or (path == ("reopen",) and wanted == "new"), (ours, wanted)


def test_wrong_terms_are_told_all_at_once() -> None:
    told = _faults("type: jira\nurl: office\nkey_field: x", DeskTerms)
    assert "type" in told and "token_file" in told
    told = _faults("type: redmine\nurl: office\ntoken_file: /t\nkey_field: VartovyiKey", DeskTerms)
    assert "'office' is not an http(s) address" in told and "not the number of a custom field" in told
    assert "not the name" in _faults(
        'type: rt\nurl: http://x\ntoken_file: /t\nkey_field: "a}\' OR 1"', DeskTerms
    )
    told = _faults(
        "desk: office\nproject: x\nstatuses: {new: New, done: Done}\nside: ours\nback: [files]", MirrorTerms
    )
    for word in ("'done' is not a state", "in_work, resolved, closed", "side", "back"):
        assert word in told or "side" in told
    told = _faults(
        f"desk: a\nproject: x\nstatuses: {STATUSES}\nfields: {{colour: '3'}}\npeople: {{a: '1', b: '1'}}",
        MirrorTerms,
    )
    assert "'colour' is none of" in told and "'1' is two of our people" in told


def test_a_contract_mirrors_once_into_a_desk_and_knows_the_moments() -> None:
    one = f"{{desk: office, project: a, statuses: {STATUSES}, on: [opened, closing]}}"
    told = _faults(f"id: acme\ntitle: A\nmirrors: [{one}, {one}]", Contract)
    assert "desk office stands twice" in told and "'closing' is no moment" in told


def test_what_does_not_fit_the_kind_of_desk_is_told() -> None:
    redmine = DeskTerms("redmine", "http://x", Path("/t"), "5")
    rt = DeskTerms("rt", "http://x", Path("/t"), "Key")
    terms = _mirror(
        people="{olena: olena}", fields="{class: Class}", tracker="Support", priorities="{high: High}"
    )
    assert [key for key, _ in terms.faults_at(redmine)] == ["people.olena", "fields.class"]
    assert [key for key, _ in terms.faults_at(rt)] == ["priorities.high", "tracker"]


def test_check_config_tells_of_desks_that_are_missing_and_files_that_are_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "acme.yaml").write_text(
        f"id: acme\ntitle: A\nmirrors:\n"
        f"  - {{desk: office, project: a, statuses: {STATUSES}, people: {{olena: olena}}}}\n"
        f"  - {{desk: nowhere, project: a, statuses: {STATUSES}}}\n"
    )
    config = tmp_path / "collector.yaml"
    config.write_text(
        f"contracts: {folder}\ndesks:\n"
        f"  office: {{type: redmine, url: 'http://x', token_file: {tmp_path}/none, key_field: '5'}}\n"
        f"  Big Desk: {{type: rt, url: 'http://x', token_file: {config}, key_field: Key}}\n"
    )
    with pytest.raises(ConfigError) as error:
        check(config)
    assert "'Big Desk' is no short name" in str(error.value)
    config.write_text(config.read_text().replace("Big Desk", "big"))
    with pytest.raises(ConfigError) as error:
        check(config)
    told = str(error.value)
    assert "desks.office.token_file" in told and "is not there" in told
    assert "acme: mirrors.nowhere" in told and "(allowed: big, office)" in told
    assert "acme: mirrors.office.people.olena" in told


def test_a_marker_is_a_texts_last_line_and_nothing_else_is() -> None:
    text = marked("Слово\n\n", "vt-12-34-0123456789abcdef")
    assert marker_in(text) == "vt-12-34-0123456789abcdef"
    assert marker_in(text.replace("\n", "\r\n") + "\r\n") == "vt-12-34-0123456789abcdef"
    assert marker_in(f"{text}\nІ ще слово") == ""
    assert marker_in(f"> {text.replace(chr(10), chr(10) + '> ')}") == "", "a quoted one is somebody else's"
    assert marker_in("") == "" and marker_in("[vt-1]") == ""
    assert marker_in(marked("x" * 100_000, "vt-1-2-aa")) == "vt-1-2-aa"
    assert len(marked("x" * 100_000, "vt-1-2-aa")) < MAX_COMMENT + 50
