"""``vartovyi-collector enroll | retire``: a host comes under guard and leaves it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector import enrol as enrolment
from collector.commands.desk import Desk, Refused, tell
from collector.settings import CollectorSettings
from config.clock import SystemClock
from ticketing import contracts


def add_verbs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The two verbs."""
    add = verb("enroll", enroll, "enrol a host and print its agent's settings; the token is shown once")
    add.add_argument("host", metavar="HOST")
    add.add_argument("--contract", required=True, help="contract that guards it")
    add.add_argument("--address", action="append", default=[], help="address to probe; may be repeated")
    add.add_argument(
        "--out", type=Path, help="write the token into this file (mode 0600) instead of showing it"
    )
    add.add_argument("--new-token", action="store_true", help="replace the token of a host that is enrolled")
    verb("retire", retire, "take a host out of service").add_argument("host", metavar="HOST")


def enroll(args: argparse.Namespace) -> int:
    with Desk(args, with_contracts=True) as desk:
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
    tell(args, told, "\n".join(lines))


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


def retire(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        now_ms = desk.clock.now_ms()
        if not desk.store.write(lambda tx: enrolment.retire(tx, args.host, now_ms)):
            raise Refused(f"no host {args.host!r} is enrolled")
    tell(
        args,
        {"host": args.host, "retired": True},
        f"{args.host} is retired; its token is refused from now on.",
    )
    return 0
