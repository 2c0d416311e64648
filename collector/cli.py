"""vartovyi-collector: serve, check-config, migrate, hosts, enroll, retire, explain, judgement, replay, roll-out, people...

Everything but ``serve`` works on the store directly, also while ``serve`` runs. Exit status: 0 done, 1 refused or not
found, 2 wrong usage, 78 wrong settings.
"""

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from collector import enrol as enrolment
from collector import roll_out_command, roll_outs
from collector.opening import StartRefused, apply_contracts, open_store, prepare_tables
from collector.settings import CollectorSettings
from collector.store.engine import Store
from collector.tables import hosts
from collector.tick.asks import vantages_of
from config import log as logging_setup
from config.clock import SystemClock
from config.loader import EX_CONFIG, ConfigError, load
from ticketing import audit, contracts, people

DEFAULT_CONFIG = Path("/etc/vartovyi/collector.yaml")
ROLES = ("client", "engineer", "lead", "admin")


class Refused(Exception):
    """The command cannot be done; the text says why. Exit status 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return EX_CONFIG
    except (Refused, StartRefused) as error:
        print(f"vartovyi-collector: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _serve(args: argparse.Namespace) -> int:
    from collector.serve import serve  # uvicorn and the web room: no other command should pay for them

    settings = load(args.config, CollectorSettings)
    logging_setup.set_up(settings.log_level)
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return serve(settings)


def _check_config(args: argparse.Namespace) -> int:
    from collector.check import check  # the providers' room: no other command should pay for it

    read = check(args.config, args.contracts)
    told = ", ".join(f"{count} {what}" for what, count in read.items())
    _tell(args, {"ok": True, **read}, f"Settings are in order, and {told}.")
    return 0


def _migrate(args: argparse.Namespace) -> int:
    from collector.store.migrate import migrate

    settings = load(args.config, CollectorSettings)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, after = migrate(settings.database_url())
    word = (
        f"The tables stand at {after}."
        if before == after
        else f"The tables went from {before or 'none'} to {after}."
    )
    _tell(args, {"before": before, "after": after}, word)
    return 0


def _hosts(args: argparse.Namespace) -> int:
    with _Desk(args) as desk:
        columns = (
            hosts.c.id,
            hosts.c.contract_id,
            hosts.c.life,
            hosts.c.last_report_at_ms,
            hosts.c.agent_version,
        )
        now_ms = desk.clock.now_ms()
        with desk.store.read() as conn:
            rows = [dict(row._mapping) for row in conn.execute(select(*columns).order_by(hosts.c.id))]
            seen = vantages_of(conn, now_ms, contracts.current(conn), desk.settings.vantages.hosts)
    for row in rows:
        row |= seen.get(row["id"], {"vantage": "", "seen_from": []})
    lines = [
        f"{'HOST':24} {'CONTRACT':16} {'LIFE':8} {'LAST REPORT':>12} {'VANTAGE':12} {'SEEN FROM':24} AGENT"
    ]
    for row in rows:
        last = row["last_report_at_ms"]
        age = "never" if last is None else f"{max(0, now_ms - last) // 1000} s ago"
        from_ = ",".join(row["seen_from"]) or "-"
        lines.append(
            f"{row['id']:24} {row['contract_id']:16} {row['life']:8} {age:>12}"
            f" {row['vantage'] or '-':12} {from_:24} {row['agent_version']}"
        )
    _tell(args, rows, "\n".join(lines))
    return 0


def _enroll(args: argparse.Namespace) -> int:
    with _Desk(args, with_contracts=True) as desk:
        with desk.store.read() as conn:
            book = contracts.current(conn)
        if args.contract not in book.contracts:
            raise Refused(
                f"contract {args.contract!r} is not in force (known: {', '.join(sorted(book.contracts))})"
            )
        owner = book.host_contract.get(args.host)
        if owner is not None and owner != args.contract:
            raise Refused(f"{args.host} stands in contract {owner}, not in {args.contract}")
        terms = book.hosts.get(args.host)
        given = {
            "addresses": args.address or (list(terms.addresses) if terms else []),
            "topology": {k: v for k, v in contracts.document(terms.topology).items() if v} if terms else None,
            "interval_s": float(terms.interval) if terms else 10.0,
            "new_token": args.new_token,
        }
        now_ms = desk.clock.now_ms()
        result = desk.store.write(lambda tx: enrolment.enrol(tx, args.host, args.contract, now_ms, **given))
    if isinstance(result, enrolment.NotEnrolled):
        raise Refused(result.detail)
    _hand_over(args, result, desk.settings)
    if terms is None:
        print(
            f"Note: {args.host} stands in no contract file yet; add it to {args.contract}'s hosts.",
            file=sys.stderr,
        )
    return 0


def _hand_over(args: argparse.Namespace, enrolled: enrolment.Enrolled, settings: CollectorSettings) -> None:
    """Show the token once: on the terminal, or into a file that only its owner reads."""
    url = _url(settings)
    if args.out is not None:
        with os.fdopen(
            os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(enrolled.token + "\n")
    told: dict[str, Any] = {"host": enrolled.host_id, "contract": enrolled.contract_id, "url": url}
    pin = _pin(settings)
    if pin:
        told["pin"] = pin
    told |= {"token_file": str(args.out)} if args.out is not None else {"token": enrolled.token}
    lines = [f"{enrolled.host_id} is enrolled in {enrolled.contract_id}."]
    if args.out is not None:
        lines += [f"Its token is in {args.out}."]
        lines += ["", "In its /etc/vartovyi/agent.yaml:", "", "collector:", f"  url: {url}"]
        lines += ["  token_file: /etc/vartovyi/agent.token", *([f"  pin: {pin}"] if pin else [])]
    else:
        # systemd/install reads these lines from its standard input: a token on a command line stays in a history.
        lines += [
            f"On {enrolled.host_id}, as root: systemd/install agent - and paste this when it asks; it is not shown again:",
            "",
            f"url: {url}",
            *([f"pin: {pin}"] if pin else []),
            f"token: {enrolled.token}",
        ]
    _tell(args, told, "\n".join(lines))


def _url(settings: CollectorSettings) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    known = settings.state_dir / "address"
    if settings.listen.port == 0 and known.exists():
        return known.read_text(encoding="utf-8").strip()
    scheme = "http" if settings.listen.tls_kind == "off" else "https"
    return f"{scheme}://{settings.listen.address}:{settings.listen.port}"


def _pin(settings: CollectorSettings) -> str:
    """The pin of a self-signed certificate; one from a CA needs none."""
    from collector.tls import certificate

    if settings.listen.tls_kind != "auto":
        return ""
    made = certificate(settings.listen, settings.state_dir, SystemClock().now_ms(), settings.public_url)
    return made.pin if made else ""


def _retire(args: argparse.Namespace) -> int:
    with _Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        if not desk.store.write(lambda tx: enrolment.retire(tx, args.host, now_ms)):
            raise Refused(f"no host {args.host!r} is enrolled")
    _tell(
        args,
        {"host": args.host, "retired": True},
        f"{args.host} is retired; its token is refused from now on.",
    )
    return 0


def _explain(args: argparse.Namespace) -> int:
    from collector import explain  # the judge and its texts: no other command should pay for them

    with _Desk(args) as desk, desk.store.read() as conn:
        told = explain.explain(conn, args.ticket, args.language)
    if told is None:
        raise Refused(f"there is no ticket {args.ticket}")
    _tell(args, told.to_dict(), "\n".join(told.lines))
    return 0


def _judgement(args: argparse.Namespace) -> int:
    from collector import judgement_command as command  # the judge and its texts, as for explain

    if args.out is not None and args.export is None:
        raise Refused("--out goes with --export")
    with _Desk(args) as desk, desk.store.read() as conn:
        if args.export is None:
            value, text = command.told(conn, desk.clock.now_ms(), args.days, args.language)
        else:
            try:
                found = command.exported(conn, args.export, args.out)
            except OSError as error:
                raise Refused(f"{args.out} cannot be written: {error.strerror}") from error
            if found is None:
                raise Refused(f"ticket {args.export} has no recorded facts (none, or a person filed it)")
            value, text = found
    _tell(args, value, text)
    return 0


def _roll_out_announce(args: argparse.Namespace) -> int:
    scopes = _refusing(lambda: roll_out_command.scopes_of(args))
    with _Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        until_ms = now_ms + args.for_s * 1000

        def run(tx: Any) -> Any:
            book = contracts.current(tx)
            return roll_outs.announce(tx, book, scopes, now_ms, until_ms, _who(), args.why)

        found = _refusing(lambda: desk.store.write(run))
    _tell(args, roll_out_command.plain(found), roll_out_command.lines_of(found))
    return 0


def _roll_out_end(args: argparse.Namespace) -> int:
    with _Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        ended = desk.store.write(lambda tx: roll_outs.end(tx, args.id or None, now_ms, _who()))
    missing = sorted(set(args.id) - {one.id for one in ended})
    if missing:
        raise Refused(f"no such roll-out runs: {', '.join(map(str, missing))}")
    _tell(
        args,
        roll_out_command.plain(ended),
        f"{len(ended)} ended: {', '.join(o.scope for o in ended) or 'none'}.",
    )
    return 0


def _roll_out_list(args: argparse.Namespace) -> int:
    with _Desk(args) as desk, desk.store.read() as conn:
        found = roll_outs.running(conn, desk.clock.now_ms())
    _tell(args, roll_out_command.plain(found), roll_out_command.lines_of(found))
    return 0


def _provider_note(args: argparse.Namespace) -> int:
    from collector.providers.poller import note

    if not args.text and not args.status:
        raise Refused("nothing to note: give words, --status, or both")
    with _Desk(args) as desk:
        now_ms = desk.clock.now_ms()

        def run(tx: Any) -> Any:
            if args.host and tx.execute(select(hosts.c.id).where(hosts.c.id == args.host)).first() is None:
                raise ValueError(f"no host {args.host!r} is enrolled")
            audit.write(tx, now_ms, _who(), "provider_note", f"provider:{args.provider}"[:128])
            return note(tx, args.provider, args.text, now_ms, status=args.status, host_id=args.host or "")

        written = _refusing(lambda: desk.store.write(run))
    _tell(args, dict(written), f"Noted about {written['about']}.")
    return 0


def _people_add(args: argparse.Namespace) -> int:
    secret = _new_password(args)
    with _Desk(args) as desk:
        now_ms = desk.clock.now_ms()

        def run(tx: Any) -> None:
            people.add_person(
                tx, args.login, args.role, now_ms, name=args.name, email=args.email, contract_id=args.contract
            )
            audit.write(tx, now_ms, _who(), "add_person", f"person:{args.login}")
            people.set_password(tx, args.login, secret, now_ms, _who())

        _refusing(lambda: desk.store.write(run))
    _tell(args, {"login": args.login, "role": args.role}, f"{args.login} may log in as {args.role}.")
    return 0


def _people_passwd(args: argparse.Namespace) -> int:
    secret = _new_password(args)
    with _Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        was_set = _refusing(
            lambda: desk.store.write(lambda tx: people.set_password(tx, args.login, secret, now_ms, _who()))
        )
    if not was_set:
        raise Refused(f"nobody is called {args.login!r}")
    _tell(args, {"login": args.login}, f"{args.login} has a new password; older sessions ended.")
    return 0


def _token(args: argparse.Namespace) -> int:
    with _Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        token = desk.store.write(lambda tx: people.issue_token(tx, args.login, now_ms, _who()))
    if token is None:
        raise Refused(f"nobody is called {args.login!r}")
    _tell(
        args,
        {"login": args.login, "token": token},
        f"{token}\n(shown once; the older token of {args.login} ended)",
    )
    return 0


class _Desk:
    """Settings and an open store for one command."""

    def __init__(self, args: argparse.Namespace, *, with_contracts: bool = False) -> None:
        self.settings = load(args.config, CollectorSettings)
        self.clock = SystemClock()
        self.store: Store = open_store(self.settings)
        try:
            prepare_tables(self.store, self.settings)
            if with_contracts:
                # A file edited a moment ago counts, whether or not the server has read it yet.
                loaded = contracts.load_folder(self.settings.contracts)
                apply_contracts(self.store, loaded, self.clock.now_ms(), _who())
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def _refusing(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except ValueError as error:
        raise Refused(str(error)) from error


def _who() -> str:
    return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"[:64]


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


def _tell(args: argparse.Namespace, value: Any, text: str) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2) if args.json else text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vartovyi-collector", description="The collector of Vartovyi.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str, under: Any = verbs
    ) -> argparse.ArgumentParser:
        sub = under.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="settings file")
        sub.add_argument("--json", action="store_true", help="answer as JSON")
        sub.set_defaults(run=run)
        return sub

    verb("serve", _serve, "take reports, decide, serve pages")
    verb(
        "check-config",
        _check_config,
        "check settings, contracts, providers and calendars; every fault at once, exit 78",
    ).add_argument("--contracts", type=Path, help="another contracts folder than the settings'")
    verb("migrate", _migrate, "bring the database's tables to this version")
    verb("hosts", _hosts, "list the enrolled hosts")
    enroll = verb("enroll", _enroll, "enrol a host and print its agent's settings; the token is shown once")
    enroll.add_argument("host", metavar="HOST")
    enroll.add_argument("--contract", required=True, help="contract that guards it")
    enroll.add_argument("--address", action="append", default=[], help="address to probe; may be repeated")
    enroll.add_argument(
        "--out", type=Path, help="write the token into this file (mode 0600) instead of showing it"
    )
    enroll.add_argument(
        "--new-token", action="store_true", help="replace the token of a host that is enrolled"
    )
    verb("retire", _retire, "take a host out of service").add_argument("host", metavar="HOST")
    explain = verb(
        "explain", _explain, "why a ticket has its class and cause: the evidence rows in their order"
    )
    explain.add_argument("ticket", metavar="TICKET", type=int)
    explain.add_argument("--language", choices=("uk", "en"), default="en", help="language of the reasons")
    from collector import judgement_command

    judgement_command.add_arguments(
        verb("judgement", _judgement, "what people made of the machine's verdicts, and which evidence erred")
    )
    from collector.replay import command as replay

    replay.add_arguments(
        verb(
            "replay", replay.run, "play scenario files or recorded incidents and say what would have happened"
        )
    )
    token = verb("token", _token, "give a person a new API token, shown once")
    token.add_argument("login", metavar="LOGIN")
    rolling = verbs.add_parser("roll-out", help="agent roll-outs as announced")
    runs = {"announce": _roll_out_announce, "end": _roll_out_end, "list": _roll_out_list}
    under = rolling.add_subparsers(dest="roll_out_verb", required=True, metavar="VERB")
    roll_out_command.add_arguments(under, verb, runs)
    _provider_verbs(verbs, verb)
    _people_verbs(verbs, verb)
    return parser


def _provider_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    under = verbs.add_parser("provider", help="what providers tell us").add_subparsers(
        dest="provider_verb", required=True, metavar="VERB"
    )
    add = verb("note", _provider_note, "note what a provider said by telephone or mail", under)
    add.add_argument("provider", metavar="PROVIDER")
    add.add_argument("text", metavar="TEXT", nargs="?", default="", help="what they said")
    add.add_argument("--status", choices=("ok", "maintenance", "incident"), help="how the provider is")
    add.add_argument("--host", help="host that it is about")


def _people_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser("people", help="people who log in")
    under = parser.add_subparsers(dest="people_verb", required=True, metavar="VERB")
    add = verb("add", _people_add, "add a person, e.g. the first admin", under)
    add.add_argument("login", metavar="LOGIN")
    add.add_argument("--role", choices=ROLES, default="engineer", help="what they may do")
    add.add_argument("--name", default="", help="as others call them")
    add.add_argument("--email", default="", help="mail address")
    add.add_argument("--contract", help="for the role client: the contract they see")
    passwd = verb("passwd", _people_passwd, "set a person's password", under)
    passwd.add_argument("login", metavar="LOGIN")
    for one in (add, passwd):
        one.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )


if __name__ == "__main__":
    sys.exit(main())
