"""vartovyi-collector: serve, check-config, migrate, hosts, enroll, retire, explain, judgement, replay, roll-out, contract...

Everything but ``serve`` works on the store directly, also while ``serve`` runs. Exit status: 0 done, 1 refused or not
found, 2 wrong usage, 78 wrong settings.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from collector.commands import (
    contract,
    dossier,
    enrolment,
    failover,
    judgement,
    mail,
    people,
    provider,
    roll_out,
)
from collector.commands.desk import Desk, Refused, tell
from collector.opening import StartRefused
from collector.settings import CollectorSettings
from collector.tables import hosts
from collector.tick.asks import vantages_of
from config import log as logging_setup
from config.loader import EX_CONFIG, ConfigError, load
from ticketing import contracts

DEFAULT_CONFIG = Path("/etc/vartovyi/collector.yaml")


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
    tell(args, {"ok": True, **read}, f"Settings are in order, and {told}.")
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
    tell(args, {"before": before, "after": after}, word)
    return 0


def _hosts(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
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
    tell(args, rows, "\n".join(lines))
    return 0


def _explain(args: argparse.Namespace) -> int:
    from collector import explain  # the judge and its texts: no other command should pay for them

    with Desk(args) as desk, desk.store.read() as conn:
        told = explain.explain(conn, args.ticket, args.language)
    if told is None:
        raise Refused(f"there is no ticket {args.ticket}")
    tell(args, told.to_dict(), "\n".join(told.lines))
    return 0


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
    enrolment.add_verbs(verb)
    explain = verb(
        "explain", _explain, "why a ticket has its class and cause: the evidence rows in their order"
    )
    explain.add_argument("ticket", metavar="TICKET", type=int)
    explain.add_argument("--language", choices=("uk", "en"), default="en", help="language of the reasons")
    judgement.add_arguments(
        verb(
            "judgement", judgement.run, "what people made of the machine's verdicts, and which evidence erred"
        )
    )
    from collector.replay import command as replay

    replay.add_arguments(
        verb(
            "replay", replay.run, "play scenario files or recorded incidents and say what would have happened"
        )
    )
    roll_out.add_verbs(verbs, verb)
    contract.add_verbs(verbs, verb)
    failover.add_verbs(verbs, verb)
    provider.add_verbs(verbs, verb)
    people.add_verbs(verbs, verb)
    mail.add_verbs(verbs, verb)
    dossier.add_verbs(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
