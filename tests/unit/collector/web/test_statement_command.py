"""`vartovyi-desk statement` and filing against a real desk behind a real server."""

from __future__ import annotations

import datetime as dt
import io
import re
import socket
import threading

import pytest
import uvicorn

from collector.web.app import make_app
from tests.desk_world import NOW_MS
from ticketing import cli, people
from ticketing.statement_command import WORTH_A_BAR, Bar
from ticketing.texts import texts

pytestmark = pytest.mark.collector

MONTH = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.timezone.utc).strftime("%Y-%m")


@pytest.fixture
def enter(context, desk, clock, monkeypatch, tmp_path):
    """``enter("olena")``: her environment, with the desk behind a socket."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(16)
    server = uvicorn.Server(
        uvicorn.Config(make_app(context), log_level="warning", timeout_graceful_shutdown=3)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()

    def as_person(name: str) -> None:
        token = desk.store.write(lambda tx: people.issue_token(tx, name, clock.now_ms(), "test"))
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        for key, value in {"VARTOVYI_URL": address, "VARTOVYI_TOKEN": token, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    yield as_person
    context.bell.close()
    server.should_exit = True
    thread.join(10)


def test_the_month_is_told_in_words_as_json_as_csv_and_as_a_file(enter, capsys, tmp_path):
    enter("olena")
    assert cli.main(["statement", "acme", MONTH]) == 0
    out = capsys.readouterr().out
    assert "Whose minutes:" in out and "the client’s: 1 hour 20 minutes" in out
    assert cli.main(["statement", "acme", MONTH, "--json"]) == 0
    assert '"contract": "acme"' in capsys.readouterr().out
    sheet, page = tmp_path / "may.csv", tmp_path / "may.html"
    assert cli.main(["statement", "acme", MONTH, "--csv", "--part", "availability", "-o", str(sheet)]) == 0
    assert cli.main(["statement", "acme", MONTH, "--html", "-o", str(page), "--language", "en"]) == 0
    assert sheet.read_text("utf-8").startswith("\ufeffhost,service,available_pct")
    assert "<style>" in page.read_text("utf-8") and "Statement for May 2026" in page.read_text("utf-8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["may.csv", "may.html"]


def test_what_cannot_be_is_said_and_leaves_no_file(enter, capsys, tmp_path):
    enter("client-b")
    target = tmp_path / "x.csv"
    assert cli.main(["statement", "acme", MONTH, "--csv", "-o", str(target)]) == 1
    assert "no such contract" in capsys.readouterr().err
    assert cli.main(["statement", "beta", "2026-13"]) == 1
    assert "not a month" in capsys.readouterr().err
    assert cli.main(["statement", "beta", MONTH, "--csv", "-o", str(tmp_path / "no" / "x.csv")]) == 73
    assert "cannot be written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_filing_without_a_class_tells_what_it_was_taken_for_and_line_1_confirms_it(enter, capsys):
    enter("client-a")
    assert cli.main(["file", "Не проходить оплата", "--application", "Крамниця"]) == 0
    out = capsys.readouterr().out
    assert "Taken as class 4" in out
    number = re.search(r"ticket (\d+)", out).group(1)
    enter("kate")
    assert cli.main(["show", number]) == 0
    assert "Nobody has confirmed class and line yet" in capsys.readouterr().out
    assert cli.main(["qualify", number]) == 0
    assert cli.main(["ask", number, "З якого браузера?"]) == 0
    enter("client-a")
    assert cli.main(["answer", number, "Firefox"]) == 0
    capsys.readouterr()
    assert cli.main(["show", number]) == 0
    out = capsys.readouterr().out
    assert "підтверджено клас 4" in out and "Firefox" in out and "Nobody has confirmed" not in out


def test_a_wish_that_the_contract_does_not_hold_is_refused_with_the_reason(enter, capsys):
    enter("client-a")
    assert cli.main(["file", "Перемкніть", "--wish", "switch_to_backup", "--host", "acme-old"]) == 1
    assert "acme-old" in capsys.readouterr().err


def test_the_bar_shows_only_where_somebody_looks_and_there_is_something_to_wait_for(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    for is_shown, of in ((False, 10 * WORTH_A_BAR), (True, WORTH_A_BAR - 1)):
        bar = Bar(texts("en"), is_shown=is_shown)
        bar.show(5, of)
        bar.clear()
    assert not shown.getvalue()
    bar = Bar(texts("en"), is_shown=True)
    bar.show(WORTH_A_BAR // 2, WORTH_A_BAR)
    assert (
        f"{'#' * 15}{'.' * 15}" in shown.getvalue()
        and f"{WORTH_A_BAR // 2} of {WORTH_A_BAR}" in shown.getvalue()
    )
    bar.clear()
    assert shown.getvalue().endswith(" \r")
