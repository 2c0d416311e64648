"""A process that only reads the mailbox, for tests that kill it: the collector's own hand on a store, until told to stop."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from collector.mail_intake import MailIntake
from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.clock import SystemClock
from config.loader import load
from ticketing import contracts


def main(config: Path) -> None:
    settings = load(config, CollectorSettings)
    store = Store.open(settings.database_url())
    with store.read() as conn:
        book = contracts.current(conn)
    intake = MailIntake(store, SystemClock(), settings, lambda: book, decides=lambda: True, poke=lambda: None)
    intake.start()
    print("reading", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
