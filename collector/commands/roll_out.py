"""``vartovyi-collector roll-out announce | end | list``. What a roll-out is stands in ``roll_outs``."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from collector import roll_outs
from collector.commands.desk import Desk, Refused, refusing, tell, who
from collector.roll_outs import ALL, KINDS, LONGEST_S, RollOut
from ticketing import contracts

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The three verbs under ``roll-out``."""
    rolling = verbs.add_parser("roll-out", help="agent roll-outs as announced")
    under = rolling.add_subparsers(dest="roll_out_verb", required=True, metavar="VERB")
    begin = verb("announce", _announce, "from now on these agents may be away for 1,800 s each", under)
    begin.add_argument("--all", action="store_true", help="the whole fleet")
    for kind in KINDS:
        begin.add_argument(
            f"--{kind}", action="append", default=[], metavar="ID", help=f"this {kind}; may be repeated"
        )
    begin.add_argument(
        "--for",
        dest="for_s",
        type=seconds,
        default=seconds("4h"),
        metavar="TIME",
        help="ends by itself after this (30min, 4h, 2d)",
    )
    begin.add_argument("--why", default="", help="said in the audit and in the list")
    stop = verb("end", _end, "the roll-out is over; hosts that are away keep their own 1,800 s", under)
    stop.add_argument("id", metavar="ID", type=int, nargs="*", help="which; default: all that run")
    verb("list", _list, "roll-outs that run", under)


def seconds(text: str) -> int:
    """A time such as ``30min``, ``4h`` or ``2d`` in seconds."""
    number = text.rstrip("smindh ")
    unit = text[len(number) :].strip()
    if not number.isdigit() or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: 30min, 4h, 2d")
    found = int(number) * _UNITS[unit]
    if not 60 <= found <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: from 1min to {LONGEST_S // 86_400}d")
    return found


def scopes_of(args: argparse.Namespace) -> list[str]:
    """The scopes that the arguments name; ValueError where they name none."""
    found = [f"{kind}:{name}" for kind in KINDS for name in getattr(args, kind)]
    if args.all and found:
        raise ValueError("--all stands for every host: give it alone")
    if not args.all and not found:
        raise ValueError("for whom? --all, --contract, --provider or --host")
    return [ALL] if args.all else found


def plain(found: Sequence[RollOut]) -> list[dict[str, Any]]:
    """For --json."""
    return [
        {
            "id": one.id,
            "scope": one.scope,
            "why": one.why,
            "by": one.announced_by,
            "announced_at_ms": one.announced_at_ms,
            "until_ms": one.until_ms,
        }
        for one in found
    ]


def lines_of(found: Sequence[RollOut]) -> str:
    """For a person."""
    if not found:
        return "No roll-out runs."
    lines = [f"{'ID':>5} {'SCOPE':28} {'UNTIL (UTC)':17} WHY"]
    for one in found:
        until = dt.datetime.fromtimestamp(one.until_ms / 1000, dt.timezone.utc).strftime("%Y-%m-%d %H:%M")
        lines.append(f"{one.id:>5} {one.scope:28} {until:17} {one.why} ({one.announced_by})".rstrip())
    return "\n".join(lines)


def _announce(args: argparse.Namespace) -> int:
    scopes = refusing(lambda: scopes_of(args))
    with Desk(args, with_contracts=True) as desk:
        now_ms = desk.clock.now_ms()
        until_ms = now_ms + args.for_s * 1000

        def run(tx: Any) -> Any:
            book = contracts.current(tx)
            return roll_outs.announce(tx, book, scopes, now_ms, until_ms, who(), args.why)

        found = refusing(lambda: desk.store.write(run))
    tell(args, plain(found), lines_of(found))
    return 0


def _end(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        ended = desk.store.write(lambda tx: roll_outs.end(tx, args.id or None, now_ms, who()))
    missing = sorted(set(args.id) - {one.id for one in ended})
    if missing:
        raise Refused(f"no such roll-out runs: {', '.join(map(str, missing))}")
    tell(
        args,
        plain(ended),
        f"{len(ended)} ended: {', '.join(o.scope for o in ended) or 'none'}.",
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        found = roll_outs.running(conn, desk.clock.now_ms())
    tell(args, plain(found), lines_of(found))
    return 0
