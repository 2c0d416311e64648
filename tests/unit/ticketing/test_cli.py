"""The command line against a small desk of the test's own: what it asks, prints, and how it ends."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from ticketing import cli, texts

TICKET = {
    "id": 7,
    "contract": "acme",
    "class": 2,
    "state": "new",
    "severity": "high",
    "summary": "/var is full \x1b[31m",
    "root_cause": "os.disk_full",
    "cause": "A file system is full",
    "confidence": "high",
    "line": 2,
    "assignee": None,
    "affected": ["a1"],
    "began_at_ms": 1_767_600_000_000,
    "created_at_ms": 1_767_600_000_000,
    "version": 3,
    "body": "",
    "clocks": [
        {
            "kind": "reaction",
            "state": "running",
            "due_at_ms": 4_000_000_000_000,
            "outcome": "",
            "pause_reason": "",
        },
        {
            "kind": "resolution",
            "state": "paused",
            "due_at_ms": None,
            "outcome": "",
            "pause_reason": "waiting_client",
        },
    ],
    "reasons": [{"text": "98 % used"}],
    "next_steps": ["Find what grew"],
    "events": [{"at_ms": 1_767_600_000_000, "text": "Opened.", "words": "two\nlines"}],
}


class _Desk(http.server.BaseHTTPRequestHandler):
    def _answer(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "null")
        self.server.asked.append((self.command, self.path, body, self.headers["Authorization"]))
        status, said = self.server.answers.get(
            (self.command, self.path.split("?")[0]), (404, {"error": "not_found", "detail": "no"})
        )
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _answer

    def log_message(self, *args):
        pass


@pytest.fixture
def desk(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Desk)
    server.asked = []
    server.answers = {
        ("GET", "/api/v1/tickets"): (200, {"tickets": [TICKET], "after": "5.7"}),
        ("GET", "/api/v1/tickets/7"): (200, TICKET),
        ("POST", "/api/v1/tickets"): (201, {"id": 8, "version": 1}),
    }
    for act in ("take", "note", "escalate", "resolve"):
        server.answers["POST", f"/api/v1/tickets/7/acts/{act}"] = (200, TICKET | {"state": "in_work"})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in {
        "VARTOVYI_URL": f"http://127.0.0.1:{server.server_port}",
        "VARTOVYI_TOKEN": "vt_secret",
        "HOME": str(tmp_path),
        "LANG": "en_US.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_CONFIG_HOME", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    texts.set_strict(True)
    yield server
    texts.set_strict(False)
    server.shutdown()
    server.server_close()
    thread.join()


def test_list_prints_a_table_and_how_to_go_on(desk, capsys):
    assert cli.main(["list", "--state", "all", "--class", "2"]) == 0
    out = capsys.readouterr().out
    assert "SUMMARY" in out and "/var is full" in out and "--after 5.7" in out
    assert "\x1b" not in out  # what somebody typed does not steer the terminal
    method, path, _, token = desk.asked[0]
    assert (method, token) == ("GET", "Bearer vt_secret") and "state=all" in path and "class=2" in path


def test_show_prints_everything_an_engineer_asks(desk, capsys):
    assert cli.main(["show", "7", "--language", "uk"]) == 0
    out = capsys.readouterr().out
    for piece in (
        "#7",
        "98 % used",
        "Find what grew",
        "Клас:",
        "на паузі, чекаємо на відповідь клієнта",
        "two",
        "lines",
    ):
        assert piece in out, piece


def test_json_is_the_api_s_own_answer(desk, capsys):
    assert cli.main(["show", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == TICKET


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (["take", "7"], {"seen_version": 3}),
        (["take", "7", "--version", "2"], {"seen_version": 2}),
        (["note", "7", "hello", "--public"], {"seen_version": 3, "text": "hello", "is_public": True}),
        (["note", "7", "hello"], {"seen_version": 3, "text": "hello", "is_public": False}),
        (["escalate", "7", "--line", "3"], {"seen_version": 3, "line": 3}),
        (
            ["resolve", "7", "--cause", "logs", "--remedy", "rotated"],
            {"seen_version": 3, "cause": "logs", "remedy": "rotated"},
        ),
    ],
)
def test_an_act_names_the_version_and_only_what_was_given(desk, capsys, command, body):
    assert cli.main(command) == 0
    assert desk.asked[-1][2] == body
    assert "Ticket 7: in work, line 2." in capsys.readouterr().out


def test_filing_prints_the_number(desk, capsys):
    assert cli.main(["file", "Shop is down", "--class", "3", "--contract", "acme"]) == 0
    assert desk.asked[-1][2] == {"title": "Shop is down", "class": 3, "contract": "acme"}
    assert "Filed as ticket 8." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "said", "exit_status"),
    [
        (409, {"error": "stale", "detail": "changed meanwhile"}, 1),
        (400, {"error": "invalid", "detail": "wrong", "fields": {"text": "missing"}}, 1),
        (401, {"error": "token", "detail": "who?"}, 77),
        (500, {"error": "internal", "detail": "broken"}, 69),
        (200, b"<html>", 69),
    ],
)
def test_a_refusal_is_a_sentence_and_an_exit_status(desk, capsys, status, said, exit_status):
    desk.answers["POST", "/api/v1/tickets/7/acts/take"] = (status, said)
    assert cli.main(["take", "7"]) == exit_status
    told = capsys.readouterr().err
    assert told.startswith("vartovyi-desk: ") and "vt_secret" not in told


def test_a_desk_that_is_away_is_said_so(desk, capsys, monkeypatch):
    monkeypatch.setenv("VARTOVYI_URL", "http://127.0.0.1:1")
    assert cli.main(["list"]) == 69
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://desk.example", "ftp://x", "nonsense"])
def test_a_token_goes_over_https_only(desk, capsys, monkeypatch, url):
    monkeypatch.setenv("VARTOVYI_URL", url)
    assert cli.main(["list"]) == 78


def test_settings_come_from_the_file_where_the_environment_says_nothing(desk, capsys, monkeypatch, tmp_path):
    (tmp_path / ".config/vartovyi").mkdir(parents=True)
    (tmp_path / "token").write_text("vt_from_file\n")
    file = tmp_path / ".config/vartovyi/desk.yaml"
    file.write_text(f"url: http://127.0.0.1:{desk.server_port}\ntoken_file: {tmp_path}/token\nlanguage: uk\n")
    monkeypatch.delenv("VARTOVYI_URL")
    monkeypatch.delenv("VARTOVYI_TOKEN")
    assert cli.main(["list"]) == 0
    assert desk.asked[0][3] == "Bearer vt_from_file" and "ЩО СТАЛОСЯ" in capsys.readouterr().out
    file.write_text("colour: red\nlanguage: fr\n")
    assert cli.main(["list"]) == 78
    told = capsys.readouterr().err
    assert "colour" in told and "'fr'" in told


def test_without_an_address_or_a_token_it_says_what_to_set(desk, capsys, monkeypatch):
    monkeypatch.delenv("VARTOVYI_TOKEN")
    assert cli.main(["list"]) == 78
    monkeypatch.delenv("VARTOVYI_URL")
    assert cli.main(["list"]) == 78
    told = capsys.readouterr().err
    assert "VARTOVYI_TOKEN" in told and "VARTOVYI_URL" in told


def test_wrong_use_exits_64(desk, capsys):
    for wrong in ([], ["list", "--class", "9"], ["fly"], ["resolve", "7"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(wrong)
        assert ended.value.code == 64
