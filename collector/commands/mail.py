"""``vartovyi-collector mail check | held | show | save | file | put | drop``: the mailbox, and letters that wait for a person."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from collector.commands.desk import Desk, Refused, tell, who
from collector.mail_intake import mailbox_name
from ticketing import contracts
from ticketing.acts import Refusal
from ticketing.channels import mail as mail_channel
from ticketing.letters import held, imap, parse, quotes, rows
from ticketing.model import CLASSES, Reason
from ticketing.queries import Viewer
from ticketing.texts import texts

SHOWN = 100


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verbs under ``mail``."""
    mail = verbs.add_parser("mail", help="the mailbox, and letters that wait for a person")
    under = mail.add_subparsers(dest="mail_verb", required=True, metavar="VERB")
    verb("check", _check, "log in to SMTP and IMAP as the settings say, and change nothing", under)
    verb("held", _held, "letters that wait for a person, oldest first", under)
    for name, run, text in (
        ("show", _show, "one letter: what it says, and what became of it"),
        ("save", _save, "write a letter and its files into a folder"),
        ("file", _file, "open a ticket for a letter that was held"),
        ("put", _put, "a letter that was held belongs to a ticket that is there"),
        ("drop", _drop, "a letter that was held asks for nothing"),
    ):
        one = verb(name, run, text, under)
        one.add_argument(
            "id", metavar="ID", type=int, help="the letter's number in `mail held` or on its ticket"
        )
        if name == "save":
            one.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="where to")
        if name == "put":
            one.add_argument("--ticket", required=True, type=int, metavar="N", help="the ticket's number")
        if name == "drop":
            one.add_argument("--why", default="asks for nothing", metavar="WORDS", help="why it is set aside")
        if name == "file":
            one.add_argument("--contract", required=True, metavar="ID", help="whose ticket it is")
            one.add_argument("--class", dest="class_", type=int, choices=CLASSES, default=6, help="its class")


def _check(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        settings = desk.settings.mail
    said: dict[str, str] = {}
    said["smtp"] = mail_channel.tried(settings) if settings.host else "not set (mail.host)"
    if settings.intake.host:
        try:
            box = imap.connect(settings.intake)
            said["imap"] = f"ok: {mailbox_name(settings.intake)}, {len(box.uids_after(0))} letters"
            box.close()
        except imap.MailboxFault as fault:
            said["imap"] = str(fault)
    else:
        said["imap"] = "not set (mail.intake.host)"
    tell(args, said, "\n".join(f"{name}: {word}" for name, word in said.items()))
    return 0 if all(word.startswith(("ok", "not set")) for word in said.values()) else 1


def _held(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        found = rows.held(conn, SHOWN)
    told = [_plain(row) for row in found]
    lines = [f"{'ID':>6} {'RECEIVED (UTC)':17} {'FROM':30} SUBJECT – WHY"]
    lines += [
        f"{row['id']:>6} {row['received']:17} {row['from']:30} {row['subject']} – {row['why']}"
        for row in told
    ]
    tell(args, told, "\n".join(lines) if told else "No letter waits.")
    return 0


def _show(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        row = _row(conn, args.id)
    letter = parse.read(row["raw"])
    told = _plain(row) | {
        "text": quotes.new_words(letter.text),
        "whole_text": letter.text,
        "files": [file.to_dict() for file in letter.attachments],
    }
    lines = [
        f"{key}: {told[key]}" for key in ("id", "received", "from", "subject", "outcome", "ticket", "why")
    ]
    lines += [
        f"file {file.number}: {file.name} ({file.type}, {file.bytes} bytes)" for file in letter.attachments
    ]
    tell(args, told, "\n".join([*lines, "", letter.text]))
    return 0


def _save(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        row = _row(conn, args.id)
    args.to.mkdir(parents=True, exist_ok=True)
    written = [_written(args.to / f"{row['id']}.eml", row["raw"])]
    for file in parse.read(row["raw"]).attachments:
        found = parse.attachment(row["raw"], file.number)
        if found is not None:
            # The name is the sender's: our number before it keeps it from being anything else.
            written.append(_written(args.to / f"{row['id']}-{file.number}-{file.name}", found[1]))
    tell(args, written, "\n".join(written))
    return 0


def _written(file: Path, octets: bytes) -> str:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(octets)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}") from error
    return str(file)


def _file(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        actor = Viewer(who(), "admin", from_address="cli")

        filed = desk.store.write(
            lambda tx: held.file(
                tx, contracts.current(tx), args.id, actor, args.contract, args.class_, now_ms
            )
        )
    _must_be_done(filed)
    tell(args, {"ticket": filed}, f"Filed as ticket {filed}.")
    return 0


def _drop(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        actor = Viewer(who(), "admin", from_address="cli")
        done = desk.store.write(lambda tx: held.drop(tx, args.id, actor, args.why, now_ms))
    _must_be_done(done)
    tell(args, {"dropped": args.id}, f"Letter {args.id} asks for nothing.")
    return 0


def _put(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        actor = Viewer(who(), "admin", from_address="cli")
        done = desk.store.write(
            lambda tx: held.put(tx, contracts.current(tx), args.id, actor, args.ticket, now_ms)
        )
    _must_be_done(done)
    tell(args, {"ticket": done}, f"Letter {args.id} stands on ticket {done}.")
    return 0


def _must_be_done(done: Any) -> None:
    if isinstance(done, Refusal):
        said = [done.reason, *done.fields.values()]
        raise Refused(" ".join(dict.fromkeys(texts("en").reason(reason) for reason in said)))


def _row(conn: Connection, mail_id: int) -> Any:
    row = rows.one(conn, mail_id)
    if row is None:
        raise Refused(f"there is no letter {mail_id}")
    return row


def _plain(row: Any) -> dict[str, Any]:
    received = dt.datetime.fromtimestamp(row["received_at_ms"] / 1000, dt.timezone.utc)
    return {
        "id": row["id"],
        "received": received.strftime("%Y-%m-%d %H:%M"),
        "from": row["sender"] or "–",
        "subject": row["subject"],
        "outcome": row["outcome"] or row["state"],
        "ticket": row["ticket_id"],
        "why": texts("en").reason(Reason.from_dict(row["reason"])) if row["reason"] else "",
    }
