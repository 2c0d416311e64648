"""vartovyi-desk: the desk from a terminal. A client of the JSON API; it decides nothing by itself.

Exit status: 0 done, 1 refused by the desk (the sentence says why), 64 wrong use, 69 the desk does not answer, 77 the token
is not accepted, 73 a file cannot be written, 78 wrong settings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from config import loader
from config.clock import Clock, SystemClock
from config.loader import EX_CONFIG, ConfigError
from ticketing import statement_command
from ticketing.desk_client import DeskClient, DeskError, DeskSettings
from ticketing.proposal import WISHES
from ticketing.texts import LANGUAGES, Texts, texts

EX_USAGE = 64

DESCRIPTION = "The desk from a terminal: list, read and work on tickets."
EPILOG = (
    "The desk's address and your token come from VARTOVYI_URL and VARTOVYI_TOKEN, or from ~/.config/vartovyi/desk.yaml "
    "(keys url, token or token_file, ca_file, language)."
)


class _Parser(argparse.ArgumentParser):
    """argparse, with the exit status of sysexits.h for wrong use."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``vartovyi-desk``."""
    args = parser().parse_args(argv)
    try:
        settings = read_settings(os.environ, args.config)
        desk = DeskClient(settings.url, _token(os.environ, settings), settings.ca_file)
        words = texts(_language(args.language or settings.language, os.environ))
        return _COMMANDS[args.command](desk, args, words, SystemClock())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    except DeskError as error:
        print(f"vartovyi-desk: {error}", file=sys.stderr)
        for name, wrong in error.fields.items():
            print(f"  {name}: {wrong}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # `| head` has seen enough; the interpreter must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    top = _Parser(prog="vartovyi-desk", description=DESCRIPTION, epilog=EPILOG)
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the API's answer as JSON")
    common.add_argument("--config", type=Path, help="settings file instead of ~/.config/vartovyi/desk.yaml")
    common.add_argument("--language", choices=LANGUAGES, help="language of the command's own words")
    commands = top.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[common])

    listing = command("list", "list tickets, the newest change first")
    listing.add_argument("--state", default="open", help="open, all, or one state (default: %(default)s)")
    listing.add_argument("--class", dest="class_", type=int, choices=range(1, 7), help="only this class")
    listing.add_argument("--line", type=int, choices=range(1, 5), help="only this line")
    listing.add_argument("--contract", help="only this contract")
    listing.add_argument("--host", help="only this host")
    listing.add_argument("--assignee", help="only this person's; `me` = yours")
    listing.add_argument(
        "--limit", type=int, default=50, help="at most so many (default: %(default)s, most 200)"
    )
    listing.add_argument("--after", help="continue the list: the mark that the page before ended with")
    _ticket_argument(command("show", "one ticket with reasons, clocks and history"))
    _ticket_argument(command("take", "take a ticket"))
    note = command("note", "write a note; internal, unless --public")
    _ticket_argument(note)
    note.add_argument("text", help="the note; - reads it from standard input")
    note.add_argument(
        "--public", action="store_true", help="the client sees it, and the reaction clock stops"
    )
    escalate = command("escalate", "pass a ticket to a higher line")
    _ticket_argument(escalate)
    escalate.add_argument("--line", type=int, choices=range(2, 5), help="to this line (default: the next)")
    escalate.add_argument("--text", default="", help="why")
    qualify = command("qualify", "confirm class and line of what a person filed")
    _ticket_argument(qualify)
    qualify.add_argument(
        "--class", dest="class_", type=int, choices=range(1, 7), help="its class (default: as proposed)"
    )
    qualify.add_argument(
        "--line", type=int, choices=range(1, 5), help="the line that goes on with it (default: as proposed)"
    )
    qualify.add_argument("--text", default="", help="why")
    ask = command("ask", "ask the client; the clock waits for the answer")
    _ticket_argument(ask)
    ask.add_argument("text", help="the question; - reads it from standard input")
    answer = command("answer", "answer what was asked (the client, or staff for the client)")
    _ticket_argument(answer)
    answer.add_argument("text", help="the answer; - reads it from standard input")
    consult = command("consult", "ask a higher line for help; the ticket stays where it is")
    _ticket_argument(consult)
    consult.add_argument("text", help="the question; - reads it from standard input")
    consult.add_argument(
        "--line", type=int, choices=range(2, 5), help="whoever is on call there (default: next)"
    )
    consult.add_argument("--person", help="this person instead, by log-in name")
    advise = command("advise", "answer somebody who asked for help")
    _ticket_argument(advise)
    advise.add_argument("text", help="the advice; - reads it from standard input")
    resolve = command("resolve", "resolve a ticket")
    _ticket_argument(resolve)
    resolve.add_argument("--cause", required=True, help="what it was, in a word or two")
    resolve.add_argument("--remedy", required=True, help="what helped, in a word or two")
    resolve.add_argument("--text", default="", help="more for the client to read")
    _filing_arguments(command("file", "file a ticket"))
    statement_command.add_arguments(
        command("statement", "a contract's month: availability, promises, whose minutes")
    )
    return top


def _filing_arguments(filing: argparse.ArgumentParser) -> None:
    filing.add_argument("title", help="one line: what is wrong, or what is wanted")
    filing.add_argument("--contract", help="the client's contract (a client's user may leave it out)")
    filing.add_argument(
        "--class",
        dest="class_",
        type=int,
        choices=range(1, 7),
        help="class of the ticket (default: what the words point to; line 1 confirms it)",
    )
    filing.add_argument("--host", help="the server that it is about")
    filing.add_argument(
        "--preventive",
        action="store_true",
        help="nothing is broken yet; in class 3 only under the service stability",
    )
    filing.add_argument("--application", help="the application of the contract that it is about")
    filing.add_argument(
        "--wish", choices=WISHES, help="a request about the servers, class 2 whatever its words"
    )
    filing.add_argument(
        "--line", type=int, choices=range(1, 5), help="with --class, staff: the line that takes it"
    )
    filing.add_argument("--body", default="", help="more; - reads it from standard input")


def _ticket_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("ticket", type=int, help="number of the ticket")
    command.add_argument(
        "--version",
        type=int,
        dest="seen_version",
        help="act only on this version of the ticket (default: the one that stands now)",
    )


def read_settings(environ: Mapping[str, str], path: Path | None) -> DeskSettings:
    """Settings from file and environment; raises ConfigError with every fault."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config")
    file = path or home / "vartovyi" / "desk.yaml"
    known = (
        loader.load(file, DeskSettings)
        if path is not None or file.exists()
        else loader.defaults(DeskSettings)
    )
    url = environ.get("VARTOVYI_URL") or known.url
    if not url:
        raise DeskError("where is the desk? Set VARTOVYI_URL, or `url` in desk.yaml", EX_CONFIG)
    return DeskSettings(url, known.token, known.token_file, known.ca_file, known.language)


def _token(environ: Mapping[str, str], settings: DeskSettings) -> str:
    token = environ.get("VARTOVYI_TOKEN") or settings.token
    if not token and settings.token_file is not None:
        try:
            token = settings.token_file.expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DeskError(f"token_file cannot be read: {error.strerror}", EX_CONFIG) from error
    if not token:
        raise DeskError("no token: set VARTOVYI_TOKEN, or `token_file` in desk.yaml", EX_CONFIG)
    if not token.isascii() or not token.isprintable():
        raise DeskError("the token holds characters that no token has", EX_CONFIG)
    return token


def _language(wanted: str, environ: Mapping[str, str]) -> str:
    if wanted:
        return wanted
    named = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "uk" if named.lower().startswith("uk") else "en"


def _list(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    narrowed = {
        "state": args.state,
        "class": args.class_,
        "line": args.line,
        "contract": args.contract,
        "host": args.host,
        "assignee": args.assignee,
        "limit": args.limit,
        "after": args.after,
    }
    page = desk.tickets(**narrowed)
    if args.json:
        return _print_json(page)
    if not page["tickets"]:
        print(words.get("desk.none"))
        return 0
    head = [words.get(f"desk.col.{name}") for name in _COLUMNS]
    rows = [_row(ticket, words, clock.now_ms()) for ticket in page["tickets"]]
    print(table([head, *rows], shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 0))
    if page.get("after"):
        print(words.get("desk.more", after=page["after"]))
    return 0


_COLUMNS = ("id", "class", "state", "line", "assignee", "contract", "due", "summary")


def _row(ticket: Mapping[str, Any], words: Texts, now_ms: int) -> list[str]:
    return [
        str(ticket["id"]),
        str(ticket["class"]),
        words.get(f"state.{ticket['state']}"),
        str(ticket["line"]),
        ticket["assignee"] or "-",
        ticket["contract"],
        _due(ticket["clocks"], words, now_ms),
        ticket["summary"],
    ]


def _due(clocks: Sequence[Mapping[str, Any]], words: Texts, now_ms: int) -> str:
    """What is promised next: the time left of the clock that ends first."""
    running = [c for c in clocks if c["state"] == "running" and c.get("due_at_ms") is not None]
    if any(c["outcome"] == "breached" or c["due_at_ms"] <= now_ms for c in running):
        return words.get("desk.overdue")
    if running:
        return words.duration(min(c["due_at_ms"] for c in running) - now_ms)
    return words.get("desk.paused") if any(c["state"] == "paused" for c in clocks) else "-"


def _show(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    ticket = desk.ticket(args.ticket)
    if args.json:
        return _print_json(ticket)
    print("\n".join(describe(ticket, words, clock.now_ms())))
    return 0


def describe(ticket: Mapping[str, Any], words: Texts, now_ms: int) -> list[str]:
    """A ticket for a terminal: one line, facts, reasons, next steps, history."""
    lines = [f"#{ticket['id']} {ticket['summary']}", ""]
    facts = [
        ("mail.contract", ticket["contract"]),
        ("mail.class", words.get("mail.class_of", class_=ticket["class"])),
        ("mail.cause", f"{ticket['cause']} ({ticket['root_cause']})"),
        ("mail.confidence", words.get(f"confidence.{ticket['confidence']}")),
        ("mail.severity", words.get(f"severity.{ticket['severity']}")),
        ("mail.state", words.get(f"state.{ticket['state']}")),
        ("mail.line", str(ticket["line"]) + (f", {ticket['assignee']}" if ticket["assignee"] else "")),
        ("mail.affected", ", ".join(ticket["affected"])),
        ("mail.began", words.when(ticket["began_at_ms"])),
        ("mail.created", words.when(ticket["created_at_ms"])),
        ("mail.clocks", "; ".join(_clock_words(clock, words, now_ms) for clock in ticket["clocks"])),
        ("mirror.title", "; ".join(_mirror_words(mirror, words) for mirror in ticket.get("mirrors", []))),
    ]
    rows = [[f"{words.get(key)}:", value] for key, value in facts if value]
    lines += table(rows, 0).splitlines()
    if ticket["body"]:
        lines += ["", *ticket["body"].splitlines()]
    proposed = ticket.get("proposed")
    if proposed:
        told = words.get("desk.unconfirmed", class_=proposed["class"], line=proposed["line"])
        lines += ["", told, *(f"  - {reason}" for reason in proposed["reasons"])]
    blocks = [
        ("mail.why", [reason["text"] for reason in ticket["reasons"]]),
        ("desk.changed", [_changed(one, words) for one in ticket.get("changed_before", ())]),
        ("desk.similar", [_helped(one, words) for one in ticket.get("similar", ())]),
        (
            "mail.next",
            list(ticket["next_steps"]) if ticket["state"] not in ("resolved", "closed", "merged") else [],
        ),
    ]
    for key, entries in blocks:
        if entries:
            lines += ["", f"{words.get(key)}:", *(f"  - {entry}" for entry in entries)]
    lines += ["", f"{words.get('desk.history')}:"]
    for event in ticket["events"]:
        lines.append(f"  {words.when(event['at_ms'])}  {event['text']}")
        lines += [f"      {said}" for said in event["words"].splitlines()]
    return [printable(line) for line in lines]


def _changed(one: Mapping[str, Any], words: Texts) -> str:
    return f"{words.when(one['at_ms'])}  {one['where']}: {one['text']}"


def _helped(one: Mapping[str, Any], words: Texts) -> str:
    told = words.get("desk.helped", ticket=one["ticket"], remedy=one["remedy"], cause=one["cause"])
    return told + (f" {words.get('desk.came_back')}" if one["came_back_at_ms"] else "")


def _mirror_words(mirror: Mapping[str, Any], words: Texts) -> str:
    where = f"{mirror['desk']} #{mirror['number']} {mirror['url']}" if mirror["number"] else mirror["desk"]
    state = words.get(f"mirror.state.{mirror['state']}")
    return f"{where} ({state}{': ' + mirror['problem'] if mirror['problem'] else ''})"


def _clock_words(clock: Mapping[str, Any], words: Texts, now_ms: int) -> str:
    if clock["state"] == "running" and clock.get("due_at_ms") is not None:
        if clock["outcome"] == "breached" or clock["due_at_ms"] <= now_ms:
            return words.get("mail.clock_over", clock=clock["kind"], outcome="breached")
        return words.get("mail.clock_due", clock=clock["kind"], due_at_ms=clock["due_at_ms"])
    if clock["state"] == "paused":
        return words.get("mail.clock_paused", clock=clock["kind"], pause=clock["pause_reason"])
    return words.get("mail.clock_over", clock=clock["kind"], outcome=clock["outcome"] or "moot")


def _act(desk: DeskClient, args: argparse.Namespace, words: Texts, act: str, **fields: Any) -> int:
    seen = args.seen_version or desk.ticket(args.ticket)["version"]
    ticket = desk.act(args.ticket, act, seen, fields)
    if args.json:
        return _print_json(ticket)
    print(words.get("desk.done", ticket=ticket["id"], state=ticket["state"], line=ticket["line"]))
    return 0


def _take(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "take")


def _note(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "note", text=_text(args.text), is_public=args.public)


def _escalate(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "escalate", line=args.line, text=args.text)


def _qualify(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    proposed = desk.ticket(args.ticket).get("proposed") or {}
    class_, line = args.class_ or proposed.get("class"), args.line or proposed.get("line")
    return _act(desk, args, words, "qualify", text=args.text, line=line, **{"class": class_})


def _ask(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "ask_client", text=_text(args.text))


def _answer(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "client_answered", text=_text(args.text))


def _consult(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "consult", text=_text(args.text), line=args.line, assignee=args.person)


def _advise(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "advise", text=_text(args.text))


def _resolve(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    return _act(desk, args, words, "resolve", cause=args.cause, remedy=args.remedy, text=args.text)


def _file(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    fields = {
        "title": args.title,
        "class": args.class_,
        "contract": args.contract,
        "host": args.host,
        "application": args.application,
        "wish": args.wish,
        "line": args.line,
        "body": _text(args.body),
        "preventive": args.preventive or None,
    }
    filed = desk.file(fields)
    if args.json:
        return _print_json(filed)
    print(words.get("desk.filed", ticket=filed["id"]))
    if not filed.get("is_confirmed", True):
        print(words.get("desk.filed_as", class_=filed["class"]))
        for reason in filed["proposed"]["reasons"]:
            print(f"  - {printable(reason)}")
    return 0


_COMMANDS = {
    "list": _list,
    "show": _show,
    "take": _take,
    "note": _note,
    "escalate": _escalate,
    "consult": _consult,
    "advise": _advise,
    "qualify": _qualify,
    "ask": _ask,
    "answer": _answer,
    "resolve": _resolve,
    "file": _file,
    "statement": statement_command.run,
}


def _text(given: str) -> str:
    return sys.stdin.read() if given == "-" else given


def _print_json(answer: Mapping[str, Any]) -> int:
    print(json.dumps(answer, ensure_ascii=False, indent=2))
    return 0


def table(rows: Sequence[Sequence[str]], width: int) -> str:
    """Columns side by side; the last one is cut to the terminal's width (0 = never)."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]) - 1)]
    lines = []
    for row in shown:
        left = "  ".join(cell.ljust(w) for cell, w in zip(row[:-1], widths, strict=True))
        line = f"{left}  {row[-1]}"
        lines.append(line if not width or len(line) <= width else line[: max(1, width - 1)] + "…")
    return "\n".join(line.rstrip() for line in lines)


def printable(text: str) -> str:
    """Without control characters: what somebody wrote into a ticket must not steer the reader's terminal."""
    return "".join(c if c == "\t" or unicodedata.category(c) not in ("Cc", "Cf") else "\ufffd" for c in text)
