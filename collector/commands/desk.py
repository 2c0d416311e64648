"""What every verb stands on: settings and an open store for one command, refusals, and the two ways to answer."""

from __future__ import annotations

import argparse
import getpass
import json
import os
from collections.abc import Callable
from typing import Any

from collector.opening import apply_contracts, open_store, prepare_tables
from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.clock import SystemClock
from config.loader import load
from ticketing import contracts


class Refused(Exception):
    """The command cannot be done; the text says why. Exit status 1."""


class Desk:
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
                apply_contracts(self.store, loaded, self.clock.now_ms(), who())
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()


def refusing(act: Callable[[], Any]) -> Any:
    """What the act answers; Refused with its words where it raises ValueError."""
    try:
        return act()
    except ValueError as error:
        raise Refused(str(error)) from error


def who() -> str:
    """Whose act it is, for the audit."""
    return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"[:64]


def tell(args: argparse.Namespace, value: Any, text: str) -> None:
    """The answer: for a machine with --json, else for a person."""
    print(json.dumps(value, ensure_ascii=False, indent=2) if args.json else text)
