"""``vartovyi-desk statement CONTRACT 2026-10``: the month as words on the terminal, as CSV or as one HTML file.

The desk makes it; this shows how far it is where that takes a while and somebody is looking, and writes a file whole or
not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.clock import Clock
from ticketing.desk_client import EXIT_CANNOT_WRITE, DeskClient, DeskError
from ticketing.texts import Texts

PARTS = ("tickets", "availability", "outages", "pauses", "failovers")
BAR_WIDTH = 30
WORTH_A_BAR = 400
"""Fewer tickets than this are read before anybody could read the bar."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The command's own options."""
    command.add_argument("contract", help="the contract's id")
    command.add_argument("month", help="such as 2026-10; the present month ends now")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a table for a spreadsheet")
    form.add_argument("--html", action="store_true", help="one file with its plots, to keep and to print")
    command.add_argument(
        "--part", choices=PARTS, default="tickets", help="with --csv: which table (default: %(default)s)"
    )
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write here instead of to standard output"
    )


def run(desk: DeskClient, args: argparse.Namespace, words: Texts, clock: Clock) -> int:
    """Fetch, show how far, write."""
    form = "csv" if args.csv else "html" if args.html else "json"
    bar = Bar(words, is_shown=sys.stderr.isatty())
    body = desk.statement(
        args.contract, args.month, form, args.part, args.language or "contract", progress=bar.show
    )
    bar.clear()
    if form == "json":
        plain = (
            json.dumps(body, ensure_ascii=False, indent=2) if args.json else "\n".join(describe(body, words))
        )
        text = f"{plain}\n"
    else:
        text = str(body)
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_whole(args.output, text)
        sys.stderr.write(words.get("desk.statement.written", file=str(args.output)) + "\n")
    return 0


class Bar:
    """A progress bar on standard error, for whoever looks; nothing where nobody does."""

    def __init__(self, words: Texts, *, is_shown: bool) -> None:
        self._words = words
        self._is_shown = is_shown
        self._width = 0

    def show(self, done: int, of: int) -> None:
        if not self._is_shown or of < WORTH_A_BAR:
            return
        full = BAR_WIDTH * done // max(1, of)
        line = f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] " + self._words.get(
            "desk.statement.reading", done=done, of=of
        )
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)

    def clear(self) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()


def describe(made: Mapping[str, Any], words: Texts) -> list[str]:
    """The statement for a terminal."""
    lines = [f"{made['title']} · {made['month']}", ""]
    lines.append(words.get("desk.statement.availability") + ":")
    for row in made["availability"]:
        name = f"{row['host']}/{row['service']}" if row["service"] else row["host"]
        told = words.get(
            "desk.statement.available",
            pct=f"{row['available_pct']:.3f}",
            down=_for(words, row["down_ms"]),
            planned=_for(words, row["planned_ms"]),
        )
        lines.append(f"  {name}: {told}")
    lines += ["", words.get("desk.statement.classes") + ":"]
    for row in made["classes"]:
        if row["carried"] or row["opened"] or row["resolved"] or row["left_open"]:
            lines.append("  " + words.get("desk.statement.class", class_=row["class"], **_but(row, "class")))
    lines += ["", words.get("desk.statement.whose") + ":"]
    for name in ("ours_ms", "client_ms", "provider_ms", "other_ms", "outside_ms"):
        lines.append(f"  {words.get(f'statement.owner.{name}')}: {_for(words, made['minutes'][name])}")
    lines += [
        "",
        words.get("desk.statement.counts", pauses=len(made["pauses"]), failovers=len(made["failovers"])),
    ]
    return lines


def _but(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _for(words: Texts, ms: int) -> str:
    return words.duration(ms) if ms else "–"


def write_whole(path: Path, text: str) -> None:
    """The file is there whole, or stays as it was; DeskError says why not."""
    try:
        # newline="": CSV brings its own line ends.
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8", newline=""
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path)
    except OSError as error:
        raise DeskError(f"{path} cannot be written: {error.strerror}", EXIT_CANNOT_WRITE) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
