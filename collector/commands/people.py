"""``vartovyi-collector people | token``: who may log in. Passwords come from the terminal, never from a command line."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from typing import Any

from collector.commands.desk import Desk, Refused, refusing, tell, who
from ticketing import audit, people

ROLES = ("client", "engineer", "lead", "admin")


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verbs under ``people``, and ``token``."""
    token = verb("token", _token, "give a person a new API token, shown once")
    token.add_argument("login", metavar="LOGIN")
    parser = verbs.add_parser("people", help="people who log in")
    under = parser.add_subparsers(dest="people_verb", required=True, metavar="VERB")
    add = verb("add", _add, "add a person, e.g. the first admin", under)
    add.add_argument("login", metavar="LOGIN")
    add.add_argument("--role", choices=ROLES, default="engineer", help="what they may do")
    add.add_argument("--name", default="", help="as others call them")
    add.add_argument("--email", default="", help="mail address")
    add.add_argument("--contract", help="for the role client: the contract they see")
    passwd = verb("passwd", _passwd, "set a person's password", under)
    passwd.add_argument("login", metavar="LOGIN")
    for one in (add, passwd):
        one.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )


def _add(args: argparse.Namespace) -> int:
    secret = _new_password(args)
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()

        def run(tx: Any) -> None:
            people.add_person(
                tx, args.login, args.role, now_ms, name=args.name, email=args.email, contract_id=args.contract
            )
            audit.write(tx, now_ms, who(), "add_person", f"person:{args.login}")
            people.set_password(tx, args.login, secret, now_ms, who())

        refusing(lambda: desk.store.write(run))
    tell(args, {"login": args.login, "role": args.role}, f"{args.login} may log in as {args.role}.")
    return 0


def _passwd(args: argparse.Namespace) -> int:
    secret = _new_password(args)
    with Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        was_set = refusing(
            lambda: desk.store.write(lambda tx: people.set_password(tx, args.login, secret, now_ms, who()))
        )
    if not was_set:
        raise Refused(f"nobody is called {args.login!r}")
    tell(args, {"login": args.login}, f"{args.login} has a new password; older sessions ended.")
    return 0


def _token(args: argparse.Namespace) -> int:
    with Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        token = desk.store.write(lambda tx: people.issue_token(tx, args.login, now_ms, who()))
    if token is None:
        raise Refused(f"nobody is called {args.login!r}")
    tell(
        args,
        {"login": args.login, "token": token},
        f"{token}\n(shown once; the older token of {args.login} ended)",
    )
    return 0


def _new_password(args: argparse.Namespace) -> str:
    """From the terminal, twice, or one line of standard input; never from the command line, which others can read."""
    if args.password_stdin or not sys.stdin.isatty():
        line = sys.stdin.readline(1024).rstrip("\r\n")
        if not line:
            raise Refused("no password stood on standard input")
        return line
    first = getpass.getpass(f"Password for {args.login}: ")
    if getpass.getpass("Again: ") != first:
        raise Refused("the two passwords differ")
    return first
