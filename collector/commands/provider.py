"""``vartovyi-collector provider note``: what a provider said by telephone or mail."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from collector.commands.desk import Desk, Refused, refusing, tell, who
from collector.tables import hosts
from ticketing import audit


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verb under ``provider``."""
    under = verbs.add_parser("provider", help="what providers tell us").add_subparsers(
        dest="provider_verb", required=True, metavar="VERB"
    )
    add = verb("note", _note, "note what a provider said by telephone or mail", under)
    add.add_argument("provider", metavar="PROVIDER")
    add.add_argument("text", metavar="TEXT", nargs="?", default="", help="what they said")
    add.add_argument("--status", choices=("ok", "maintenance", "incident"), help="how the provider is")
    add.add_argument("--host", help="host that it is about")
    add.add_argument(
        "--until",
        metavar="TIME",
        help="when they expect it repaired, e.g. '2026-11-22 21:00+02:00' (UTC without a zone): a switch"
        " that would take longer waits for it; `none` takes it back",
    )


def _note(args: argparse.Namespace) -> int:
    from collector.providers.http_json import instant_ms
    from collector.providers.poller import note

    if not args.text and not args.status and not args.until:
        raise Refused("nothing to note: give words, --status or --until")
    until_ms = None if not args.until else 0 if args.until == "none" else instant_ms(args.until)
    if args.until and until_ms is None:
        raise Refused(f"{args.until!r} is not a time")
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()

        def run(tx: Any) -> Any:
            if args.host and tx.execute(select(hosts.c.id).where(hosts.c.id == args.host)).first() is None:
                raise ValueError(f"no host {args.host!r} is enrolled")
            audit.write(tx, now_ms, who(), "provider_note", f"provider:{args.provider}"[:128])
            host_id = args.host or ""
            return note(
                tx, args.provider, args.text, now_ms, status=args.status, host_id=host_id, until_ms=until_ms
            )

        written = refusing(lambda: desk.store.write(run))
    tell(args, dict(written), f"Noted about {written['about']}.")
    return 0
